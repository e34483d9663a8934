//! The table at the end: what the program's connections met.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use conniver::record::{Outcome, Record};

use crate::cli::units::human_bytes;

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
}

/// One connection, or several together: sums, the longest times, and how many ended well.
#[derive(Debug, Clone)]
struct Row {
    target: String,
    connections: u64,
    sent: Option<u64>,
    received: Option<u64>,
    connect: Option<Duration>,
    first_byte: Option<Duration>,
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

    pub(super) fn add(&mut self, record: &Record) {
        self.connections += 1;
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
    fn shown(&self) -> Vec<Row> {
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
            target: record.target.clone().unwrap_or_else(|| "(none asked for)".to_owned()),
            connections: 1,
            sent: leg.map(|leg| leg.tx_bytes),
            received: leg.map(|leg| leg.rx_bytes),
            connect: record.phases.connect,
            first_byte: record.phases.first_byte,
            rtt: leg.and_then(|leg| leg.undisturbed_rtt()),
            retransmits: last.and_then(|info| info.retransmits),
            failed: u64::from(record.outcome != Some(Outcome::Ok)),
            ended: ended(record),
        }
    }
}

/// The outcome, and what tells more of one that is not good.
fn ended(record: &Record) -> String {
    let outcome = record.outcome.map_or_else(String::new, |outcome| outcome.to_string());
    match (record.outcome, &record.ending) {
        (Some(Outcome::Reset), Some(ending)) => format!("{outcome} by {}", ending.first_by),
        (Some(Outcome::Ok), _) | (_, None) => outcome,
        (_, Some(ending)) => match &ending.error_code {
            Some(code) => format!("{outcome} ({code})"),
            None => outcome,
        },
    }
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
        self.first_byte = self.first_byte.max(other.first_byte);
        self.rtt = self.rtt.max(other.rtt);
        self.retransmits = sum(self.retransmits, other.retransmits);
        self.failed += other.failed;
    }

    fn cells(&self, by_target: bool) -> Vec<String> {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let time = |time: Option<Duration>| text(time.map(|time| format!("{time:.1?}")));
        let ended = match (self.failed, self.connections) {
            (0, _) | (_, 1) => self.ended.clone(),
            (failed, connections) if failed == connections => self.ended.clone(),
            (failed, _) => format!("{failed} × {}", self.ended),
        };
        let count = by_target.then(|| self.connections.to_string());
        let figures = [
            text(self.sent.map(human_bytes)),
            text(self.received.map(human_bytes)),
            time(self.connect),
            time(self.first_byte),
            time(self.rtt),
            text(self.retransmits.map(|count| count.to_string())),
            ended,
        ];
        [self.target.clone()].into_iter().chain(count).chain(figures).collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.connections {
            0 => return f.write_str("conniver: no connections"),
            1 => f.write_str("conniver: 1 connection")?,
            n => write!(f, "conniver: {n} connections")?,
        }
        if self.is_by_target {
            f.write_str("; by target, times and RTT are the longest")?;
        }
        let count = self.is_by_target.then_some("connections");
        let figures = ["sent", "received", "connect", "first byte", "RTT", "retransmits", "ended"];
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["target"].into_iter().chain(count).chain(figures));
        for row in self.shown() {
            table.add_row(row.cells(self.is_by_target));
        }
        let last = table.column_count().saturating_sub(1);
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if at != 0 && at != last {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.lines() {
            write!(f, "\n{}", line.trim_end())?;
        }
        Ok(())
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
            first_byte: None,
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
            together.cells(true),
            ["one:1", "3", "3.50 kB", "-", "9.0ms", "-", "-", "3", "1 × dns (EAI_NONAME)"]
        );
    }

    #[test]
    fn many_targets_take_bounded_room_and_none_is_left_out_of_the_sums() {
        let mut summary = Summary { is_by_target: true, ..Summary::default() };
        for number in 0..3 * TARGETS as u64 {
            summary.merge(row(&format!("target-{number}:1"), number, 1, false));
        }
        assert_eq!(summary.rows.len(), TARGETS);
        let shown = summary.shown();
        assert_eq!(shown.len(), ROWS + 1);
        assert_eq!(shown[0].target, "target-999:1");
        assert_eq!(shown[ROWS].target, "other targets");
        let (sent, all) =
            (shown.iter().filter_map(|row| row.sent).sum::<u64>(), 3 * TARGETS as u64);
        assert_eq!(sent, all * (all - 1) / 2);
        assert_eq!(shown.iter().map(|row| row.connections).sum::<u64>(), all);
    }
}
