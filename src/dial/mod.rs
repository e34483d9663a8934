//! Reaching the upstream: resolve, connect, remember every attempt, and ask a parent proxy if need be.

mod attempt;
mod cache;
mod candidates;
mod hop;
mod hosts;
mod log;
mod own_connections;
mod pool;
mod race;
mod resolve;
mod tunnel;
mod via;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Nanos;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{Phase, ResolveSource};
use crate::socket_options::Outgoing;
use crate::target::Target;
use attempt::Dialling;
pub(crate) use attempt::OwnStream;
use cache::{Found, Resolver};
pub(crate) use hop::{MOST_HOPS, hops_so_far, is_here};
pub(crate) use log::DialLog;
use log::Parent;
pub(crate) use own_connections::{Origin, OwnConnection, OwnConnections, Pending};
use race::{ExtraAttempts, race};
#[cfg(any(test, fuzzing))]
pub(crate) use tunnel::fuzzing;
pub(crate) use tunnel::{PARENT, Tunnel, say};
use via::Protocol;
pub use via::{Exception, ParseViaError, Via};

/// How long dialling may take, and where it may not go.
pub(crate) struct Limits<'l> {
    pub(crate) timeout: Duration,
    /// How many proxies on this machine the client has come through. `None`: it is not counted.
    pub(crate) hops: Option<u32>,
    /// The client that it is for: each has its share of the look-ups.
    pub(crate) client: Option<IpAddr>,
    /// Why an address of the target may not be dialled.
    pub(crate) refuse: &'l (dyn Fn(SocketAddr) -> Option<Fault> + Sync),
    /// Why the target may not be reached by its name alone, which a parent proxy looks up.
    pub(crate) refuse_name: &'l (dyn Fn() -> Option<Fault> + Sync),
    /// Why an address of the parent proxy may not be dialled.
    pub(crate) refuse_parent: &'l (dyn Fn(SocketAddr) -> Option<Fault> + Sync),
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

/// A connection that was had.
#[derive(Debug)]
pub(crate) struct Dialled<'v> {
    pub(crate) stream: OwnStream,
    pub(crate) leads_to: LeadsTo<'v>,
}

