//! What is printed at the end: what the program's connections met.

mod remarks;
mod row;
mod table;

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use conniver::plural::counted;
use conniver::record::Record;

use crate::cli::parent;
use crate::cli::wrap::wrap_message;
use remarks::Remarks;
use row::Row;

/// Of more targets, the rest is shown together.
const ROWS: usize = 40;

/// As many targets are told apart; what goes to others is counted together.
const TARGETS: usize = 1000;

const OTHERS: &str = "other targets";

/// Of what failed, and of what may be a cause.
const BAD: Style = AnsiColor::Red.on_default();
const ATTENTION: Style = AnsiColor::Yellow.on_default();

/// What all connections met, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Summary {
    connections: u64,
    /// One a target, in the order in which their first connections ended.
    rows: Vec<Row>,
    others: Option<Row>,
    remarks: Remarks,
    /// What is said of the first connection that failed on the way through a parent proxy.
    parent_failed: Option<String>,
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
        self.remarks.add(record);
        self.merge(Row::from(record));
    }

    fn merge(&mut self, row: Row) {
        let has_room = self.rows.len() < TARGETS;
        match self.rows.iter_mut().find(|known| known.target == row.target) {
            Some(known) => known.add(row),
            None if has_room => self.rows.push(row),
            None => match &mut self.others {
                Some(others) => others.add(row),
                others => *others = Some(Row { target: OTHERS.to_owned(), ..row }),
            },
        }
    }

    /// What is shown: when they are too many, those that failed and then those with the most bytes, and the others
    /// together.
    fn rows_shown(&self) -> Vec<Row> {
        let mut rows = self.rows.clone();
        if rows.len() > ROWS {
            let importance = |row: &Row| (row.failed > 0, row.sent.max(row.received));
            rows.sort_by_key(|row| std::cmp::Reverse(importance(row)));
        }
        let rest = rows.split_off(rows.len().min(ROWS)).into_iter().chain(self.others.clone());
        let rest = rest.reduce(|mut others, row| {
            others.add(row);
            others
        });
        rows.extend(rest.map(|rest| Row { target: OTHERS.to_owned(), ..rest }));
        rows
    }

    /// The lines for a terminal of so many columns, styled. `drained` is how long the end took after COMMAND's.
    pub(super) fn shown(&self, width: usize, drained: Duration) -> String {
        let count = match self.connections {
            0 => return "conniver: no connections".to_owned(),
            count => format!("conniver: {}", counted(count, "connection")),
        };
        let table = table::lines(&self.rows_shown(), width);
        let warning =
            |text: String| wrap_message(&format!("{ATTENTION}warning:{ATTENTION:#} {text}"), width);
        let sentence = |text: String| wrap_message(&format!("conniver: {text}"), width);
        let warnings = self.remarks.warnings().into_iter().map(warning);
        let sentences = self.remarks.sentences(drained).into_iter().map(sentence);
        let lines: Vec<_> =
            [count].into_iter().chain(table).chain(warnings).chain(sentences).collect();
        lines.join("\n")
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
            connect: Some(Duration::from_millis(connect)),
            lost: Some(1),
            failed: failed.into(),
            ended: if failed { "dns (EAI_NONAME)" } else { "ok" }.to_owned(),
            ..Row::default()
        }
    }

    fn words(rows: &[Row], width: usize) -> Vec<String> {
        let shown = table::plain(&table::lines(rows, width));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        shown.lines().map(words).collect()
    }

    #[test]
    fn rows_together_are_sums_longest_times_and_the_failures() {
        let mut summary = Summary::default();
        summary.merge(row("one:1", 1000, 5, false));
        summary.merge(row("one:1", 2000, 9, true));
        summary.merge(row("two:1", 7, 1, false));
        summary.merge(row("one:1", 500, 1, false));
        assert_eq!(
            words(&summary.rows_shown(), 120),
            [
                "target connections sent received connect wait lost verdict ended",
                "one:1 3 3.50 kB - 9.00ms - 3 - 1 × dns (EAI_NONAME)",
                "two:1 1 7 B - 1.00ms - 1 - ok",
            ]
        );
    }

    #[test]
    fn many_targets_take_bounded_room_and_none_is_left_out_of_the_sums() {
        let mut summary = Summary::default();
        summary.merge(row("failed:1", 0, 1, true));
        for number in 1..3 * TARGETS as u64 {
            summary.merge(row(&format!("target-{number}:1"), number, 1, false));
        }
        assert_eq!(summary.rows.len(), TARGETS);
        let shown = summary.rows_shown();
        assert_eq!(shown.len(), ROWS + 1);
        assert_eq!((&*shown[0].target, &*shown[1].target), ("failed:1", "target-999:1"));
        assert_eq!(shown[ROWS].target, OTHERS);
        let (sent, all) =
            (shown.iter().filter_map(|row| row.sent).sum::<u64>(), 3 * TARGETS as u64);
        assert_eq!(sent, all * (all - 1) / 2);
        assert_eq!(shown.iter().map(|row| row.connections).sum::<u64>(), all);
    }

    /// Every column as wide as it gets.
    fn wide(target: &str) -> Row {
        let time = Some(Duration::from_micros(99_900));
        Row {
            target: target.to_owned(),
            connections: 12_345,
            sent: Some(9_990_000),
            received: Some(9_990_000),
            look_up: time,
            connect: time,
            lost: Some(12_345),
            failed: 12_345,
            ended: "unreachable (EHOSTUNREACH)".to_owned(),
            ..Row::default()
        }
    }

    #[test]
    fn the_table_fits_the_terminal_and_keeps_ports_whole() {
        let target = "very-long-name.of.some.internal.example:65535";
        let rows = [wide(target), row("one:1", 1, 1, false)];
        for width in [40, 60, 80, 100, 120, 200] {
            let text = table::plain(&table::lines(&rows, width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}:\n{text}");
            let of_target = text.lines().nth(1).unwrap_or_default();
            let shown = of_target.split(' ').next().unwrap_or_default();
            assert!(shown.ends_with(":65535"), "{text}");
            assert_eq!(shown == target, width == 200, "{text}");
            assert_eq!(text.contains("EHOSTUNREACH"), width > 100, "{text}");
            assert!(text.contains("unreachable") && text.contains("12345"), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_has_colours() {
        let lines = table::lines(&[row("one:1", 1, 1, true)], 80);
        assert!(lines[1].contains(&format!("{BAD}dns (EAI_NONAME){BAD:#}")), "{lines:?}");
        assert!(lines[1].contains(&format!("{ATTENTION}1{ATTENTION:#}")), "{lines:?}");
        let rows = [Row { lost: Some(0), ..row("one:1", 1, 1, false) }];
        assert_eq!(table::plain(&table::lines(&rows, 80)), table::lines(&rows, 80).join("\n"));
    }
}
