//! The event of a socket that the kernel has destroyed.

use std::net::SocketAddr;

use crate::clock::CompactInstant;
use crate::sockets::DiagSocket;
use crate::tcp_info::Snapshot;

/// The end of a socket, as its event tells it.
#[derive(Debug)]
pub(super) struct EndEvent {
    pub(super) cookie: u64,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Bytes written and never acknowledged, with our FIN.
    pub(super) send_queue: u32,
    pub(super) snapshot: Snapshot,
    /// When the event was read.
    pub(super) at: CompactInstant,
}

impl EndEvent {
    /// `None` without TCP information.
    pub(super) fn read(socket: DiagSocket<'_>) -> Option<Self> {
        Some(Self {
            cookie: socket.cookie(),
            local: socket.local(),
            remote: socket.remote(),
            send_queue: socket.send_queue(),
            snapshot: socket.snapshot()?,
            at: CompactInstant::now(),
        })
    }

    /// Whether the socket had a peer: listeners and sockets that never connected have none.
    pub(super) fn has_peer(&self) -> bool {
        self.remote.port() != 0 && !self.remote.ip().is_unspecified()
    }
}
