//! The original destination of connections that kernel rules diverted to a listener.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// The destination of a connection before REDIRECT or DNAT replaced it by the listener's address
/// (`SO_ORIGINAL_DST`, `IP6T_SO_ORIGINAL_DST`). Without such a rule, it is the local address.
///
/// # Errors
///
/// The kernel does not report it; always on systems other than Linux.
pub(crate) fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let local = stream.local_addr()?;
    match ask(stream, local) {
        Ok(address) => address.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into()),
        Err(error) if is_unknown(&error) => Ok(local),
        Err(error) => Err(error),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn ask(stream: &TcpStream, local: SocketAddr) -> io::Result<socket2::SockAddr> {
    let socket = socket2::SockRef::from(stream);
    // Connections of both families may arrive at one IPv6 socket.
    match local.ip().to_canonical() {
        std::net::IpAddr::V4(_) => socket.original_dst_v4(),
        std::net::IpAddr::V6(_) => socket.original_dst_v6(),
    }
}

/// The connection tracker has no entry for the connection, or there is no tracker.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn ask(_: &TcpStream, _: SocketAddr) -> io::Result<socket2::SockAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_unknown(_: &io::Error) -> bool {
    false
}
