//! Columns: how a line is fitted to the width of the terminal.
//!
//! Which columns there are, and how wide the first one is, depends on the width alone, so that lines stand below
//! each other. A line that has more to say at its end leaves out its last columns.

use std::fmt::Write;

use anstyle::Style;
use conniver::columns::{beginning, columns, shorten_middle};

use super::symbols::{Arrow, Symbols};
use crate::cli::table::{Align, GAP, padded};

/// A piece of text in a style.
pub(super) type Piece = (Style, String);

/// What a line says.
pub(super) struct Line {
    /// `14:02:11`.
    pub(super) time: String,
    pub(super) who: Who,
    /// A duration. Empty where there is none.
    pub(super) duration: String,
    /// What stands in the columns after it; empty cells keep their place, unless all are empty.
    pub(super) bytes: String,
    pub(super) connect: String,
    /// A wait for an answer; of a watched socket, its round-trip time.
    pub(super) latency: String,
    pub(super) lost: Lost,
    /// The end, from the longest way to say it to the shortest. Never empty.
    pub(super) ends: Vec<Vec<Piece>>,
}

/// Segments that were lost.
#[derive(Default)]
pub(super) struct Lost {
    /// Empty where it is not known.
    pub(super) text: String,
    /// Some were: it is said, whatever else is left out.
    pub(super) is_any: bool,
    pub(super) style: Style,
}

/// Whose connection it was, and where it led. Of a watched socket, `client` is this machine's side and
/// `target` its peer, whichever has connected.
#[derive(Default)]
pub(super) struct Who {
    pub(super) client: String,
    /// What is left out of the client first: `[PID]`, or `:PORT`.
    pub(super) detail: String,
    /// Which of its requests, ` #2`; empty for a connection.
    pub(super) number: String,
    /// `None` while the client has not named one.
    pub(super) target: Option<String>,
    /// From the side that has connected to the other one.
    pub(super) arrow: Arrow,
}

const TIME: usize = 8;
const DURATION: usize = 6;
const BYTES: usize = 15;
const CONNECT: usize = 14;
const LATENCY: usize = 11;
const LOST: usize = 6;

/// Room for the end of a line, after all columns: for `ok`, or a short reason.
const SHORT_END: usize = 7;
/// The same with `ok, slow by upstream`.
const LONG_END: usize = 22;

/// The first column is no narrower while others can be left out, and never wider.
const WHO: usize = 26;
const WIDEST_WHO: usize = 40;

/// It is this wide before there is a column for lost segments: when there are any, they are shown anyway.
const WIDE_WHO: usize = 32;

/// Below this width the first column takes what the end leaves.
const NARROW: usize = 60;

/// Which columns a terminal has room for.
struct Layout {
    who: usize,
    bytes: bool,
    connect: bool,
    latency: bool,
    lost: bool,
}

impl Layout {
    fn new(width: Option<usize>) -> Self {
        let all = Self { who: WIDEST_WHO, bytes: true, connect: true, latency: true, lost: true };
        let Some(width) = width else { return all };
        let always = TIME + 1 + GAP + DURATION;
        if width < NARROW {
            let who = width.saturating_sub(always + SHORT_END).max(1);
            return Self { who, bytes: false, connect: false, latency: false, lost: false };
        }
        let mut room = width.saturating_sub(always + GAP + BYTES + SHORT_END);
        let mut take = |what: usize, who: usize| {
            let has_room = room >= who + what;
            room -= if has_room { what } else { 0 };
            has_room
        };
        let latency = take(GAP + LATENCY, WHO - 4);
        let connect = take(GAP + CONNECT, WHO);
        take(LONG_END - SHORT_END, WHO);
        let lost = connect && take(GAP + LOST, WIDE_WHO);
        Self { who: room.min(WIDEST_WHO), bytes: true, connect, latency, lost }
    }
}

