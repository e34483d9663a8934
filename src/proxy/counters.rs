//! What the proxy counts while it runs, by listener and target: connections, payload, and how long turns waited.

use std::collections::{BTreeMap, HashSet};
#[cfg(feature = "metrics")]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(feature = "metrics")]
use super::entry::Connections;
use super::entry::Entry;
#[cfg(feature = "metrics")]
use super::waits::Waited;
use crate::ingress::{Target, Way};
use crate::record::Printable;

/// The label of every target that has none of its own. A name always has a port, so it is never this.
const OTHER: &str = "other";

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

/// How many connections a listener has had.
#[cfg(feature = "metrics")]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connected {
    pub(crate) opened: u64,
    pub(crate) refused: u64,
    pub(crate) ended: u64,
}

impl Counters {
    pub(super) fn new<'e>(places: usize, entries: impl Iterator<Item = &'e Arc<Entry>>) -> Self {
        let mut labels = Labels::default();
        for entry in entries {
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
        Some(Arc::clone(of_target.or_insert_with(|| Arc::new(entry.for_target()))))
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
    fn a_label_is_bounded_and_has_nothing_but_text() {
        assert_eq!(label("example.com", 80), "example.com:80");
        assert_eq!(label("2001:db8::1", 443), "[2001:db8::1]:443");
        assert_eq!(label("a\u{202e}b", 1), "a\\u{202e}b:1");
        let longest: Target =
            format!("{}:65535", "Xx.".repeat(85).trim_end_matches('.')).parse().unwrap();
        assert_eq!(label(&longest.host(), longest.port()).len(), 254 + 6);
    }
}
