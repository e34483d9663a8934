//! One connection: sparklines, both sockets, the last turns.

use std::time::Duration;

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Rows};
use ratatui::style::Style;

use super::{Scene, Theme, list, part, put};
use crate::record::Origin;
use crate::top::connection::{Connection, Key, Leg, WatchedSocket};
use crate::top::order::Row;
use crate::top::text::{amount, brief_time, shorten, sparkline};

/// Where sparklines begin, and the room after them for the figure.
const LABEL: usize = 5;
const FIGURE: usize = 28;

/// Widths of the columns of the two sockets.
const NAME: usize = 16;
const SOCKET: usize = 20;

const WRITE_BLOCKED: &str = "write blocked";

/// Writes one line after another.
struct Lines<'b> {
    rows: Rows,
    buffer: &'b mut Buffer,
    theme: Theme,
}

impl Lines<'_> {
    /// A line of cells, each at its column with its width.
    fn cells(&mut self, cells: &[(usize, usize, &str)], style: Style) {
        let Some(row) = self.rows.next() else { return };
        for &(column, width, text) in cells {
            let text = self.theme.text(text);
            let area = part(row, column, width);
            put(
                self.buffer,
                area,
                &shorten(&text, area.width.into(), self.theme.has_unicode),
                style,
            );
        }
    }

    fn line(&mut self, text: &str, style: Style) {
        self.cells(&[(0, usize::MAX, text)], style);
    }
}

pub(super) fn draw(scene: &Scene<'_>, key: Key, area: Rect, buffer: &mut Buffer) {
    let theme = scene.theme;
    let mut lines = Lines { rows: area.rows(), buffer, theme };
    let Some(connection) = scene.model.get(key) else {
        return lines.line("the connection has ended", theme.dim());
    };
    lines.line(&title(connection, theme), theme.title());

    let interval = scene.model.interval(key.run);
    let row = Row {
        connection,
        activity: connection.activity(scene.now, interval),
        rates: connection.rates(scene.now, interval),
    };
    let mode = connection.mode.map_or_else(String::new, |mode| format!(", {mode}"));
    let (state, style) = match &connection.ended {
        Some(ended) => (format!("ended: {ended}"), theme.notice()),
        None => {
            let what = if connection.socket.is_some() { "activity" } else { "waiting for" };
            (format!("{what}: {}", list::waiting(&row, theme)), theme.activity(row.activity))
        }
    };
    let open = list::open_for(connection, scene.now);
    lines.line(&format!("{state}  (open {open}{mode})"), style);
    lines.line("", Style::new());
    draw_history(&mut lines, scene, &row);
    lines.line("", Style::new());
    draw_legs(&mut lines, connection);
    if connection.socket.is_none() {
        lines.line("", Style::new());
        draw_turns(&mut lines, connection, scene.model.has_turns);
    }
}

/// Who is connected to whom: the side that has connected first.
fn title(connection: &Connection, theme: Theme) -> String {
    let arrow = if theme.has_unicode { "→" } else { "->" };
    let pid = connection.pid.map_or_else(String::new, |pid| format!(" (PID {pid})"));
    let program = connection.program.as_ref().map(|program| format!("{program}{pid}"));
    let at = |address: &str| match &program {
        Some(program) => format!("{program} {address}"),
        None => address.to_owned(),
    };
    if let Some(WatchedSocket { local, remote, origin, .. }) = &connection.socket {
        return match origin {
            Some(Origin::Accepted) => format!("{remote} {arrow} {}", at(local)),
            Some(Origin::Connected) => format!("{} {arrow} {remote}", at(local)),
            _ => format!("{} and {remote}", at(local)),
        };
    }
    let client = match (&program, &connection.client_address) {
        (_, Some(address)) => at(address),
        (Some(program), None) => program.clone(),
        (None, None) => "-".to_owned(),
    };
    format!("{client} {arrow} {}", connection.target.as_deref().unwrap_or("-"))
}

fn draw_history(lines: &mut Lines<'_>, scene: &Scene<'_>, row: &Row<'_>) {
    let (theme, connection) = (scene.theme, row.connection);
    let width = usize::from(lines.buffer.area.width).saturating_sub(LABEL + FIGURE).min(60);
    let [up, down] = theme.arrows();
    let end = if connection.ended.is_some() { connection.last_line_at } else { scene.now };
    let [to_upstream, to_client, rtt] = history(connection, end, width);
    let rate = |rate: Option<f64>, total: u64| {
        let rate = rate.map_or_else(|| "-".to_owned(), |rate| format!("{}B/s", amount(rate)));
        format!("{rate}, {}B in all", amount(total as f64))
    };
    let time = |time: Option<u64>| time_or_dash(time, theme);
    let sent = rate(row.rates.map(|rates| rates.to_upstream), connection.upstream.tx_bytes);
    let received = match connection.socket {
        Some(_) => connection.upstream.rx_bytes,
        None => connection.client.tx_bytes,
    };
    let received = rate(row.rates.map(|rates| rates.to_client), received);
    for (label, values, figure) in
        [(up, to_upstream, sent), (down, to_client, received), ("RTT", rtt, time(connection.rtt()))]
    {
        let bars = sparkline(&values, theme.has_unicode);
        let cells =
            [(0, LABEL, label), (LABEL, width, &*bars), (LABEL + width + 1, FIGURE - 1, &*figure)];
        lines.cells(&cells, Style::new());
    }
}

