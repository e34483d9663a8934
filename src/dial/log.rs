//! What is remembered of dialling until it is recorded.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use smallvec::SmallVec;

use super::attempt::AttemptError;
use crate::clock::{Moment, Nanos};
use crate::fault::Fault;
use crate::record::{self, AttemptOutcome, Report, ResolveSource};

/// How dialling goes on. It is filled on the way, so that it is complete also when dialling is
/// given up in the middle. Each open pair keeps one.
#[derive(Debug, Default)]
pub(crate) struct DialLog {
    pub(super) resolve: Option<Nanos>,
    pub(super) source: Option<ResolveSource>,
    pub(super) connect: Option<Nanos>,
    /// How many addresses there were to dial, which are at most as many as a message of DNS has
    /// room for.
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
    pub(super) started_after: Nanos,
    pub(super) duration: Nanos,
    pub(super) end: End,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End {
    Connected,
    Failed(Box<Failed>),
    /// Also while it is under way.
    Cancelled {
        syn_retransmits: Option<u64>,
    },
}

#[derive(Debug)]
pub(super) struct Failed {
    fault: Option<Fault>,
    syn_retransmits: Option<u64>,
}

/// The parent proxy that the way goes through.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) via: String,
    /// When it said that the target is reached.
    pub(super) tunnelled: Option<Moment>,
    /// How long it was asked.
    pub(super) took: Nanos,
}

impl DialLog {
    /// How long names were looked up.
    pub(crate) fn resolve(&self) -> Option<Duration> {
        self.resolve.map(Nanos::get)
    }

    /// Where the addresses came from.
    pub(crate) fn source(&self) -> Option<ResolveSource> {
        self.source
    }

    /// Whether an address was dialled.
    pub(crate) fn has_attempts(&self) -> bool {
        !self.attempts.is_empty()
    }

    /// How long connecting took, with a parent proxy to its answer.
    pub(crate) fn connect(&self) -> Option<Duration> {
        self.connect.map(Nanos::get)
    }

    /// The parent proxy, where the way goes through one.
    pub(crate) fn via(&self) -> Option<String> {
        self.parent.as_ref().map(|parent| parent.via.clone())
    }

    /// How much of the time to connect the parent proxy was asked.
    pub(crate) fn asking_took(&self) -> Duration {
        self.parent.as_ref().map_or(Duration::ZERO, |parent| parent.took.get())
    }

    /// When the parent proxy said that the target is reached.
    pub(crate) fn tunnelled(&self) -> Option<Moment> {
        self.parent.as_ref()?.tunnelled
    }

    /// The address that was connected to, and how many attempts before it failed.
    pub(crate) fn winner(&self) -> Option<(SocketAddr, usize)> {
        let won = self.attempts.iter().find(|attempt| matches!(attempt.end, End::Connected))?;
        let failed = |attempt: &&Attempt| matches!(attempt.end, End::Failed(_));
        Some((won.address, self.attempts.iter().filter(failed).count()))
    }

    /// How many of the addresses are not in the attempts.
    pub(crate) fn attempts_omitted(&self) -> Option<u64> {
        let tried = u64::try_from(self.attempts.len()).unwrap_or(u64::MAX);
        self.addresses.map(|addresses| u64::from(addresses.get()).saturating_sub(tried))
    }

    /// The attempts as the record shows them. The winner's SYNs stand in the first look at its
    /// socket.
    pub(crate) fn attempts(&self, upstream: Option<&Report>) -> Vec<record::Attempt> {
        let opened = upstream.and_then(|leg| leg.opened_info.as_ref());
        let syns_of_winner = opened.and_then(|info| info.sys_info.syn_retransmits());
        let recorded = |attempt: &Attempt| {
            let (outcome, syn_retransmits, fault) = match &attempt.end {
                End::Connected => (AttemptOutcome::Ok, syns_of_winner, None),
                End::Failed(failed) => {
                    (AttemptOutcome::Error, failed.syn_retransmits, failed.fault.as_ref())
                }
                End::Cancelled { syn_retransmits } => {
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

impl From<&AttemptError> for End {
    fn from(error: &AttemptError) -> Self {
        let AttemptError { failure, syn_retransmits } = error;
        let fault = failure.fault.clone();
        Self::Failed(Box::new(Failed { fault, syn_retransmits: *syn_retransmits }))
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
