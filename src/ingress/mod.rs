//! The ways in: from an accepted socket to a target.

mod forward;
mod target;

pub use forward::{Forward, ParseForwardError};
pub use target::{ParseTargetError, Target};
