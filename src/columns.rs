//! Text in the columns of a terminal.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// How many columns `text` takes on a terminal, at most: some join characters to a narrower one. It has no control
/// characters.
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The beginning of `text` that takes at most `width` columns.
pub fn beginning(text: &str, width: usize) -> &str {
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
pub fn shorten_middle(text: &str, width: usize) -> Cow<'_, str> {
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
