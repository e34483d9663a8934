//! How connections come in, and what is counted of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::payload::Payload;
use super::waits::Waits;
use crate::ingress::Way;
use crate::record::Listening;

/// What is counted of one listener.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) opened: AtomicU64,
    /// Refused without a record of their own.
    pub(super) refused: AtomicU64,
    /// Ended, with a record of their own.
    pub(super) ended: AtomicU64,
}

/// A way in. Pairs of a listener share it, those that go
/// to targets with a label of their own one for each of these.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) way: Way,
    /// The listener's address, as records show it.
    pub(super) listener: String,
    /// The listener's.
    pub(super) connections: Arc<Connections>,
    /// Of these pairs.
    pub(super) payload: Payload,
    /// Of these pairs' turns.
    pub(super) waits: Waits,
}

impl Entry {
    /// Of a listener at this address.
    pub(super) fn new(way: Way, address: SocketAddr) -> Self {
        let listener = address.to_string();
        let connections = Arc::default();
        Self { way, listener, connections, payload: Payload::default(), waits: Waits::default() }
    }

    /// The same way in, with counters of its own but for those of connections.
    pub(super) fn for_target(&self) -> Self {
        Self {
            way: self.way.clone(),
            listener: self.listener.clone(),
            connections: Arc::clone(&self.connections),
            payload: Payload::default(),
            waits: Waits::default(),
        }
    }

    pub(super) fn describe(&self) -> Listening {
        let target = match &self.way {
            Way::Forward(target) => Some(target.to_string()),
            Way::Proxy | Way::Redirect | Way::Tproxy => None,
        };
        Listening { mode: self.way.mode(), listener: self.listener.clone(), target }
    }
}
