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

impl Failure {
    /// A rule says no.
    pub(crate) fn denied(phase: Phase, fault: Fault) -> Self {
        let (outcome, how) = (Outcome::Denied, How::Denied);
        Self { phase, outcome, by: By::Proxy, how, fault: Some(fault) }
    }

    /// There are as many connections as there may be.
    pub(crate) fn limited(phase: Phase, fault: Fault) -> Self {
        let (outcome, how) = (Outcome::Limit, How::Limit);
        Self { phase, outcome, by: By::Proxy, how, fault: Some(fault) }
    }

    /// The time that it may take is over.
    pub(crate) fn timed_out(phase: Phase, code: &'static str, text: &'static str) -> Self {
        let (outcome, how) = (Outcome::Timeout, How::Timeout);
        let fault = Some(Fault { code: code.into(), text: text.into() });
        Self { phase, outcome, by: By::Proxy, how, fault }
    }

    /// The proxy ends.
    pub(crate) fn stopped(phase: Phase) -> Self {
        let (outcome, how) = (Outcome::Shutdown, How::Shutdown);
        Self { phase, outcome, by: By::Proxy, how, fault: None }
    }
}
