//! The table: one row a target, in columns for which the terminal has room.

use std::time::Duration;

use anstyle::Style;
use conniver::columns::shorten_middle;
use conniver::figures::{human_bytes, human_time};
use conniver::record::LimitedBy;

use super::row::Row;
use super::{ATTENTION, BAD};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Target,
    Connections,
    Sent,
    Received,
    LookUp,
    Connect,
    Wait,
    Lost,
    Verdict,
    Ended,
}

const COLUMNS: [Column; 10] = [
    Column::Target,
    Column::Connections,
    Column::Sent,
    Column::Received,
    Column::LookUp,
    Column::Connect,
    Column::Wait,
    Column::Lost,
    Column::Verdict,
    Column::Ended,
];

/// What a table of less room leaves out, one after the other until it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    ShortHeads,
    /// Columns that tell nothing of any target.
    SilentColumns,
    ShortVerdicts,
    /// The error's code of how a connection ended.
    Codes,
    /// The median in front of the longest wait.
    Medians,
    Column(Column),
}

const STEPS: [Step; 10] = [
    Step::ShortHeads,
    Step::SilentColumns,
    Step::ShortVerdicts,
    Step::Codes,
    Step::Medians,
    Step::Column(Column::LookUp),
    Step::Column(Column::Sent),
    Step::Column(Column::Received),
    Step::Column(Column::Verdict),
    Step::Column(Column::Connect),
];

/// Between two columns.
const GAP: &str = "  ";

/// Targets are shortened, but not to less while something can be left out.
const ENOUGH_OF_A_TARGET: usize = 24;

/// What stands in one place of the table.
struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new() }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// The table for a terminal of so many columns, its lines without line feeds.
pub(super) fn lines(rows: &[Row], width: usize) -> Vec<String> {
    let form = (0..=STEPS.len()).map(|left_out| Form::new(rows, left_out));
    let mut last = None;
    for form in form {
        let fits = form.room(width) >= form.widths()[0].min(ENOUGH_OF_A_TARGET);
        last = Some(form);
        if fits {
            break;
        }
    }
    last.map_or_else(Vec::new, |form| form.lines(width))
}

/// A table with some things left out.
struct Form {
    columns: Vec<Column>,
    /// The heads, and a line a row.
    lines: Vec<Vec<Cell>>,
}

impl Form {
    fn new(rows: &[Row], left_out: usize) -> Self {
        let left_out = STEPS.get(..left_out).unwrap_or_default();
        let is_any = |tells: fn(&Row) -> bool| rows.iter().any(tells);
        let tells = |column: &Column| match column {
            Column::Target | Column::Ended => true,
            Column::Connections => is_any(|row| row.connections > 1),
            Column::Sent => is_any(|row| row.sent.is_some()),
            Column::Received => is_any(|row| row.received.is_some()),
            Column::LookUp => is_any(|row| row.look_up.is_some()),
            Column::Connect => is_any(|row| row.connect.is_some()),
            Column::Wait => is_any(|row| row.waits.longest.is_some()),
            Column::Lost => is_any(|row| row.lost > Some(0)),
            Column::Verdict => is_any(|row| row.slow().is_some()),
        };
        let is_optional = |column: &Column| {
            // Where all targets are addresses, or are connected to once, these are always silent.
            matches!(column, Column::Connections | Column::LookUp)
                || left_out.contains(&Step::SilentColumns)
        };
        let is_shown = |column: &Column| {
            (tells(column) || !is_optional(column)) && !left_out.contains(&Step::Column(*column))
        };
        let columns: Vec<_> = COLUMNS.into_iter().filter(is_shown).collect();
        let has_medians =
            !left_out.contains(&Step::Medians) && rows.iter().any(|row| row.waits.is_several());
        let heads = columns.iter().map(|column| Cell::plain(head(*column, has_medians, left_out)));
        let mut lines = vec![heads.collect::<Vec<_>>()];
        lines.extend(rows.iter().map(|row| {
            columns.iter().map(|column| cell(*column, row, has_medians, left_out)).collect()
        }));
        Self { columns, lines }
    }

