//! Whose program a client on this machine is: the kernel knows whose the other end's socket is.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod descent;
#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "own_user/linux.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "own_user/unknown.rs")]
mod owners;

use crate::fault::Fault;
pub(crate) use owners::Owners;

/// Whose program a client is.
#[derive(Debug)]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(dead_code, reason = "only Linux tells")
)]
pub(crate) enum Owner {
    /// The user's that this process runs as; or root's, who may do everything as this user anyway.
    Own,
    /// Another user's, who holds the socket with this inode.
    Other {
        /// The user.
        uid: u32,
        /// The socket's. `None` when its program has closed it.
        inode: Option<u32>,
    },
    /// The client closed its connection before it could be told.
    Gone,
    /// The system does not tell.
    Unknown,
}

fn refused(code: &'static str, text: &'static str) -> Fault {
    Fault { code: code.into(), text: text.into() }
}

fn another_users() -> Fault {
    refused("CLIENT_DENIED", "the client belongs to another user")
}

fn unknown(text: &'static str) -> Fault {
    refused("CLIENT_UNKNOWN", text)
}

impl Owner {
    /// Why a client is refused whose owner is all that is known of it.
    fn refuse(&self) -> Option<Fault> {
        match self {
            Self::Own => None,
            Self::Other { .. } => Some(another_users()),
            Self::Gone => Some(unknown(
                "the client closed its connection before its user could be determined",
            )),
            Self::Unknown => Some(unknown("this system cannot determine the client's user")),
        }
    }
}
