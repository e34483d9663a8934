//! The failures of the last minute.

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

use super::{Scene, part, put};
use crate::top::text::shorten;

/// Most rows with failures.
const ROWS: u16 = 5;

/// Rows that they take on a screen of this height, with their heading: at most a quarter of it.
pub(super) fn height(scene: &Scene<'_>, screen: u16) -> u16 {
    let groups = u16::try_from(scene.model.failures().len()).unwrap_or(u16::MAX).min(ROWS);
    1 + if scene.is_printed { groups } else { groups.min((screen / 4).saturating_sub(1)) }
}

pub(super) fn draw(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let theme = scene.theme;
    let mut lines = area.rows();
    let Some(heading) = lines.next() else { return };
    buffer.set_style(heading, theme.heading());
    let count = scene.model.failure_count();
    put(buffer, heading, &format!("failed in the last minute: {count}"), theme.heading());
    for (group, line) in scene.model.failures().iter().zip(lines) {
        let failure = group.latest;
        let time = match Timestamp::from_nanosecond(failure.at.into()) {
            Ok(time) => time.strftime("%H:%M:%S").to_string(),
            Err(_) => "-".to_owned(),
        };
        let program = failure.program.as_deref().map(|program| format!(" ({program})"));
        let times = if theme.has_unicode { "×" } else { "x" };
        let count = match group.count {
            1 => String::new(),
            count => format!("{count} {times} "),
        };
        let what = format!("{count}{}", failure.what);
        let place = time.width() + 2;
        let room = usize::from(line.width).saturating_sub(place);
        let what = shorten(&what, room, theme.has_unicode).into_owned();
        put(buffer, line, &time, Style::new());
        put(buffer, part(line, place, room), &theme.text(&what), theme.failure());
        let after = place + what.width() + 2;
        let room = usize::from(line.width).saturating_sub(after);
        let target = failure.target.as_deref().unwrap_or("-");
        let target = format!("{target}{}", program.as_deref().unwrap_or(""));
        let target = theme.text(&target).into_owned();
        put(
            buffer,
            part(line, after, room),
            &shorten(&target, room, theme.has_unicode),
            Style::new(),
        );
    }
}
