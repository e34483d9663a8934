//! The screen as text, for standard output that is no terminal.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::Options;
use super::controls::{Controls, Page};
use super::feed::{Feed, Source, Unreadable};
use super::view::{self, Scene};

/// Most connections that are printed.
const MAX_ROWS: u16 = 10_000;

/// Time between two checks whether the records have been read.
const PACE: Duration = Duration::from_millis(10);

/// Nothing came for so long: what was there has been read.
const LULL: Duration = Duration::from_millis(100);

/// How often to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Once, when the records have ended.
    AtEnd,
    /// So often, an interval apart; less often if the records end.
    Count(u32),
}

/// Prints the screen in lines of `width` columns. Returns why reading failed, if it did, or that there were no records.
///
/// # Errors
///
/// `output` cannot be written to, or reading cannot be started.
pub fn print(
    source: Source,
    options: &Options,
    times: Times,
    width: u16,
    output: &mut impl Write,
) -> io::Result<Option<Unreadable>> {
    let feed = source.start()?;
    let count = match times {
        Times::AtEnd => 1,
        Times::Count(count) => count,
    };
    for number in 0..count {
        wait(&feed, times, options.interval);
        if feed.has_nothing() {
            break;
        }
        let silence = feed.silence();
        let text = feed.with(|model, now| {
            let (name, theme, is_recorded) = (&*feed.name, options.theme, feed.is_recorded);
            let scene = Scene { model, now, name, theme, silence, is_recorded, is_printed: true };
            text(&scene, &mut Controls::from(options), width, u16::MAX)
        });
        let separator = if number == 0 { "" } else { "\n" };
        write!(output, "{separator}{text}")?;
        output.flush()?;
        if feed.is_ended() {
            break;
        }
    }
    Ok(feed.take_error())
}

/// Waits until the records have ended or, if there are more prints than one, for the interval and what
/// is there to be read.
fn wait(feed: &Feed, times: Times, interval: Duration) {
    let start = Instant::now();
    let is_due = || {
        let lasts = start.elapsed();
        let is_read = feed.newest_read_at().is_none_or(|at| at.elapsed() > LULL);
        times != Times::AtEnd && lasts >= interval && (is_read || lasts >= 10 * interval)
    };
    while !feed.is_ended() && !is_due() {
        std::thread::sleep(PACE);
    }
}

/// The screen as lines of text, at most so many of so many columns.
pub(super) fn text(scene: &Scene<'_>, controls: &mut Controls, width: u16, height: u16) -> String {
    controls.page = Page::List;
    controls.selected = None;
    controls.offset = 0;
    let natural = view::natural_height(scene, controls).min(MAX_ROWS);
    let area = Rect::new(0, 0, width, natural.min(height).max(1));
    let mut buffer = Buffer::empty(area);
    view::draw(scene, controls, &mut buffer);
    let mut text = String::new();
    for row in area.rows() {
        let mut line = String::new();
        // The second column of a wide character has nothing to show.
        let mut hidden = 0;
        for column in row.columns() {
            let symbol = buffer.cell((column.x, column.y)).map_or(" ", |cell| cell.symbol());
            if hidden == 0 {
                line.push_str(symbol);
                hidden = symbol.width();
            }
            hidden = hidden.saturating_sub(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
