//! What is fitted to the terminal on which it is shown.

use std::borrow::Cow;

use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthChar;

/// Columns that are used where the width is not known: standard output or error is a file or a pipe.
pub(super) const USUAL_WIDTH: usize = 80;

/// The width of the terminal that `stream` is, in columns. `None` if it is no terminal.
#[cfg(not(windows))]
pub(super) fn width(stream: impl std::os::fd::AsFd) -> Option<usize> {
    terminal_size_of(stream).map(|(Width(columns), _)| columns.into())
}

/// The width of the terminal that `stream` is, in columns. `None` if it is no terminal.
#[cfg(windows)]
pub(super) fn width(stream: impl std::os::windows::io::AsHandle) -> Option<usize> {
    terminal_size_of(stream).map(|(Width(columns), _)| columns.into())
}

/// A variable of the environment that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether terminals show more than ASCII, as the locale tells (POSIX: the first of these variables that is set and not
/// empty).
pub(super) fn has_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    // A console of Windows takes Unicode, whatever its code page.
    cfg!(windows) || locale.contains("utf-8") || locale.contains("utf8")
}

/// Whether a terminal shows colours, as `NO_COLOR` and `TERM` tell.
pub(super) fn has_colours() -> bool {
    variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|term| term != "dumb")
}

/// How many columns `text` takes on a terminal, at most: some join characters to a narrower one. It has no control
/// characters.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The beginning of `text` that takes at most `width` columns.
pub(super) fn beginning(text: &str, width: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > width
    });
    end.map_or(text, |(at, _)| text.get(..at).unwrap_or(text))
}

/// The end of `text` that takes at most `width` columns.
fn ending(text: &str, width: usize) -> &str {
    let mut used = 0;
    let mut all = text.char_indices().rev();
    let cut = all.find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > width
    });
    cut.map_or(text, |(at, c)| text.get(at + c.len_utf8()..).unwrap_or(text))
}

/// `text` in at most `width` columns: what is left out of its middle is one `…`. A port at its
/// end stays whole, even where that takes more room than there is.
pub(super) fn shorten_middle(text: &str, width: usize) -> Cow<'_, str> {
    if columns(text) <= width {
        return Cow::Borrowed(text);
    }
    let kept = width.saturating_sub(1);
    let tail = (kept / 2).max(port_length(text));
    let head = kept.saturating_sub(tail);
    Cow::Owned(format!("{}…{}", beginning(text, head), ending(text, tail)))
}

/// How many characters `:PORT` takes at the end of `text`; 0 where there is none.
fn port_length(text: &str) -> usize {
    match text.rsplit_once(':') {
        Some((_, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            port.len() + 1
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_shortened_in_the_middle_and_keeps_its_port() {
        for (text, width, shown) in [
            ("example.com:443", 15, "example.com:443"),
            ("example.com:443", 14, "example…om:443"),
            ("very-long-name.of.an.internal.example:443", 20, "very-long-…ample:443"),
            ("[2001:db8::1234:5678]:65535", 12, "[2001…:65535"),
            ("example.com:65535", 8, "e…:65535"),
            ("example.com:65535", 3, "…:65535"),
            ("the middle of this", 9, "the …this"),
            ("bücher.example", 9, "büch…mple"),
            ("日本語の名前.example:443", 17, "日本語の…mple:443"),
            ("日本語の名前.example:443", 15, "日本語…ple:443"),
            ("text", 0, "…"),
        ] {
            assert_eq!(shorten_middle(text, width), shown, "{text} in {width}");
        }
    }
}
