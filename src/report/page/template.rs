//! From what was gathered to the page: everything that the template shows, as text.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::super::build::Summary;
use super::super::findings::Finding;
use super::super::groups::Group;
use super::super::quantiles::Quantiles;
use super::super::totals::Totals;
use super::Pictures;
use super::answers::{self, Answer, Share};
use super::figures::{self, Figure};
use super::list::Rows;
use super::waterfall::Waterfall;
use super::{choice, format, words};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Most findings, and most rows of the table.
const MAX_FINDINGS: usize = 50;
const MAX_GROUPS: usize = 100;

#[derive(Template)]
#[template(path = "page.html", config = "src/report/page/askama.toml")]
struct Page<'s> {
    style: &'static str,
    script: &'static str,
    style_hash: String,
    script_hash: String,
    title: String,
    headline: String,
    selection: Vec<String>,
    answers: [Answer; 3],
    shares: Vec<Share>,
    findings: Vec<FindingText>,
    more_findings: usize,
    by: String,
    groups: Vec<GroupRow>,
    more_groups: Option<String>,
    waterfall: Waterfall,
    over_time: Vec<Figure>,
    distributions: Vec<Figure>,
    endings: Vec<Ranking>,
    loss: String,
    connections: u64,
    rows: Rows<'s>,
    left_out: Option<String>,
    zone: Zone,
    files: Vec<String>,
    version: &'static str,
}

/// How the script shows times.
#[derive(Default)]
struct Zone {
    /// Seconds from UTC.
    offset: i32,
    name: String,
}

struct FindingText {
    seen: String,
    usually: String,
    next: String,
    facts: String,
    /// Rows of connections in which it was seen.
    examples: Vec<usize>,
}

/// A row of the table of groups; each cell with the number by which it is sorted.
struct GroupRow {
    name: String,
    cells: Vec<Cell>,
}

struct Cell {
    value: f64,
    text: String,
    is_bad: bool,
}

/// Counts of one kind, as bars.
struct Ranking {
    title: &'static str,
    rows: Vec<RankingRow>,
}

struct RankingRow {
    name: String,
    count: String,
    share: String,
    width: String,
    is_bad: bool,
}

pub(super) fn page(pictures: &Pictures, summary: &Summary, zone: &TimeZone) -> String {
    let rows = Rows::new(&choice::whole(summary));
    let totals = &summary.totals;
    let connections = totals.connections;
    let whole = rows.len() as u64;
    let left_out = (whole < connections).then(|| {
        format!(
            "{} of {} connections are listed: failed ones, the slowest, those that lost most, and a \
             sample of the others. {} are left out here; tables and plots have all.",
            format::count(whole),
            format::count(connections),
            format::count(connections - whole)
        )
    });
    let first = totals.first_at.unwrap_or(0);
    let findings = summary.findings.iter().take(MAX_FINDINGS);
    let groups = summary.groups.iter().take(MAX_GROUPS);
    let page = Page {
        style: STYLE,
        script: SCRIPT,
        style_hash: hash(STYLE),
        script_hash: hash(SCRIPT),
        title: title(summary),
        headline: headline(summary, zone),
        selection: selection(summary, zone),
        answers: [answers::failed(summary), answers::slow(summary), answers::whose(summary)],
        shares: answers::shares(totals),
        findings: findings.map(|finding| finding_text(finding, &rows, zone)).collect(),
        more_findings: summary.findings.len().saturating_sub(MAX_FINDINGS),
        by: format::text(&summary.by.to_string()),
        groups: groups.map(group_row).collect(),
        more_groups: more_groups(summary),
        waterfall: Waterfall::new(&choice::waterfall(summary), &rows),
        over_time: figures::over_time(pictures, summary, zone),
        distributions: figures::distributions(pictures),
        endings: endings(totals),
        loss: words::loss(totals),
        connections,
        left_out,
        zone: Zone {
            offset: jiff::Timestamp::from_nanosecond(i128::from(first))
                .map_or(0, |at| zone.to_offset(at).seconds()),
            name: format::zone_name(first, zone),
        },
        files: files(summary),
        version: env!("CARGO_PKG_VERSION"),
        rows,
    };
    // Writing into a text cannot fail.
    page.render().unwrap_or_default()
}

/// What a content security policy calls this text.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

fn title(summary: &Summary) -> String {
    format!("{} – conniver", format::counted(summary.totals.connections, "connection"))
}

/// How many, when, and where they were recorded.
fn headline(summary: &Summary, zone: &TimeZone) -> String {
    let totals = &summary.totals;
    let connections = format::counted(totals.connections, "connection");
    let hosts = summary.hosts.iter().take(3).map(|host| format::text(host));
    let mut hosts = hosts.collect::<Vec<_>>().join(", ");
    if summary.hosts.len() > 3 || summary.more_hosts {
        hosts.push_str(" and others");
    }
    let on = if hosts.is_empty() { String::new() } else { format!(" on {hosts}") };
    let (Some(first), Some(last)) = (totals.first_at, totals.last_at) else {
        return format!("{connections}{on}");
    };
    let day = |at| format::moment(at, zone, "%-d %b %Y");
    let (from, to) = match day(first) == day(last) {
        true => (format!("{} ", day(first)), String::new()),
        false => (format!("{} ", day(first)), format!("{} ", day(last))),
    };
    let clock = |at| format::moment(at, zone, "%H:%M:%S");
    let zone = format::zone_name(first, zone);
    format!("{connections}{on}, {from}{} – {to}{} {zone}", clock(first), clock(last))
}

