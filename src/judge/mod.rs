//! From what was measured of a pair to what its record states: how it ended, what arrived, what
//! deserves a look, who was slow.

mod delivery;
mod ending;
mod setup;
mod turns;
mod verdict;
mod warnings;

pub(crate) use delivery::Opened;
pub(crate) use ending::{Finish, ending};
pub(crate) use setup::{Course, Setup};
pub(crate) use turns::{turn, turns};
pub(crate) use verdict::verdict;
pub(crate) use warnings::{Known, warnings};
#[cfg(feature = "stat")]
pub(crate) use {verdict::of_exchange, warnings::of_upstream};
