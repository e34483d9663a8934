//! Noticing that the reader of standard output has gone before there is anything to write to it.

use super::signals::Stopper;

/// Asks to stop when standard output is a pipe or socket whose reader closes it. Where standard
/// output is anything else, nothing ever happens.
#[cfg(unix)]
pub(crate) fn stop_when_reader_leaves(stopper: Stopper) {
    use std::os::fd::AsFd;

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let watch = move || {
        let stdout = std::io::stdout();
        // No events are asked for: errors and hang-ups are always told.
        let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(_) => return,
                Ok(_) => {
                    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
                    if watched[0].revents().is_some_and(|events| events.intersects(gone)) {
                        stopper.request_for_lack_of_a_reader();
                    }
                    return;
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("output watch".to_owned());
    if let Err(error) = thread.spawn(watch) {
        tracing::debug!(
            "cannot watch standard output: {error}; its end will be noticed at the next record"
        );
    }
}

/// Elsewhere it shows at the next record.
#[cfg(not(unix))]
pub(crate) fn stop_when_reader_leaves(_stopper: Stopper) {}
