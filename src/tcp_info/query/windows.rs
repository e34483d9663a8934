//! Windows: `WSAIoctl(SIO_TCP_INFO)`, version 1, or 0 where the system does not know that.

use std::io;
use std::os::windows::io::AsRawSocket;

use windows_sys::Win32::Networking::WinSock::{
    SIO_TCP_INFO, SOCKET, TCP_INFO_v0, TCP_INFO_v1, WSAGetLastError, WSAIoctl,
};

use crate::tcp_info::{Error, Socket};

pub(in crate::tcp_info) fn structure(socket: &impl Socket) -> Result<Box<[u8]>, Error> {
    version(socket, 1, size_of::<TCP_INFO_v1>())
        .or_else(|_| version(socket, 0, size_of::<TCP_INFO_v0>()))
        .map_err(Error::from_os)
        .and_then(|bytes| if bytes.is_empty() { Err(Error::Unsupported) } else { Ok(bytes) })
}

/// Room for the larger structure, aligned as the system may expect it to be.
#[repr(C, align(8))]
struct Buffer([u8; size_of::<TCP_INFO_v1>()]);

/// The structure of one version, as many bytes as were returned.
fn version(socket: &impl Socket, version: u32, size: usize) -> io::Result<Box<[u8]>> {
    const { assert!(align_of::<Buffer>() >= align_of::<TCP_INFO_v1>()) };
    let mut buffer = Buffer([0; size_of::<TCP_INFO_v1>()]);
    let mut returned = 0u32;
    let room = u32::try_from(size.min(buffer.0.len())).unwrap_or(0);
    // SAFETY: `version` is readable for its four bytes, `buffer` is writable for `room` bytes, which
    // are not more than it has, `returned` is writable, and u8 and u32 take any bit pattern.
    // Nothing is written to them after the return, though std's and tokio's sockets are opened for
    // overlapped operations: an operation without an OVERLAPPED and without a completion routine
    // has nowhere to be completed later, so Winsock carries it out as on a socket that was not
    // opened so, and returns when it is over (WSPIoctl).
    // A socket that is not valid makes the call fail, it breaks nothing.
    let result = unsafe {
        WSAIoctl(
            socket.as_socket().as_raw_socket() as SOCKET,
            SIO_TCP_INFO,
            (&raw const version).cast(),
            size_of::<u32>() as u32,
            (&raw mut buffer).cast(),
            room,
            &raw mut returned,
            std::ptr::null_mut(),
            None,
        )
    };
    if result == 0 {
        Ok(buffer.0[..returned.min(room) as usize].into())
    } else {
        // SAFETY: reads the calling thread's last error; no preconditions.
        Err(io::Error::from_raw_os_error(unsafe { WSAGetLastError() }))
    }
}

/// Not known on this system.
#[cfg(feature = "proxy")]
pub(crate) fn send_queue(_socket: &tokio::net::TcpStream) -> Option<u64> {
    None
}
