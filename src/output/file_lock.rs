//! A lock among the processes that append to one file: flock(2), on systems that have it. It keeps
//! others from writing into the middle of an incomplete line of ours.

use std::fs::File;
use std::time::{Duration, Instant};

/// The lock on one open file.
#[derive(Debug, Default)]
pub(super) struct FileLock {
    state: State,
    /// Since when we wait for another process to release it.
    wanted: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Held,
    /// The system or the file system has no such lock.
    Unsupported,
}

impl FileLock {
    /// Takes the lock, if it is not held already. `false` if another process holds it.
    #[cfg(unix)]
    pub(super) fn take(&mut self, file: &File) -> bool {
        use std::fs::TryLockError;

        if self.state == State::Free {
            match file.try_lock() {
                Ok(()) => (self.state, self.wanted) = (State::Held, None),
                Err(TryLockError::WouldBlock) => _ = self.wanted.get_or_insert_with(Instant::now),
                Err(TryLockError::Error(error)) => {
                    tracing::debug!(
                        "cannot lock the output file: {error}; continuing without a lock"
                    );
                    self.state = State::Unsupported;
                }
            }
        }
        self.state != State::Free
    }

    /// On other systems a lock would also block readers.
    #[cfg(not(unix))]
    pub(super) fn take(&mut self, _: &File) -> bool {
        true
    }

    /// How long we have waited for the lock.
    pub(super) fn waited(&self) -> Duration {
        self.wanted.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Restarts the measurement of the wait.
    pub(super) fn wait_again(&mut self) {
        self.wanted = self.wanted.map(|_| Instant::now());
    }

    pub(super) fn release(&mut self, file: &File) {
        if self.state == State::Held {
            // If it fails, closing the file releases it.
            self.state = if file.unlock().is_ok() { State::Free } else { State::Unsupported };
        }
    }
}
