//! Limits background work to a share of a CPU.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Maximum saved budget, as the time that it takes to save it: with a share of half a percent 25 ms
/// of work, enough for some hundred processes. Twice as much was 4 percent of the CPU time of one
/// and a half seconds of short connections.
const SAVED: Duration = Duration::from_secs(5);

/// The budget of this thread, as the time when its spending will be paid off.
#[derive(Debug)]
pub(crate) struct Budget {
    paid: Instant,
    share: u32,
}

impl Budget {
    /// At most one part in `share` of the time is spent.
    pub(crate) fn new(share: u32) -> Self {
        Self { paid: Instant::now(), share }
    }

    /// Runs some work; returns how long to pause after it.
    pub(crate) fn pause_after(&mut self, work: impl FnOnce()) -> Duration {
        let before = processor_time();
        work();
        self.spend(Instant::now(), processor_time().saturating_sub(before))
    }

    fn spend(&mut self, now: Instant, spent: Duration) -> Duration {
        self.paid = self.paid.max(now) + spent * self.share;
        (self.paid - now).saturating_sub(SAVED)
    }
}

/// CPU time of this thread so far.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_spent_without_a_pause_and_then_half_a_percent() {
        let mut budget = Budget::new(200);
        let start = Instant::now();
        let mut now = start;
        let step = Duration::from_millis(3);
        let mut spent = Duration::ZERO;
        while now < start + Duration::from_secs(60) {
            now += step;
            spent += step;
            let pause = budget.spend(now, step);
            if spent < Duration::from_millis(25) {
                assert!(pause.is_zero(), "{pause:?} after {spent:?}");
            }
            now += pause;
        }
        // 60 s give 300 ms, and 25 ms were there at the beginning.
        let most = Duration::from_millis(325) + step;
        assert!(spent <= most && spent > Duration::from_millis(300), "{spent:?}");
    }

    #[test]
    fn work_is_what_the_thread_used() {
        let mut budget = Budget::new(200);
        let pause = budget.pause_after(|| {
            let began = processor_time();
            while processor_time() < began + Duration::from_millis(50) {}
        });
        // 25 ms more than was saved up.
        assert!(pause > Duration::from_secs(4), "{pause:?}");
    }
}
