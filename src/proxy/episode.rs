//! Saying once what happens often.

use std::time::{Duration, Instant};

/// When something has not happened for so long, its next time is worth a word again.
const OVER: Duration = Duration::from_secs(60);

/// Something that happens many times in a row.
#[derive(Debug, Default)]
pub(super) struct Episode {
    last: Option<Instant>,
}

impl Episode {
    /// Notes that it happens now; whether that begins a new episode.
    pub(super) fn begins(&mut self) -> bool {
        let now = Instant::now();
        self.last.replace(now).is_none_or(|last| now.duration_since(last) > OVER)
    }
}
