//! Quantiles of any number of durations, in bounded memory.

use std::time::Duration;

use serde::{Serialize, Serializer};
use sketches_ddsketch::{Config, DDSketch};

use crate::nanos;

/// Relative error of a quantile.
const ERROR: f64 = 0.01;

/// Most bins, of 8 bytes: enough for 1 ns to 10,000 years without merging any.
const BINS: u32 = 2048;

/// A sketch of durations: any quantile within 1 %, minimum and maximum exactly.
#[derive(Clone)]
pub struct Quantiles(DDSketch);

impl Default for Quantiles {
    fn default() -> Self {
        Self(DDSketch::new(Config::new(ERROR, BINS, 1.0)))
    }
}

impl std::fmt::Debug for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Quantiles").field(&self.figures()).finish()
    }
}

/// As its figures, null of no durations.
impl Serialize for Quantiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.figures().serialize(serializer)
    }
}

impl Quantiles {
    /// Adds a duration.
    pub fn add(&mut self, duration: Duration) {
        self.add_times(duration, 1);
    }

    /// Adds a duration so many times.
    pub fn add_times(&mut self, duration: Duration, times: u64) {
        if times > 0 {
            self.0.add_with_count(duration.as_nanos() as f64, times);
        }
    }

    /// Adds those of another sketch.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same configuration, the only thing that can be wrong.
        let _ = self.0.merge(&other.0);
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.0.count() as u64
    }

    /// The quantile at `share`, 0.0 to 1.0, by nearest rank: the smallest duration that at least this share
    /// does not exceed. `None` of no durations.
    pub fn at(&self, share: f64) -> Option<Duration> {
        let last = self.count().checked_sub(1)? as f64;
        let index = ((share * (last + 1.0)).ceil() - 1.0).clamp(0.0, last);
        // The sketch takes the place below `share * last`; half a place keeps rounding away.
        let share = if index == last { 1.0 } else { (index + 0.5) / last };
        // Minimum and maximum are exact, and bound the others.
        let nanos = self.0.quantile(share).ok()??;
        let (min, max) = (self.0.min()?, self.0.max()?);
        Some(duration(nanos.clamp(min, max)))
    }

    /// The largest. `None` of no durations.
    pub fn max(&self) -> Option<Duration> {
        self.0.max().map(duration)
    }

    /// The figures of a table. `None` of no durations.
    pub fn figures(&self) -> Option<TimeFigures> {
        let (p50, p99, max) = (self.at(0.5)?, self.at(0.99)?, self.max()?);
        Some(TimeFigures { count: self.count(), p50, p99, max })
    }
}

fn duration(nanos: f64) -> Duration {
    Duration::try_from_secs_f64(nanos / 1e9).unwrap_or_default()
}

/// Quantiles of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TimeFigures {
    /// How many there are.
    pub count: u64,
    /// The median, ns, within 1 %.
    #[serde(with = "nanos")]
    pub p50: Duration,
    /// The 99th percentile, ns, within 1 %. Of fewer than 100 it is the largest.
    #[serde(with = "nanos")]
    pub p99: Duration,
    /// The largest, ns.
    #[serde(with = "nanos")]
    pub max: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_one_percent_and_the_maximum_is_exact() {
        let mut quantiles = Quantiles::default();
        assert_eq!(quantiles.figures(), None);
        for micros in 1..=10_000 {
            quantiles.add(Duration::from_micros(micros));
        }
        let mut other = Quantiles::default();
        other.add_times(Duration::from_secs(3600), 1);
        quantiles.merge(&other);
        let figures = quantiles.figures().unwrap();
        let is_near =
            |time: Duration, micros: f64| (time.as_secs_f64() * 1e6 / micros - 1.0).abs() < 0.011;
        assert!(is_near(figures.p50, 5000.0) && is_near(figures.p99, 9900.0), "{figures:?}");
        assert_eq!((figures.count, figures.max), (10_001, Duration::from_secs(3600)));
    }

    #[test]
    fn quantiles_are_those_of_the_nearest_rank() {
        let mut quantiles = Quantiles::default();
        for millis in [1, 2, 3, 4000] {
            quantiles.add(Duration::from_millis(millis));
        }
        let figures = quantiles.figures().unwrap();
        assert_eq!(figures.p99, Duration::from_secs(4));
        assert!((figures.p50.as_secs_f64() * 1e3 / 2.0 - 1.0).abs() < 0.011, "{figures:?}");
        quantiles.add_times(Duration::from_millis(5), 96);
        assert!(quantiles.at(0.99).unwrap() < Duration::from_millis(6));
    }

    #[test]
    fn one_duration_is_told_exactly_and_zero_is_a_duration() {
        let mut quantiles = Quantiles::default();
        quantiles.add(Duration::ZERO);
        assert_eq!(quantiles.at(0.5), Some(Duration::ZERO));
        let mut quantiles = Quantiles::default();
        quantiles.add(Duration::from_nanos(123_456_789));
        assert_eq!(quantiles.at(0.5), Some(Duration::from_nanos(123_456_789)));
    }
}
