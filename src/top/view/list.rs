//! The list of connections.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

use super::{Scene, Theme, part, put};
use crate::record::Origin;
use crate::top::connection::{Connection, WatchedSocket};
use crate::top::controls::Controls;
use crate::top::order::{Row, Sort};
use crate::top::text::{age, amount, brief_time, shorten};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Program,
    Target,
    Local,
    Remote,
    Age,
    Up,
    Down,
    Rtt,
    Retransmits,
    Lost,
    Waiting,
    Activity,
}

/// Which columns there are.
struct Columns {
    /// In the order in which they stand.
    all: &'static [Column],
    /// Those that are left out on narrow screens, the first ones first.
    dispensable: &'static [Column],
    /// The one that takes the room that is left.
    flexible: Column,
}

/// Of a proxy's connections, also if there are watched sockets among them.
const OF_CONNECTIONS: Columns = Columns {
    all: &[
        Column::Program,
        Column::Target,
        Column::Age,
        Column::Up,
        Column::Down,
        Column::Rtt,
        Column::Retransmits,
        Column::Waiting,
    ],
    dispensable: &[
        Column::Retransmits,
        Column::Rtt,
        Column::Up,
        Column::Down,
        Column::Program,
        Column::Age,
    ],
    flexible: Column::Target,
};

/// Of watched sockets.
const OF_SOCKETS: Columns = Columns {
    all: &[
        Column::Program,
        Column::Local,
        Column::Remote,
        Column::Age,
        Column::Up,
        Column::Down,
        Column::Rtt,
        Column::Lost,
        Column::Activity,
    ],
    dispensable: &[
        Column::Activity,
        Column::Lost,
        Column::Rtt,
        Column::Local,
        Column::Up,
        Column::Down,
        Column::Program,
        Column::Age,
    ],
    flexible: Column::Remote,
};

/// A target is not shortened to less than this while there are columns to leave out.
const ENOUGH_OF_A_TARGET: usize = 18;

/// From this width on, programs and own addresses have more room.
const WIDE: usize = 100;

/// Room for a port, and for an IPv4 address with its port.
const PORT: usize = 6;
const ADDRESS: usize = 21;

impl Column {
    /// Its width. The flexible one takes what is left.
    fn width(self, total: usize, theme: Theme) -> usize {
        match self {
            Self::Program if total >= WIDE => 15,
            Self::Program => 10,
            Self::Target | Self::Remote => 0,
            Self::Local if total >= WIDE => ADDRESS,
            Self::Local => PORT,
            Self::Age | Self::Rtt | Self::Up | Self::Down => 5,
            Self::Retransmits | Self::Lost => 5,
            Self::Activity => 10,
            Self::Waiting if theme.has_unicode => 15,
            Self::Waiting => 16,
        }
    }

    fn heading(self, theme: Theme) -> String {
        let [up, down] = theme.arrows();
        match self {
            Self::Program => "program".to_owned(),
            Self::Target => "target".to_owned(),
            Self::Local => "local".to_owned(),
            Self::Remote => "remote".to_owned(),
            Self::Age => "age".to_owned(),
            Self::Up => format!("{up}B/s"),
            Self::Down => format!("{down}B/s"),
            Self::Rtt => "RTT".to_owned(),
            Self::Retransmits => "retr".to_owned(),
            Self::Lost => "lost".to_owned(),
            Self::Waiting => "waiting for".to_owned(),
            Self::Activity => "activity".to_owned(),
        }
    }

    fn is_number(self) -> bool {
        matches!(
            self,
            Self::Age | Self::Up | Self::Down | Self::Rtt | Self::Retransmits | Self::Lost
        )
    }

