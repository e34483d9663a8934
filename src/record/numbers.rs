//! Sets of mostly consecutive numbers.

use std::collections::BTreeMap;

/// A set of numbers, stored as ranges: numbers without a gap take no more space than one.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// First and last number of each range. Adjacent ranges are merged.
    ranges: BTreeMap<u64, u64>,
}

impl Numbers {
    /// Adds a number; `false` if it is already in the set.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let before = self.ranges.range(..=number).next_back().map(|(&first, &last)| (first, last));
        if before.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let first = match before {
            Some((first, last)) if last + 1 == number => first,
            _ => number,
        };
        let behind = number.checked_add(1).and_then(|next| self.ranges.remove(&next));
        self.ranges.insert(first, behind.unwrap_or(number));
        true
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, &last)| number <= last)
    }

    /// How many numbers are in the set.
    pub(crate) fn count(&self) -> u64 {
        self.ranges().map(|(first, last)| (last - first).saturating_add(1)).sum()
    }

    /// Number of ranges.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The smallest number.
    pub(crate) fn first(&self) -> Option<u64> {
        self.ranges.first_key_value().map(|(&first, _)| first)
    }

    /// First and last of each range, ascending.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(&first, &last)| (first, last))
    }

    /// First and last number of each gap between the ranges.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges()
            .zip(self.ranges().skip(1))
            .map(|((_, last), (first, _))| (last + 1, first - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(numbers in prop::collection::vec(0_u64..40, 0..60)) {
            let (mut ranges, mut set) = (Numbers::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(ranges.insert(number), set.insert(number));
            }
            prop_assert_eq!(ranges.count(), set.len() as u64);
            prop_assert_eq!(ranges.first(), set.first().copied());
            for number in 0..41 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
            let within = set.first().copied().zip(set.last().copied());
            let missing: Vec<u64> = within
                .map(|(first, last)| (first..last).filter(|number| !set.contains(number)).collect())
                .unwrap_or_default();
            let gaps: Vec<u64> = ranges.gaps().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(gaps, missing);
        }
    }

    #[test]
    fn the_largest_number_is_one_too() {
        let mut numbers = Numbers::default();
        assert!(numbers.insert(u64::MAX) && numbers.insert(u64::MAX - 1));
        assert!(!numbers.insert(u64::MAX));
        assert_eq!(numbers.ranges().collect::<Vec<_>>(), [(u64::MAX - 1, u64::MAX)]);
    }
}
