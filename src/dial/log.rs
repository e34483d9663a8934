//! What is recorded about dialling.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use smallvec::SmallVec;

use super::attempt::AttemptError;
use crate::clock::{CompactDuration, CompactInstant};
use crate::fault::Fault;
use crate::record::{self, AttemptOutcome, Report, ResolveSource};

/// The course of dialling. It is filled step by step, so that it is complete even if dialling is
/// cancelled. Each open pair has one.
#[derive(Debug, Default)]
pub(crate) struct DialLog {
    pub(super) resolve: Option<CompactDuration>,
    pub(super) source: Option<ResolveSource>,
    pub(super) connect: Option<CompactDuration>,
    /// Number of addresses in the answer; at most as many as fit into a DNS message.
    pub(super) addresses: Option<NonZeroU16>,
    /// Nearly always one.
    pub(super) attempts: SmallVec<[Attempt; 1]>,
    pub(super) parent: Option<Box<Parent>>,
}

/// One attempt to connect to one address.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) address: SocketAddr,
    /// From the first attempt's beginning to this one's.
    pub(super) started_after: CompactDuration,
    pub(super) duration: CompactDuration,
    pub(super) end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum AttemptEnd {
    Connected,
    Failed(Box<FailedAttempt>),
    /// Cancelled, or still in progress.
    Cancelled {
        syn_retransmits: Option<u64>,
    },
}

#[derive(Debug)]
pub(super) struct FailedAttempt {
    fault: Option<Fault>,
    syn_retransmits: Option<u64>,
}

/// The parent proxy, if one is used.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) via: String,
    /// When it confirmed the connection to the target.
    pub(super) tunnelled: Option<CompactInstant>,
    /// How long opening the tunnel took.
    pub(super) took: CompactDuration,
}

impl DialLog {
    /// Duration of name look-ups.
    pub(crate) fn resolve(&self) -> Option<Duration> {
        self.resolve.map(CompactDuration::get)
    }

    /// Where the addresses came from.
    pub(crate) fn source(&self) -> Option<ResolveSource> {
        self.source
    }

    /// Whether an address was dialled.
    pub(crate) fn has_attempts(&self) -> bool {
        !self.attempts.is_empty()
    }

    /// Duration of connecting; with a parent proxy, including its answer.
    pub(crate) fn connect(&self) -> Option<Duration> {
        self.connect.map(CompactDuration::get)
    }

    /// The parent proxy, if one is used.
    pub(crate) fn via(&self) -> Option<String> {
        self.parent.as_ref().map(|parent| parent.via.clone())
    }

    /// The part of the time to connect that opening the tunnel took.
    pub(crate) fn tunnel_setup_time(&self) -> Duration {
        self.parent.as_ref().map_or(Duration::ZERO, |parent| parent.took.get())
    }

    /// When the parent proxy confirmed the connection to the target.
    pub(crate) fn tunnelled(&self) -> Option<CompactInstant> {
        self.parent.as_ref()?.tunnelled
    }

    /// The address of the winning attempt, and how many attempts failed.
    pub(crate) fn winner(&self) -> Option<(SocketAddr, usize)> {
        let won =
            self.attempts.iter().find(|attempt| matches!(attempt.end, AttemptEnd::Connected))?;
        let failed = |attempt: &&Attempt| matches!(attempt.end, AttemptEnd::Failed(_));
        Some((won.address, self.attempts.iter().filter(failed).count()))
    }

    /// How many of the addresses were not attempted.
    pub(crate) fn attempts_omitted(&self) -> Option<u64> {
        let tried = u64::try_from(self.attempts.len()).unwrap_or(u64::MAX);
        self.addresses.map(|addresses| u64::from(addresses.get()).saturating_sub(tried))
    }

    /// The attempts for the record. The winner's retransmitted SYNs are in the first snapshot of
    /// its socket.
    pub(crate) fn attempts(&self, upstream: Option<&Report>) -> Vec<record::Attempt> {
        let opened = upstream.and_then(|leg| leg.opened_info.as_ref());
        let syns_of_winner = opened.and_then(|info| info.sys_info.syn_retransmits());
        let recorded = |attempt: &Attempt| {
            let (outcome, syn_retransmits, fault) = match &attempt.end {
                AttemptEnd::Connected => (AttemptOutcome::Ok, syns_of_winner, None),
                AttemptEnd::Failed(failed) => {
                    (AttemptOutcome::Error, failed.syn_retransmits, failed.fault.as_ref())
                }
                AttemptEnd::Cancelled { syn_retransmits } => {
                    (AttemptOutcome::Cancelled, *syn_retransmits, None)
                }
            };
            record::Attempt {
                addr: attempt.address,
                started_after: attempt.started_after.get(),
                duration: attempt.duration.get(),
                outcome,
                syn_retransmits,
                error: fault.map(|fault| fault.text.to_string()),
                error_code: fault.map(|fault| fault.code.to_string()),
            }
        };
        self.attempts.iter().map(recorded).collect()
    }
}

impl From<&AttemptError> for AttemptEnd {
    fn from(error: &AttemptError) -> Self {
        let AttemptError { failure, syn_retransmits } = error;
        let fault = failure.fault.clone();
        Self::Failed(Box::new(FailedAttempt { fault, syn_retransmits: *syn_retransmits }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_pair_keeps_little_of_its_dialling() {
        assert!(size_of::<Attempt>() <= 64);
        assert!(size_of::<DialLog>() <= 104);
    }
}
