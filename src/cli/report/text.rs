//! The page of a report: headline, table, findings, the slowest connections and turns.

use std::time::Duration;

use conniver::figures::{human_bytes, human_time, long_time};
use conniver::plural::counted;
use conniver::record::{LimitedBy, Outcome, Printable};
use conniver::report::{
    Comparison, Connection, Finding, Group, GroupBy, Kept, Quantiles, SlowTurn, Summary, Totals,
    short_id,
};

use super::style::{heading, wrong};
use super::table::table;
use super::{changes, notes, time};
use crate::cli::wrap::{unbroken, wrap};

/// Groups that are shown; the others are counted.
const ROWS: usize = 30;

/// From this width on, tables have the parties' whole names.
const WIDE: usize = 100;

/// What stands for an unknown figure.
const UNKNOWN: &str = "-";

/// The page, in lines of at most `width` columns. `against`: the summary before, and how it compares.
pub(super) fn page(
    summary: &Summary,
    against: Option<(&Summary, &Comparison)>,
    width: usize,
) -> String {
    let mut parts = Vec::new();
    if summary.totals.connections > 0 || summary.sockets.connections == 0 {
        parts.push(headline(summary, width));
    }
    if summary.totals.connections > 0 {
        parts.extend(against.map(|(before, changes)| changes::section(before, changes, width)));
        parts.push(groups(summary, width));
        parts.extend(failed_groups(summary, width));
        parts.push(findings(summary, width));
        parts.extend(failed_connections(&summary.failed, width));
        parts.extend(slowest(&summary.slowest, width));
        parts.extend(turns(&summary.turns, width));
    }
    if summary.sockets.connections > 0 {
        parts.push(sockets_headline(summary, width));
        parts.push(socket_groups(summary, width));
    }
    parts.extend(notes::section(summary, against.map(|(before, _)| before), width));
    parts.join("\n\n")
}

fn headline(summary: &Summary, width: usize) -> String {
    let totals = &summary.totals;
    let mut lines = Vec::new();
    let connections = heading(counted(totals.connections, "connection"));
    lines.push(match totals.connections {
        0 => heading("no connections"),
        _ => format!("{connections}, {}{}", failed(totals), hosts(summary)),
    });
    lines.extend(period(totals));
    lines.extend(selection(summary));
    lines.extend(failures(totals));
    if totals.connections > 0 {
        lines.push(format!(
            "sent {}, received {}, {}{}",
            human_bytes(totals.sent),
            human_bytes(totals.received),
            counted(totals.turns, "turn"),
            match totals.limited_by {
                Some(party) => format!(
                    "; of {} in which somebody waited, most for {}",
                    long_time(totals.active),
                    party.in_words()
                ),
                None => String::new(),
            }
        ));
    }
    wrap(&lines.join("\n"), width)
}

/// What the sockets of `conniver watch` tell together.
fn sockets_headline(summary: &Summary, width: usize) -> String {
    let totals = &summary.sockets;
    let sockets = heading(format!("{} of conniver watch", counted(totals.connections, "socket")));
    let mut lines = vec![format!("{sockets}, {}{}", failed(totals), hosts(summary))];
    lines.extend(period(totals));
    if summary.totals.connections == 0 {
        lines.extend(selection(summary));
    }
    lines.extend(failures(totals));
    let count = |count: Option<u64>, what: &str| {
        count.map_or_else(String::new, |count| format!(", {} {what}", counted(count, "segment")))
    };
    lines.push(format!(
        "sent {}, received {}{}{}",
        human_bytes(totals.sent),
        human_bytes(totals.received),
        count(totals.retransmits, "retransmitted"),
        count(totals.lost, "lost"),
    ));
    wrap(&lines.join("\n"), width)
}

fn failed(totals: &Totals) -> String {
    match totals.failed {
        0 => "none failed".to_owned(),
        failed => wrong(format!("{failed} failed")),
    }
}

fn hosts(summary: &Summary) -> String {
    match &summary.hosts[..] {
        [] => String::new(),
        hosts if hosts.len() > 3 || summary.more_hosts => {
            let more = if summary.more_hosts { "more than " } else { "" };
            format!(", on {more}{} hosts", hosts.len())
        }
        hosts => format!(", on {}", Printable(hosts.join(", "))),
    }
}

/// When the first began and the last ended.
fn period(totals: &Totals) -> Option<String> {
    let (first, last) = totals.first_at.zip(totals.last_at)?;
    let lasted = u64::try_from(last.saturating_sub(first)).unwrap_or_default();
    let (span, zone) = (time::span(first, last), time::zone(first));
    Some(format!("{span} ({}), {zone}", long_time(Duration::from_nanos(lasted))))
}

/// How many failed in each way.
fn failures(totals: &Totals) -> Option<String> {
    (totals.failed > 0).then(|| format!("failed: {}", outcomes(totals)))
}

