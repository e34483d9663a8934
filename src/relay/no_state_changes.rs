//! State changes on systems without epoll: never reported, so callers poll.

use std::io;

use tokio::net::TcpStream;

/// A watch that does not exist.
pub(super) enum StateChanges {}

impl StateChanges {
    pub(super) fn new<'s>(_streams: impl Iterator<Item = &'s TcpStream>) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) async fn next(&self) {
        match *self {}
    }
}
