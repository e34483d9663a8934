//! Connections that are kept whole: a bounded number of those with the largest rank.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::connection::Connection;

/// A connection that is kept, and its line.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Kept {
    /// The connection.
    pub connection: Connection,
    /// The whole line, JSON. Empty in a report that is redacted.
    pub line: Box<str>,
}

/// The `capacity` items of largest rank; of equal ones the earliest.
#[derive(Debug)]
pub(super) struct Largest<R: Ord, T> {
    capacity: usize,
    seen: u64,
    heap: BinaryHeap<Item<R, T>>,
}

/// The heap's top is the one to be dropped next: the smallest, and of equal ones the latest.
#[derive(Debug)]
struct Item<R, T> {
    rank: Reverse<R>,
    number: u64,
    value: T,
}

impl<R: Ord, T> Item<R, T> {
    fn order(&self) -> (&Reverse<R>, u64) {
        (&self.rank, self.number)
    }
}

impl<R: Ord, T> Ord for Item<R, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl<R: Ord, T> PartialOrd for Item<R, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ord, T> PartialEq for Item<R, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R: Ord, T> Eq for Item<R, T> {}

impl<R: Ord, T> Largest<R, T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, seen: 0, heap: BinaryHeap::new() }
    }

    /// Offers an item; `make` is called only if it is kept.
    pub(super) fn offer(&mut self, rank: R, make: impl FnOnce() -> T) {
        self.seen += 1;
        let is_full = self.heap.len() >= self.capacity;
        if is_full && self.heap.peek().is_none_or(|least| rank <= least.rank.0) {
            return;
        }
        if is_full {
            self.heap.pop();
        }
        self.heap.push(Item { rank: Reverse(rank), number: self.seen, value: make() });
    }

    /// The kept ones, the largest first.
    pub(super) fn finish(self) -> Vec<T> {
        self.heap.into_sorted_vec().into_iter().map(|item| item.value).collect()
    }
}

/// A rank by which the largest are a sample of all: the same in every run.
pub(super) fn sampling_rank(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_largest_are_kept_in_order(ranks in prop::collection::vec(0_u8..20, 0..60), capacity in 0_usize..10) {
            let mut largest = Largest::new(capacity);
            for (number, rank) in ranks.iter().enumerate() {
                largest.offer(*rank, || (*rank, number));
            }
            let mut expected: Vec<_> = ranks.iter().copied().zip(0_usize..).collect();
            expected.sort_by_key(|(rank, number)| (Reverse(*rank), *number));
            expected.truncate(capacity);
            prop_assert_eq!(largest.finish(), expected);
        }
    }
}