fn outcomes(totals: &Totals) -> String {
    let outcomes = totals.outcomes.sorted();
    let bad = outcomes.iter().filter(|(outcome, _)| *outcome != Outcome::Ok);
    let bad: Vec<_> = bad.map(|(outcome, count)| format!("{count} {outcome}")).collect();
    bad.join(", ")
}

/// How they failed in each group, where that is not said otherwise.
fn failed_groups(summary: &Summary, width: usize) -> Option<String> {
    let groups = summary.groups.iter().filter(|group| group.totals.failed > 0);
    let groups: Vec<_> = groups.collect();
    if groups.len() < 2 || summary.by == GroupBy::Outcome {
        return None;
    }
    let lines = groups.iter().take(ROWS).map(|group| {
        wrap(&format!("  {}: {}", Printable(&group.name), outcomes(&group.totals)), width)
    });
    let more = groups.len().saturating_sub(ROWS);
    let more =
        (more > 0).then(|| format!("  and {} with failures", counted(more as u64, "more group")));
    let lines: Vec<_> = lines.chain(more).collect();
    Some(format!("{}\n{}", heading("Failed"), lines.join("\n")))
}

/// Which connections are in the report, if not all.
fn selection(summary: &Summary) -> Option<String> {
    let selection = &summary.selection;
    let local = |at: jiff::Timestamp| {
        let nanos = i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX);
        time::full(&time::local(nanos))
    };
    let since = selection.since.map(|at| format!("since {}", local(at)));
    let until = selection.until.map(|at| format!("until {}", local(at)));
    let conditions = selection.conditions.iter().map(|one| Printable(one).to_string());
    let conditions = conditions.collect::<Vec<_>>().join(" and ");
    let conditions = Some(conditions).filter(|text| !text.is_empty());
    let parts: Vec<_> = [conditions, since, until].into_iter().flatten().collect();
    let left_out = counted(summary.lines.left_out, "connection");
    (!parts.is_empty()).then(|| format!("only {}; {left_out} left out", parts.join(", ")))
}

/// A party in a table.
fn party(party: Option<LimitedBy>, width: usize) -> String {
    match party {
        None | Some(LimitedBy::None) => UNKNOWN.to_owned(),
        Some(LimitedBy::NetworkClient) if width < WIDE => "net-client".to_owned(),
        Some(LimitedBy::NetworkUpstream) if width < WIDE => "net-upstr.".to_owned(),
        Some(party) => party.to_string(),
    }
}

fn time_cell(time: Option<Duration>) -> String {
    time.map_or_else(|| UNKNOWN.to_owned(), human_time)
}

fn count_cell(count: Option<u64>) -> String {
    count.map_or_else(|| UNKNOWN.to_owned(), |count| count.to_string())
}

fn groups(summary: &Summary, width: usize) -> String {
    let by = summary.by.to_string();
    let p50 = |quantiles: &Quantiles| time_cell(quantiles.at(0.5));
    let p99 = |quantiles: &Quantiles| time_cell(quantiles.at(0.99));
    let row = |name: &str, totals: &Totals| {
        vec![
            Printable(name).to_string(),
            totals.connections.to_string(),
            totals.failed.to_string(),
            p50(&totals.connect),
            p99(&totals.connect),
            p50(&totals.wait),
            p99(&totals.wait),
            time_cell(totals.wait.max()),
            count_cell(totals.lost),
            party(totals.limited_by, width),
        ]
    };
    let shown = summary.groups.iter().take(ROWS);
    let mut rows: Vec<_> = shown.map(|group| row(&group.name, &group.totals)).collect();
    rows.extend(row_of_others(&summary.groups, summary.others.as_ref(), 10));
    let heads: [&str; 10] = match width >= WIDE {
        true => [
            &by,
            "connections",
            "failed",
            "connect p50",
            "p99",
            "wait p50",
            "p99",
            "max",
            "lost",
            "slow by",
        ],
        false => {
            [&by, "conns", "fail", "conn50", "conn99", "wait50", "wait99", "max", "lost", "slow by"]
        }
    };
    table(&heads, &[9], &rows, width)
}

/// How many connections the groups have that are not shown, if there are any.
fn row_of_others(groups: &[Group], others: Option<&Totals>, columns: usize) -> Option<Vec<String>> {
    let hidden = groups.iter().skip(ROWS).map(|group| &group.totals).chain(others);
    let counts = hidden.map(|totals| (totals.connections, totals.failed));
    let (connections, failed) = counts.reduce(|sum, more| (sum.0 + more.0, sum.1 + more.1))?;
    let mut row = vec!["(others)".to_owned(), connections.to_string(), failed.to_string()];
    row.resize(columns, String::new());
    Some(row)
}

