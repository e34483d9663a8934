//! This machine's connections for `top`: a watch in the same process.

use std::thread::JoinHandle;
use std::time::Duration;

use conniver::output::{LineReader, QUEUE, QueueLimit};
use conniver::top::Source;
use conniver::watch::{Events, Settings, Summary, Watch, WatchError};

use crate::cli::exit::Failure;
use crate::cli::selection::SelectionArgs;

/// A watch whose lines `top` reads.
pub(super) struct Live(JoinHandle<Result<Summary, WatchError>>);

/// Starts a watch, with a dump each `interval`.
pub(super) fn start(
    selection: &SelectionArgs,
    interval: Duration,
) -> Result<(Source, Live), Failure> {
    let mut settings = Settings::default();
    settings.filter = selection.filter()?;
    settings.interval = interval;
    settings.events = Events::NONE;
    // The first line tells the time, even without sockets.
    settings.events.start = true;
    settings.events.socket = true;
    settings.events.sample = true;
    let limit = QueueLimit::new(QUEUE, "further lines are lost");
    let (recorder, end, lines) = LineReader::start(limit);
    let watch = Watch::open(settings, recorder).map_err(|error| {
        Failure::new(format!("{error}; conniver top FILE shows the records of a proxy"))
    })?;
    let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
        let ended = watch.run();
        // Also if it panics, so that the screen does not wait for it.
        drop(end);
        ended
    });
    let thread = thread.map_err(|error| Failure::new(format!("cannot start a thread: {error}")))?;
    Ok((Source::live("this machine's TCP connections", lines), Live(thread)))
}

impl Live {
    /// Why the watch has ended before the screen, if it failed.
    pub(super) fn failure(self) -> Option<Failure> {
        match self.0.join() {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(Failure::new(error)),
            Err(_) => Some(Failure::new("internal error (panic)")),
        }
    }
}
