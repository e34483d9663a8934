//! Draws what is known. The same code draws every size of screen, and what is printed.

mod detail;
mod failures;
mod help;
mod list;
#[cfg(test)]
mod tests;
mod theme;

use std::time::Duration;

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

pub use theme::Theme;

use super::connection::Key;
use super::controls::{Controls, Page};
use super::model::Model;
use super::order::{self, Totals};
use super::text::{amount, shorten};
use crate::figures::long_time;
use crate::plural::counted;
use crate::record::Printable;

/// Everything that a screen is drawn from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'s> {
    pub(super) model: &'s Model,
    /// The time, Unix ns; 0 before the first line.
    pub(super) now: i64,
    /// Where the records come from.
    pub(super) name: &'s str,
    pub(super) theme: Theme,
    /// How old the newest line of a file is, if that is more than of a running proxy.
    pub(super) silence: Option<Duration>,
    /// The lines are of a file or a pipe, rather than of this machine now.
    pub(super) is_recorded: bool,
    /// There are no keys: it is printed.
    pub(super) is_printed: bool,
}

/// What keys refer to.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The connections in their order.
    pub(super) list: Vec<Key>,
    /// Rows of the list that there is room for.
    pub(super) height: usize,
}

/// From this height on, failures have rows of their own.
const WITH_FAILURES: u16 = 16;

/// Draws the whole screen.
pub(super) fn draw(scene: &Scene<'_>, controls: &mut Controls, buffer: &mut Buffer) -> Shown {
    let Scene { model, now, theme, .. } = *scene;
    let (rows, totals) =
        order::rows(model, now, controls.sort, controls.is_reversed, &controls.filter);
    let notices = notices(scene, controls, rows.len());
    let has_room = buffer.area.height >= WITH_FAILURES || scene.is_printed;
    let with_failures = has_room && model.failure_count() > 0;
    let failures = if with_failures { failures::height(scene, buffer.area.height) } else { 0 };
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(u16::try_from(notices.len()).unwrap_or(1)),
        Constraint::Min(0),
        Constraint::Length(failures),
        Constraint::Length(u16::from(!scene.is_printed)),
    ]);
    let [title, sums, notice_area, main, failures_area, foot] = areas.areas(buffer.area);

    draw_title(scene, controls, title, buffer);
    draw_totals(scene, &totals, with_failures, sums, buffer);
    for (notice, area) in notices.iter().zip(notice_area.rows()) {
        put(buffer, area, &theme.text(notice), theme.notice());
    }
    let list: Vec<Key> = rows.iter().map(|row| row.connection.key).collect();
    // The heading takes one row.
    let height = usize::from(main.height.saturating_sub(1));
    controls.settle(&list, height);
    match controls.page {
        Page::List => list::draw(scene, controls, &rows, main, buffer),
        Page::Detail(key) => detail::draw(scene, key, main, buffer),
        Page::Help => help::draw(scene, main, buffer),
    }
    if with_failures {
        failures::draw(scene, failures_area, buffer);
    }
    if !scene.is_printed {
        draw_foot(scene, controls, foot, buffer);
    }
    Shown { list, height }
}

/// The height at which every connection is shown.
pub(super) fn natural_height(scene: &Scene<'_>, controls: &Controls) -> u16 {
    let Scene { model, now, .. } = *scene;
    let (rows, _) = order::rows(model, now, controls.sort, false, &controls.filter);
    let notices = notices(scene, controls, rows.len()).len();
    let failures = match model.failure_count() {
        0 => 0,
        _ => failures::height(scene, u16::MAX),
    };
    // The first two lines, and the list with its heading.
    u16::try_from(2 + notices + 1 + rows.len().max(1)).unwrap_or(u16::MAX).saturating_add(failures)
}

/// Writes a text into an area of one row, as far as there is room.
fn put(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    if area.height > 0 && area.width > 0 {
        buffer.set_stringn(area.x, area.y, text, usize::from(area.width), style);
    }
}

/// The part of a row that begins at this column, at most so wide.
fn part(row: Rect, column: usize, width: usize) -> Rect {
    let column = u16::try_from(column).unwrap_or(u16::MAX).min(row.width);
    let width = u16::try_from(width).unwrap_or(u16::MAX).min(row.width - column);
    Rect { x: row.x + column, width, ..row }
}

/// The source of the records at one end, order and time at the other.
fn draw_title(scene: &Scene<'_>, controls: &Controls, area: Rect, buffer: &mut Buffer) {
    let theme = scene.theme;
    let reversed = if controls.is_reversed { ", reversed" } else { "" };
    let time = match Timestamp::from_nanosecond(scene.now.into()) {
        Ok(time) if scene.now > 0 => time.strftime("  %H:%M:%S UTC").to_string(),
        _ => String::new(),
    };
    let pause = if controls.is_paused { "PAUSED  " } else { "" };
    let right = format!("{pause}by {}{reversed}{time}", controls.sort.name());
    let width = usize::from(area.width);
    let left = width.saturating_sub(right.width() + 2);
    let name = format!("conniver top: {}", Printable(scene.name));
    let name = shorten(&name, left, theme.has_unicode);
    put(buffer, part(area, 0, left), &theme.text(&name), theme.title());
    let style = if controls.is_paused { theme.notice() } else { Style::new() };
    put(buffer, part(area, width.saturating_sub(right.width()), width), &right, style);
}

