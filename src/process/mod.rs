//! Which local program a client is.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod budget;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_finder.rs")]
mod finder;
#[cfg(all(any(test, fuzzing), any(target_os = "linux", target_os = "android")))]
pub(crate) mod fuzzing;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod proc_files;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod search;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod sock_diag;

use std::sync::{Arc, OnceLock};

use crate::record::Process;
pub(crate) use finder::Finder;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use {
    proc_files::{all, parent_of, sockets_of},
    sock_diag::{SockDiag, SocketOwner},
};

/// A program, once it was found.
pub(crate) type Answer = Arc<OnceLock<Arc<Process>>>;
