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
use super::list::Rows;
use super::plots::{self, Point, TimeAxis, Times};
use super::series::{self, Bin};
use super::waterfall::Waterfall;
use super::{choice, format, words};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Most findings, and most rows of the table.
const MAX_FINDINGS: usize = 50;
const MAX_GROUPS: usize = 100;

/// If there are no more connections than this, plots over time show each one.
const MAX_POINTS: u64 = 300;
/// Then plots of counts have at most this many columns.
const FEW_COLUMNS: i64 = 48;

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

/// A plot with its text.
struct Figure {
    title: &'static str,
    /// What it shows in words.
    text: String,
    legend: &'static [(&'static str, &'static str)],
    svg: String,
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
        over_time: over_time(pictures, summary, zone),
        distributions: distributions(pictures),
        endings: endings(totals),
        loss: loss(totals),
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
    let slow_by = totals.slowest_party().map_or_else(|| "–".to_owned(), |who| who.to_string());
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

/// Median, 99th percentile and maximum in words.
fn quantiles(times: &Quantiles) -> String {
    match times.figures() {
        None => String::new(),
        Some(figures) if figures.count == 1 => format::time(figures.max),
        Some(figures) => format!(
            "median {}, p99 {}, longest {}",
            format::time(figures.p50),
            format::time(figures.p99),
            format::time(figures.max)
        ),
    }
}

const QUANTILES: &[(&str, &str)] = &[("main", "median"), ("edge", "99th percentile")];
const EACH: &[(&str, &str)] = &[("main dot", "each connection")];
const EACH_OR_FAILED: &[(&str, &str)] = &[("main dot", "each connection"), ("cross", "failed")];
const COUNTS: &[(&str, &str)] = &[("main box", "ended well"), ("wrong box", "failed")];
const LONGEST_WAIT: &str = "Longest wait of each connection";
const LOST: &[(&str, &str)] = &[("wrong box", "segments lost")];

fn over_time(pictures: &Pictures, summary: &Summary, zone: &TimeZone) -> Vec<Figure> {
    let totals = &summary.totals;
    let (Some(first), Some(last)) = (totals.first_at, totals.last_at) else { return Vec::new() };
    let series = &pictures.series;
    let bins: Vec<_> = series.bins().collect();
    let columns = if totals.connections <= MAX_POINTS { FEW_COLUMNS } else { series::MAX_BINS };
    let (width, counts) = series.counts(columns);
    // From the first column's beginning, which may be before the first connection.
    let first = counts.first_key_value().map_or(first, |(at, _)| (*at).min(first));
    let accepted = counts.last_key_value().map_or(last, |(at, _)| at.saturating_add(width));
    let axis = TimeAxis::new(first, accepted, zone);
    let columns: Vec<_> = counts.iter().map(|(at, [all, bad, _])| (*at, *all, *bad)).collect();
    let mut figures = vec![Figure {
        title: "Connections",
        text: format!(
            "{} accepted, {} failed",
            format::count(totals.connections),
            format::count(totals.failed)
        ),
        legend: COUNTS,
        svg: plots::counts(&axis, width, &columns),
    }];
    type Time = fn(&super::Connection) -> Option<std::time::Duration>;
    type InBin = fn(&Bin) -> &Quantiles;
    let times: [(&str, Time, InBin, &Quantiles); 3] = [
        ("Connect", |c| c.phases.connect, |bin| &bin.connect, pictures.connect.times()),
        (LONGEST_WAIT, |c| c.longest_wait(), |bin| &bin.wait, pictures.wait.times()),
        (
            "Round-trip time",
            |c| c.upstream.as_ref()?.undisturbed_rtt(),
            |bin| &bin.rtt,
            &totals.rtt,
        ),
    ];
    for (title, time, in_bin, all) in times {
        if all.count() == 0 {
            continue;
        }
        let mut shown = Times::default();
        let mut legend = QUANTILES;
        if totals.connections <= MAX_POINTS {
            legend = EACH;
            for kept in &summary.sample {
                let connection = &kept.connection;
                let Some((at, time)) = connection.opened_at().zip(time(connection)) else {
                    continue;
                };
                let point = Point { at, time: time.as_nanos() as f64 };
                match connection.is_failed() {
                    true => shown.failed.push(point),
                    false => shown.each.push(point),
                }
            }
            if !shown.failed.is_empty() {
                legend = EACH_OR_FAILED;
            }
        } else {
            // In the middle of its bin.
            let middle = series.width() / 2;
            for (at, bin) in &bins {
                let figures = in_bin(bin).figures();
                let Some(figures) = figures else { continue };
                let at = at.saturating_add(middle);
                shown.p50.push(Point { at, time: figures.p50.as_nanos() as f64 });
                shown.p99.push(Point { at, time: figures.p99.as_nanos() as f64 });
            }
        }
        let svg = plots::times(&axis, &shown);
        figures.push(Figure { title, text: quantiles(all), legend, svg });
    }
    if totals.lost.is_some_and(|lost| lost > 0) {
        let lost = counts.iter().map(|(at, [_, _, lost])| (*at, *lost, *lost));
        figures.push(Figure {
            title: "Loss",
            text: loss(totals),
            legend: LOST,
            svg: plots::counts(&axis, width, &lost.collect::<Vec<_>>()),
        });
    }
    figures
}

fn distributions(pictures: &Pictures) -> Vec<Figure> {
    let all = [
        ("Look-up", &pictures.resolve),
        ("Connect", &pictures.connect),
        ("TLS handshake", &pictures.handshake),
        (LONGEST_WAIT, &pictures.wait),
        ("Round-trip time", &pictures.rtt),
        ("Duration", &pictures.duration),
    ];
    let all = all.into_iter().filter(|(_, distribution)| distribution.times().count() > 0);
    let figures = all.map(|(title, distribution)| Figure {
        title,
        text: quantiles(distribution.times()),
        legend: &[],
        svg: plots::distribution(distribution),
    });
    figures.collect()
}

fn endings(totals: &Totals) -> Vec<Ranking> {
    let outcomes = totals.outcomes.sorted().into_iter();
    let outcomes = outcomes.map(|(outcome, count)| (outcome.to_string(), count));
    let name = |(by, count)| (words::by(by).to_owned(), count);
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

/// What was lost, in a sentence.
fn loss(totals: &Totals) -> String {
    let lost = match totals.lost {
        None => "How many segments were lost is not known.".to_owned(),
        Some(0) => "No segment was lost.".to_owned(),
        Some(lost) => {
            format!("{} lost.", format::counted(lost, "segment"))
        }
    };
    let again = totals
        .retransmits
        .filter(|count| *count > 0)
        .map(|count| format!(" {} sent again.", format::counted(count, "segment")));
    let syns = (totals.syn_retransmits > 0)
        .then(|| format!(" {} sent again.", format::counted(totals.syn_retransmits, "SYN")));
    format!("{lost}{}{}", again.unwrap_or_default(), syns.unwrap_or_default())
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
