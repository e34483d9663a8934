//! Derives the statements of a record from measurements: ending, delivery, turns, verdict,
//! warnings.

mod delivery;
mod ending;
mod setup;
#[cfg(feature = "watch")]
mod socket;
mod turns;
mod verdict;
mod warnings;

pub(crate) use delivery::OpenKind;
pub(crate) use ending::{PairEnd, ending};
pub(crate) use setup::{Setup, SetupInput};
pub(crate) use turns::{turn, turns};
pub(crate) use verdict::verdict;
pub(crate) use warnings::{WarningInput, warnings};
#[cfg(feature = "watch")]
pub(crate) use {
    socket::{Counters, SocketState},
    warnings::{SocketWarningInput, socket_warnings},
};
#[cfg(feature = "stat")]
pub(crate) use {verdict::exchange_verdict, warnings::upstream_warnings};
