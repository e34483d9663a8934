//! Whose program a client on this machine is: the kernel knows who holds the other end's socket.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod descent;

use std::io;
use std::net::SocketAddr;

#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::process::SockDiag;

/// Whether the other end of a connection within this machine belongs to a program of the user that
/// this process runs as; or of root, who may do everything as this user anyway; or to one that
/// descends from this process and has become another user, as apt's do. `client` is the other end's
/// address, `here` ours.
///
/// # Errors
///
/// The system cannot tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn is_own(client: SocketAddr, here: SocketAddr) -> io::Result<bool> {
    let own = rustix::process::geteuid().as_raw();
    Ok(SockDiag::open()?.holder(client, here)?.is_some_and(|holder| {
        [0, own].contains(&holder.uid) || descent::has_descendant_with(holder.inode)
    }))
}

/// Elsewhere it is not known.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn is_own(_client: SocketAddr, _here: SocketAddr) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}
