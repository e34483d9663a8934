//! Events of connections that have ended in both directions, by epoll.
//!
//! tokio's readiness cannot report them: after both ends of stream, a socket is always ready for
//! everything. A separate edge-triggered epoll reports each change of state once.

use std::io;

use rustix::event::epoll;
use tokio::net::TcpStream;

use crate::tcp_info::{self, Registered};

/// Watches sockets for state changes; holds one descriptor.
pub(super) struct StateChanges(Registered);

impl StateChanges {
    /// # Errors
    ///
    /// The system has no descriptor, or no memory, for it.
    pub(super) fn new<'s>(streams: impl Iterator<Item = &'s TcpStream>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for stream in streams {
            let flags = epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&epoll, stream, epoll::EventData::new_u64(0), flags)?;
        }
        tcp_info::registered(epoll).map(Self)
    }

    /// Waits for a change since the last call, or since creation.
    pub(super) async fn next(&self) {
        let Ok(mut ready) = self.0.readable().await else {
            // The runtime ends.
            return std::future::pending().await;
        };
        // Both sockets at most.
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 2];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        // The events themselves do not matter: the caller checks the sockets.
        let _ = epoll::wait(self.0.get_ref(), &mut events, Some(&now));
        ready.clear_ready();
    }
}
