//! Connections that come back: to a listener of this proxy, or through other proxies on this machine.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpStream;

use super::entry::Entry;
use crate::access;
use crate::dial::{self, DialIds, MOST_HOPS, Origin, OwnConnections};
use crate::fault::Fault;
use crate::ingress::original_destination;
use crate::log_throttle::LogThrottle;
use crate::relay::abort;

/// Log throttle for loops.
#[derive(Debug, Default)]
pub(super) struct Loops(Mutex<LogThrottle>);

impl Loops {
    /// Resets a connection of our own that came back. The pair that dialled it gets the record.
    pub(super) fn refuse(&self, stream: TcpStream, entry: &Entry) {
        if self.begin() {
            tracing::warn!(
                "loop: a connection of this proxy came back to its listener {}; such connections \
                 are refused (LOOP)",
                entry.listener
            );
        }
        // If it fails, there is no connection to reset.
        let _ = abort(stream);
    }

    /// Checks how many proxies on this machine a connection has come through.
    pub(super) fn check_hops(&self, hops: u32) -> Result<(), Fault> {
        if hops < MOST_HOPS {
            return Ok(());
        }
        if self.begin() {
            tracing::warn!(
                "loop: a connection passed through {MOST_HOPS} proxies on this machine; such \
                 connections are refused (LOOP)"
            );
        }
        Err(fault("the connection passed through too many proxies on this machine"))
    }

    /// Whether a loop should be logged now.
    fn begin(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).should_log()
    }
}

/// Whether a connection accepted from `peer` is one of our own.
pub(super) fn origin(
    own: &OwnConnections,
    stream: &TcpStream,
    peer: SocketAddr,
    local: Option<SocketAddr>,
    is_redirect: bool,
) -> Origin {
    let original = || original_destination(stream).ok();
    local.map_or(Origin::Elsewhere, |local| own.origin(peer, local, is_redirect, original))
}

/// Waits until [`origin`] can decide: for connect(2) calls of other threads, which take
/// microseconds.
pub(super) async fn decide(own: &OwnConnections, pending: &DialIds) {
    while !own.is_decided(pending) {
        tokio::task::yield_now().await;
    }
}

/// Checks that a connection to this address would not come back to one of these listeners.
pub(super) fn check_loop(listening: &[SocketAddr], address: SocketAddr) -> Result<(), Fault> {
    let is_own = listening.iter().any(|listener| {
        let (here, ip) = (listener.ip(), address.ip());
        // A listener on the unspecified IPv6 address accepts both families.
        let takes = here.is_unspecified() && (here.is_ipv6() || ip.to_canonical().is_ipv4());
        address.port() == listener.port()
            && (access::is_own(ip, here) || takes && dial::is_here(ip))
    });
    match is_own {
        true => Err(fault("the target is this proxy's own listener")),
        false => Ok(()),
    }
}

/// The error of a pair whose upstream connection came back.
pub(super) fn returned() -> Fault {
    fault("the connection to the target came back to this proxy")
}

fn fault(text: &'static str) -> Fault {
    Fault { code: "LOOP".into(), text: text.into() }
}
