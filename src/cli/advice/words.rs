//! Words of a command line.

use crate::cli::wrap::unbroken;

/// How a manual page is read.
pub(super) fn reading_a_page() -> String {
    unbroken("conniver man DIR && man -l DIR/conniver.1")
}

/// Whether a shell would find a program of this name.
pub(super) fn is_program(name: &str) -> bool {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH").unwrap_or_default();
    !name.is_empty()
        && std::env::split_paths(&path).any(|directory| directory.join(&file).is_file())
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@=,+%…".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
