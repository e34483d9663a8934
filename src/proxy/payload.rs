//! Payload as it passes, counted by many threads.
//!
//! A pair's task adds the payload that it has moved whenever it has nothing more to do for the moment:
//! one atomic addition to a counter that its thread shares with few others, and no clock. So a scrape
//! shows what has passed until now, and a quiet pair has nothing left to add.

use std::array;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Each counter of payload is a sum of so many, so that threads seldom add to the same one.
const SHARDS: usize = 8;

/// Payload written to upstreams and to clients.
#[derive(Debug)]
pub(super) struct Payload([Shard; SHARDS]);

/// On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard([AtomicU64; 2]);

/// What a pair has added of its payload to upstream and to client. The low halves suffice: between two
/// additions far less passes than they can tell.
#[derive(Debug, Default)]
pub(super) struct Added([u32; 2]);

impl Default for Payload {
    fn default() -> Self {
        Self(array::from_fn(|_| Shard::default()))
    }
}

impl Payload {
    /// The shard that this thread adds to.
    fn shard(&self) -> &Shard {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static INDEX: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        &self.0[INDEX.with(|index| *index)]
    }

    #[cfg(any(feature = "metrics", test))]
    pub(super) fn sums(&self) -> [u64; 2] {
        let sum =
            |way: usize| self.0.iter().map(move |Shard(both)| both[way].load(Ordering::Relaxed));
        [sum(0).sum(), sum(1).sum()]
    }
}

impl Added {
    /// Adds what a pair that has passed so much in all has not added yet.
    ///
    /// While bytes of the proxy's own are still to be written, less seems to have passed than before;
    /// then there is nothing to add.
    pub(super) fn add_rest(&mut self, passed: [u64; 2], payload: &Payload) {
        for (way, passed) in passed.into_iter().enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
            let passed = passed as u32;
            let more = passed.wrapping_sub(self.0[way]);
            if more.cast_signed() > 0 {
                self.0[way] = passed;
                payload.shard().0[way].fetch_add(more.into(), Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_added_once_also_beyond_4_gib_and_while_it_seems_to_shrink() {
        let payload = Payload::default();
        let mut added = Added::default();
        let step = u64::from(u32::MAX / 3);
        for count in 1..=20 {
            added.add_rest([count * step, count], &payload);
            added.add_rest([count * step - 50, count], &payload);
            assert_eq!(payload.sums(), [count * step, count]);
        }
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| Added::default().add_rest([3, 5], &payload));
            }
        });
        assert_eq!(payload.sums(), [20 * step + 48, 20 + 80]);
    }
}
