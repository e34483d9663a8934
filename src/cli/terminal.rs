//! The terminal on which something is shown: its width, and what it can show.

use terminal_size::{Width, terminal_size_of};

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
