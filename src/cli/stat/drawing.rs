//! The phases one after the other, and the time at the end of each, as httpstat draws them.

use std::fmt::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use conniver::record::Outcome;
use conniver::record::stat::{Exchange, Phase};

/// Of durations.
const TIME: Style = AnsiColor::Cyan.on_default();

struct Column {
    phase: Phase,
    title: &'static str,
    /// Where there is less room.
    short: &'static str,
    /// What curl calls the time at its end.
    mark: &'static str,
    duration: Option<Duration>,
}

/// What the time behind the last bar takes at most, as `3600.0s`.
const LAST_TIME: usize = 8;

/// A column is no narrower: durations have room.
const NARROWEST: usize = 11;

/// The drawing, without a line feed at its end, in titles for which `width` has room. TLS has a column
/// where there is any. A phase that the exchange failed in has its duration, and no time of its end.
pub(super) fn draw(exchange: &Exchange, width: usize) -> String {
    let phases = &exchange.phases;
    let column = |phase, [title, short, mark]: [&'static str; 3], duration| {
        let is_drawn = phase != Phase::Tls || exchange.url.starts_with("https:");
        is_drawn.then_some(Column { phase, title, short, mark, duration })
    };
    let columns: Vec<_> = [
        column(Phase::Resolve, ["DNS Lookup", "DNS Lookup", "namelookup"], phases.resolve),
        column(Phase::Connect, ["TCP Connection", "TCP Connect", "connect"], phases.connect),
        column(Phase::Tls, ["TLS Handshake", "TLS Handshake", "pretransfer"], phases.tls),
        column(Phase::Server, ["Server Processing", "Server", "starttransfer"], phases.server),
        column(Phase::Transfer, ["Content Transfer", "Transfer", "total"], phases.transfer),
    ]
    .into_iter()
    .flatten()
    .collect();
    let whole: usize = columns.iter().map(|column| column.title.len() + 3).sum();
    let is_narrow = 1 + whole + LAST_TIME > width;
    let failed = (exchange.outcome != Outcome::Ok).then_some(exchange.ending.phase);

    let (mut titles, mut boxes) = (Row::default(), Row::default());
    let mut bars: Vec<usize> = Vec::new();
    boxes.put(0, "[", Style::new());
    let mut left = 1;
    for (index, Column { title, short, duration, .. }) in columns.iter().enumerate() {
        let title = if is_narrow { short } else { title };
        let width = (title.len() + 2).max(NARROWEST);
        let bar = left + width;
        titles.put(left + 1, title, Style::new());
        let text = text(*duration);
        boxes.put(left + (width.saturating_sub(text.chars().count())) / 2, &text, TIME);
        boxes.put(bar, if index + 1 == columns.len() { "]" } else { "|" }, Style::new());
        bars.push(bar);
        left = bar + 1;
    }
    let mut rows = vec![titles, boxes, barred(Row::default(), &bars)];
    let mut since_begin = Duration::ZERO;
    for (index, Column { phase, mark, duration, .. }) in columns.iter().enumerate() {
        since_begin += duration.unwrap_or_default();
        let end = match phase {
            // All of it has an end, failed or not.
            Phase::Transfer => Some(since_begin),
            phase => duration.filter(|_| failed != Some(*phase)).map(|_| since_begin),
        };
        let mut row = Row::default();
        let at = bars.get(index).copied().unwrap_or_default() + 1;
        row.put(at.saturating_sub(mark.len()), &format!("{mark}:"), Style::new());
        row.put(at + 1, &text(end), TIME);
        rows.push(barred(row, bars.get(index + 1..).unwrap_or_default()));
    }
    rows.into_iter().map(|row| row.text).collect::<Vec<_>>().join("\n")
}

fn text(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "-".to_owned(), |duration| format!("{duration:.1?}"))
}

fn barred(mut row: Row, bars: &[usize]) -> Row {
    for &bar in bars {
        row.put(bar, "|", Style::new());
    }
    row
}

/// A row that is filled from left to right.
#[derive(Default)]
struct Row {
    text: String,
    /// How many characters are seen of it.
    width: usize,
}

impl Row {
    /// Puts `piece` at a column, if that is still free.
    fn put(&mut self, at: usize, piece: &str, style: Style) {
        let Some(gap) = at.checked_sub(self.width) else { return };
        // Writing to a string does not fail.
        let _ = write!(self.text, "{:gap$}{style}{piece}{style:#}", "");
        self.width = at + piece.chars().count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An exchange whose phases, in ms, end in this one.
    fn exchange(url: &str, phases: [Option<u64>; 5], outcome: &str, phase: &str) -> Exchange {
        let [resolve, connect, tls, server, transfer] =
            phases.map(|ms| ms.map(|ms| ms * 1_000_000));
        serde_json::from_value(serde_json::json!({
            "url": url, "target": "", "targetHost": "", "targetPort": 1, "via": null,
            "outcome": outcome, "openedAt": 0, "closedAt": 0, "duration": 0,
            "phases": {"resolve": resolve, "connect": connect, "tls": tls, "server": server,
                "transfer": transfer},
            "resolveSource": null, "attempts": [], "attemptsOmitted": null, "upstream": null,
            "ending": {"phase": phase, "error": null, "errorCode": null}, "verdict": null,
            "tls": null, "warnings": [],
            "http": {"method": "GET", "host": "", "status": null, "version": null, "headers": [],
                "bodyBytes": 0},
        }))
        .unwrap()
    }

    fn drawn(exchange: &Exchange, width: usize) -> String {
        let drawn = anstream::adapter::strip_str(&draw(exchange, width)).to_string();
        assert!(drawn.lines().all(|line| line.chars().count() <= width), "{drawn}");
        drawn
    }

    #[test]
    fn a_phase_that_failed_has_no_end_and_later_ones_nothing() {
        let phases = [None, Some(20), None, Some(400), None];
        let exchange = exchange("http://a/", phases, "error", "server");
        assert_eq!(
            drawn(&exchange, 80),
            "  DNS Lookup   TCP Connection   Server Processing   Content Transfer
[     -      |     20.0ms     |      400.0ms      |        -         ]
             |                |                   |                  |
    namelookup:-              |                   |                  |
                        connect:20.0ms            |                  |
                                      starttransfer:-                |
                                                                 total:420.0ms"
        );
    }

    #[test]
    fn a_narrow_drawing_has_shorter_titles() {
        let phases = [Some(1), Some(20), Some(30), Some(400), Some(5000)];
        let exchange = exchange("https://a/", phases, "ok", "transfer");
        assert_eq!(
            drawn(&exchange, 80).lines().next(),
            Some("  DNS Lookup   TCP Connect   TLS Handshake   Server      Transfer")
        );
    }

    #[test]
    fn each_time_stands_under_the_end_of_its_phase() {
        let phases = [Some(1), Some(20), Some(30), Some(400), Some(5)];
        let exchange = exchange("https://a/", phases, "ok", "transfer");
        assert_eq!(
            drawn(&exchange, 100),
            "  DNS Lookup   TCP Connection   TLS Handshake   Server Processing   Content Transfer
[   1.0ms    |     20.0ms     |    30.0ms     |      400.0ms      |      5.0ms       ]
             |                |               |                   |                  |
    namelookup:1.0ms          |               |                   |                  |
                        connect:21.0ms        |                   |                  |
                                    pretransfer:51.0ms            |                  |
                                                      starttransfer:451.0ms          |
                                                                                 total:456.0ms"
        );
    }
}
