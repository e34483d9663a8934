//! The output of `proxy` and `watch`, and what signals do about it.

use std::path::Path;

use conniver::output::{Output, Recorder};

use super::exit::Failure;
use super::output_watch;
use super::signals::{self, Handlers, Stopper};

/// What `-o` names; without it, standard output. `mode`: `--output-mode`.
pub(super) fn output(path: Option<&Path>, mode: u32) -> Output {
    match path {
        Some(path) if path.as_os_str() != "-" => {
            warn_of_compressed_name(path);
            Output::File { path: path.to_owned(), mode }
        }
        _ => Output::Stdout,
    }
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
