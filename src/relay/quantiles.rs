//! Quantiles of the waits of a pair in constant memory: exact up to 32 values, within 3.2 % beyond.

use std::time::Duration;

/// Up to this many values are stored exactly.
const EXACT: usize = 32;

/// Bits of a value below its highest bit that select the bucket within an octave: the middle of a
/// bucket is off by at most 1/32 of the value.
const BITS: u32 = 4;

/// Maximum number of buckets. Beyond it the two lowest are merged: the high values matter.
const BUCKETS: usize = 96;

/// Values by their sizes.
#[derive(Debug)]
pub(super) enum Quantiles {
    /// All values, unordered.
    Exact(Vec<u64>),
    /// Count of each non-empty bucket, in order.
    Counted(Vec<Bucket>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    number: u16,
    count: u32,
}

impl Default for Quantiles {
    fn default() -> Self {
        Self::Exact(Vec::with_capacity(EXACT))
    }
}

impl Quantiles {
    pub(super) fn add(&mut self, value: Duration) {
        let value = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        match self {
            Self::Exact(values) if values.len() < EXACT => values.push(value),
            Self::Exact(values) => {
                let values = std::mem::take(values);
                let mut buckets = Vec::with_capacity(EXACT + 1);
                for value in values.into_iter().chain([value]) {
                    count(&mut buckets, value);
                }
                *self = Self::Counted(buckets);
            }
            Self::Counted(buckets) => count(buckets, value),
        }
    }

    /// The quantile at `percent`, by nearest rank. Zero without values.
    pub(super) fn quantile(&self, percent: u64) -> Duration {
        let rank = |count: u64| (count * percent).div_ceil(100).max(1);
        let nanos = match self {
            Self::Exact(values) => {
                let mut values = values.clone();
                values.sort_unstable();
                let rank = usize::try_from(rank(values.len() as u64)).unwrap_or(usize::MAX);
                values.get(rank - 1).or(values.last()).copied().unwrap_or(0)
            }
            Self::Counted(buckets) => {
                let mut left = rank(buckets.iter().map(|bucket| u64::from(bucket.count)).sum());
                let found = buckets.iter().find(|bucket| {
                    let is_here = left <= u64::from(bucket.count);
                    left = left.saturating_sub(bucket.count.into());
                    is_here
                });
                found.or(buckets.last()).map_or(0, |bucket| middle(bucket.number))
            }
        };
        Duration::from_nanos(nanos)
    }
}

fn count(buckets: &mut Vec<Bucket>, value: u64) {
    let number = number(value);
    match buckets.binary_search_by_key(&number, |bucket| bucket.number) {
        Ok(at) => {
            let count = &mut buckets[at].count;
            *count = count.saturating_add(1);
        }
        Err(at) => {
            buckets.insert(at, Bucket { number, count: 1 });
            if buckets.len() > BUCKETS {
                let lowest = buckets.remove(0);
                buckets[0].count = buckets[0].count.saturating_add(lowest.count);
            }
        }
    }
}

/// The bucket of a value: its octave and the bits below the highest one. Small values have one
/// bucket each.
fn number(value: u64) -> u16 {
    let octave = value.checked_ilog2().unwrap_or(0);
    let number = match octave.checked_sub(BITS) {
        None => value,
        Some(shift) => (u64::from(shift + 1) << BITS) + ((value >> shift) & ((1 << BITS) - 1)),
    };
    // At most 61 × 16.
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// The value in the middle of a bucket.
fn middle(number: u16) -> u64 {
    let number = u64::from(number);
    match (number >> BITS).checked_sub(1) {
        None => number,
        Some(shift) => {
            let lowest = ((1 << BITS) + (number & ((1 << BITS) - 1))) << shift;
            lowest + ((1 << shift) >> 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Quantiles {
        let mut quantiles = Quantiles::default();
        for &value in values {
            quantiles.add(Duration::from_nanos(value));
        }
        quantiles
    }

    fn exact(values: &[u64], percent: u64) -> u64 {
        let mut values = values.to_vec();
        values.sort_unstable();
        let rank = (values.len() as u64 * percent).div_ceil(100).max(1);
        values[usize::try_from(rank).unwrap() - 1]
    }

    #[test]
    fn up_to_32_values_are_exact() {
        let values: Vec<u64> = (0..32).map(|i| 1_000_003 * (i * 7 % 32)).collect();
        for percent in [1, 50, 90, 99, 100] {
            let found = of(&values).quantile(percent);
            assert_eq!(found, Duration::from_nanos(exact(&values, percent)), "{percent}");
        }
    }

    #[test]
    fn without_values_there_is_nothing() {
        assert_eq!(Quantiles::default().quantile(99), Duration::ZERO);
    }

    #[test]
    fn when_there_are_too_many_buckets_the_highest_are_kept() {
        let values: Vec<u64> = (0..60).flat_map(|octave| [1 << octave, 3 << octave]).collect();
        let quantiles = of(&values);
        assert!(matches!(&quantiles, Quantiles::Counted(buckets) if buckets.len() == BUCKETS));
        let most = exact(&values, 100) as f64;
        let found = quantiles.quantile(100).as_nanos() as f64;
        assert!((found - most).abs() <= most / 32.0, "{found} {most}");
    }

    proptest! {
        #[test]
        fn beyond_32_values_the_error_is_below_a_thirtieth(
            values in prop::collection::vec(1_000_u64..10_000_000_000, 33..400), percent in 50_u64..=100,
        ) {
            let expected = exact(&values, percent) as f64;
            let found = of(&values).quantile(percent).as_nanos() as f64;
            prop_assert!((found - expected).abs() <= expected * 0.032, "{found} {expected}");
        }

        #[test]
        fn a_bucket_holds_its_middle(value in any::<u64>()) {
            prop_assert_eq!(number(middle(number(value))), number(value));
        }
    }
}
