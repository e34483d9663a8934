//! Styles: headings are bold, what is wrong is red. They are shown on terminals alone.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// A heading.
pub(super) fn heading(text: impl Display) -> String {
    styled(Style::new().bold(), text)
}

/// Something that is wrong.
pub(super) fn wrong(text: impl Display) -> String {
    styled(AnsiColor::Red.on_default(), text)
}

fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}