/// Sums over all connections.
fn draw_totals(
    scene: &Scene<'_>,
    totals: &Totals,
    with_failures: bool,
    area: Rect,
    buffer: &mut Buffer,
) {
    let [up, down] = scene.theme.arrows();
    let failed = scene.model.failure_count();
    let failed = (failed > 0 && !with_failures).then(|| format!("{failed} failed/min"));
    let rates = totals.rates;
    let rates =
        format!("{up} {}B/s {down} {}B/s", amount(rates.to_upstream), amount(rates.to_client));
    let (server, client, network) = (totals.server, totals.client, totals.network);
    let only_sockets = scene.model.has_only_sockets();
    let waiting = match only_sockets {
        true => format!("{} with data", totals.moving),
        false => format!("waiting: {server} server, {network} network, {client} client"),
    };
    let open = format!("{} open", totals.open);
    let closed = format!("{} closed", scene.model.closed);
    let short = match only_sockets {
        true => waiting.clone(),
        false => format!("waiting: {}", server + client + network),
    };
    // The longest that fits.
    let parts = |parts: &[&str]| {
        let parts: Vec<&str> = parts.iter().copied().chain(failed.as_deref()).collect();
        parts.join("  ")
    };
    let forms = [
        parts(&[&open, &waiting, &rates, &closed]),
        parts(&[&open, &waiting, &rates]),
        parts(&[&open, &short, &rates]),
        parts(&[&open, &short]),
    ];
    let fitting = forms.iter().find(|form| form.width() <= usize::from(area.width));
    put(buffer, area, fitting.unwrap_or(&forms[3]), Style::new());
}

/// What the reader should know about the figures.
fn notices(scene: &Scene<'_>, controls: &Controls, listed: usize) -> Vec<String> {
    let model = scene.model;
    let mut notices = Vec::new();
    if let Some(silence) = scene.silence {
        notices.push(format!(
            "the newest line is {} old: this is how it was then",
            long_time(silence)
        ));
    }
    if model.has_only_open() && scene.silence.is_some() {
        notices.push("no close lines: connections that have ended are shown as open".to_owned());
    }
    if model.has_only_ended() && scene.is_recorded {
        notices.push("ended connections only, none open; conniver report shows them".to_owned());
    }
    // Nobody would add anything to a run that is over.
    let may_go_on = scene.is_recorded && scene.silence.is_none();
    if model.lacks_samples() || model.has_only_ended() && may_go_on {
        notices.push(match model.has_only_sockets() {
            true => "no samples: add --events socket,sample to conniver watch".to_owned(),
            false => "no samples: add --events open,sample,close --sample-interval 1s to the proxy"
                .to_owned(),
        });
    }
    if let Some(overflows) = model.overflows() {
        notices.push(format!(
            "the kernel dropped events of ended sockets, {} so far: closed counts too few",
            counted(overflows, "time")
        ));
    }
    if model.bad_lines > 0 {
        let lines = counted(model.bad_lines, "line");
        notices.push(match model.lines {
            0 => format!("{lines} read, none of them a record of conniver"),
            _ => format!("{lines} could not be read"),
        });
    }
    if model.stat_lines > 0 && model.stat_lines == model.records {
        let lines = counted(model.stat_lines, "line");
        notices.push(format!(
            "{lines} of conniver stat, a request each: there is nothing to be watched"
        ));
    }
    if model.unshown > 0 {
        notices.push("too many connections: not all are shown".to_owned());
    }
    if !controls.filter.is_empty() && controls.edited_from.is_none() {
        let filter = Printable(&controls.filter);
        notices.push(format!("filter: {filter} ({listed} shown)"));
    }
    notices
}

/// The keys, or the filter that is being typed.
fn draw_foot(scene: &Scene<'_>, controls: &Controls, area: Rect, buffer: &mut Buffer) {
    let theme = scene.theme;
    if controls.edited_from.is_some() {
        let cursor = if theme.has_unicode { "▏" } else { "_" };
        let filter = Printable(&controls.filter);
        put(buffer, area, &theme.text(&format!("filter: {filter}{cursor}")), theme.title());
        return;
    }
    let keys: &[&str] = match controls.page {
        Page::List => &[
            "q quit",
            "? help",
            "/ filter",
            "s sort",
            "p pause",
            "j/k select",
            "Enter detail",
            "r reverse",
        ],
        Page::Detail(_) => &["q quit", "Esc back", "j/k next", "p pause"],
        Page::Help => &["q quit", "Esc back"],
    };
    let mut text = String::new();
    for key in keys {
        if text.width() + 2 + key.width() <= usize::from(area.width) {
            if !text.is_empty() {
                text.push_str("  ");
            }
            text.push_str(key);
        }
    }
    put(buffer, area, &text, theme.dim());
}
