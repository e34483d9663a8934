//! Displays untrusted text safely.
//!
//! Host names, status lines, certificates and files may contain line breaks that forge log lines,
//! terminal control sequences, and characters that reorder the surrounding text.

use std::fmt::{self, Write};

/// Shows a value in one line, with `\u{1b}` in place of special characters: control characters (C0,
/// DEL and C1), what ends a line or a paragraph, and what sets the direction of text (Unicode's
/// `Bidi_Control`).
///
/// ```
/// use conniver::record::Printable;
///
/// assert_eq!(Printable("a\u{1b}[31mb\n").to_string(), "a\\u{1b}[31mb\\u{a}");
/// assert_eq!(Printable("naïve café").to_string(), "naïve café");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Printable<T>(pub T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'f, 'w>(&'f mut fmt::Formatter<'w>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        pieces(
            text,
            self,
            |f, plain| f.0.write_str(plain),
            |f, c| write!(f.0, "{}", c.escape_unicode()),
        )
    }
}

/// Whether a character is special.
pub(super) fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Splits text into plain pieces and special characters.
pub(super) fn pieces<W, E>(
    text: &str,
    to: &mut W,
    plain: impl Fn(&mut W, &str) -> Result<(), E>,
    active: impl Fn(&mut W, char) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = text;
    while let Some((at, c)) = rest.char_indices().find(|&(_, c)| is_active(c)) {
        let (before, after) = rest.split_at(at);
        plain(to, before)?;
        active(to, c)?;
        rest = after.strip_prefix(c).unwrap_or_default();
    }
    plain(to, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_commands_a_terminal_or_a_reader_is_spelt_out() {
        for (text, shown) in [
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("one\r\ntwo\u{2028}three\u{85}", "one\\u{d}\\u{a}two\\u{2028}three\\u{85}"),
            ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
            ("\t", "\\u{9}"),
            ("\u{644}\u{200d}e\u{301} 日本 \\n \"", "\u{644}\u{200d}e\u{301} 日本 \\n \""),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_active_is_left_and_nothing_else_is_changed(text in any::<String>()) {
            let shown = Printable(&text).to_string();
            prop_assert!(!shown.chars().any(is_active));
            if !text.chars().any(is_active) {
                prop_assert_eq!(shown, text);
            }
        }
    }
}
