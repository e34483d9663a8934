//! Systems without supported TCP information.

use crate::tcp_info::{Error, Socket};

pub(in crate::tcp_info) fn structure(_socket: &impl Socket) -> Result<Box<[u8]>, Error> {
    Err(Error::Unsupported)
}

/// Not known on this system.
#[cfg(feature = "proxy")]
pub(crate) fn send_queue(_socket: &tokio::net::TcpStream) -> Option<u64> {
    None
}
