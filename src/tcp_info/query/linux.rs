//! Linux: `getsockopt(TCP_INFO)`, `ioctl(SIOCOUTQ)`.

use super::getsockopt::{BUFFER, get};
use crate::tcp_info::{Error, Socket, snapshot};

pub(in crate::tcp_info) fn structure(socket: &impl Socket) -> Result<Box<[u8]>, Error> {
    let (buffer, length) =
        get::<BUFFER>(socket, libc::IPPROTO_TCP, libc::TCP_INFO).map_err(Error::from_os)?;
    snapshot::filled(&buffer[..length])
}

/// Bytes that were written to the socket and not acknowledged by the peer yet, a FIN counting as
/// one; after a reset: what was never delivered. `None` where the system cannot tell.
#[cfg(feature = "proxy")]
pub(crate) fn send_queue(socket: &tokio::net::TcpStream) -> Option<u64> {
    use std::os::fd::AsRawFd;
    let mut queued: libc::c_int = 0;
    // SAFETY: to a TCP socket, which a TcpStream is, TIOCOUTQ (the same number as SIOCOUTQ) writes
    // one int, to a pointer that is valid for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    (result == 0).then(|| u64::try_from(queued).unwrap_or(0))
}
