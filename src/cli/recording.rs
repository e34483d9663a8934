//! The output of `proxy` and `watch`, and what signals do about it.

use std::path::Path;

use conniver::output::{Output, Recorder};

#[cfg(unix)]
use super::advice::quoted;
use super::exit::Failure;
use super::output_watch;
use super::signals::{self, Handlers, Stopper};

/// What `-o` names; without it, standard output. `mode`: `--output-mode`, if it was given.
pub(super) fn output(path: Option<&Path>, mode: Option<u32>) -> Output {
    match path {
        Some(path) if path.as_os_str() != "-" => {
            warn_of_compressed_name(path);
            #[cfg(unix)]
            if let Some(mode) = mode {
                warn_of_kept_mode(path, mode);
            }
            Output::File { path: path.to_owned(), mode: mode.unwrap_or(Output::MODE) }
        }
        _ => Output::Stdout,
    }
}

/// Warns of a file that is already there with other permissions than `mode`, which it keeps.
#[cfg(unix)]
fn warn_of_kept_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;

    let Some(metadata) = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file) else {
        return;
    };
    let kept = metadata.permissions().mode() & 0o777;
    // As a new file would have it.
    let wanted = mode & !umask().unwrap_or(0);
    if kept != wanted && kept != mode {
        let name = path.display().to_string();
        tracing::warn!(
            "--output-mode is for new files: '{name}' exists and keeps its permissions {kept:04o}; to change \
             them: chmod {wanted:04o} {}",
            quoted(&name)
        );
    }
}

/// The umask of this process (proc(5)); `None` where it cannot be read. umask(2) would change it.
#[cfg(unix)]
fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(umask.trim(), 8).ok()
}

/// Warns of a file whose name promises compression.
pub(super) fn warn_of_compressed_name(path: &Path) {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if ["gz", "zst", "bz2", "xz", "zip"].iter().any(|of| extension.eq_ignore_ascii_case(of)) {
        tracing::warn!(
            "records are not compressed: '{}' will be plain text; choose a name without .{extension}, and compress \
             the file later",
            path.display()
        );
    }
}

/// Listens for signals: they stop the command, or have a file opened anew. So does a reader of
/// standard output that leaves. Must be called within a tokio runtime.
pub(super) fn listen(
    recorder: &Recorder,
    output: &Output,
    stopper: &Stopper,
) -> Result<(), Failure> {
    let reopen = {
        let (recorder, output) = (recorder.clone(), output.clone());
        move || {
            let is_file = matches!(output, Output::File { .. });
            if is_file {
                recorder.reopen();
            }
            is_file
        }
    };
    let handlers = Handlers {
        on_hangup: {
            let (stopper, reopen) = (stopper.clone(), reopen.clone());
            // Where there is nothing to open anew, the terminal has gone.
            move || {
                if !reopen() {
                    stopper.request();
                }
            }
        },
        on_reopen: move || {
            if !reopen() {
                tracing::info!(
                    "SIGUSR1 ignored: records go to standard output, which cannot be reopened"
                );
            }
        },
    };
    signals::listen(stopper, handlers)
        .map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
    if *output == Output::Stdout {
        output_watch::stop_when_reader_leaves(stopper.clone());
    }
    Ok(())
}
