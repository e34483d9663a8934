//! What the proxy counts while it runs, by listener and target: connections, and payload as it passes.
//!
//! A pair's task adds the payload that it has moved whenever it has nothing more to do for the moment:
//! one atomic addition to a counter that its thread shares with few others, and no clock. So a scrape
//! shows what has passed until now, and a quiet pair has nothing left to add.

use std::array;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::listener::{Entry, Listener};
#[cfg(feature = "metrics")]
use super::waits::Waited;
use super::waits::Waits;
use crate::ingress::{Target, Way};
use crate::record::Printable;

/// The label of every target that has none of its own. A name always has a port, so it is never this.
const OTHER: &str = "other";

/// Each counter of payload is a sum of so many, so that threads seldom add to the same one.
const SHARDS: usize = 8;

/// Counters of a proxy by listener and target; cheap to clone.
#[derive(Debug, Clone)]
pub struct Counters(Arc<State>);

#[derive(Debug)]
struct State {
    /// How many targets that clients choose get a label of their own.
    places: usize,
    labels: Mutex<Labels>,
    /// Somebody shows them.
    are_shown: AtomicBool,
}

#[derive(Debug, Default)]
struct Labels {
    /// Targets with a label of their own: those of the listeners, and those that took a place.
    named: HashSet<String>,
    taken: usize,
    /// One for each listener and label.
    entries: BTreeMap<(String, String), Arc<Entry>>,
}

/// What is counted of one listener.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) opened: AtomicU64,
    /// Refused without a record of their own.
    pub(super) refused: AtomicU64,
    /// Ended, with a record of their own.
    pub(super) ended: AtomicU64,
}

/// How many connections a listener has had.
#[cfg(feature = "metrics")]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connected {
    pub(crate) opened: u64,
    pub(crate) refused: u64,
    pub(crate) ended: u64,
}

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
    fn sums(&self) -> [u64; 2] {
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

impl Counters {
    pub(super) fn new(places: usize, listeners: &[Listener]) -> Self {
        let mut labels = Labels::default();
        for entry in listeners.iter().map(Listener::entry) {
            let label = match &entry.way {
                Way::Forward(target) => {
                    let label = label(&target.host(), target.port());
                    labels.named.insert(label.clone());
                    label
                }
                Way::Proxy | Way::Redirect | Way::Tproxy => OTHER.to_owned(),
            };
            labels.entries.insert((entry.listener.clone(), label), Arc::clone(entry));
        }
        Self(Arc::new(State {
            places,
            labels: Mutex::new(labels),
            are_shown: AtomicBool::new(false),
        }))
    }

    /// The same way in with the counters of this target, which was dialled and may get a label of its
    /// own by that. `None` where they are those of the listener.
    pub(super) fn entry_for(&self, entry: &Entry, target: &Target) -> Option<Arc<Entry>> {
        if let Way::Forward(_) = entry.way {
            return None;
        }
        let mut labels = self.labels();
        if self.0.places == 0 && labels.named.is_empty() {
            return None;
        }
        let label = label(&target.host(), target.port());
        if !labels.named.contains(&label) {
            if labels.taken >= self.0.places {
                return None;
            }
            labels.taken += 1;
            labels.named.insert(label.clone());
        }
        let of_target = labels.entries.entry((entry.listener.clone(), label));
        Some(Arc::clone(of_target.or_insert_with(|| {
            let Entry { way, listener, connections, .. } = entry;
            let connections = Arc::clone(connections);
            let (way, listener) = (way.clone(), listener.clone());
            let (payload, waits) = (Payload::default(), Waits::default());
            Arc::new(Entry { way, listener, connections, payload, waits })
        })))
    }

    /// Whether somebody shows what is counted: the waits of turns are, only then.
    pub(super) fn are_shown(&self) -> bool {
        self.0.are_shown.load(Ordering::Relaxed)
    }

    /// Consistent after every statement, so a panic elsewhere does not spoil it.
    fn labels(&self) -> MutexGuard<'_, Labels> {
        self.0.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "metrics")]
impl Connected {
    /// How many are open.
    pub(crate) fn open(&self) -> u64 {
        self.opened.saturating_sub(self.ended.saturating_add(self.refused))
    }
}

#[cfg(feature = "metrics")]
impl Counters {
    /// Somebody shows them from here on.
    pub(crate) fn show(&self) {
        self.0.are_shown.store(true, Ordering::Relaxed);
    }

    /// The label of a record's target.
    pub(crate) fn label_of(&self, record: &crate::record::Record) -> String {
        let target = record.target_host.as_deref().zip(record.target_port);
        target
            .map(|(host, port)| label(host, port))
            .filter(|label| self.labels().named.contains(label))
            .unwrap_or_else(|| OTHER.to_owned())
    }

    /// The connections of each listener.
    pub(crate) fn connections(&self) -> BTreeMap<String, Connected> {
        let labels = self.labels();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of_listener = |((listener, _), entry): (&(String, String), &Arc<Entry>)| {
            let Connections { opened, refused, ended } = &*entry.connections;
            // What has ended is read first: so it never exceeds what was opened.
            let (refused, ended) = (load(refused), load(ended));
            (listener.clone(), Connected { opened: load(opened), refused, ended })
        };
        labels.entries.iter().map(of_listener).collect()
    }

    /// Payload to upstreams and to clients, by listener and label of the target.
    pub(crate) fn payload(&self) -> Vec<((String, String), [u64; 2])> {
        self.of_entries(|entry| entry.payload.sums())
    }

    /// The waits of turns, likewise.
    pub(crate) fn waited(&self) -> Vec<((String, String), Waited)> {
        self.of_entries(|entry| entry.waits.waited())
    }

    fn of_entries<T>(&self, what: impl Fn(&Entry) -> T) -> Vec<((String, String), T)> {
        let labels = self.labels();
        labels.entries.iter().map(|(place, entry)| (place.clone(), what(entry))).collect()
    }
}

/// A target as a label. It is as long as a name can be at most, but for characters that would not stay in
/// their place, which are spelt out.
fn label(host: &str, port: u16) -> String {
    let host = Printable(host);
    if host.0.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
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

    #[test]
    fn a_label_is_bounded_and_has_nothing_but_text() {
        assert_eq!(label("example.com", 80), "example.com:80");
        assert_eq!(label("2001:db8::1", 443), "[2001:db8::1]:443");
        assert_eq!(label("a\u{202e}b", 1), "a\\u{202e}b:1");
        let longest: Target =
            format!("{}:65535", "Xx.".repeat(85).trim_end_matches('.')).parse().unwrap();
        assert_eq!(label(&longest.host(), longest.port()).len(), 254 + 6);
    }
}
