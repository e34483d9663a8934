//! Payload counters that many threads update.
//!
//! A pair's task adds the payload that it has moved whenever it has nothing more to do for the moment:
//! one atomic addition to a counter that its thread shares with few others, and no clock. So a scrape
//! shows what has passed until now, and a quiet pair has nothing left to add.

use std::array;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Each payload counter is split into this many shards, so that threads seldom update the same one.
const SHARDS: usize = 8;

/// Payload written to upstreams and to clients.
#[derive(Debug)]
pub(super) struct Payload([Shard; SHARDS]);

/// A counter on its own cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard([AtomicU64; 2]);

/// The payload that a pair has already added, to upstream and to client. The low halves suffice:
/// far less passes between two additions.
#[derive(Debug, Default)]
pub(super) struct CountedPayload([u32; 2]);

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
        let sum = |direction: usize| {
            self.0.iter().map(move |Shard(both)| both[direction].load(Ordering::Relaxed))
        };
        [sum(0).sum(), sum(1).sum()]
    }
}

impl CountedPayload {
    /// Adds the part of `passed`, a pair's total payload, that was not added yet.
    ///
    /// While the proxy's own bytes are still to be written, the total seems to decrease; then
    /// nothing is added.
    pub(super) fn add_rest(&mut self, passed: [u64; 2], payload: &Payload) {
        for (direction, passed) in passed.into_iter().enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
            let passed = passed as u32;
            let more = passed.wrapping_sub(self.0[direction]);
            if more.cast_signed() > 0 {
                self.0[direction] = passed;
                payload.shard().0[direction].fetch_add(more.into(), Ordering::Relaxed);
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
        let mut added = CountedPayload::default();
        let step = u64::from(u32::MAX / 3);
        for count in 1..=20 {
            added.add_rest([count * step, count], &payload);
            added.add_rest([count * step - 50, count], &payload);
            assert_eq!(payload.sums(), [count * step, count]);
        }
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| CountedPayload::default().add_rest([3, 5], &payload));
            }
        });
        assert_eq!(payload.sums(), [20 * step + 48, 20 + 80]);
    }
}
