//! The list of connections.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

use super::{Scene, Theme, part, put};
use crate::top::controls::Controls;
use crate::top::order::{Row, Sort};
use crate::top::text::{age, amount, brief_time, shorten};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Program,
    Target,
    Age,
    Up,
    Down,
    Rtt,
    Retransmits,
    Waiting,
}

/// In the order in which they stand.
const COLUMNS: [Column; 8] = [
    Column::Program,
    Column::Target,
    Column::Age,
    Column::Up,
    Column::Down,
    Column::Rtt,
    Column::Retransmits,
    Column::Waiting,
];

/// Columns that are left out on narrow screens, the first ones first.
const DISPENSABLE: [Column; 6] =
    [Column::Retransmits, Column::Rtt, Column::Up, Column::Down, Column::Program, Column::Age];

/// A target is not shortened to less than this while there are columns to leave out.
const ENOUGH_OF_A_TARGET: usize = 18;

/// From this width on, programs have more room.
const WIDE: usize = 100;

impl Column {
    /// Its width. The target takes what is left.
    fn width(self, total: usize, theme: Theme) -> usize {
        match self {
            Self::Program if total >= WIDE => 15,
            Self::Program => 10,
            Self::Target => 0,
            Self::Age | Self::Rtt | Self::Up | Self::Down => 5,
            Self::Retransmits => 5,
            Self::Waiting if theme.has_unicode => 15,
            Self::Waiting => 16,
        }
    }

    fn heading(self, theme: Theme) -> String {
        let [up, down] = theme.arrows();
        match self {
            Self::Program => "program".to_owned(),
            Self::Target => "target".to_owned(),
            Self::Age => "age".to_owned(),
            Self::Up => format!("{up}B/s"),
            Self::Down => format!("{down}B/s"),
            Self::Rtt => "RTT".to_owned(),
            Self::Retransmits => "retr".to_owned(),
            Self::Waiting => "waiting for".to_owned(),
        }
    }

    fn is_number(self) -> bool {
        !matches!(self, Self::Program | Self::Target | Self::Waiting)
    }

    fn is_sorted_by(self, sort: Sort) -> bool {
        match self {
            Self::Program => sort == Sort::Program,
            Self::Target => sort == Sort::Target,
            Self::Age => sort == Sort::Age,
            Self::Up => sort == Sort::Up,
            Self::Down => sort == Sort::Down,
            Self::Rtt => sort == Sort::Rtt,
            Self::Retransmits => sort == Sort::Retransmits,
            Self::Waiting => sort == Sort::Worst,
        }
    }

    fn cell(self, row: &Row<'_>, now: i64, theme: Theme) -> String {
        let connection = row.connection;
        let name =
            |name: &Option<Box<str>>| theme.text(name.as_deref().unwrap_or("-")).into_owned();
        let count = |count: Option<f64>| count.map_or_else(|| "-".to_owned(), amount);
        match self {
            Self::Program => name(&connection.program),
            Self::Target => name(&connection.target),
            Self::Age => age(connection.age(now)),
            Self::Up => count(row.rates.map(|rates| rates.to_upstream)),
            Self::Down => count(row.rates.map(|rates| rates.to_client)),
            Self::Rtt => connection.rtt().map_or_else(
                || "-".to_owned(),
                |rtt| brief_time(std::time::Duration::from_nanos(rtt), theme.has_unicode),
            ),
            Self::Retransmits => count(connection.retransmits().map(|count| count as f64)),
            Self::Waiting => waiting(row, theme),
        }
    }
}

/// `server 312ms`, `network ↑ 3.1s`, `idle 12m`.
pub(super) fn waiting(row: &Row<'_>, theme: Theme) -> String {
    let activity = row.activity;
    let lasts = activity.lasts().map(|lasts| brief_time(lasts, theme.has_unicode));
    let parts = [activity.word(), theme.direction(activity), lasts.as_deref().unwrap_or("")];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

/// The columns that there is room for, with their places and widths.
fn layout(total: usize, theme: Theme) -> Vec<(Column, usize, usize)> {
    let mut columns = COLUMNS.to_vec();
    let mut dispensable = DISPENSABLE.iter();
    let target = loop {
        let taken: usize = columns.iter().map(|column| column.width(total, theme) + 1).sum();
        // The last column has no gap after it.
        let target = (total + 1).saturating_sub(taken);
        if target >= ENOUGH_OF_A_TARGET {
            break target;
        }
        match dispensable.next() {
            Some(column) => columns.retain(|kept| kept != column),
            None => break target,
        }
    };
    let mut place = 0;
    columns
        .into_iter()
        .map(|column| {
            let width = if column == Column::Target { target } else { column.width(total, theme) };
            let start = place;
            place += width + 1;
            (column, start, width)
        })
        .collect()
}

/// Draws the heading and the rows from the controls' offset on.
pub(super) fn draw(
    scene: &Scene<'_>,
    controls: &Controls,
    rows: &[Row<'_>],
    area: Rect,
    buffer: &mut Buffer,
) {
    let theme = scene.theme;
    let columns = layout(area.width.into(), theme);
    let mut lines = area.rows();
    let Some(heading) = lines.next() else { return };
    buffer.set_style(heading, theme.heading());
    for &(column, start, width) in &columns {
        let mark = match (column.is_sorted_by(controls.sort), controls.is_reversed) {
            (false, _) => "",
            (true, false) => {
                if theme.has_unicode {
                    "▾"
                } else {
                    "v"
                }
            }
            (true, true) => {
                if theme.has_unicode {
                    "▴"
                } else {
                    "^"
                }
            }
        };
        let text = format!("{}{mark}", column.heading(theme));
        put_cell(buffer, part(heading, start, width), &text, column, theme, theme.heading());
    }
    if rows.is_empty()
        && let Some(line) = lines.next()
    {
        let text = match (controls.filter.is_empty(), scene.model.lines) {
            (false, _) => "no connection matches the filter",
            (true, 0) => "no records yet",
            (true, _) => "no open connections",
        };
        put(buffer, line, text, theme.dim());
        return;
    }
    for (row, line) in rows.iter().skip(controls.offset).zip(lines) {
        let is_selected = controls.selected == Some(row.connection.key);
        for &(column, start, width) in &columns {
            let style = match column {
                _ if is_selected => Style::new(),
                Column::Waiting => theme.activity(row.activity),
                _ => Style::new(),
            };
            let text = column.cell(row, scene.now, theme);
            put_cell(buffer, part(line, start, width), &text, column, theme, style);
        }
        if is_selected {
            buffer.set_style(line, theme.selected());
        }
    }
}

/// A text in its column: numbers stand at the right, and names are shortened in their middle.
fn put_cell(
    buffer: &mut Buffer,
    area: Rect,
    text: &str,
    column: Column,
    theme: Theme,
    style: Style,
) {
    let width = usize::from(area.width);
    let text = shorten(text, width, theme.has_unicode);
    let indent = if column.is_number() { width.saturating_sub(text.width()) } else { 0 };
    put(buffer, part(area, indent, width), &text, style);
}
