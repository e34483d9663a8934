//! The signs in a line, for terminals that show Unicode and for those that do not.

use std::borrow::Cow;

use conniver::record::Printable;

use crate::cli::terminal::has_unicode;

/// Which signs the terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbols {
    Unicode,
    Ascii,
}

/// Which of two sides has connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Arrow {
    /// The first.
    #[default]
    ToTarget,
    /// The second.
    FromTarget,
    /// That is not known.
    Unknown,
}

impl Symbols {
    /// As the locale tells.
    pub(super) fn of_environment() -> Self {
        if has_unicode() { Self::Unicode } else { Self::Ascii }
    }

    /// Between two sides.
    pub(super) fn arrow(self, arrow: Arrow) -> &'static str {
        match (self, arrow) {
            (Self::Unicode, Arrow::ToTarget) => "→",
            (Self::Unicode, Arrow::FromTarget) => "←",
            (Self::Unicode, Arrow::Unknown) => "↔",
            (Self::Ascii, Arrow::ToTarget) => "->",
            (Self::Ascii, Arrow::FromTarget) => "<-",
            (Self::Ascii, Arrow::Unknown) => "<->",
        }
    }

    /// Text from outside: without what a terminal would take for a command, and in signs that it shows.
    pub(super) fn text(self, text: &str) -> String {
        let text = Printable(text).to_string();
        match self {
            Self::Unicode => text,
            Self::Ascii => text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect(),
        }
    }

    /// A whole line in signs that the terminal shows, each as wide as what it replaces. As in curl's `-v`, `>` is
    /// to the server and `<` from it.
    pub(super) fn shown(self, line: &str) -> Cow<'_, str> {
        if self == Self::Unicode {
            return Cow::Borrowed(line);
        }
        let ascii = |c| match c {
            '↑' => '>',
            '↓' => '<',
            '…' => '~',
            'µ' => 'u',
            c => c,
        };
        Cow::Owned(line.chars().map(ascii).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_commands_no_terminal_and_ascii_has_only_ascii() {
        let hostile = "a\u{1b}[31m\u{202e}日本\n";
        assert_eq!(Symbols::Unicode.text(hostile), "a\\u{1b}[31m\\u{202e}日本\\u{a}");
        assert_eq!(Symbols::Ascii.text(hostile), "a\\u{1b}[31m\\u{202e}??\\u{a}");
        assert_eq!(Symbols::Ascii.shown("↑1 B ↓2 B 3 µs…"), ">1 B <2 B 3 us~");
    }
}
