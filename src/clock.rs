//! Instants of one connection: a wall clock read once, and monotonic time since.

use std::num::NonZeroU64;
use std::ops::AddAssign;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A [`Duration`] in 8 bytes, an optional one too, for what each open connection keeps. In whole ns, at
/// most 584 years; one is added, because zero stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(NonZeroU64);

impl Nanos {
    const ZERO: Self = Self(NonZeroU64::MIN);

    pub(crate) fn get(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }
}

impl Default for Nanos {
    fn default() -> Self {
        Self::ZERO
    }
}

impl AddAssign<Duration> for Nanos {
    fn add_assign(&mut self, duration: Duration) {
        // as_nanos has 128 bits, and this is done at every read and write.
        let seconds = duration.as_secs().saturating_mul(1_000_000_000);
        let nanos = seconds.saturating_add(duration.subsec_nanos().into());
        self.0 = self.0.saturating_add(nanos);
    }
}

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Self {
        let mut nanos = Self::ZERO;
        nanos += duration;
        nanos
    }
}

/// Ties the monotonic clock to the wall clock at one moment, so that differences between instants
/// are durations, whatever happens to the wall clock meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    wall: i64,
    monotonic: Instant,
}

impl Epoch {
    pub(crate) fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            wall: i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX),
            monotonic: Instant::now(),
        }
    }

    /// The moment at which the clocks were read.
    pub(crate) fn start(&self) -> Instant {
        self.monotonic
    }

    /// How far the wall clock has been set since, when it shows `wall` at `monotonic`: ns, negative
    /// when it was set back. Adjusting its pace (NTP) changes both clocks alike.
    #[cfg(feature = "proxy")]
    pub(crate) fn step(&self, wall: SystemTime, monotonic: Instant) -> i64 {
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let shown = i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX);
        shown.saturating_sub(self.unix_nanos(monotonic))
    }

    /// `instant` in Unix ns.
    pub(crate) fn unix_nanos(&self, instant: Instant) -> i64 {
        let since = instant.saturating_duration_since(self.monotonic);
        self.wall.saturating_add(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// `duration` after `instant`; a time that no clock can show becomes one that nobody waits for.
#[cfg(feature = "proxy")]
pub(crate) fn after(instant: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    instant.checked_add(duration.min(CENTURY)).unwrap_or(instant)
}

#[cfg(all(test, feature = "proxy"))]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_shows_by_how_much_and_which_way() {
        let epoch = Epoch::now();
        let later = epoch.start() + Duration::from_secs(5);
        let shown = UNIX_EPOCH + Duration::from_nanos(epoch.unix_nanos(later).cast_unsigned());
        let hour = Duration::from_secs(3600);
        assert_eq!(epoch.step(shown, later), 0);
        assert_eq!(epoch.step(shown + hour, later), 3_600_000_000_000);
        assert_eq!(epoch.step(shown - hour, later), -3_600_000_000_000);
    }
}
