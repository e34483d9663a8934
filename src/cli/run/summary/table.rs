//! The table: one row a target, in columns for which the terminal has room.

use std::time::Duration;

use anstyle::Style;
use conniver::figures::{human_bytes, human_time};
use conniver::record::LimitedBy;

use super::row::Row;
use super::{ATTENTION, BAD};
use crate::cli::table::{Align, Cell, GAP, Table};

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

/// The table for a terminal of so many columns, its lines without line feeds.
pub(super) fn lines(rows: &[Row], width: usize) -> Vec<String> {
    for count in 0..STEPS.len() {
        let table = table_without(rows, STEPS.split_at(count).0);
        if table.fits(width, GAP) {
            return table.lines(width, GAP);
        }
    }
    table_without(rows, &STEPS).lines(width, GAP)
}

/// The table with some things left out.
fn table_without(rows: &[Row], left_out: &[Step]) -> Table {
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
    let heads = columns.iter().map(|column| (head(*column, has_medians, left_out), align(*column)));
    let mut table = Table::new(heads);
    for row in rows {
        table.add(columns.iter().map(|column| cell(*column, row, has_medians, left_out)).collect());
    }
    table
}

fn align(column: Column) -> Align {
    match column {
        Column::Target | Column::Verdict | Column::Ended => Align::Left,
        _ => Align::Right,
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
