//! The phases one after the other, and the time at the end of each, as httpstat draws them.

use std::fmt::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use conniver::record::stat::Phases;

/// Of durations.
const TIME: Style = AnsiColor::Cyan.on_default();

struct Column {
    title: &'static str,
    /// What curl calls the time at its end.
    mark: &'static str,
    duration: Option<Duration>,
}

/// The drawing, without a line feed at its end. TLS has a column where there is any.
pub(super) fn draw(phases: &Phases, is_secure: bool) -> String {
    let column = |title, mark, duration| Column { title, mark, duration };
    let mut columns = vec![
        column("DNS Lookup", "namelookup", phases.resolve),
        column("TCP Connection", "connect", phases.connect),
    ];
    if is_secure {
        columns.push(column("TLS Handshake", "pretransfer", phases.tls));
    }
    columns.push(column("Server Processing", "starttransfer", phases.server));
    columns.push(column("Content Transfer", "total", phases.transfer));

    let (mut titles, mut boxes) = (Row::default(), Row::default());
    let mut bars: Vec<usize> = Vec::new();
    boxes.put(0, "[", Style::new());
    let mut left = 1;
    for (index, Column { title, duration, .. }) in columns.iter().enumerate() {
        let width = title.len() + 2;
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
    for (index, Column { mark, duration, .. }) in columns.iter().enumerate() {
        since_begin += duration.unwrap_or_default();
        let mut row = Row::default();
        let at = bars.get(index).copied().unwrap_or_default() + 1;
        row.put(at.saturating_sub(mark.len()), &format!("{mark}:"), Style::new());
        row.put(at + 1, &text(duration.map(|_| since_begin)), TIME);
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

    #[test]
    fn each_time_stands_under_the_end_of_its_phase() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let mut phases = Phases::default();
        (phases.resolve, phases.connect, phases.tls) = (ms(1), ms(20), ms(30));
        (phases.server, phases.transfer) = (ms(400), ms(5));
        let drawn = anstream::adapter::strip_str(&draw(&phases, true)).to_string();
        assert_eq!(
            drawn,
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
