//! A lock among the processes that append to one file: flock(2), on systems that have it. It keeps them
//! from writing into the middle of a line of ours that a full disk cut short.

use std::fs::File;
use std::time::{Duration, Instant};

/// The lock on a file that stays open as long as this is used for it.
#[derive(Debug, Default)]
pub(super) struct FileLock {
    state: State,
    /// Since when another process holds it and we want it.
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
    /// Takes it, or has it already. `false` if another process has it.
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

    /// Elsewhere a lock would keep readers out as well.
    #[cfg(not(unix))]
    pub(super) fn take(&mut self, _: &File) -> bool {
        true
    }

    /// How long another process has had it while we wanted it.
    pub(super) fn waited(&self) -> Duration {
        self.wanted.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Begins to wait for it anew.
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
