//! Instants of a connection: the wall clock, read once, plus monotonic time.

use std::num::NonZeroU64;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A [`Duration`] in 8 bytes, also as an `Option`, for the state of open connections. Whole ns, at
/// most 584 years; stored plus one, so that zero is the niche for `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CompactDuration(NonZeroU64);

impl CompactDuration {
    const ZERO: Self = Self(NonZeroU64::MIN);

    pub(crate) const fn new(duration: Duration) -> Self {
        // as_nanos has 128 bits, and this is done at every read and write.
        let seconds = duration.as_secs().saturating_mul(1_000_000_000);
        let nanos = seconds.saturating_add(duration.subsec_nanos() as u64);
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    pub(crate) fn get(self) -> Duration {
        Duration::from_nanos(self.count())
    }

    fn count(self) -> u64 {
        self.0.get() - 1
    }
}

impl Default for CompactDuration {
    fn default() -> Self {
        Self::ZERO
    }
}

impl AddAssign for CompactDuration {
    fn add_assign(&mut self, more: Self) {
        self.0 = self.0.saturating_add(more.count());
    }
}

/// Saturates at zero.
impl SubAssign for CompactDuration {
    fn sub_assign(&mut self, less: Self) {
        *self = *self - less;
    }
}

/// Less than nothing is nothing.
impl Sub for CompactDuration {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self(NonZeroU64::MIN.saturating_add(self.count().saturating_sub(less.count())))
    }
}

impl Add for CompactDuration {
    type Output = Self;

    fn add(mut self, more: Self) -> Self {
        self += more;
        self
    }
}

impl From<Duration> for CompactDuration {
    fn from(duration: Duration) -> Self {
        Self::new(duration)
    }
}

/// An [`Instant`] in 8 bytes, also as an `Option`, for the state of open connections. Stored as the
/// time since [`START`]; earlier instants become the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CompactInstant(CompactDuration);

/// The origin of [`CompactInstant`]: the first instant that this process read.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl CompactInstant {
    pub(crate) fn now() -> Self {
        Instant::now().into()
    }

    /// The time since `earlier`; zero if that was later.
    pub(crate) fn since(self, earlier: Self) -> CompactDuration {
        let (CompactDuration(now), CompactDuration(then)) = (self.0, earlier.0);
        CompactDuration(NonZeroU64::MIN.saturating_add(now.get().saturating_sub(then.get())))
    }

    /// Like [`since`](Self::since), as a [`Duration`].
    pub(crate) fn saturating_since(self, earlier: Self) -> Duration {
        self.since(earlier).get()
    }

    /// The time since `earlier`; `None` if that was later.
    #[cfg(feature = "proxy")]
    pub(crate) fn checked_since(self, earlier: Self) -> Option<Duration> {
        self.0.get().checked_sub(earlier.0.get())
    }

    /// The time from this moment to now.
    #[cfg(feature = "proxy")]
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().saturating_since(self)
    }

    /// `duration` after this moment.
    #[cfg(feature = "proxy")]
    pub(crate) fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.get().saturating_add(duration).into())
    }

    /// `duration` before this moment, but not before the start.
    #[cfg(feature = "proxy")]
    pub(crate) fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.get().saturating_sub(duration).into())
    }
}

impl From<Instant> for CompactInstant {
    fn from(instant: Instant) -> Self {
        Self(instant.saturating_duration_since(*START).into())
    }
}

impl From<CompactInstant> for Instant {
    fn from(CompactInstant(since_start): CompactInstant) -> Self {
        *START + since_start.get()
    }
}

/// Ties the monotonic clock to the wall clock, so that differences between instants are durations,
/// even if the wall clock is set meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    wall: i64,
    monotonic: CompactInstant,
}

