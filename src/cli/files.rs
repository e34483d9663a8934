//! Files that are named on the command line, most of them of records.

use std::io;
use std::path::{Path, PathBuf};

use super::advice::typography;
use super::exit::Failure;
use super::usage::wrong_usage;
use super::wrap::unbroken;

/// Where the records of connections come from, on which `report` reports and which `top` shows.
pub(super) const SOURCES: &str = "records are written by conniver proxy -o FILE, conniver run -o FILE and conniver watch -o FILE";

/// Whether a name stands for standard input.
pub(super) fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Whether standard input is a pipe or a file: not a terminal, and not `/dev/null`, which services have there.
#[cfg(unix)]
pub(super) fn is_piped_in() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    let stdin = io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let kind = stdin.and_then(|stdin| stdin.metadata()).map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| !kind.is_char_device())
}

/// Whether standard input is a pipe or a file.
#[cfg(not(unix))]
pub(super) fn is_piped_in() -> bool {
    use std::io::IsTerminal;

    !io::stdin().is_terminal()
}

/// Ends the program if standard input is among these files more than once: nothing would be left of
/// it the second time.
pub(super) fn check_stdin<'f>(command: &str, files: impl Iterator<Item = &'f PathBuf>) {
    if files.filter(|file| is_stdin(file)).count() > 1 {
        wrong_usage(&[command], "'-' is given twice, but standard input can be read only once");
    }
}

/// The one path of a file that exists or may be created. `None` if its directory does not exist.
pub(super) fn place(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().or_else(|| {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).canonicalize().ok()?;
        Some(directory.join(path.file_name()?))
    })
}

/// Ends the program if one of these is no file, but what a word processor or a web page made of an
/// option or of quotes.
pub(super) fn check_names<'f>(command: &str, files: impl Iterator<Item = &'f PathBuf>) {
    let missing = files.filter(|file| !is_stdin(file) && !file.exists());
    if let Some(tip) = missing.filter_map(|file| typography(&[file.to_str()?])).next() {
        wrong_usage(&[command], &tip);
    }
}

/// How messages name a file.
pub(super) fn name(file: &Path) -> String {
    match is_stdin(file) {
        true => "standard input".to_owned(),
        false => format!("'{}'", file.display()),
    }
}

/// What to do where there is no file of this name.
fn not_found(file: &Path, command: &str) -> String {
    let text = file.to_string_lossy();
    let is_file = |name: &str| Path::new(name).is_file();
    if text.contains("://") {
        let fetching = unbroken(&format!("curl -s URL | conniver {command} -"));
        return format!("; records are read from files; to fetch them: {fetching}");
    }
    if text.contains(',') && text.split(',').all(is_file) {
        return "; separate files by spaces".to_owned();
    }
    if text.contains(['*', '?']) {
        return "; it is a pattern: no file fits it, or it was quoted".to_owned();
    }
    "; check the name, or give '-' for standard input".to_owned()
}

/// Why a file cannot be read, and what to do. `command` is the subcommand that reads it.
pub(super) fn unread(file: &Path, command: &str, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::IsADirectory => "; give the files in it",
        io::ErrorKind::NotFound => &not_found(file, command),
        io::ErrorKind::PermissionDenied => {
            &format!("; run {command} as the proxy's user, or see conniver proxy --output-mode")
        }
        _ => "",
    };
    Failure::new(format!("cannot read records from {}: {error}{advice}", name(file)))
}
