//! Finds the local program that is a client.

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

/// A slot for a program, set once it is found.
pub(crate) type ProcessSlot = Arc<OnceLock<Arc<Process>>>;
