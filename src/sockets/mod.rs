//! The machine's TCP sockets and the processes that hold them: sock_diag(7) and proc(5).
//!
//! On other systems than Linux, only the slot for a process is there.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod budget;
#[cfg(all(feature = "watch", any(target_os = "linux", target_os = "android")))]
mod destroyed;
#[cfg(all(feature = "watch", any(target_os = "linux", target_os = "android")))]
mod dump;
#[cfg(all(any(test, fuzzing), any(target_os = "linux", target_os = "android")))]
pub(crate) mod fuzzing;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod message;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod proc_files;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod request;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod search;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod sock_diag;

use std::sync::{Arc, OnceLock};

use crate::record::Process;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use {
    budget::Budget,
    proc_files::{all, parent_of, sockets_of},
    search::{Search, WantedSocket},
    sock_diag::{SockDiag, SocketOwner},
};
#[cfg(all(feature = "watch", any(target_os = "linux", target_os = "android")))]
pub(crate) use {
    budget::processor_time, destroyed::DestroyEvents, dump::Dumper, message::DiagSocket,
};

/// A slot for a program, set once it is found.
pub(crate) type ProcessSlot = Arc<OnceLock<Arc<Process>>>;
