//! The one room with `unsafe`: every call on a socket that no well-kept crate makes safe.
//!
//! Each system answers into a zeroed buffer and says how much it wrote; nothing else of the
//! buffer is ever looked at.
#![allow(unsafe_code)]

#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_congestion.rs")]
mod congestion;
#[cfg(unix)]
mod getsockopt;
#[cfg(all(feature = "proxy", any(target_os = "linux", target_os = "android")))]
mod receive;
#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "linux.rs")]
#[cfg_attr(target_vendor = "apple", path = "macos.rs")]
#[cfg_attr(target_os = "freebsd", path = "freebsd.rs")]
#[cfg_attr(windows, path = "windows.rs")]
#[cfg_attr(
    not(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        target_os = "freebsd",
        windows
    )),
    path = "unsupported.rs"
)]
mod system;

pub(super) use congestion::{congestion, congestion_info};
#[cfg(all(feature = "proxy", any(target_os = "linux", target_os = "android")))]
pub(crate) use receive::{Registered, receive, registered, tell_remaining};
#[cfg(feature = "proxy")]
pub(crate) use system::send_queue;
pub(super) use system::structure;
