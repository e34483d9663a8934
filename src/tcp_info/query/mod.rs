//! The system calls, and the only module with `unsafe`: calls that no maintained crate wraps.
//!
//! Each call writes into a zeroed buffer and returns the length; nothing beyond that length is
//! read.
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
pub(crate) use receive::{Registered, enable_remaining, receive, registered};
#[cfg(feature = "proxy")]
pub(crate) use system::send_queue;
pub(super) use system::structure;
