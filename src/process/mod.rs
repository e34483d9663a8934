//! Finds the local program that is a client, on a thread of its own.

#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_finder.rs")]
mod finder;

pub(crate) use crate::sockets::ProcessSlot;
pub(crate) use finder::Finder;
