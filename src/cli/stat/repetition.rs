//! The table at the end of `-n`.

use std::fmt;
use std::time::Duration;

use conniver::plural::counted;
use conniver::record::Outcome;
use conniver::record::stat::{Exchange, Stat};

use super::report::rtt_at_end;
use crate::cli::table::{Align, Cell, GAP, Table};

type Time = fn(&Exchange) -> Option<Duration>;

const TIMES: [(&str, Time); 7] = [
    ("DNS lookup", |exchange| exchange.phases.resolve),
    ("TCP connection", |exchange| exchange.phases.connect),
    ("TLS handshake", |exchange| exchange.phases.tls),
    ("server processing", |exchange| exchange.phases.server),
    ("content transfer", |exchange| exchange.phases.transfer),
    ("total", |exchange| Some(exchange.duration)),
    ("RTT", rtt_at_end),
];

/// The times of the repetitions that went well.
#[derive(Debug, Default)]
pub(super) struct Repetitions {
    count: u64,
    failed: u64,
    times: [Vec<Duration>; TIMES.len()],
}

impl Repetitions {
    /// Adds one; of redirects, the last exchange counts.
    pub(super) fn add(&mut self, stat: &Stat) {
        self.count += 1;
        if stat.exchange.outcome != Outcome::Ok {
            self.failed += 1;
            return;
        }
        for ((_, time), times) in TIMES.iter().zip(&mut self.times) {
            times.extend(time(&stat.exchange));
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed > 0
    }
}

/// The smallest of `sorted` that so many percent are not above (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

impl fmt::Display for Repetitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, failed, .. } = self;
        write!(f, "{}, {failed} failed", counted(*count, "request"))?;
        let figures = ["min", "p50", "p99"].map(|head| (head, Align::Right));
        let mut table = Table::new([("", Align::Left)].into_iter().chain(figures));
        for ((name, _), times) in TIMES.iter().zip(&self.times) {
            if times.is_empty() {
                continue;
            }
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let figures = [0, 50, 99].into_iter().filter_map(|p| percentile(&sorted, p));
            let figures = figures.map(|figure| Cell::plain(format!("{figure:.1?}")));
            table.add([Cell::plain(*name)].into_iter().chain(figures).collect());
        }
        if self.count > self.failed {
            for line in table.lines(usize::MAX, GAP) {
                write!(f, "\n{line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let ms = |range: std::ops::RangeInclusive<u64>| {
            range.map(Duration::from_millis).collect::<Vec<_>>()
        };
        for (sorted, percent, expected) in [
            (ms(1..=100), 0, 1),
            (ms(1..=100), 50, 50),
            (ms(1..=100), 99, 99),
            (ms(1..=101), 99, 100),
            (ms(1..=3), 50, 2),
            (ms(1..=3), 99, 3),
            (ms(7..=7), 50, 7),
        ] {
            let found = percentile(&sorted, percent);
            assert_eq!(found, Some(Duration::from_millis(expected)), "{percent} of {sorted:?}");
        }
        assert_eq!(percentile(&[], 50), None);
    }
}
