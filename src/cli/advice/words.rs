//! Words of a command line.

use std::path::Path;

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
        && std::env::split_paths(&path).any(|directory| is_executable(&directory.join(&file)))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let is_it = |metadata: std::fs::Metadata| {
        metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
    };
    std::fs::metadata(file).is_ok_and(is_it)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@=,+%…".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