/// The line in at most `width` columns, with styles; whole if there is no width.
pub(super) fn fit(line: &Line, width: Option<usize>, symbols: Symbols) -> String {
    let layout = Layout::new(width);
    let mut begin = format!("{} {}", line.time, line.who.fit(layout.who, symbols));
    let _ = write!(begin, "{:GAP$}{}", "", padded(&line.duration, DURATION, Align::Right));
    let mut cells = Vec::new();
    for (is_shown, text, width) in [
        (layout.bytes, &line.bytes, BYTES),
        (layout.connect, &line.connect, CONNECT),
        (layout.latency, &line.latency, LATENCY),
        (layout.lost, &line.lost.text, LOST),
    ] {
        if is_shown {
            cells.push((text, width));
        }
    }
    if cells.iter().all(|(text, _)| text.is_empty()) {
        cells.clear();
    }
    let limit = width.unwrap_or(usize::MAX);
    let mut shortest = Vec::new();
    for kept in (0..=cells.len()).rev() {
        let is_whole = kept == cells.len();
        for (at, end) in line.ends.iter().enumerate() {
            let mut pieces = vec![(Style::new(), begin.clone())];
            for (index, (text, width)) in cells.iter().take(kept).enumerate() {
                let is_lost = layout.lost && index == 3;
                let style = if is_lost { line.lost.style } else { Style::new() };
                pieces.push((Style::new(), " ".repeat(GAP)));
                pieces.push((style, padded(text, *width, Align::Left)));
            }
            let is_lost_told = layout.lost && !cells.is_empty() && is_whole;
            if line.lost.is_any && !is_lost_told {
                pieces.push((Style::new(), " ".repeat(GAP)));
                pieces.push((line.lost.style, line.lost.text.clone()));
            }
            pieces.push((Style::new(), " ".repeat(GAP)));
            pieces.extend(end.iter().cloned());
            let used: usize = pieces.iter().map(|(_, text)| columns(text)).sum();
            // The longest end is worth a column, a shorter one is not worth more than that.
            if used <= limit && (at == 0 || !is_whole || cells.is_empty()) {
                return styled(&pieces, limit, symbols);
            }
            shortest = pieces;
        }
    }
    styled(&shortest, limit, symbols)
}

/// The pieces as text, cut at `limit`.
fn styled(pieces: &[Piece], limit: usize, symbols: Symbols) -> String {
    let all: usize = pieces.iter().map(|(_, text)| columns(text)).sum();
    let mut room = if all > limit { limit.saturating_sub(1) } else { limit };
    let mut text = String::new();
    for (style, piece) in pieces {
        let kept = beginning(piece, room);
        room -= columns(kept);
        let is_cut = kept.len() < piece.len();
        let kept = symbols.shown(kept);
        // Writing to a string does not fail.
        let _ = match *style == Style::new() {
            true => write!(text, "{kept}"),
            false => write!(text, "{style}{kept}{style:#}"),
        };
        if is_cut {
            text.push_str(&symbols.shown("…"));
            break;
        }
    }
    text.trim_end().to_owned()
}

impl Who {
    /// In exactly `width` columns.
    fn fit(&self, width: usize, symbols: Symbols) -> String {
        let Self { client, detail, number, target, arrow } = self;
        let whole = format!("{client}{detail}{number}");
        let brief = format!("{client}{number}");
        let Some(target) = target else {
            return padded(&shorten_middle(&whole, width), width, Align::Left);
        };
        let arrow = symbols.arrow(*arrow);
        let between = columns(arrow) + 2;
        let takes = |client: &str| columns(client) + between + columns(target);
        let client = match takes(&whole) <= width {
            true => &whole,
            false => &brief,
        };
        // Neither has less than a third.
        let third = width.saturating_sub(between) / 3;
        let client_room =
            width.saturating_sub(between + columns(target)).max(third).min(columns(client));
        let client = shorten_middle(client, client_room);
        let target_room = width.saturating_sub(between + columns(&client));
        let target = shorten_middle(target, target_room);
        let who = format!("{client} {arrow} {target}");
        padded(beginning(&who, width), width, Align::Left)
    }
}

