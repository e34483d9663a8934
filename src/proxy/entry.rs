//! A listener as its connections see it, and its counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::payload::Payload;
use super::waits::WaitCounters;
use crate::ingress::ListenerKind;
use crate::record::Listening;

/// Connection counters of one listener.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) opened: AtomicU64,
    /// Refused without a record of their own.
    pub(super) refused: AtomicU64,
    /// Ended, with a record of their own.
    pub(super) ended: AtomicU64,
}

/// A listener's kind and counters, shared by its pairs. Targets with a label of their own have an
/// entry each.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: ListenerKind,
    /// The listener's address, as records show it.
    pub(super) listener: String,
    /// Connection counters, shared by all entries of the listener.
    pub(super) connections: Arc<Connections>,
    /// Payload of the pairs with this entry.
    pub(super) payload: Payload,
    /// Waits of their turns.
    pub(super) waits: WaitCounters,
}

impl Entry {
    /// The entry of a listener at this address.
    pub(super) fn new(kind: ListenerKind, address: SocketAddr) -> Self {
        let listener = address.to_string();
        let connections = Arc::default();
        Self {
            kind,
            listener,
            connections,
            payload: Payload::default(),
            waits: WaitCounters::default(),
        }
    }

    /// The same listener with separate counters of payload and waits.
    pub(super) fn for_target(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            listener: self.listener.clone(),
            connections: Arc::clone(&self.connections),
            payload: Payload::default(),
            waits: WaitCounters::default(),
        }
    }

    pub(super) fn describe(&self) -> Listening {
        let target = match &self.kind {
            ListenerKind::Forward(target) => Some(target.to_string()),
            ListenerKind::Proxy | ListenerKind::Redirect | ListenerKind::Tproxy => None,
        };
        Listening { mode: self.kind.mode(), listener: self.listener.clone(), target }
    }
}
