//! macOS: `getsockopt(TCP_CONNECTION_INFO)`, `getsockopt(SO_NWRITE)`.

use super::getsockopt::{BUFFER, get};
use crate::tcp_info::{Error, Socket};

pub(in crate::tcp_info) fn structure(socket: &impl Socket) -> Result<Box<[u8]>, Error> {
    let (buffer, length) = get::<BUFFER>(socket, libc::IPPROTO_TCP, libc::TCP_CONNECTION_INFO)
        .map_err(Error::from_os)?;
    if length == 0 { Err(Error::Unsupported) } else { Ok(buffer[..length].into()) }
}

/// Bytes that were written to the socket and not acknowledged by the peer yet; a FIN counts none.
#[cfg(feature = "proxy")]
pub(crate) fn send_queue(socket: &tokio::net::TcpStream) -> Option<u64> {
    let (queued, length) = get::<4>(socket, libc::SOL_SOCKET, libc::SO_NWRITE).ok()?;
    (length == 4).then(|| u64::try_from(i32::from_ne_bytes(queued)).unwrap_or(0))
}
