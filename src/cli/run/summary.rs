//! The table at the end: what the program's connections met.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use conniver::record::{By, Ending, How, LimitedBy, Outcome, Printable, Record};

use crate::cli::parent;
use crate::cli::terminal::shorten_middle;
use crate::cli::units::{counted, human_bytes, human_time};

/// More connections than these are shown by target; of more targets, the rest together.
const ROWS: usize = 40;

/// As many targets are told apart; what goes to others is counted together.
const TARGETS: usize = 1000;

/// What all connections met, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Summary {
    connections: u64,
    /// One a connection; by target once there are too many.
    rows: Vec<Row>,
    is_by_target: bool,
    others: Option<Row>,
    /// What is said of the first connection that failed on the way through a parent proxy.
    parent_failed: Option<String>,
}

/// One connection, or several together: sums, the longest times, and how many ended well.
#[derive(Debug, Clone)]
struct Row {
    target: String,
    connections: u64,
    sent: Option<u64>,
    received: Option<u64>,
    connect: Option<Duration>,
    /// The longest for an answer; for the upstream's first byte where there are no turns.
    wait: Option<Duration>,
    /// Who was slow where that was.
    slow_by: Option<LimitedBy>,
    rtt: Option<Duration>,
    retransmits: Option<u64>,
    failed: u64,
    /// How the first one ended that did not end well, or all of them.
    ended: String,
}

impl Summary {
    pub(super) fn is_empty(&self) -> bool {
        self.connections == 0
    }

    /// What is to be said of the parent proxy, beside the table.
    pub(super) fn parent_failed(&self) -> Option<&str> {
        self.parent_failed.as_deref()
    }

    /// `has_via`: an option names the parent proxy.
    pub(super) fn add(&mut self, record: &Record, has_via: bool) {
        self.connections += 1;
        if self.parent_failed.is_none() {
            self.parent_failed = parent::failure(record, has_via);
        }
        let row = Row::from(record);
        if self.is_by_target {
            self.merge(row);
            return;
        }
        self.rows.push(row);
        if self.rows.len() > ROWS {
            self.is_by_target = true;
            for row in std::mem::take(&mut self.rows) {
                self.merge(row);
            }
        }
    }

    fn merge(&mut self, row: Row) {
        let has_room = self.rows.len() < TARGETS;
        match self.rows.iter_mut().find(|known| known.target == row.target) {
            Some(known) => known.add(row),
            None if has_room => self.rows.push(row),
            None => match &mut self.others {
                Some(others) => others.add(row),
                others => *others = Some(Row { target: "other targets".to_owned(), ..row }),
            },
        }
    }

    /// What is shown: those with the most bytes, when they are too many, and the others together.
    fn rows_shown(&self) -> Vec<Row> {
        let mut rows = self.rows.clone();
        if rows.len() > ROWS {
            rows.sort_by_key(|row| std::cmp::Reverse(row.sent.max(row.received)));
        }
        let rest = rows.split_off(rows.len().min(ROWS)).into_iter().chain(self.others.clone());
        let rest = rest.reduce(|mut others, row| {
            others.add(row);
            others
        });
        rows.extend(rest.map(|rest| Row { target: "other targets".to_owned(), ..rest }));
        rows
    }
}

impl From<&Record> for Row {
    fn from(record: &Record) -> Self {
        let leg = record.upstream.as_ref();
        let last = leg.and_then(|leg| leg.closed_info.as_ref());
        Self {
            target: record
                .target
                .as_ref()
                .map_or_else(|| "(no target)".to_owned(), |target| Printable(target).to_string()),
            connections: 1,
            sent: leg.map(|leg| leg.tx_bytes),
            received: leg.map(|leg| leg.rx_bytes),
            connect: record.phases.connect,
            wait: longest_wait(record),
            slow_by: record.verdict.as_ref().map(|verdict| verdict.limited_by),
            rtt: leg.and_then(|leg| leg.undisturbed_rtt()),
            retransmits: last.and_then(|info| info.retransmits),
            failed: u64::from(record.outcome != Some(Outcome::Ok)),
            ended: ended(record),
        }
    }
}

/// Not of an upstream that was asked nothing and said nothing.
fn longest_wait(record: &Record) -> Option<Duration> {
    let of_turns = record.turns.as_ref().and_then(|turns| turns.wait);
    let first_byte = record.phases.first_byte.filter(|_| record.is_answered());
    of_turns.map(|wait| wait.max).or(first_byte)
}