/// Where a connection leads.
#[derive(Debug)]
pub(crate) enum LeadsTo<'v> {
    /// To the target.
    Target,
    /// To a parent proxy that is to be asked for a tunnel.
    Tunnel(Box<Tunnel<'v>>),
    /// To a parent proxy that takes the client's own request, in absolute form.
    Parent(&'v Via),
}

/// The way to targets that all pairs of a run share.
#[derive(Debug)]
pub(crate) struct Dialler {
    family: Family,
    resolver: Resolver,
    sockets: Outgoing,
    own: Arc<OwnConnections>,
    extra_attempts: ExtraAttempts,
}

impl Dialler {
    pub(crate) fn new(family: Family, sockets: Outgoing) -> Self {
        Self {
            family,
            resolver: Resolver::new(family),
            sockets,
            own: Arc::default(),
            extra_attempts: ExtraAttempts::new(),
        }
    }

    /// What was dialled and is not closed yet.
    pub(crate) fn own_connections(&self) -> &OwnConnections {
        &self.own
    }

    /// Connects to `target`, or to the parent proxy that leads to it, `via` unless the target is one of
    /// its exceptions, by whichever of its addresses answers first. When `abandoned` is ready before that, its failure is the result. `in_http`: the
    /// client's request is one that an HTTP parent takes as it is; many let nobody have a tunnel to
    /// port 80.
    pub(crate) async fn dial<'v>(
        &self,
        target: &Target,
        via: Option<&'v Via>,
        in_http: bool,
        limits: Limits<'_>,
        log: &mut DialLog,
        mut abandoned: Pin<&mut impl Future<Output = Failure>>,
    ) -> Result<Dialled<'v>, Failure> {
        let deadline = crate::clock::deadline(Instant::now(), limits.timeout);
        let tunnel = match via.filter(|via| !via.excepts(target)) {
            Some(via) => {
                let abandoned = abandoned.as_mut();
                let tunnel = self.tunnel(via, target, deadline, &limits, log, abandoned);
                // Boxed, like all of it: tasks need not keep room for what few of them do.
                Some(Box::new(Box::pin(tunnel).await?))
            }
            None => None,
        };
        let (next, refuse) = match &tunnel {
            Some(tunnel) => (&tunnel.via.parent, limits.refuse_parent),
            None => (target, limits.refuse),
        };
        let resolved = self.resolve(next, limits.client, deadline, log, abandoned.as_mut()).await;
        let addresses = resolved.map_err(|failure| match tunnel {
            Some(_) => of_parent(failure),
            None => failure,
        })?;
        let how = Dialling { sockets: self.sockets, hops: limits.hops, own: &self.own };
        let terms = race::Terms { how, deadline, refuse, extra: &self.extra_attempts };
        let stream = race(&addresses, terms, log, abandoned).await?;
        let leads_to = match tunnel {
            None => LeadsTo::Target,
            Some(tunnel) if in_http && tunnel.via.protocol == Protocol::Http => {
                LeadsTo::Parent(tunnel.via)
            }
            Some(tunnel) => LeadsTo::Tunnel(tunnel),
        };
        Ok(Dialled { stream, leads_to })
    }

    /// What the parent proxy will be asked for. An address that may not be dialled is none that it
    /// is asked for.
    async fn tunnel<'v>(
        &self,
        via: &'v Via,
        target: &Target,
        deadline: Instant,
        limits: &Limits<'_>,
        log: &mut DialLog,
        abandoned: Pin<&mut impl Future<Output = Failure>>,
    ) -> Result<Tunnel<'v>, Failure> {
        log.parent = Some(Box::new(Parent {
            via: via.to_string(),
            tunnelled: None,
            took: Nanos::default(),
        }));
        let addresses = match target.literal() {
            Some(address) => vec![address],
            None if via.looks_names_up() => {
                return match (limits.refuse_name)() {
                    None => Ok(Tunnel { via, target: target.clone(), deadline }),
                    Some(fault) => Err(Failure::denied(Phase::Connect, fault)),
                };
            }
            None => self.resolve(target, limits.client, deadline, log, abandoned).await?,
        };
        let mut refused = None;
        for address in addresses {
            match (limits.refuse)(address) {
                None => return Ok(Tunnel { via, target: address.into(), deadline }),
                Some(fault) => refused = refused.or(Some(fault)),
            }
        }
        Err(refused.map_or_else(
            || resolve::failed(resolve::no_address()),
            |fault| Failure::denied(Phase::Connect, fault),
        ))
    }

    /// The addresses of a target in the order in which they are tried; at least one.
    async fn resolve(
        &self,
        target: &Target,
        client: Option<IpAddr>,
        deadline: Instant,
        log: &mut DialLog,
        abandoned: Pin<&mut impl Future<Output = Failure>>,
    ) -> Result<Vec<SocketAddr>, Failure> {
        if let Some(address) = target.literal() {
            log.source.get_or_insert(ResolveSource::Literal);
            return match self.family.has(address) {
                true => Ok(vec![address]),
                false => {
                    let text = match self.family {
                        Family::V6 => {
                            "the target is an IPv4 address, and only IPv6 is allowed \
                                       (-6)"
                        }
                        _ => "the target is an IPv6 address, and only IPv4 is allowed (-4)",
                    };
                    let fault = Fault { code: resolve::OTHER_FAMILY.into(), text: text.into() };
                    Err(Failure::denied(Phase::Connect, fault))
                }
            };
        }
        let with_port = |mut address: SocketAddr| {
            address.set_port(target.port());
            address
        };
        let with_ports =
            |addresses: cache::Addresses| addresses.iter().copied().map(with_port).collect();
        let question = match self.resolver.find(&target.lookup_name(), client.into()) {
            Found::Known(addresses) => {
                // Of two names, one may have been looked up.
                if log.resolve.is_none() {
                    log.source = Some(ResolveSource::Cache);
                }
                return Ok(with_ports(addresses));
            }
            Found::Loopback(addresses) => {
                log.source.get_or_insert(ResolveSource::Literal);
                return Ok(with_ports(addresses));
            }
            Found::Overloaded => {
                log.source = Some(ResolveSource::Failed);
                return Err(resolve::overloaded());
            }
            Found::Asked(question) => question,
        };

        let began = Instant::now();
        let looked_up = tokio::select! {
            biased;
            looked_up = question.answer() => looked_up.map_err(resolve::failed),
            failure = abandoned => Err(Failure { phase: Phase::Resolve, ..failure }),
            () = tokio::time::sleep_until(deadline.into()) => {
                let text = "the resolver timed out";
                Err(Failure::timed_out(Phase::Resolve, "RESOLVE_TIMEOUT", text))
            }
        };
        *log.resolve.get_or_insert_default() += began.elapsed().into();
        log.source = Some(match looked_up {
            Ok(_) => ResolveSource::Lookup,
            Err(_) => ResolveSource::Failed,
        });
        looked_up.map(with_ports)
    }
}

/// Says that it is the parent proxy whose addresses are not known; others have a word on whom they are
/// about.
fn of_parent(mut failure: Failure) -> Failure {
    if let Some(fault) = failure.fault.as_mut().filter(|fault| resolve::is_code(&fault.code)) {
        fault.text = format!("{PARENT}: {}", fault.text).into();
    }
    failure
}