    fn is_sorted_by(self, sort: Sort) -> bool {
        match self {
            Self::Program => sort == Sort::Program,
            Self::Target | Self::Remote => sort == Sort::Target,
            Self::Local => false,
            Self::Age => sort == Sort::Age,
            Self::Up => sort == Sort::Up,
            Self::Down => sort == Sort::Down,
            Self::Rtt => sort == Sort::Rtt,
            Self::Retransmits => sort == Sort::Retransmits,
            Self::Lost => sort == Sort::Lost,
            Self::Waiting | Self::Activity => sort == Sort::Worst,
        }
    }

    fn cell(self, row: &Row<'_>, width: usize, now: i64, theme: Theme) -> String {
        let connection = row.connection;
        let socket = connection.socket.as_ref();
        let name = |name: Option<&str>| theme.text(name.unwrap_or("-")).into_owned();
        let count = |count: Option<f64>| count.map_or_else(|| "-".to_owned(), amount);
        match self {
            Self::Program => name(connection.program.as_deref()),
            Self::Target => name(connection.target_or_peer()),
            Self::Local => local(socket.map_or("-", |socket| &socket.local), width),
            Self::Remote => socket.map_or_else(|| "-".to_owned(), |socket| remote(socket, theme)),
            Self::Age => open_for(connection, now),
            Self::Up => count(row.rates.map(|rates| rates.to_upstream)),
            Self::Down => count(row.rates.map(|rates| rates.to_client)),
            Self::Rtt => connection.rtt().map_or_else(
                || "-".to_owned(),
                |rtt| brief_time(std::time::Duration::from_nanos(rtt), theme.has_unicode),
            ),
            Self::Retransmits => count(connection.retransmits().map(|count| count as f64)),
            Self::Lost => count(connection.upstream.lost.map(|count| count as f64)),
            Self::Waiting | Self::Activity => waiting(row, theme),
        }
    }
}

/// An own address: on narrow screens its port alone.
fn local(address: &str, width: usize) -> String {
    let port = address.rfind(':').and_then(|at| address.get(at..));
    port.filter(|_| width < ADDRESS).unwrap_or(address).to_owned()
}

/// A peer, with an arrow from the side that has connected.
fn remote(socket: &WatchedSocket, theme: Theme) -> String {
    let arrow = match (socket.origin, theme.has_unicode) {
        (Some(Origin::Connected), true) => "→",
        (Some(Origin::Connected), false) => "->",
        (Some(Origin::Accepted), true) => "←",
        (Some(Origin::Accepted), false) => "<-",
        (_, true) => " ",
        (_, false) => "  ",
    };
    format!("{arrow} {}", socket.remote)
}

/// The age; `>` of a socket that is older than its watch.
pub(super) fn open_for(connection: &Connection, now: i64) -> String {
    let is_older = connection.socket.as_ref().is_some_and(|socket| socket.is_older);
    format!("{}{}", if is_older { ">" } else { "" }, age(connection.age(now)))
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
fn layout(columns: &Columns, total: usize, theme: Theme) -> Vec<(Column, usize, usize)> {
    let flexible = columns.flexible;
    let mut dispensable = columns.dispensable.iter();
    let mut columns = columns.all.to_vec();
    let rest = loop {
        let taken: usize = columns.iter().map(|column| column.width(total, theme) + 1).sum();
        // The last column has no gap after it.
        let rest = (total + 1).saturating_sub(taken);
        if rest >= ENOUGH_OF_A_TARGET {
            break rest;
        }
        match dispensable.next() {
            Some(column) => columns.retain(|kept| kept != column),
            None => break rest,
        }
    };
    let mut place = 0;
    columns
        .into_iter()
        .map(|column| {
            let width = if column == flexible { rest } else { column.width(total, theme) };
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
    let columns = if scene.model.has_only_sockets() { &OF_SOCKETS } else { &OF_CONNECTIONS };
    let columns = layout(columns, area.width.into(), theme);
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
                Column::Waiting | Column::Activity => theme.activity(row.activity),
                _ => Style::new(),
            };
            let text = column.cell(row, width, scene.now, theme);
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
