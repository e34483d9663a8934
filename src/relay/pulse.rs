//! Noticing that the proxy itself stood still: stopped, starved of processors, or stuck.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::clock::{Moment, Nanos};

/// From one beat to the next.
const PERIOD: Duration = Duration::from_millis(100);

/// Beats after which a pulse stops, if no pair has moved anything meanwhile: a second.
const ROUND: u32 = 10;

/// A beat that is late by no more than this says nothing: timers and busy processors do that.
const GRAIN: Duration = Duration::from_millis(50);

/// Whatever the proxy does within so much of a late beat it does when it goes on again.
const AT_ONCE: Duration = Duration::from_millis(20);

/// A beat ten times a second, as long as pairs move bytes. When it came too late, whatever pairs
/// seemed to wait for meanwhile, they waited for the proxy.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    moved: AtomicBool,
    arm: Notify,
    beats: Mutex<Beats>,
}

#[derive(Debug, Default)]
struct Beats {
    /// When the next beat is due. `None` while there is none to come.
    due: Option<Instant>,
    /// Due and come, of the last one that came too late.
    late: Option<(Instant, Instant)>,
}

impl Pulse {
    /// Beats when there is need to, for ever.
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

    /// Beats for ever.
    #[cfg(feature = "stat")]
    pub(crate) async fn keep_beating(&self) -> ! {
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

    /// A pair has moved bytes. Nearly always that is known.
    pub(super) fn pair_moved(&self) {
        if !self.moved.load(Ordering::Relaxed) {
            self.moved.store(true, Ordering::Relaxed);
            self.arm.notify_one();
        }
    }

    /// Of the time from `from` to `to`, which is now: how long the proxy has stood still at its end. A stall
    /// that was over before took nothing from whoever was waited for. `None` when there was none, or when
    /// the time is too short to tell, as most waits are.
    pub(super) fn stalled_until(&self, from: Moment, to: Moment) -> Option<Duration> {
        if to.since(from) <= const { Nanos::of(GRAIN) } {
            return None;
        }
        let (from, to) = (Instant::from(from), Instant::from(to));
        let beats = self.beats();
        // Whoever waited may wake before the pulse does.
        let overdue = beats.due.filter(|&due| to.saturating_duration_since(due) > GRAIN);
        let last = beats.late;
        let late = overdue.map(|due| (due, to)).or(last).filter(|&(_, come)| come + AT_ONCE >= to);
        let still = late.map(|(due, _)| to.saturating_duration_since(due.max(from)));
        still.filter(|still| !still.is_zero())
    }

    /// One that was due and came at these times.
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
        let start = Instant::from(Moment::now());
        let pulse = Pulse::late(start + ms(500), start + ms(900));
        let still =
            |from, to| pulse.stalled_until((start + ms(from)).into(), (start + ms(to)).into());
        assert_eq!(still(0, 900), Some(ms(400)));
        assert_eq!(still(600, 905), Some(ms(305)), "it woke a moment after the pulse");
        assert_eq!(still(0, 1000), None, "it was over before");
        assert_eq!(still(870, 910), None, "too short to tell");
    }

    #[test]
    fn a_beat_that_is_overdue_counts_before_it_comes() {
        let pulse = Pulse::default();
        let start = Instant::from(Moment::now());
        pulse.beats().due = Some(start + ms(100));
        let still = |to| pulse.stalled_until(start.into(), (start + ms(to)).into());
        assert_eq!(still(90), None);
        assert_eq!(still(150), None, "within the grain");
        assert_eq!(still(1100), Some(ms(1000)));
    }

    #[tokio::test]
    async fn it_beats_while_pairs_move_bytes_and_stops_a_second_after() {
        let pulse = std::sync::Arc::new(Pulse::default());
        let running = tokio::spawn({
            let pulse = std::sync::Arc::clone(&pulse);
            async move { pulse.run().await }
        });
        pulse.pair_moved();
        let is_armed = || pulse.beats().due.is_some();
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
