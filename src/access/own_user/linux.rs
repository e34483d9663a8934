//! The owner of a client program, by sock_diag(7).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};

use super::descendants::DescendantFinder;
use super::{Owner, unknown, wrong_owner};
use crate::fault::{Fault, text_of};
use crate::sockets::{SockDiag, SocketOwner};

/// The user that root gives a socket to in a test, to see whether the kernel remembers it: any but
/// root.
const NOBODY: u32 = 65534;

/// Finds the owner of a client program.
#[derive(Debug)]
pub(crate) struct Owners {
    sock_diag: Option<Mutex<SockDiag>>,
    own_uid: u32,
    /// Whether the kernel keeps the user of a closed socket; older kernels report root.
    remembers: bool,
    /// Only root can see the sockets of other users' processes.
    descendants: Option<DescendantFinder>,
}

impl Default for Owners {
    fn default() -> Self {
        let own_uid = rustix::process::geteuid().as_raw();
        let sock_diag = SockDiag::open().map_err(|error| {
            tracing::error!("cannot determine the users of clients: {}", text_of(&error));
        });
        let sock_diag = sock_diag.ok();
        let remembers = sock_diag.as_ref().map(|sock_diag| remembers(sock_diag, own_uid));
        Self {
            own_uid,
            remembers: remembers.is_some_and(|remembers| remembers.unwrap_or(false)),
            sock_diag: sock_diag.map(Mutex::new),
            descendants: if own_uid == 0 { DescendantFinder::start() } else { None },
        }
    }
}

impl Owners {
    /// The owner of the client at this address, which is connected to `here`. Must be called right
    /// after accept(2): when a client closes its connection, Linux knows its user only until the
    /// FIN is acknowledged, which is delayed by at most 40 ms.
    pub(crate) fn owner_of(&self, client: SocketAddr, here: SocketAddr) -> Owner {
        let Some(sock_diag) = &self.sock_diag else { return Owner::Unknown };
        // The socket has no state between queries, so a panic elsewhere does not spoil it.
        let sock_diag = sock_diag.lock().unwrap_or_else(PoisonError::into_inner);
        match sock_diag.owner(client, here) {
            Ok(Some(SocketOwner { uid, inode: Some(inode), .. })) => match self.is_own(uid) {
                true => Owner::Own,
                false => Owner::Other { uid, inode: Some(inode) },
            },
            // Older kernels report root for all closed sockets, and all kernels do after the FIN is
            // acknowledged.
            Ok(Some(SocketOwner { uid: 0, is_closing, .. })) => {
                match is_closing && self.remembers {
                    true => Owner::Own,
                    false => Owner::Gone,
                }
            }
            Ok(Some(SocketOwner { uid, .. })) => match self.is_own(uid) {
                true => Owner::Own,
                false => Owner::Other { uid, inode: None },
            },
            Ok(None) => Owner::Gone,
            Err(error) => {
                tracing::debug!("cannot determine a client's user: {}", text_of(&error));
                Owner::Unknown
            }
        }
    }

    fn is_own(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own_uid
    }

    /// Checks whether a client of this owner may connect. Programs that descend from this process
    /// may; they may have become another user, as apt's do.
    pub(crate) async fn check(&self, owner: Owner) -> Result<(), Fault> {
        let (Owner::Other { uid, inode }, Some(descendants)) = (&owner, &self.descendants) else {
            return owner.check();
        };
        let Some(inode) = *inode else {
            return Err(unknown(
                "the client belongs to another user and closed its connection before its process \
                 could be determined",
            ));
        };
        match descendants.has(*uid, inode).await {
            Some(true) => Ok(()),
            Some(false) => Err(wrong_owner()),
            None => Err(unknown(
                "the client belongs to another user, and too many such clients are being looked up",
            )),
        }
    }
}

/// Tests whether the kernel keeps the user of a closed socket.
fn remembers(sock_diag: &SockDiag, own_uid: u32) -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (local, peer) = (client.local_addr()?, client.peer_addr()?);
    let uid = match own_uid {
        0 => {
            std::os::unix::fs::fchown(&client, Some(NOBODY), None)?;
            NOBODY
        }
        uid => uid,
    };
    drop(client);
    let owner = sock_diag.owner(local, peer)?;
    Ok(owner.is_some_and(|owner| owner.inode.is_none() && owner.uid == uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_closed_at_once_is_told_or_unknown_and_never_another_users() {
        let owners = Owners::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert!(matches!(owners.owner_of(local, peer), Owner::Own));
        drop(client);
        let owner = owners.owner_of(local, peer);
        match owners.remembers {
            true => assert!(matches!(owner, Owner::Own), "{owner:?}"),
            false => assert!(matches!(owner, Owner::Own | Owner::Gone), "{owner:?}"),
        }
        // Its end is acknowledged when ours comes.
        drop(listener.accept().unwrap());
        let owner = owners.owner_of(local, peer);
        assert!(matches!(owner, Owner::Gone), "{owner:?}");
    }
}
