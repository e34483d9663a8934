//! Log lines about what happens often.

use std::time::{Duration, Instant};

/// When something has not happened for so long, its next time is worth a word again.
const OVER: Duration = Duration::from_secs(60);

/// Least time between two lines about things that are told one by one.
#[cfg(feature = "metrics")]
const APART: Duration = Duration::from_secs(1);

/// Something that happens many times in a row, and is said once.
#[derive(Debug, Default)]
pub(crate) struct Episode {
    last: Option<Instant>,
}

impl Episode {
    /// Notes that it happens now; whether that begins a new episode.
    pub(crate) fn begins(&mut self) -> bool {
        let now = Instant::now();
        self.last.replace(now).is_none_or(|last| now.duration_since(last) > OVER)
    }
}

/// Things of which each is worth a line, but which a client can repeat at will: one line a second tells
/// of one, and how many others there were.
#[cfg(feature = "metrics")]
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// When the latest line was written.
    last: Option<Instant>,
    /// What happened since and was not told.
    untold: u64,
}

#[cfg(feature = "metrics")]
impl Throttle {
    /// Notes that it happens; whether it may have a line now. Otherwise it is counted.
    pub(crate) fn admits(&mut self) -> bool {
        let now = Instant::now();
        let admits =
            self.untold == 0 && self.last.is_none_or(|last| now.duration_since(last) >= APART);
        if admits {
            self.last = Some(now);
        } else {
            self.untold += 1;
        }
        admits
    }

    /// When those that were counted are to be told. `None` when there are none.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.last.filter(|_| self.untold > 0).map(|last| last + APART)
    }

    /// How many things are told by the line that is written now.
    pub(crate) fn take_untold(&mut self) -> u64 {
        self.last = Some(Instant::now());
        std::mem::take(&mut self.untold)
    }
}
