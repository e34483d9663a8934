//! Dials the upstream: resolves, connects, records every attempt, and opens a tunnel through a
//! parent proxy.

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

use crate::clock::CompactDuration;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{Phase, ResolveSource};
use crate::socket_options::Outgoing;
use crate::target::Target;
use attempt::DialConfig;
pub(crate) use attempt::OwnStream;
use cache::{Resolution, Resolver};
pub(crate) use hop::{MOST_HOPS, hops_so_far, is_here};
pub(crate) use log::DialLog;
use log::Parent;
pub(crate) use own_connections::{DialIds, Origin, OwnConnection, OwnConnections};
use race::{ExtraAttempts, race};
#[cfg(any(test, fuzzing))]
pub(crate) use tunnel::fuzzing;
pub(crate) use tunnel::{PARENT, Tunnel, write_to_peer};
use via::Protocol;
pub use via::{Exception, ParseViaError, Via};

/// Limits of one dial.
pub(crate) struct Limits<'l> {
    pub(crate) timeout: Duration,
    /// How many proxies on this machine the client has come through. `None`: not counted.
    pub(crate) hops: Option<u32>,
    /// The client of the dial, for its share of the look-ups.
    pub(crate) client: Option<IpAddr>,
    /// Checks an address of the target before it is dialled.
    pub(crate) check_address: &'l (dyn Fn(SocketAddr) -> Result<(), Fault> + Sync),
    /// Checks the target's name, where a parent proxy looks it up.
    pub(crate) check_name: &'l (dyn Fn() -> Result<(), Fault> + Sync),
    /// Checks an address of the parent proxy before it is dialled.
    pub(crate) check_parent: &'l (dyn Fn(SocketAddr) -> Result<(), Fault> + Sync),
}

/// Address families to dial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// Both families.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
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

/// An established connection.
#[derive(Debug)]
pub(crate) struct DialledStream<'v> {
    pub(crate) stream: OwnStream,
    pub(crate) remote_end: RemoteEnd<'v>,
}

/// What is at the other end of a connection.
#[derive(Debug)]
pub(crate) enum RemoteEnd<'v> {
    /// The target.
    Target,
    /// A parent proxy that must open a tunnel.
    Tunnel(Box<Tunnel<'v>>),
    /// A parent proxy that takes the client's own request in absolute form.
    Parent(&'v Via),
}

/// Dials targets; shared by all pairs of a run.
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

    /// Connections that were dialled and are not closed yet.
    pub(crate) fn own_connections(&self) -> &OwnConnections {
        &self.own
    }

    /// Connects to `target`, or to the parent proxy `via` unless the target is one of its
    /// exceptions, by whichever address answers first. When `client_gone` is ready before that, its
    /// failure is the result. `in_http`: an HTTP parent can take the client's request as it is;
    /// many do not allow tunnels to port 80.
    pub(crate) async fn dial<'v>(
        &self,
        target: &Target,
        via: Option<&'v Via>,
        in_http: bool,
        limits: Limits<'_>,
        log: &mut DialLog,
        mut client_gone: Pin<&mut impl Future<Output = Failure>>,
    ) -> Result<DialledStream<'v>, Failure> {
        let deadline = crate::clock::deadline(Instant::now(), limits.timeout);
        let tunnel = match via.filter(|via| !via.bypasses(target)) {
            Some(via) => {
                let client_gone = client_gone.as_mut();
                let tunnel = self.tunnel(via, target, deadline, &limits, log, client_gone);
                // Boxed, so that other tasks reserve no space for it.
                Some(Box::new(Box::pin(tunnel).await?))
            }
            None => None,
        };
        let (next, check) = match &tunnel {
            Some(tunnel) => (&tunnel.via.parent, limits.check_parent),
            None => (target, limits.check_address),
        };
        let resolved = self.resolve(next, limits.client, deadline, log, client_gone.as_mut()).await;
        let addresses = resolved.map_err(|failure| match tunnel {
            Some(_) => of_parent(failure),
            None => failure,
        })?;
        let dial = DialConfig { sockets: self.sockets, hops: limits.hops, own: &self.own };
        let config = race::RaceConfig { dial, deadline, check, extra: &self.extra_attempts };
        let stream = race(&addresses, config, log, client_gone).await?;
        let remote_end = match tunnel {
            None => RemoteEnd::Target,
            Some(tunnel) if in_http && tunnel.via.protocol == Protocol::Http => {
                RemoteEnd::Parent(tunnel.via)
            }
            Some(tunnel) => RemoteEnd::Tunnel(tunnel),
        };
        Ok(DialledStream { stream, remote_end })
    }

    /// The tunnel to request from the parent proxy. Addresses that may not be dialled are not
    /// requested either.
    async fn tunnel<'v>(
        &self,
        via: &'v Via,
        target: &Target,
        deadline: Instant,
        limits: &Limits<'_>,
        log: &mut DialLog,
        client_gone: Pin<&mut impl Future<Output = Failure>>,
    ) -> Result<Tunnel<'v>, Failure> {
        log.parent = Some(Box::new(Parent {
            via: via.to_string(),
            tunnelled: None,
            took: CompactDuration::default(),
        }));
        let addresses = match target.literal() {
            Some(address) => vec![address],
            None if via.looks_names_up() => {
                return match (limits.check_name)() {
                    Ok(()) => Ok(Tunnel { via, target: target.clone(), deadline }),
                    Err(fault) => Err(Failure::denied(Phase::Connect, fault)),
                };
            }
            None => self.resolve(target, limits.client, deadline, log, client_gone).await?,
        };
        let mut refused = None;
        for address in addresses {
            match (limits.check_address)(address) {
                Ok(()) => return Ok(Tunnel { via, target: address.into(), deadline }),
                Err(fault) => refused = refused.or(Some(fault)),
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
        client_gone: Pin<&mut impl Future<Output = Failure>>,
    ) -> Result<Vec<SocketAddr>, Failure> {
        if let Some(address) = target.literal() {
            log.source.get_or_insert(ResolveSource::Literal);
            return match self.family.has(address) {
                true => Ok(vec![address]),
                false => {
                    let text = match self.family {
                        Family::V6 => {
                            "the address is an IPv4 address, and only IPv6 is allowed (-6)"
                        }
                        _ => "the address is an IPv6 address, and only IPv4 is allowed (-4)",
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
        // Before the question goes to another thread.
        let began = Instant::now();
        let wait = match self.resolver.find(&target.lookup_name(), client.into()) {
            Resolution::Cached(addresses) => {
                // Another name may have been looked up already.
                if log.resolve.is_none() {
                    log.source = Some(ResolveSource::Cache);
                }
                return Ok(with_ports(addresses));
            }
            Resolution::Loopback(addresses) => {
                log.source.get_or_insert(ResolveSource::Literal);
                return Ok(with_ports(addresses));
            }
            Resolution::Overloaded => {
                log.source = Some(ResolveSource::Failed);
                return Err(resolve::overloaded());
            }
            Resolution::Pending(wait) => wait,
        };

        let looked_up = tokio::select! {
            biased;
            looked_up = wait.answer() => looked_up.map_err(resolve::failed),
            failure = client_gone => Err(Failure { phase: Phase::Resolve, ..failure }),
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

/// Names the parent proxy in the text of a failed look-up; other failures name it already.
fn of_parent(mut failure: Failure) -> Failure {
    if let Some(fault) = failure.fault.as_mut().filter(|fault| resolve::is_code(&fault.code)) {
        fault.text = format!("{PARENT}: {}", fault.text).into();
    }
    failure
}
