//! Detects when the proxy itself was stalled: stopped, without CPU time, or blocked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::clock::{CompactDuration, CompactInstant};

/// Interval between two beats.
const PERIOD: Duration = Duration::from_millis(100);

/// After this many beats (one second) without activity of any pair, the beat pauses.
const ROUND: u32 = 10;

/// A beat that is late by no more than this proves nothing: timers and busy processors cause as
/// much.
const GRAIN: Duration = Duration::from_millis(50);

/// What happens within this time of a late beat happens because the proxy goes on again.
const AT_ONCE: Duration = Duration::from_millis(20);

/// Beats ten times a second while pairs move bytes. When a beat is late, all pairs waited for the
/// proxy meanwhile, whatever else they seemed to wait for.
#[derive(Debug, Default)]
pub(crate) struct StallDetector {
    moved: AtomicBool,
    arm: Notify,
    beats: Mutex<Beats>,
}

#[derive(Debug, Default)]
struct Beats {
    /// When the next beat is due. `None` while the beat pauses.
    due: Option<Instant>,
    /// The last late beat: when it was due and when it came.
    late: Option<(Instant, Instant)>,
}

impl StallDetector {
    /// Runs forever; beats while pairs are active.
    pub(crate) async fn run(&self) {
        loop {
            self.arm.notified().await;
            while self.moved.swap(false, Ordering::Relaxed) {
                for _ in 0..ROUND {
                    self.beat().await;
                }
            }
            self.beats().due = None;
        }
    }

    /// Runs forever and always beats.
    #[cfg(feature = "stat")]
    pub(crate) async fn run_forever(&self) -> ! {
        loop {
            self.beat().await;
        }
    }

    async fn beat(&self) {
        let due = Instant::now() + PERIOD;
        self.beats().due = Some(due);
        tokio::time::sleep_until(due.into()).await;
        let come = Instant::now();
        if come - due > GRAIN {
            self.beats().late = Some((due, come));
        }
    }

    /// Notes that a pair has moved bytes. Nearly always the flag is set already.
    pub(super) fn note_activity(&self) {
        if !self.moved.load(Ordering::Relaxed) {
            self.moved.store(true, Ordering::Relaxed);
            self.arm.notify_one();
        }
    }

    /// How long the proxy was stalled at the end of the time from `from` to `to`, which is now. An
    /// earlier stall does not matter to a wait that went on after it. `None` without a stall, or
    /// when the time is too short to tell, as most waits are.
    pub(super) fn stall_before(
        &self,
        from: CompactInstant,
        to: CompactInstant,
    ) -> Option<Duration> {
        if to.since(from) <= const { CompactDuration::new(GRAIN) } {
            return None;
        }
        let (from, to) = (Instant::from(from), Instant::from(to));
        let beats = self.beats();
        // The waiting task may wake before the beat does.
        let overdue = beats.due.filter(|&due| to.saturating_duration_since(due) > GRAIN);
        let last = beats.late;
        let late = overdue.map(|due| (due, to)).or(last).filter(|&(_, come)| come + AT_ONCE >= to);
        let still = late.map(|(due, _)| to.saturating_duration_since(due.max(from)));
        still.filter(|still| !still.is_zero())
    }

    /// A detector whose last late beat was due and came at these times.
    #[cfg(test)]
    pub(super) fn late(due: Instant, come: Instant) -> Self {
        let beats = Beats { due: None, late: Some((due, come)) };
        Self { beats: Mutex::new(beats), ..Self::default() }
    }

    /// Consistent after every statement, so a panic elsewhere does not spoil it.
    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn of_a_wait_only_a_stall_that_ended_it_is_the_proxys() {
        let start = Instant::from(CompactInstant::now());
        let stall_detector = StallDetector::late(start + ms(500), start + ms(900));
        let still = |from, to| {
            stall_detector.stall_before((start + ms(from)).into(), (start + ms(to)).into())
        };
        assert_eq!(still(0, 900), Some(ms(400)));
        assert_eq!(still(600, 905), Some(ms(305)), "it woke a moment after the pulse");
        assert_eq!(still(0, 1000), None, "it was over before");
        assert_eq!(still(870, 910), None, "too short to tell");
    }

    #[test]
    fn a_beat_that_is_overdue_counts_before_it_comes() {
        let stall_detector = StallDetector::default();
        let start = Instant::from(CompactInstant::now());
        stall_detector.beats().due = Some(start + ms(100));
        let still = |to| stall_detector.stall_before(start.into(), (start + ms(to)).into());
        assert_eq!(still(90), None);
        assert_eq!(still(150), None, "within the grain");
        assert_eq!(still(1100), Some(ms(1000)));
    }

    #[tokio::test]
    async fn it_beats_while_pairs_move_bytes_and_stops_a_second_after() {
        let stall_detector = std::sync::Arc::new(StallDetector::default());
        let running = tokio::spawn({
            let stall_detector = std::sync::Arc::clone(&stall_detector);
            async move { stall_detector.run().await }
        });
        stall_detector.note_activity();
        let is_armed = || stall_detector.beats().due.is_some();
        while !is_armed() {
            tokio::task::yield_now().await;
        }
        let armed = Instant::now();
        while is_armed() {
            tokio::time::sleep(ms(10)).await;
        }
        assert!(armed.elapsed() >= ms(900), "{:?}", armed.elapsed());
        running.abort();
    }
}
