//! Totals of the turns of a pair, in constant memory.

use std::time::Duration;

use super::quantiles::Quantiles;
use super::time_by_cause::{Charges, Doubts};
use crate::clock::{CompactDuration, CompactInstant};
use crate::record::LimitedBy;

/// How many of the turns that waited longest are kept.
const SLOWEST: usize = 3;

/// A turn that has ended: a request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FinishedTurn {
    /// 1, 2, 3… of the pair's turns.
    pub(crate) number: u64,
    /// When the request's first byte was read.
    pub(crate) at: CompactInstant,
    /// Until its last byte was written to the upstream's socket.
    pub(crate) request: Duration,
    /// From there to the answer's first byte.
    pub(crate) wait: Duration,
    /// The path's share of the wait.
    pub(crate) on_path: Duration,
    /// From the answer's first byte until its last one was written to the client's socket. `None` without
    /// an answer.
    pub(crate) answer: Option<Duration>,
    pub(crate) request_bytes: u64,
    pub(crate) answer_bytes: u64,
    /// The answer began before the request can have arrived, or while it was still written.
    pub(crate) is_crossed: bool,
    /// Who certainly took more than half of the duration.
    pub(crate) limited_by: LimitedBy,
}

impl FinishedTurn {
    /// From the request's first byte to the answer's last one.
    pub(crate) fn duration(&self) -> Duration {
        self.request + self.wait + self.answer.unwrap_or_default()
    }
}

/// Sum and maximum of one part of all turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimeSum {
    pub(crate) total: CompactDuration,
    pub(crate) longest: CompactDuration,
}

impl TimeSum {
    fn add(&mut self, time: Duration) {
        let time = CompactDuration::new(time);
        self.total += time;
        self.longest = self.longest.max(time);
    }
}

/// The turns of a pair so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    /// How many of them were answered before their requests can have arrived, so that the answers
    /// belong to other requests.
    pub(crate) crossed: u64,
    pub(crate) unanswered: u64,
    pub(crate) request: TimeSum,
    pub(crate) wait: TimeSum,
    pub(crate) answer: TimeSum,
    /// The longest waits first.
    pub(crate) slowest: Vec<FinishedTurn>,
    /// Turns that ended since they were last taken, if they are kept.
    pub(crate) finished: Vec<FinishedTurn>,
    waits: Quantiles,
    /// The charges before the current turn, and what of them is doubtful.
    pub(super) charged_before: Charges,
    pub(super) doubted_before: Doubts,
}

impl Tally {
    pub(super) fn add(&mut self, turn: FinishedTurn) {
        self.count += 1;
        self.crossed += u64::from(turn.is_crossed);
        self.unanswered += u64::from(turn.answer.is_none());
        self.request.add(turn.request);
        self.wait.add(turn.wait);
        self.answer.add(turn.answer.unwrap_or_default());
        self.waits.add(turn.wait);
        let place = self.slowest.partition_point(|slower| slower.wait >= turn.wait);
        if place < SLOWEST {
            self.slowest.truncate(SLOWEST - 1);
            self.slowest.insert(place, turn);
        }
    }

    /// Whether so many answers came out of turn that requests and answers cannot be matched.
    pub(super) fn is_mixed(&self) -> bool {
        /// More than one in `EACH`, and at least `LEAST`.
        const EACH: u64 = 20;
        const LEAST: u64 = 3;
        self.crossed >= LEAST && self.crossed * EACH > self.count
    }

    /// The wait that `percent` of the turns did not exceed.
    pub(crate) fn wait_quantile(&self, percent: u64) -> Duration {
        self.waits.quantile(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(wait: u64) -> FinishedTurn {
        FinishedTurn {
            number: 0,
            at: CompactInstant::now(),
            request: Duration::from_millis(1),
            wait: Duration::from_millis(wait),
            on_path: Duration::ZERO,
            answer: (wait != 7).then_some(Duration::from_millis(2)),
            request_bytes: 1,
            answer_bytes: 1,
            is_crossed: wait == 1,
            limited_by: LimitedBy::None,
        }
    }

    #[test]
    fn the_three_that_waited_longest_are_kept_in_order() {
        let mut tally = Tally::default();
        for wait in [5, 7, 9, 1, 8, 2] {
            tally.add(turn(wait));
        }
        let waits: Vec<_> = tally.slowest.iter().map(|turn| turn.wait.as_millis()).collect();
        assert_eq!(waits, [9, 8, 7]);
        assert_eq!((tally.count, tally.crossed, tally.unanswered), (6, 1, 1));
        assert_eq!(tally.wait.total.get(), Duration::from_millis(32));
        assert_eq!(tally.answer.longest.get(), Duration::from_millis(2));
        assert_eq!(tally.wait_quantile(50), Duration::from_millis(5));
    }
}