/// What was left out by the options.
fn selection(summary: &Summary, zone: &TimeZone) -> Vec<String> {
    let mut texts = Vec::new();
    let form = "%-d %b %Y %H:%M:%S";
    let instant = |at: jiff::Timestamp| at.to_zoned(zone.clone()).strftime(form).to_string();
    if let Some(since) = summary.selection.since {
        texts.push(format!("since {}", instant(since)));
    }
    if let Some(until) = summary.selection.until {
        texts.push(format!("until {}", instant(until)));
    }
    if summary.lines.left_out > 0 {
        let count = format::counted(summary.lines.left_out, "connection");
        texts.push(format!("{count} left out by --where, --since or --until"));
    }
    if summary.lines.refused > 0 {
        let count = format::counted(summary.lines.refused, "client");
        texts.push(format!("{count} refused on arrival, without a record of their own"));
    }
    texts
}

fn finding_text(finding: &Finding, rows: &Rows<'_>, zone: &TimeZone) -> FindingText {
    let mut facts = format!("{} · {}", finding.rule, format::text(&finding.target));
    if let (Some(first), Some(last)) = (finding.first_at, finding.last_at) {
        let clock = |at| format::moment(at, zone, "%H:%M:%S");
        facts = format!("{facts} · {} – {}", clock(first), clock(last));
    }
    let examples: Vec<_> = finding.examples.iter().filter_map(|id| rows.position(id)).collect();
    if let Some(id) = finding.examples.first().filter(|_| examples.is_empty()) {
        facts = format!("{facts} · for example {}", format::text(id));
    }
    FindingText {
        seen: words::sentence(&finding.seen),
        usually: words::sentence(&finding.usually),
        next: words::sentence(&finding.next),
        facts,
        examples,
    }
}

fn group_row(group: &Group) -> GroupRow {
    let totals = &group.totals;
    let number =
        |count: u64, is_bad| Cell { value: count as f64, text: format::count(count), is_bad };
    let maybe = |count: Option<u64>| match count {
        Some(count) => number(count, count > 0),
        None => Cell { value: -1.0, text: "–".to_owned(), is_bad: false },
    };
    let time = |quantiles: &Quantiles, share: f64| {
        let time = quantiles.at(share);
        Cell {
            value: time.map_or(-1.0, |time| time.as_secs_f64()),
            text: time.map_or_else(|| "–".to_owned(), format::time),
            is_bad: false,
        }
    };
    let received =
        Cell { value: totals.received as f64, text: format::bytes(totals.received), is_bad: false };
    let slow_by = totals.limited_by.map_or_else(|| "–".to_owned(), |who| who.to_string());
    GroupRow {
        name: format::text(&group.name),
        cells: vec![
            number(totals.connections, false),
            number(totals.failed, totals.failed > 0),
            time(&totals.connect, 0.5),
            time(&totals.connect, 0.99),
            time(&totals.wait, 0.5),
            time(&totals.wait, 0.99),
            time(&totals.wait, 1.0),
            maybe(totals.lost),
            received,
            Cell { value: 0.0, text: slow_by, is_bad: false },
        ],
    }
}

fn more_groups(summary: &Summary) -> Option<String> {
    let hidden = summary.groups.iter().skip(MAX_GROUPS);
    let in_hidden: u64 = hidden.map(|group| group.totals.connections).sum();
    let in_others = summary.others.as_ref().map_or(0, |others| others.connections);
    let connections = in_hidden + in_others;
    (connections > 0).then(|| {
        format!(
            "The {MAX_GROUPS} with most connections. Others have {}.",
            format::counted(connections, "connection")
        )
    })
}

fn endings(totals: &Totals) -> Vec<Ranking> {
    let outcomes = totals.outcomes.sorted().into_iter();
    let outcomes = outcomes.map(|(outcome, count)| (outcome.to_string(), count));
    let name = |(by, count): (crate::record::By, u64)| (by.in_words().to_owned(), count);
    let rankings = [
        ("Outcomes", outcomes.collect::<Vec<_>>()),
        ("Who ended first", totals.ended_first.sorted().into_iter().map(name).collect()),
        ("Who reset", totals.reset_by.sorted().into_iter().map(name).collect()),
    ];
    let rankings = rankings.into_iter().filter(|(_, counts)| !counts.is_empty());
    rankings.map(|(title, counts)| ranking(title, &counts)).collect()
}

fn ranking(title: &'static str, counts: &[(String, u64)]) -> Ranking {
    let whole: u64 = counts.iter().map(|(_, count)| count).sum();
    let rows = counts.iter().map(|(name, count)| RankingRow {
        name: name.clone(),
        count: format::count(*count),
        share: format::percent(*count as f64, whole as f64),
        width: format!("{:.2}%", *count as f64 * 100.0 / whole.max(1) as f64),
        is_bad: title == "Who reset" || (title == "Outcomes" && name != "ok"),
    });
    Ranking { title, rows: rows.collect() }
}

/// What was read, and what could not be.
fn files(summary: &Summary) -> Vec<String> {
    let files = summary.files.iter().take(20).map(|file| {
        let mut text =
            format!("{}: {}", format::text(&file.name), format::counted(file.lines, "line"));
        if file.torn > 0 {
            text = format!("{text}, {} cut off", format::count(file.torn));
        }
        if file.bad > 0 {
            text = format!("{text}, {} unreadable", format::count(file.bad));
        }
        if file.truncated.is_some() || file.damaged.is_some() {
            text.push_str(", its compressed data is damaged or incomplete");
        }
        text
    });
    let mut files: Vec<_> = files.collect();
    if summary.files.len() > files.len() {
        files.push(format!("and {} more files", summary.files.len() - files.len()));
    }
    files
}
