//! FreeBSD: `getsockopt(TCP_INFO)`, `ioctl(FIONWRITE)`.

use super::getsockopt::{BUFFER, get};
use crate::tcp_info::{Error, Socket};

pub(in crate::tcp_info) fn structure(socket: &impl Socket) -> Result<Box<[u8]>, Error> {
    let (buffer, length) =
        get::<BUFFER>(socket, libc::IPPROTO_TCP, libc::TCP_INFO).map_err(Error::from_os)?;
    if length == 0 { Err(Error::Unsupported) } else { Ok(buffer[..length].into()) }
}

/// Bytes that were written to the socket and not acknowledged by the peer yet; a FIN counts none.
#[cfg(feature = "proxy")]
pub(crate) fn send_queue(socket: &tokio::net::TcpStream) -> Option<u64> {
    use std::os::fd::AsRawFd;
    let mut queued: libc::c_int = 0;
    // SAFETY: to a socket, which a TcpStream is, FIONWRITE writes one int, to a pointer that is valid
    // for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONWRITE, &raw mut queued) };
    (result == 0).then(|| u64::try_from(queued).unwrap_or(0))
}
