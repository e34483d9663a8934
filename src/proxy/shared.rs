//! State shared by all pairs of a run.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, ClientPlace};
use super::counters::Counters;
use super::entry::Entry;
use super::hooks::Hooks;
use super::loops::{self, Loops};
use super::refusals::{self, Refusals};
use super::settings::Settings;
use crate::access::{Owner, Owners, PasswordGuesses, RequestOrigin};
use crate::dial::Dialler;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::log_throttle::LogThrottle;
use crate::output::Recorder;
use crate::process::Finder;
use crate::record::{self, Line, Listening, Phase};
use crate::relay::StallDetector;
use crate::target::Target;

/// What all pairs of a run have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) recorder: Recorder,
    pub(super) dialler: Dialler,
    pub(super) processes: Option<Finder>,
    /// Owners of client programs, if only programs of the own user may connect.
    pub(super) owners: Option<Owners>,
    /// Log throttle for refused owners.
    pub(super) refused: Mutex<LogThrottle>,
    pub(super) seq: AtomicU64,
    pub(super) counters: Counters,
    pub(super) listening: Vec<SocketAddr>,
    /// The forwarding listeners and their targets.
    pub(super) forwards: Vec<(SocketAddr, Target)>,
    pub(super) hooks: Hooks,
    pub(super) stall_detector: Arc<StallDetector>,
    pub(super) admission: Admission,
    /// Wrong passwords by client.
    pub(super) guesses: PasswordGuesses,
    pub(super) loops: Loops,
    pub(super) refusals: Refusals,
    /// Cancelled when no further requests are wanted: a connection that carries several ends after
    /// the current one.
    pub(super) draining: CancellationToken,
    /// Cancelled when pairs that are still open must end.
    pub(super) stop: CancellationToken,
}

impl Shared {
    /// Checks whether the owner of a client may connect. A refusal is logged once per episode.
    pub(super) async fn check_owner(
        &self,
        owner: Option<Owner>,
        client: Option<SocketAddr>,
    ) -> Result<(), Fault> {
        let (Some(owners), Some(owner)) = (&self.owners, owner) else { return Ok(()) };
        let Err(fault) = owners.check(owner).await else { return Ok(()) };
        if self.refused.lock().unwrap_or_else(PoisonError::into_inner).should_log() {
            let client = client.map_or_else(String::new, |client| format!(" {client}"));
            tracing::warn!(
                "client{client} refused: {}; further refusals are only recorded",
                fault.text
            );
        }
        Err(fault)
    }

    /// Checks one address of a target before it is dialled.
    pub(super) fn check_address(
        &self,
        request_origin: RequestOrigin,
        target: &Target,
        address: SocketAddr,
    ) -> Result<(), Fault> {
        self.check_loop(address)?;
        self.settings.access.check_address(request_origin, target, address)
    }

    /// Checks that an address does not lead back to a listener of this proxy.
    pub(super) fn check_loop(&self, address: SocketAddr) -> Result<(), Fault> {
        loops::check_loop(&self.listening, address)
    }

    /// The target of the forwarding listener that `target` is the address of, if requests for those are
    /// [followed](Settings::follow_own_forwards).
    pub(super) fn own_forward(&self, target: &Target) -> Option<&Target> {
        let forwards = self.settings.follow_own_forwards.then_some(&self.forwards)?;
        let is_there = |listener: &SocketAddr| match target.literal() {
            Some(address) => canonical(address) == *listener,
            None => {
                let is_here = target.is_localhost() && listener.ip().is_loopback();
                is_here && target.port() == listener.port()
            }
        };
        forwards.iter().find_map(|(listener, target)| is_there(listener).then_some(target))
    }

    /// Writes `refused` lines, forever.
    pub(super) async fn record_refusals(&self) {
        loop {
            self.refusals.begun().await;
            tokio::time::sleep(refusals::GATHER).await;
            self.record_refused();
        }
    }

    pub(super) fn record_refused(&self) {
        if let Some(refused) = self.refusals.take(&self.settings) {
            self.hooks.refused.call(&refused);
            if self.settings.events.close {
                self.recorder.push(&Line::Refused(refused));
            }
        }
    }

    pub(super) fn start_line(&self, listeners: Vec<Listening>) -> record::Start {
        record::Start {
            schema: record::SCHEMA,
            time: Timestamp::now(),
            host: self.settings.host.clone(),
            labels: self.settings.labels.clone(),
            run_id: self.settings.run_id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            listeners,
            line: 0,
        }
    }

    pub(super) fn stop_line(&self, began: Instant) -> record::Stop {
        record::Stop {
            schema: record::SCHEMA,
            time: Timestamp::now(),
            host: self.settings.host.clone(),
            labels: self.settings.labels.clone(),
            run_id: self.settings.run_id,
            duration: began.elapsed(),
            pairs: self.seq.load(Ordering::Relaxed),
            lines_lost: self.recorder.tally().lost,
            line: 0,
        }
    }

    /// Counts a new connection and returns its number.
    pub(super) fn next_seq(&self, entry: &Entry) -> u64 {
        entry.connections.opened.fetch_add(1, Ordering::Relaxed);
        self.seq.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Checks the client's address and takes a place for it, if connections of a client are
    /// limited.
    pub(super) fn admit(&self, peer: SocketAddr) -> Result<Option<Box<ClientPlace>>, Failure> {
        let allowed = self.settings.access.check_client(Some(peer));
        allowed.map_err(|fault| Failure::denied(Phase::Accept, fault))?;
        if self.settings.accept_proxy {
            return Ok(None);
        }
        let place = self.admission.take_for_client(peer.ip().to_canonical());
        place.map_err(|fault| Failure::limited(Phase::Accept, fault))
    }

    /// Whether a connection that is refused gets a record of its own.
    pub(super) fn has_record(&self, client: Option<IpAddr>, failure: &Failure) -> bool {
        let code = failure.fault.as_ref().map_or("EIO", |fault| &*fault.code);
        self.refusals.has_record(client, code)
    }
}

/// The address with IPv4 instead of `::ffff:a.b.c.d`, which sockets for both families show.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        // A link-local address keeps its scope.
        IpAddr::V6(_) => address,
    }
}
