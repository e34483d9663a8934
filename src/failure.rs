//! Why a pair never got to relaying.

use crate::fault::Fault;
use crate::record::{By, How, Outcome, Phase};

/// Why a pair never got to relaying: what its record says.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) phase: Phase,
    pub(crate) outcome: Outcome,
    pub(crate) by: By,
    pub(crate) how: How,
    pub(crate) fault: Option<Fault>,
}