/// What sockets tell; who was slow takes a proxy.
fn socket_groups(summary: &Summary, width: usize) -> String {
    let by = summary.by.to_string();
    let row = |Group { name, totals, .. }: &Group| {
        vec![
            Printable(name).to_string(),
            totals.connections.to_string(),
            totals.failed.to_string(),
            time_cell(totals.rtt.at(0.5)),
            time_cell(totals.rtt.at(0.99)),
            count_cell(totals.retransmits),
            count_cell(totals.lost),
            human_bytes(totals.sent),
            human_bytes(totals.received),
        ]
    };
    let mut rows: Vec<_> = summary.socket_groups.iter().take(ROWS).map(row).collect();
    rows.extend(row_of_others(&summary.socket_groups, summary.other_sockets.as_ref(), 9));
    let heads: [&str; 9] = match width >= WIDE {
        true => [
            &by,
            "sockets",
            "failed",
            "RTT p50",
            "p99",
            "retransmitted",
            "lost",
            "sent",
            "received",
        ],
        false => [&by, "socks", "fail", "RTT50", "RTT99", "retr", "lost", "sent", "recvd"],
    };
    table(&heads, &[], &rows, width)
}

fn findings(summary: &Summary, width: usize) -> String {
    if summary.findings.is_empty() {
        return format!("{}\n  none", heading("Findings"));
    }
    let mut text = heading("Findings");
    for finding in &summary.findings {
        text.push('\n');
        text.push_str(&wrap(&finding_text(finding), width));
    }
    text
}

fn finding_text(finding: &Finding) -> String {
    let Finding { rule, seen, usually, next, .. } = finding;
    let when = match (finding.first_at, finding.last_at) {
        (Some(first), Some(last)) => format!(", {}", time::span(first, last)),
        _ => String::new(),
    };
    let examples: Vec<_> = finding.examples.iter().map(|id| short_id(id)).collect();
    format!(
        "  {} [{rule}{when}]\n    usually: {usually}\n    next: {next}\n    see: --id {}",
        wrong(Printable(seen)),
        unbroken(&examples.join(", "))
    )
}

/// Program and target; where there is little room, the target alone.
fn who(process: Option<&str>, target: Option<&str>, width: usize) -> String {
    let target = Printable(target.unwrap_or("(no target)")).to_string();
    match process.filter(|_| width >= WIDE) {
        Some(process) => format!("{} → {target}", Printable(process)),
        None => target,
    }
}

fn at(time: Option<i64>) -> String {
    time.map_or_else(|| UNKNOWN.to_owned(), |at| time::clock(&time::local(at)))
}

/// A sample of the failed connections.
fn failed_connections(failed: &[Kept], width: usize) -> Option<String> {
    let rows = failed.iter().map(|Kept { connection, .. }| {
        let error = connection.ending.as_ref().and_then(|end| end.error_code.as_deref());
        vec![
            who(connection.program(), connection.target.as_deref(), width),
            at(connection.opened_at()),
            time_cell(Some(connection.duration)),
            outcome(connection),
            Printable(error.unwrap_or(UNKNOWN)).to_string(),
            short_id(&connection.id),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let heads = ["failed connections", "at", "lasted", "outcome", "error", "id"];
    (!rows.is_empty()).then(|| table(&heads, &[3, 4], &rows, width))
}

fn slowest(slowest: &[Kept], width: usize) -> Option<String> {
    let rows = slowest.iter().map(|Kept { connection, .. }| {
        let verdict = connection.verdict.as_ref();
        vec![
            who(connection.program(), connection.target.as_deref(), width),
            at(connection.opened_at()),
            time_cell(Some(connection.duration)),
            time_cell(verdict.map(|verdict| verdict.active)),
            time_cell(connection.longest_wait()),
            party(verdict.map(|verdict| verdict.limited_by), width),
            outcome(connection),
            short_id(&connection.id),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let heads =
        ["slowest connections", "at", "lasted", "active", "wait", "slow by", "outcome", "id"];
    (!rows.is_empty()).then(|| table(&heads, &[5, 6], &rows, width))
}

fn outcome(connection: &Connection) -> String {
    connection.outcome.map_or_else(|| UNKNOWN.to_owned(), |outcome| outcome.to_string())
}

fn turns(turns: &[SlowTurn], width: usize) -> Option<String> {
    let rows = turns.iter().map(|SlowTurn { turn, id, target, process, .. }| {
        vec![
            who(process.as_deref(), target.as_deref(), width),
            at(Some(turn.at)),
            human_time(turn.wait),
            human_time(turn.network),
            human_bytes(turn.request_bytes),
            human_bytes(turn.answer_bytes),
            party(Some(turn.limited_by), width),
            short_id(id),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let heads = ["slowest turns", "at", "wait", "network", "request", "answer", "slow by", "id"];
    (!rows.is_empty()).then(|| table(&heads, &[6], &rows, width))
}
