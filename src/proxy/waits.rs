//! Histogram of how long turns waited for their answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::nanos;

/// Upper bounds of the histogram buckets, seconds: loopback needs microseconds, a lost SYN costs
/// whole seconds.
pub(crate) const BOUNDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Count of waits in each bucket, and their sum.
#[derive(Debug, Default)]
pub(super) struct WaitCounters {
    /// The last bucket has no bound.
    intervals: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// The values of the counters at one time.
#[cfg(feature = "metrics")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WaitHistogram {
    /// Upper bound and count of each bucket; the last bound is infinite.
    pub(crate) intervals: Vec<(f64, u64)>,
    /// Seconds.
    pub(crate) sum: f64,
}

impl WaitCounters {
    pub(super) fn add(&self, wait: Duration) {
        let seconds = wait.as_secs_f64();
        let interval = BOUNDS.partition_point(|&bound| bound < seconds);
        self.intervals[interval].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos::of(wait), Ordering::Relaxed);
    }

    #[cfg(feature = "metrics")]
    pub(super) fn histogram(&self) -> WaitHistogram {
        let counts = self.intervals.iter().map(|count| count.load(Ordering::Relaxed));
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        WaitHistogram { intervals: bounds.zip(counts).collect(), sum }
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::*;

    #[test]
    fn a_wait_counts_below_the_first_bound_that_it_does_not_exceed() {
        let waits = WaitCounters::default();
        for millis in [1, 1, 2, 40_000] {
            waits.add(Duration::from_millis(millis));
        }
        let WaitHistogram { intervals, sum } = waits.histogram();
        let counted: Vec<_> = intervals.into_iter().filter(|&(_, count)| count > 0).collect();
        assert_eq!(counted, [(0.001, 2), (0.002_5, 1), (f64::INFINITY, 1)]);
        assert!((sum - 40.004).abs() < 1e-9, "{sum}");
    }
}
