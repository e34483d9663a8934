//! The waterfall: a bar for each connection, divided into its parts, with its turns below.

use std::time::Duration;

use super::super::connection::Connection;
use super::list::Rows;
use super::spans::{self, Part};
use super::{format, words};

/// The waterfall, in the form in which the template draws it. Places and lengths are per cent of its
/// width.
pub(super) struct Waterfall {
    pub(super) bars: Vec<Bar>,
    pub(super) ticks: Vec<Tick>,
    /// Whether each bar begins at the left, because together they last too long to tell them apart.
    pub(super) is_aligned: bool,
    /// The parts that occur, for the legend.
    pub(super) parts: Vec<Part>,
}

/// A mark of the axis.
pub(super) struct Tick {
    pub(super) x: String,
    pub(super) label: String,
}

/// A connection.
pub(super) struct Bar {
    /// Its place in the page's list. `None` if it is not there.
    pub(super) row: Option<usize>,
    pub(super) target: String,
    pub(super) detail: String,
    pub(super) duration: String,
    pub(super) outcome: String,
    pub(super) is_failed: bool,
    pub(super) pieces: Vec<Piece>,
    pub(super) turns: Vec<Piece>,
    /// Where it ended.
    pub(super) end: String,
    /// Whether the mark of a failure stands before the end, because there is no room after it.
    pub(super) is_at_edge: bool,
    /// All of it in words, for those who do not see it.
    pub(super) words: String,
}

/// A piece of a bar.
pub(super) struct Piece {
    pub(super) class: &'static str,
    pub(super) x: String,
    pub(super) width: String,
    pub(super) title: String,
}

/// A bar is at least this wide, per cent.
const THINNEST: f64 = 0.12;

/// If the time from the first accept to the last close is this many times as long as the longest
/// connection, bars begin at the left.
const TOO_LONG: u32 = 8;

impl Waterfall {
    pub(super) fn new(connections: &[&Connection], rows: &Rows<'_>) -> Self {
        let opened = |connection: &Connection| connection.opened_at();
        let first = connections.iter().filter_map(|c| opened(c)).min().unwrap_or(0);
        let last = connections.iter().filter_map(|c| c.closed_at()).max().unwrap_or(first);
        let longest = connections.iter().map(|c| c.duration).max().unwrap_or_default();
        let together = nanos(last.saturating_sub(first));
        let is_aligned = together > longest.saturating_mul(TOO_LONG);
        let scale = if is_aligned { longest } else { together.max(longest) };
        let scale = Scale(scale.max(Duration::from_nanos(1)));
        let mut parts = [false; Part::ALL.len()];
        let bars = connections.iter().map(|connection| {
            let start = match is_aligned {
                true => Duration::ZERO,
                false => nanos(opened(connection).map_or(0, |at| at.saturating_sub(first))),
            };
            bar(connection, start, &scale, rows, &mut parts)
        });
        let bars = bars.collect();
        let parts = Part::ALL.into_iter().filter(|p| parts.get(*p as usize) == Some(&true));
        Self { bars, ticks: scale.ticks(), is_aligned, parts: parts.collect() }
    }
}