    fn widths(&self) -> Vec<usize> {
        let widest = |at: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(at));
            cells.map(Cell::width).max().unwrap_or_default()
        };
        (0..self.columns.len()).map(widest).collect()
    }

    /// What is left for the targets.
    fn room(&self, width: usize) -> usize {
        let others: usize = self.widths().iter().skip(1).map(|column| column + GAP.len()).sum();
        width.saturating_sub(others)
    }

    fn lines(mut self, width: usize) -> Vec<String> {
        let room = self.room(width);
        for target in self.lines.iter_mut().skip(1).filter_map(|line| line.first_mut()) {
            target.text = shorten_middle(&target.text, room).into_owned();
        }
        let widths = self.widths();
        let line = |cells: &Vec<Cell>| {
            let mut text = String::new();
            for ((cell, column), width) in cells.iter().zip(&self.columns).zip(&widths) {
                let style = cell.style;
                let padding = " ".repeat(width - cell.width());
                let shown = format!("{style}{}{style:#}", cell.text);
                match column {
                    Column::Target => text += &format!("{shown}{padding}"),
                    Column::Verdict => text += &format!("{GAP}{shown}{padding}"),
                    // The last one.
                    Column::Ended => text += &format!("{GAP}{shown}"),
                    _ => text += &format!("{GAP}{padding}{shown}"),
                }
            }
            text
        };
        self.lines.iter().map(line).collect()
    }
}

fn head(column: Column, has_medians: bool, left_out: &[Step]) -> &'static str {
    let is_short = left_out.contains(&Step::ShortHeads);
    match column {
        Column::Target => "target",
        Column::Connections if is_short => "conns",
        Column::Connections => "connections",
        Column::Sent => "sent",
        Column::Received if is_short => "recv",
        Column::Received => "received",
        Column::LookUp => "look-up",
        Column::Connect => "connect",
        Column::Wait if has_medians => "wait p50/max",
        Column::Wait => "wait",
        Column::Lost => "lost",
        Column::Verdict => "verdict",
        Column::Ended => "ended",
    }
}

fn cell(column: Column, row: &Row, has_medians: bool, left_out: &[Step]) -> Cell {
    let text = |value: Option<String>| Cell::plain(value.unwrap_or_else(|| "-".to_owned()));
    let time = |time: Option<Duration>| text(time.map(human_time));
    match column {
        Column::Target => Cell::plain(&*row.target),
        Column::Connections => Cell::plain(row.connections.to_string()),
        Column::Sent => text(row.sent.map(human_bytes)),
        Column::Received => text(row.received.map(human_bytes)),
        Column::LookUp => time(row.look_up),
        Column::Connect => time(row.connect),
        Column::Wait => match (row.waits.median(), row.waits.longest) {
            (Some(median), Some(longest)) if has_medians && row.waits.is_several() => {
                Cell::plain(format!("{}/{}", human_time(median), human_time(longest)))
            }
            (_, longest) => time(longest),
        },
        Column::Lost => {
            let style = if row.lost > Some(0) { ATTENTION } else { Style::new() };
            Cell { style, ..text(row.lost.map(|lost| lost.to_string())) }
        }
        Column::Verdict => {
            let is_short = left_out.contains(&Step::ShortVerdicts);
            text(row.slow().map(|who| verdict(who, is_short)))
        }
        Column::Ended => {
            let has_code = !left_out.contains(&Step::Codes);
            let ended = match has_code {
                true => &*row.ended,
                false => row.ended.split(" (").next().unwrap_or_default(),
            };
            let text = match (row.failed, row.connections) {
                (0, _) | (_, 1) => ended.to_owned(),
                (failed, connections) if failed == connections => ended.to_owned(),
                (failed, _) => format!("{failed} × {ended}"),
            };
            Cell { text, style: if row.failed > 0 { BAD } else { Style::new() } }
        }
    }
}

fn verdict(who: LimitedBy, is_short: bool) -> String {
    match who {
        LimitedBy::NetworkUpstream if is_short => "network".to_owned(),
        // Between COMMAND and conniver.
        LimitedBy::NetworkClient if is_short => "loopback".to_owned(),
        who => who.to_string(),
    }
}

#[cfg(test)]
pub(super) fn plain(lines: &[String]) -> String {
    anstream::adapter::strip_str(&lines.join("\n")).to_string()
}