impl Epoch {
    pub(crate) fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            wall: i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX),
            monotonic: CompactInstant::now(),
        }
    }

    /// Read now, for something that began at `moment`.
    #[cfg(feature = "proxy")]
    pub(crate) fn beginning_at(moment: CompactInstant) -> Self {
        let now = Self::now();
        let since = now.monotonic.saturating_since(moment);
        let since_ns = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        Self {
            wall: now.wall.saturating_sub(since_ns),
            monotonic: now.monotonic.saturating_sub(since),
        }
    }

    /// The moment at which the clocks were read.
    pub(crate) fn start(&self) -> CompactInstant {
        self.monotonic
    }

    /// How far the wall clock, which shows `wall` at `monotonic`, has been set since: ns, negative
    /// when it was set back. Slewing (NTP) affects both clocks alike.
    #[cfg(feature = "proxy")]
    pub(crate) fn step(&self, wall: SystemTime, monotonic: CompactInstant) -> i64 {
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let shown = i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX);
        shown.saturating_sub(self.unix_nanos(monotonic))
    }

    /// `moment` in Unix ns.
    pub(crate) fn unix_nanos(&self, moment: CompactInstant) -> i64 {
        let since = moment.saturating_since(self.monotonic);
        self.wall.saturating_add(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// `duration` after `instant`, capped at a century to avoid overflow.
#[cfg(feature = "proxy")]
pub(crate) fn after(instant: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    instant.checked_add(duration.min(CENTURY)).unwrap_or(instant)
}

/// The deadline of a time limit that began at `instant`. Zero is no limit.
#[cfg(feature = "proxy")]
pub(crate) fn deadline(instant: Instant, limit: Duration) -> Instant {
    after(instant, if limit.is_zero() { Duration::MAX } else { limit })
}

/// Waits until a time; forever if there is none.
#[cfg(feature = "proxy")]
pub(crate) async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(all(test, feature = "proxy"))]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_shows_by_how_much_and_which_way() {
        let epoch = Epoch::now();
        let later = (Instant::from(epoch.start()) + Duration::from_secs(5)).into();
        let shown = UNIX_EPOCH + Duration::from_nanos(epoch.unix_nanos(later).cast_unsigned());
        let hour = Duration::from_secs(3600);
        assert_eq!(epoch.step(shown, later), 0);
        assert_eq!(epoch.step(shown + hour, later), 3_600_000_000_000);
        assert_eq!(epoch.step(shown - hour, later), -3_600_000_000_000);
    }

    #[test]
    fn a_moment_and_a_duration_take_8_bytes_and_so_do_those_that_may_be_none() {
        assert_eq!((size_of::<CompactInstant>(), size_of::<Option<CompactInstant>>()), (8, 8));
        assert_eq!((size_of::<CompactDuration>(), size_of::<Option<CompactDuration>>()), (8, 8));
    }

    #[test]
    fn a_moment_is_the_instant_that_it_was_made_of_to_the_nanosecond() {
        let earlier = *START + Duration::new(5, 999_999_999);
        let later = earlier + Duration::from_nanos(2);
        let [from, to] = [earlier, later].map(CompactInstant::from);
        assert_eq!([from, to].map(Instant::from), [earlier, later]);
        assert_eq!(to.checked_since(from), Some(Duration::from_nanos(2)));
        assert_eq!(from.checked_since(to), None);
        assert_eq!(from.saturating_since(to), Duration::ZERO);
    }

    #[test]
    fn durations_add_up_until_there_is_no_longer_one() {
        let mut nanos = CompactDuration::default();
        assert_eq!(nanos.get(), Duration::ZERO);
        for _ in 0..3 {
            nanos += Duration::new(2, 999_999_999).into();
        }
        assert_eq!(nanos.get(), Duration::new(8, 999_999_997));
        nanos += Duration::MAX.into();
        assert_eq!(nanos, CompactDuration::from(Duration::MAX));
    }

    #[test]
    fn there_is_no_moment_before_the_start() {
        let start = CompactInstant::from(*START);
        let second = Duration::from_secs(1);
        if let Some(before) = START.checked_sub(second) {
            assert_eq!(CompactInstant::from(before), start);
        }
        assert_eq!(start.saturating_sub(second), start);
        assert_eq!(Instant::from(start), *START);
    }
}
