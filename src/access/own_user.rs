//! The owner of a client program on this machine, by the owner of its socket.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod descendants;
#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "own_user/linux.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "own_user/unknown.rs")]
mod owners;

use crate::fault::Fault;
pub(crate) use owners::Owners;

/// The owner of a client program.
#[derive(Debug)]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(dead_code, reason = "only Linux tells")
)]
pub(crate) enum Owner {
    /// The user of this process, or root, who may act as this user anyway.
    Own,
    /// Another user, who holds the socket with this inode.
    Other {
        /// The user.
        uid: u32,
        /// The socket's inode. `None` when its program has closed it.
        inode: Option<u32>,
    },
    /// The client closed its connection before the owner was found.
    Gone,
    /// The system cannot tell.
    Unknown,
}

fn refused(code: &'static str, text: &'static str) -> Fault {
    Fault { code: code.into(), text: text.into() }
}

fn wrong_owner() -> Fault {
    refused("CLIENT_DENIED", "the client belongs to another user")
}

fn unknown(text: &'static str) -> Fault {
    refused("CLIENT_UNKNOWN", text)
}

impl Owner {
    /// Checks a client by its owner only.
    fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Own => Ok(()),
            Self::Other { .. } => Err(wrong_owner()),
            Self::Gone => {
                Err(unknown("the client closed its connection before its user could be determined"))
            }
            Self::Unknown => Err(unknown("this system cannot determine the client's user")),
        }
    }
}