/// The rates and the round-trip time of each of the last seconds, so many, the latest last.
fn history(connection: &Connection, end: i64, width: usize) -> [Vec<Option<f64>>; 3] {
    const STEP: i64 = 1_000_000_000;
    let mut values = [const { Vec::new() }; 3];
    let mut points = connection.history.iter().rev().peekable();
    let mut rtt_after = None;
    for back in 0..width {
        let until = end - STEP * i64::try_from(back).unwrap_or(0);
        let from = until - STEP;
        while points.next_if(|point| point.from >= until).is_some() {}
        let known = points.peek().filter(|_| until > connection.opened_at);
        // Between two samples nothing moved.
        let covering = known.filter(|point| point.to > from);
        let moved = |value: Option<f64>| known.map(|_| value.map_or(0.0, f64::from));
        values[0].push(moved(covering.map(|point| point.to_upstream)));
        values[1].push(moved(covering.map(|point| point.to_client)));
        rtt_after = known.map_or(rtt_after, |point| point.rtt);
        values[2].push(known.and(rtt_after).map(|rtt| rtt as f64));
    }
    values.map(|values| values.into_iter().rev().collect())
}

/// The name of a figure, and the figure of a socket.
type SocketRow<'f> = (&'f str, &'f dyn Fn(&Leg) -> String);

fn draw_legs(lines: &mut Lines<'_>, connection: &Connection) {
    let theme = lines.theme;
    let legs: &[(&str, &Leg)] = match &connection.socket {
        Some(_) => &[("peer", &connection.upstream)],
        None => &[("client", &connection.client), ("upstream", &connection.upstream)],
    };
    let mut draw = |name: &str, cells: Vec<String>, style: Style| {
        let mut all = vec![(0, NAME, name)];
        let places = (NAME..).step_by(SOCKET);
        all.extend(cells.iter().zip(places).map(|(cell, place)| (place, SOCKET, &**cell)));
        lines.cells(&all, style);
    };
    let heads = legs.iter().map(|(name, _)| (*name).to_owned()).collect();
    draw("socket to", heads, theme.title());
    let bytes = |bytes: u64| format!("{}B", amount(bytes as f64));
    let count =
        |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let time = |time: Option<u64>| time_or_dash(time, theme);
    let plus = if theme.has_unicode { "±" } else { "+-" };
    let rows: [SocketRow<'_>; 6] = [
        ("received, sent", &|leg| format!("{}, {}", bytes(leg.rx_bytes), bytes(leg.tx_bytes))),
        ("RTT", &|leg| match leg.info.rtt_var {
            Some(_) => format!("{} {plus}{}", time(leg.info.rtt), time(leg.info.rtt_var)),
            None => time(leg.info.rtt),
        }),
        ("retransmitted", &|leg| match leg.lost {
            Some(lost) => format!("{}, {lost} lost", count(leg.info.retransmits)),
            None => count(leg.info.retransmits),
        }),
        ("cwnd, RTO", &|leg| {
            format!("{}, {}", count(leg.info.tx_c_window_segs), time(leg.info.rto))
        }),
        ("receive window", &|leg| leg.info.rx_window.map_or_else(|| "-".to_owned(), bytes)),
        (WRITE_BLOCKED, &|leg| time(leg.write_blocked)),
    ];
    // Only a proxy knows how long bytes wait.
    let known = rows.iter().filter(|(name, _)| legs.len() > 1 || *name != WRITE_BLOCKED);
    for (name, value) in known {
        draw(name, legs.iter().map(|(_, leg)| value(leg)).collect(), Style::new());
    }
}

fn draw_turns(lines: &mut Lines<'_>, connection: &Connection, has_turns: bool) {
    let theme = lines.theme;
    if connection.turns.is_empty() {
        let text = match has_turns {
            true => "no turn has ended yet",
            false => "no turns so far: they need turn in the proxy's --events",
        };
        return lines.line(text, theme.dim());
    }
    let mut draw = |[at, request, wait, answer, lasts, limit]: [&str; 6], style: Style| {
        let cells = [
            (0, 10, at),
            (10, 9, request),
            (19, 9, wait),
            (28, 9, answer),
            (37, 9, lasts),
            (46, 20, limit),
        ];
        lines.cells(&cells, style);
    };
    draw(["turn at", "request", "wait", "answer", "in all", "limited by"], theme.title());
    for turn in connection.turns.iter().rev() {
        let at = Timestamp::from_nanosecond(turn.at.into());
        let at = at.map_or_else(|_| "-".to_owned(), |at| at.strftime("%H:%M:%S").to_string());
        let [request, answer] = [turn.request_bytes, turn.answer_bytes]
            .map(|bytes| format!("{}B", amount(bytes as f64)));
        let [wait, lasts] =
            [turn.wait, turn.duration].map(|time| brief_time(time, theme.has_unicode));
        let limited_by = turn.limited_by.map_or_else(|| "-".to_owned(), |who| who.to_string());
        draw([&at, &request, &wait, &answer, &lasts, &limited_by], Style::new());
    }
}

fn time_or_dash(time: Option<u64>, theme: Theme) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| brief_time(Duration::from_nanos(time), theme.has_unicode),
    )
}