/// The outcome, and what tells more of one that is not good.
fn ended(record: &Record) -> String {
    let outcome = record.outcome.map_or_else(String::new, |outcome| outcome.to_string());
    match (record.outcome, &record.ending) {
        (Some(Outcome::Reset), Some(ending)) if let Some(by) = reset_by(ending) => {
            format!("{outcome} by {by}")
        }
        (Some(Outcome::Ok), _) | (_, None) => outcome,
        (_, Some(ending)) => match &ending.error_code {
            Some(code) => format!("{outcome} ({code})"),
            None => outcome,
        },
    }
}

/// The side that reset. `None` where it had ended its stream before.
fn reset_by(ending: &Ending) -> Option<By> {
    let first = (Some(ending.first_by), Some(ending.first_how));
    let ends = [first, (ending.second_by, ending.second_how)];
    ends.into_iter().find(|(_, how)| *how == Some(How::Reset))?.0
}

impl Row {
    fn add(&mut self, other: Self) {
        let sum = |one: Option<u64>, two: Option<u64>| match (one, two) {
            (Some(one), Some(two)) => Some(one.saturating_add(two)),
            (one, two) => one.or(two),
        };
        if self.failed == 0 {
            self.ended = other.ended;
        }
        self.connections += other.connections;
        self.sent = sum(self.sent, other.sent);
        self.received = sum(self.received, other.received);
        self.connect = self.connect.max(other.connect);
        if other.wait > self.wait {
            (self.wait, self.slow_by) = (other.wait, other.slow_by);
        }
        self.rtt = self.rtt.max(other.rtt);
        self.retransmits = sum(self.retransmits, other.retransmits);
        self.failed += other.failed;
    }

    fn cells(&self, form: Form, by_target: bool) -> Vec<String> {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let time = |time: Option<Duration>| text(time.map(human_time));
        let reason = match form.has_codes {
            true => &*self.ended,
            false => self.ended.split(" (").next().unwrap_or_default(),
        };
        let ended = match (self.failed, self.connections) {
            (0, _) | (_, 1) => reason.to_owned(),
            (failed, connections) if failed == connections => reason.to_owned(),
            (failed, _) => format!("{failed} × {reason}"),
        };
        let cell = |column: &Column| match column {
            Column::Target => self.target.clone(),
            Column::Connections => self.connections.to_string(),
            Column::Sent => text(self.sent.map(human_bytes)),
            Column::Received => text(self.received.map(human_bytes)),
            Column::Connect => time(self.connect),
            Column::Wait => time(self.wait),
            Column::Rtt => time(self.rtt),
            Column::Retransmits => text(self.retransmits.map(|count| count.to_string())),
            Column::SlowBy => text(self.slow_by.map(|who| who.to_string())),
            Column::Ended => ended.clone(),
        };
        form.columns(by_target).map(|(column, _)| cell(column)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Target,
    /// Only of several together.
    Connections,
    Sent,
    Received,
    Connect,
    Wait,
    Rtt,
    Retransmits,
    SlowBy,
    Ended,
}

/// How much room the table takes.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// The columns, and what stands above them.
    columns: &'static [(Column, &'static str)],
    /// Whether how a connection ended has its error's code.
    has_codes: bool,
}

impl Form {
    fn columns(self, by_target: bool) -> impl Iterator<Item = &'static (Column, &'static str)> {
        self.columns.iter().filter(move |(column, _)| by_target || *column != Column::Connections)
    }
}

const LONG: &[(Column, &str)] = &[
    (Column::Target, "target"),
    (Column::Connections, "connections"),
    (Column::Sent, "sent"),
    (Column::Received, "received"),
    (Column::Connect, "connect"),
    (Column::Wait, "longest wait"),
    (Column::SlowBy, "slow by"),
    (Column::Rtt, "RTT"),
    (Column::Retransmits, "retransmits"),
    (Column::Ended, "ended"),
];

const SHORT: &[(Column, &str)] = &[
    (Column::Target, "target"),
    (Column::Connections, "conns"),
    (Column::Sent, "sent"),
    (Column::Received, "recv"),
    (Column::Connect, "connect"),
    (Column::Wait, "wait"),
    (Column::Rtt, "RTT"),
    (Column::Retransmits, "retr"),
    (Column::Ended, "ended"),
];

/// From the most telling to the one that fits everywhere.
const FORMS: [Form; 3] = [
    Form { columns: LONG, has_codes: true },
    Form { columns: SHORT, has_codes: true },
    Form { columns: SHORT, has_codes: false },
];

/// Spaces between two columns.
const GAP: u16 = 2;

/// Targets are shortened, but not to less while a form that takes less room leaves more.
const ENOUGH_OF_A_TARGET: usize = 24;

