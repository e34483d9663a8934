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
use super::waits::WaitHistogram;
use crate::ingress::{ListenerKind, Target};
use crate::record::Printable;

/// The label of all targets without a label of their own. Other labels always have a port, so none
/// is equal to this.
const OTHER: &str = "other";

/// Counters of a proxy by listener and target; cheap to clone.
#[derive(Debug, Clone)]
pub struct Counters(Arc<State>);

#[derive(Debug)]
struct State {
    /// How many targets chosen by clients get a label of their own.
    places: usize,
    labels: Mutex<Labels>,
    /// The counters are exported.
    is_exported: AtomicBool,
}

#[derive(Debug, Default)]
struct Labels {
    /// Targets with a label of their own: those of the listeners, and those that took a place.
    named: HashSet<String>,
    taken: usize,
    /// Counters by listener and label.
    entries: BTreeMap<(String, String), Arc<Entry>>,
}

/// Connection counts of a listener.
#[cfg(feature = "metrics")]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionCounts {
    pub(crate) opened: u64,
    pub(crate) refused: u64,
    pub(crate) ended: u64,
}

impl Counters {
    pub(super) fn new<'e>(places: usize, entries: impl Iterator<Item = &'e Arc<Entry>>) -> Self {
        let mut labels = Labels::default();
        for entry in entries {
            let label = match &entry.kind {
                ListenerKind::Forward(target) => {
                    let label = label(&target.host(), target.port());
                    labels.named.insert(label.clone());
                    label
                }
                ListenerKind::Proxy | ListenerKind::Redirect | ListenerKind::Tproxy => {
                    OTHER.to_owned()
                }
            };
            labels.entries.insert((entry.listener.clone(), label), Arc::clone(entry));
        }
        Self(Arc::new(State {
            places,
            labels: Mutex::new(labels),
            is_exported: AtomicBool::new(false),
        }))
    }

    /// The entry of a listener with the counters of this target, which was dialled and may get a
    /// label of its own. `None` if it is counted with the listener.
    pub(super) fn entry_for(&self, entry: &Entry, target: &Target) -> Option<Arc<Entry>> {
        if let ListenerKind::Forward(_) = entry.kind {
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

    /// Whether the counters are exported. Waits of turns are only counted then.
    pub(super) fn is_exported(&self) -> bool {
        self.0.is_exported.load(Ordering::Relaxed)
    }

    /// Consistent after every statement, so a panic elsewhere does not spoil it.
    fn labels(&self) -> MutexGuard<'_, Labels> {
        self.0.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "metrics")]
impl ConnectionCounts {
    /// How many connections are open.
    pub(crate) fn open(&self) -> u64 {
        self.opened.saturating_sub(self.ended.saturating_add(self.refused))
    }
}

#[cfg(feature = "metrics")]
impl Counters {
    /// From here on, the counters are exported.
    pub(crate) fn show(&self) {
        self.0.is_exported.store(true, Ordering::Relaxed);
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
    pub(crate) fn connections(&self) -> BTreeMap<String, ConnectionCounts> {
        let labels = self.labels();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of_listener = |((listener, _), entry): (&(String, String), &Arc<Entry>)| {
            let Connections { opened, refused, ended } = &*entry.connections;
            // What has ended is read first: so it never exceeds what was opened.
            let (refused, ended) = (load(refused), load(ended));
            (listener.clone(), ConnectionCounts { opened: load(opened), refused, ended })
        };
        labels.entries.iter().map(of_listener).collect()
    }

    /// Payload to upstreams and to clients, by listener and label of the target.
    pub(crate) fn payload(&self) -> Vec<((String, String), [u64; 2])> {
        self.map_entries(|entry| entry.payload.sums())
    }

    /// Histograms of the waits of turns.
    pub(crate) fn histogram(&self) -> Vec<((String, String), WaitHistogram)> {
        self.map_entries(|entry| entry.waits.histogram())
    }

    fn map_entries<T>(&self, what: impl Fn(&Entry) -> T) -> Vec<((String, String), T)> {
        let labels = self.labels();
        labels.entries.iter().map(|(place, entry)| (place.clone(), what(entry))).collect()
    }
}

/// A target as a label. Characters that would break the output are escaped.
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
