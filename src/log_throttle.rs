//! Throttles log messages about frequent events.

use std::time::{Duration, Instant};

/// After this long without the event, its next occurrence is logged again.
const OVER: Duration = Duration::from_secs(60);

/// Minimum interval between two messages about individual events.
#[cfg(feature = "metrics")]
const APART: Duration = Duration::from_secs(1);

/// Logs an event once per episode: at its first occurrence, and again after a pause.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    last: Option<Instant>,
}

impl LogThrottle {
    /// Notes an occurrence; returns whether it begins a new episode.
    pub(crate) fn should_log(&mut self) -> bool {
        let now = Instant::now();
        self.last.replace(now).is_none_or(|last| now.duration_since(last) > OVER)
    }
}

/// Limits messages about events that clients can repeat at will: one message per second describes
/// one event and counts the others.
#[cfg(feature = "metrics")]
#[derive(Debug, Default)]
pub(crate) struct LogRateLimit {
    /// When the latest message was written.
    last: Option<Instant>,
    /// Events since then without a message.
    untold: u64,
}

#[cfg(feature = "metrics")]
impl LogRateLimit {
    /// Notes an event; returns whether it may be logged now. Otherwise it is counted.
    pub(crate) fn should_log(&mut self) -> bool {
        let now = Instant::now();
        let should_log =
            self.untold == 0 && self.last.is_none_or(|last| now.duration_since(last) >= APART);
        if should_log {
            self.last = Some(now);
        } else {
            self.untold += 1;
        }
        should_log
    }

    /// When counted events are to be logged. `None` when there are none.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.last.filter(|_| self.untold > 0).map(|last| last + APART)
    }

    /// Takes the number of counted events, for a message that is written now.
    pub(crate) fn take_count(&mut self) -> u64 {
        self.last = Some(Instant::now());
        std::mem::take(&mut self.untold)
    }
}
