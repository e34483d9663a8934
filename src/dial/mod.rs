//! Reaching the upstream: resolve, connect, and remember every attempt.

mod attempt;
mod cache;
mod race;
mod resolve;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::fault::Fault;
use crate::ingress::Target;
use crate::record::{Attempt, AttemptOutcome, By, How, Outcome, Phase, ResolveSource};
use cache::{Found, Resolver};
use race::race;

/// How dialling goes on. It is filled on the way, so that it is complete also when dialling is
/// given up in the middle.
#[derive(Debug, Default)]
pub(crate) struct DialLog {
    pub(crate) resolve: Option<Duration>,
    pub(crate) source: Option<ResolveSource>,
    pub(crate) connect: Option<Duration>,
    pub(crate) attempts: Vec<Attempt>,
}

impl DialLog {
    /// The address that was connected to, and how many attempts before it failed.
    pub(crate) fn winner(&self) -> Option<(SocketAddr, usize)> {
        let won = self.attempts.iter().find(|attempt| attempt.outcome == AttemptOutcome::Ok)?;
        let failed = |attempt: &&Attempt| attempt.outcome == AttemptOutcome::Error;
        Some((won.addr, self.attempts.iter().filter(failed).count()))
    }
}

/// Why a pair never got to relaying: what its record says.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) phase: Phase,
    pub(crate) outcome: Outcome,
    pub(crate) by: By,
    pub(crate) how: How,
    pub(crate) fault: Option<Fault>,
}

/// How long dialling may take, and where it may not go.
pub(crate) struct Limits<'l> {
    pub(crate) timeout: Duration,
    /// Why an address may not be dialled.
    pub(crate) refuse: &'l (dyn Fn(SocketAddr) -> Option<Fault> + Sync),
}

/// Which addresses are dialled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// Those of both families.
    #[default]
    Any,
    /// IPv4 addresses alone.
    V4,
    /// IPv6 addresses alone.
    V6,
}

impl Family {
    fn has(self, address: SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.ip().to_canonical().is_ipv4(),
            Self::V6 => address.ip().to_canonical().is_ipv6(),
        }
    }
}

/// The way to targets that all pairs of a run share.
#[derive(Debug)]
pub(crate) struct Dialler {
    family: Family,
    resolver: Resolver,
}

impl Dialler {
    pub(crate) fn new(family: Family) -> Self {
        Self { family, resolver: Resolver::new(family) }
    }

    /// Connects to `target`, by whichever of its addresses answers first. When `abandoned` is ready
    /// before that, its failure is the result.
    pub(crate) async fn dial(
        &self,
        target: &Target,
        limits: Limits<'_>,
        log: &mut DialLog,
        mut abandoned: Pin<&mut impl Future<Output = Failure>>,
    ) -> Result<TcpStream, Failure> {
        let deadline = crate::clock::after(Instant::now(), limits.timeout);
        let addresses = match target.literal() {
            Some(address) => {
                log.source = Some(ResolveSource::Literal);
                if !self.family.has(address) {
                    let text = "the target has an address of the other family";
                    return Err(denied(Fault { code: "ADDRESS_FAMILY".into(), text: text.into() }));
                }
                vec![address]
            }
            None => self.resolve(target, deadline, log, abandoned.as_mut()).await?,
        };
        race(&addresses, deadline, limits.refuse, log, abandoned).await
    }

    /// The addresses of a name in the order in which they are tried; at least one.
    async fn resolve(
        &self,
        target: &Target,
        deadline: Instant,
        log: &mut DialLog,
        abandoned: Pin<&mut impl Future<Output = Failure>>,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let with_port = |addresses: cache::Addresses| {
            let with_port = |&address: &SocketAddr| {
                let mut address = address;
                address.set_port(target.port());
                address
            };
            addresses.iter().map(with_port).collect()
        };
        let question = match self.resolver.find(&target.host()) {
            Found::Known(addresses) => {
                log.source = Some(ResolveSource::Cache);
                return Ok(with_port(addresses));
            }
            Found::Asked(question) => question,
        };

        let began = Instant::now();
        let looked_up = tokio::select! {
            biased;
            looked_up = question.answer() => looked_up.map_err(resolve::failed),
            failure = abandoned => Err(Failure { phase: Phase::Resolve, ..failure }),
            () = tokio::time::sleep_until(deadline.into()) => {
                let text = "the resolver did not answer in time";
                Err(timed_out(Phase::Resolve, "RESOLVE_TIMEOUT", text))
            }
        };
        log.resolve = Some(began.elapsed());
        log.source = Some(match looked_up {
            Ok(_) => ResolveSource::Lookup,
            Err(_) => ResolveSource::Failed,
        });
        looked_up.map(with_port)
    }
}

fn timed_out(phase: Phase, code: &'static str, text: &'static str) -> Failure {
    Failure {
        phase,
        outcome: Outcome::Timeout,
        by: By::Proxy,
        how: How::Timeout,
        fault: Some(Fault { code: code.into(), text: text.into() }),
    }
}

fn denied(fault: Fault) -> Failure {
    Failure {
        phase: Phase::Connect,
        outcome: Outcome::Denied,
        by: By::Proxy,
        how: How::Denied,
        fault: Some(fault),
    }
}