impl Summary {
    /// The table for a terminal of so many columns.
    pub(super) fn shown(&self, width: usize) -> String {
        let mut text = match self.connections {
            0 => return "conniver: no connections".to_owned(),
            count => format!("conniver: {}", counted(count, "connection")),
        };
        if self.is_by_target {
            text.push_str("; grouped by target, with the longest times and RTT");
        }
        for line in self.table(width).lines() {
            text.push('\n');
            text.push_str(line.trim_end());
        }
        text
    }

    fn table(&self, width: usize) -> Table {
        let shown = self.rows_shown();
        let mut rows = Vec::new();
        for form in FORMS {
            let heads = form.columns(self.is_by_target);
            rows = vec![heads.map(|(_, head)| (*head).to_owned()).collect::<Vec<_>>()];
            rows.extend(shown.iter().map(|row| row.cells(form, self.is_by_target)));
            let columns = (0..rows[0].len())
                .map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default());
            let columns: Vec<usize> = columns.collect();
            let others: usize =
                columns.iter().skip(1).map(|column| column + usize::from(GAP)).sum();
            let room = width.saturating_sub(others);
            for row in rows.iter_mut().skip(1) {
                row[0] = shorten_middle(&row[0], room).into_owned();
            }
            if room >= columns[0].min(ENOUGH_OF_A_TARGET) {
                break;
            }
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let last = rows[0].len() - 1;
        let mut rows = rows.into_iter();
        table.set_header(rows.next().unwrap_or_default());
        table.add_rows(rows);
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if at == last { 0 } else { GAP }));
            if at != 0 && at != last {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(target: &str, sent: u64, connect: u64, failed: bool) -> Row {
        Row {
            target: target.to_owned(),
            connections: 1,
            sent: Some(sent),
            received: None,
            connect: Some(Duration::from_millis(connect)),
            wait: None,
            slow_by: None,
            rtt: None,
            retransmits: Some(1),
            failed: failed.into(),
            ended: if failed { "dns (EAI_NONAME)" } else { "ok" }.to_owned(),
        }
    }

    #[test]
    fn rows_together_are_sums_longest_times_and_the_failures() {
        let mut together = row("one:1", 1000, 5, false);
        together.add(row("one:1", 2000, 9, true));
        together.add(row("one:1", 500, 1, false));
        assert_eq!(
            together.cells(FORMS[0], true),
            ["one:1", "3", "3.50 kB", "-", "9.00ms", "-", "-", "-", "3", "1 × dns (EAI_NONAME)"]
        );
    }

    #[test]
    fn many_targets_take_bounded_room_and_none_is_left_out_of_the_sums() {
        let mut summary = Summary { is_by_target: true, ..Summary::default() };
        for number in 0..3 * TARGETS as u64 {
            summary.merge(row(&format!("target-{number}:1"), number, 1, false));
        }
        assert_eq!(summary.rows.len(), TARGETS);
        let shown = summary.rows_shown();
        assert_eq!(shown.len(), ROWS + 1);
        assert_eq!(shown[0].target, "target-999:1");
        assert_eq!(shown[ROWS].target, "other targets");
        let (sent, all) =
            (shown.iter().filter_map(|row| row.sent).sum::<u64>(), 3 * TARGETS as u64);
        assert_eq!(sent, all * (all - 1) / 2);
        assert_eq!(shown.iter().map(|row| row.connections).sum::<u64>(), all);
    }

    /// Every column as wide as it gets.
    fn wide(target: &str) -> Row {
        Row {
            target: target.to_owned(),
            connections: 12_345,
            sent: Some(9_990_000),
            received: Some(9_990_000),
            connect: Some(Duration::from_micros(99_900)),
            wait: Some(Duration::from_micros(99_900)),
            slow_by: Some(LimitedBy::NetworkUpstream),
            rtt: Some(Duration::from_micros(99_900)),
            retransmits: Some(12_345),
            failed: 12_345,
            ended: "unreachable (EHOSTUNREACH)".to_owned(),
        }
    }

    #[test]
    fn the_table_fits_the_terminal_and_keeps_ports_whole() {
        let target = "very-long-name.of.some.internal.example:65535";
        for is_by_target in [false, true] {
            let summary = Summary {
                connections: 2,
                rows: vec![wide(target), row("one:1", 1, 1, false)],
                is_by_target,
                ..Summary::default()
            };
            for width in [80, 100, 120, 200] {
                let text = summary.shown(width);
                let widest = text.lines().map(|line| line.chars().count()).max();
                assert!(widest <= Some(width), "{width}:\n{text}");
                let of_target = text.lines().nth(2).unwrap_or_default();
                let shown = of_target.split(' ').next().unwrap_or_default();
                assert!(shown.ends_with(":65535"), "{text}");
                assert_eq!(shown == target, width == 200, "{text}");
                assert_eq!(text.contains("EHOSTUNREACH"), width > 100, "{text}");
            }
        }
    }
}
