//! Why a pair was never relayed.

use crate::fault::Fault;
use crate::record::{By, How, Outcome, Phase};

/// Why a pair was never relayed, for its record.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) phase: Phase,
    pub(crate) outcome: Outcome,
    pub(crate) by: By,
    pub(crate) how: How,
    pub(crate) fault: Option<Fault>,
}

impl Failure {
    /// A rule denies it.
    pub(crate) fn denied(phase: Phase, fault: Fault) -> Self {
        let (outcome, how) = (Outcome::Denied, How::Denied);
        Self { phase, outcome, by: By::Proxy, how, fault: Some(fault) }
    }

    /// A limit on connections is reached.
    pub(crate) fn limited(phase: Phase, fault: Fault) -> Self {
        let (outcome, how) = (Outcome::Limit, How::Limit);
        Self { phase, outcome, by: By::Proxy, how, fault: Some(fault) }
    }

    /// A time limit has expired.
    pub(crate) fn timed_out(phase: Phase, code: &'static str, text: &'static str) -> Self {
        let (outcome, how) = (Outcome::Timeout, How::Timeout);
        let fault = Some(Fault { code: code.into(), text: text.into() });
        Self { phase, outcome, by: By::Proxy, how, fault }
    }

    /// The proxy stops.
    pub(crate) fn stopped(phase: Phase) -> Self {
        let (outcome, how) = (Outcome::Shutdown, How::Shutdown);
        Self { phase, outcome, by: By::Proxy, how, fault: None }
    }
}