#[cfg(test)]
mod tests {
    use anstyle::AnsiColor;

    use super::*;
    use crate::cli::wrap;

    const BAD: Style = AnsiColor::Red.on_default();

    fn line(end: &[&str]) -> Line {
        Line {
            time: "14:02:11".to_owned(),
            who: Who {
                client: "curl".to_owned(),
                detail: "[9911]".to_owned(),
                number: String::new(),
                target: Some("api:443".to_owned()),
                arrow: Arrow::ToTarget,
            },
            duration: "210 ms".to_owned(),
            bytes: "↑571 B  ↓3.9 kB".to_owned(),
            connect: "connect 11 ms".to_owned(),
            latency: "wait 38 ms".to_owned(),
            lost: Lost { text: "lost 0".to_owned(), ..Lost::default() },
            ends: end.iter().map(|end| vec![(BAD, (*end).to_owned())]).collect(),
        }
    }

    fn plain(line: &Line, width: Option<usize>) -> String {
        anstream::adapter::strip_str(&fit(line, width, Symbols::Unicode)).to_string()
    }

    #[test]
    fn wider_terminals_have_more_columns() {
        for (width, who, rest) in [
            (60, "curl → api:443     ", "210 ms  ↑571 B  ↓3.9 kB  ok"),
            (80, "curl[9911] → api:443      ", "210 ms  ↑571 B  ↓3.9 kB  wait 38 ms   ok"),
            (
                100,
                "curl[9911] → api:443          ",
                "210 ms  ↑571 B  ↓3.9 kB  connect 11 ms   wait 38 ms   ok",
            ),
            (
                130,
                "curl[9911] → api:443                 ",
                "210 ms  ↑571 B  ↓3.9 kB  connect 11 ms   wait 38 ms   lost 0  ok",
            ),
        ] {
            let shown = format!("14:02:11 {who}  {rest}");
            assert_eq!(plain(&line(&["ok"]), Some(width)), shown, "{width}");
        }
    }

    #[test]
    fn an_end_with_more_to_say_takes_the_last_columns_and_its_brief_form_the_rest() {
        let slow = line(&["ok, slow by network-upstream", "slow by network"]);
        let end = |width| plain(&slow, width).split_off("14:02:11 curl[9911] → api:443".len() + 3);
        assert!(
            end(Some(80)).trim_start().ends_with("↓3.9 kB  slow by network"),
            "{}",
            end(Some(80))
        );
        assert!(end(Some(100)).ends_with("connect 11 ms   slow by network"));
        assert!(end(Some(130)).ends_with("wait 38 ms   ok, slow by network-upstream"));
        assert!(end(None).ends_with("lost 0  ok, slow by network-upstream"));
        let mut lossy = line(&["ok"]);
        lossy.lost = Lost { text: "lost 3".to_owned(), is_any: true, style: BAD };
        assert!(plain(&lossy, Some(80)).ends_with("↓3.9 kB  lost 3  ok"));
        assert!(plain(&lossy, Some(130)).ends_with("wait 38 ms   lost 3  ok"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut wide = line(&["denied by --deny 日本語の名前.example", "refused"]);
        wide.who.target =
            Some("日本語のとても長い名前.namespace.svc.cluster.local:65535".to_owned());
        let mut nowhere =
            line(&["malformed request: the request line is not an HTTP request line"]);
        nowhere.who.target = None;
        for cell in [&mut nowhere.bytes, &mut nowhere.connect, &mut nowhere.latency] {
            cell.clear();
        }
        nowhere.lost = Lost::default();
        for line in [&wide, &nowhere, &line(&["ok"])] {
            for width in 1..=200 {
                for symbols in [Symbols::Unicode, Symbols::Ascii] {
                    let fitted = fit(line, Some(width), symbols);
                    let plain = anstream::adapter::strip_str(&fitted).to_string();
                    assert!(columns(&plain) <= width, "{width}: {plain}");
                    assert!(width < 60 || wrap::columns(&plain) > 40, "{width}: {plain}");
                }
            }
        }
    }
}
