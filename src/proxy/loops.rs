//! Connections that come back: to a listener of this proxy, or through other proxies on this machine.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::entry::Entry;
use crate::access;
use crate::dial::{self, MOST_HOPS, Origin, OwnConnections, Pending};
use crate::episode::Episode;
use crate::fault::Fault;
use crate::ingress::original_destination;

/// What was said of loops.
#[derive(Debug, Default)]
pub(super) struct Loops(Mutex<Episode>);

impl Loops {
    /// Resets a connection of our own that came back. The pair that dialled it has the record.
    pub(super) fn refuse(&self, stream: &TcpStream, entry: &Entry) {
        if self.begin() {
            tracing::warn!(
                "loop: a connection of this proxy came back to its listener {}; such connections \
                 are refused (LOOP)",
                entry.listener
            );
        }
        // If it fails, there is no connection to reset.
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }

    /// Why a connection is refused that has come through so many proxies on this machine.
    pub(super) fn refuse_hop(&self, hops: u32) -> Option<Fault> {
        if hops < MOST_HOPS {
            return None;
        }
        if self.begin() {
            tracing::warn!(
                "loop: a connection passed through {MOST_HOPS} proxies on this machine; such \
                 connections are refused (LOOP)"
            );
        }
        Some(fault("the connection passed through too many proxies on this machine"))
    }

    /// Whether it is time to say again that there are some.
    fn begin(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).begins()
    }
}

/// Whose a connection is that was accepted from `peer`.
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

/// Waits until it can be told whose a connection is: for connect(2) calls of other threads, which
/// take microseconds.
pub(super) async fn decide(own: &OwnConnections, pending: &Pending) {
    while !own.is_decided(pending) {
        tokio::task::yield_now().await;
    }
}

/// Why an address may not be dialled if a connection to it would come back to one of these listeners.
pub(super) fn refuse_loop(listening: &[SocketAddr], address: SocketAddr) -> Option<Fault> {
    let is_own = listening.iter().any(|listener| {
        let (here, ip) = (listener.ip(), address.ip());
        // One that takes IPv6 takes both.
        let takes = here.is_unspecified() && (here.is_ipv6() || ip.to_canonical().is_ipv4());
        address.port() == listener.port()
            && (access::is_own(ip, here) || takes && dial::is_here(ip))
    });
    is_own.then(|| fault("the target is this proxy's own listener"))
}

/// Why a pair ended whose connection to the upstream came back.
pub(super) fn returned() -> Fault {
    fault("the connection to the target came back to this proxy")
}

fn fault(text: &'static str) -> Fault {
    Fault { code: "LOOP".into(), text: text.into() }
}