fn bar(
    connection: &Connection,
    start: Duration,
    scale: &Scale,
    rows: &Rows<'_>,
    seen: &mut [bool],
) -> Bar {
    let spans = spans::spans(connection);
    let mut described = Vec::new();
    let pieces = spans.iter().map(|span| {
        if let Some(seen) = seen.get_mut(span.part as usize) {
            *seen = true;
        }
        let title = format!("{} {}", span.part.name(), format::time(span.length));
        described.push(title.clone());
        Piece {
            class: span.part.class(),
            x: percent(scale.share(start + span.start)),
            width: percent(scale.share(span.length).max(THINNEST)),
            title,
        }
    });
    let pieces = pieces.collect();
    let turns = connection.turns.iter().flat_map(|turns| &turns.slowest).filter_map(|turn| {
        let at = spans::since_accept(connection, Some(turn.at))?;
        let wait = format::time(turn.wait);
        Some(Piece {
            class: "turn",
            x: percent(scale.share(start + at)),
            width: percent(scale.share(turn.duration).max(THINNEST)),
            title: format!("turn of {}, wait {wait}", format::time(turn.duration)),
        })
    });
    let target =
        connection.target.as_deref().map_or_else(|| "(no target)".to_owned(), format::text);
    let process = connection.process.as_ref().and_then(|process| process.name.as_deref());
    let end = scale.share(start + connection.duration);
    let (duration, ended) = (format::time(connection.duration), words::outcome(connection));
    let outcome = connection.outcome.map_or_else(String::new, |outcome| outcome.to_string());
    Bar {
        row: rows.position(&connection.id),
        words: format!("{target}: {duration}, {ended}; {}", described.join(", ")),
        target,
        detail: process.map(format::text).unwrap_or_default(),
        duration,
        outcome,
        is_failed: connection.is_failed(),
        pieces,
        turns: turns.collect(),
        end: percent(end.min(100.0)),
        is_at_edge: end > 97.0,
    }
}

/// The time that the whole width stands for.
struct Scale(Duration);

impl Scale {
    fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 100.0 / self.0.as_secs_f64()
    }

    /// Four to eight round times.
    fn ticks(&self) -> Vec<Tick> {
        let whole = self.0.as_secs_f64();
        let magnitude = 10_f64.powf((whole / 8.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
        let step = steps.into_iter().find(|step| whole / step <= 8.0).unwrap_or(whole);
        let ticks = (0..=8_u32).map(|tick| Duration::from_secs_f64(step * f64::from(tick)));
        // One at the right edge has no room for its label.
        ticks
            .filter(|tick| self.share(*tick) <= 96.0)
            .map(|tick| Tick { x: percent(self.share(tick)), label: tick_label(tick) })
            .collect()
    }
}

/// `0`, `20 ms`, `1.5 s`.
fn tick_label(tick: Duration) -> String {
    let seconds = tick.as_secs_f64();
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    match seconds {
        0.0 => "0".to_owned(),
        ..0.001 => format!("{} µs", rounded(seconds * 1e6)),
        ..1.0 => format!("{} ms", rounded(seconds * 1e3)),
        ..600.0 => format!("{} s", rounded(seconds)),
        _ => format!("{} min", rounded(seconds / 60.0)),
    }
}

fn percent(share: f64) -> String {
    format!("{share:.2}%")
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(opened: i64, duration: u64) -> Connection {
        let line = format!(
            r#"{{"id":"x-{opened}","openedAt":{opened},"duration":{duration},"phases":{{"resolve":{}}}}}"#,
            duration / 2
        );
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn bars_stand_where_they_were_unless_they_would_be_too_thin() {
        let near = [connection(0, 1_000_000), connection(1_000_000, 3_000_000)];
        let waterfall = Waterfall::new(&near.each_ref(), &Rows::default());
        let second = &waterfall.bars[1].pieces;
        assert!(!waterfall.is_aligned);
        assert_eq!((&*second[0].x, &*second[0].width), ("25.00%", "37.50%"));
        assert_eq!((&*second[1].x, &*waterfall.bars[1].end), ("62.50%", "100.00%"));
        let labels: Vec<_> = waterfall.ticks.iter().map(|tick| &*tick.label).collect();
        assert_eq!(labels, ["0", "500 µs", "1 ms", "1.5 ms", "2 ms", "2.5 ms", "3 ms", "3.5 ms"]);
        let far = [connection(0, 1_000_000), connection(1_000_000_000, 4_000_000)];
        let waterfall = Waterfall::new(&far.each_ref(), &Rows::default());
        assert!(waterfall.is_aligned);
        assert_eq!(waterfall.bars[1].pieces[0].x, "0.00%");
        assert!(Waterfall::new(&[], &Rows::default()).bars.is_empty());
    }
}
