//! What all pairs of a run have in common.

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
use crate::access::{Asker, Guesses, Owner, Owners};
use crate::dial::Dialler;
use crate::episode::Episode;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::output::Recorder;
use crate::process::Finder;
use crate::record::{self, Line, Listening, Phase};
use crate::relay::Pulse;
use crate::target::Target;

/// What all pairs of a run have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) recorder: Recorder,
    pub(super) dialler: Dialler,
    pub(super) processes: Option<Finder>,
    /// Where only the own user's programs may connect.
    pub(super) owners: Option<Owners>,
    /// What was said of clients that may not.
    pub(super) refused: Mutex<Episode>,
    pub(super) seq: AtomicU64,
    pub(super) counters: Counters,
    pub(super) listening: Vec<SocketAddr>,
    pub(super) hooks: Hooks,
    pub(super) pulse: Arc<Pulse>,
    pub(super) admission: Admission,
    /// Clients whose passwords were wrong.
    pub(super) guesses: Guesses,
    pub(super) loops: Loops,
    pub(super) refusals: Refusals,
    /// Cancelled when pairs that are still open must end.
    pub(super) stop: CancellationToken,
}

impl Shared {
    /// Why a client is refused because of its owner, which is said once while it happens.
    pub(super) async fn refuse_owner(
        &self,
        owner: Option<Owner>,
        client: Option<SocketAddr>,
    ) -> Option<Fault> {
        let fault = self.owners.as_ref()?.refuse(owner?).await?;
        if self.refused.lock().unwrap_or_else(PoisonError::into_inner).begins() {
            let client = client.map_or_else(String::new, |client| format!(" {client}"));
            tracing::warn!(
                "client{client} refused: {}; further refusals are only recorded",
                fault.text
            );
        }
        Some(fault)
    }

    /// Why this address of a target may not be dialled.
    pub(super) fn refuse_address(
        &self,
        asker: Asker,
        target: &Target,
        address: SocketAddr,
    ) -> Option<Fault> {
        let refused = || self.settings.access.refuse_address(asker, target, address);
        self.refuse_loop(address).or_else(refused)
    }

    /// Why an address may not be dialled that leads back here.
    pub(super) fn refuse_loop(&self, address: SocketAddr) -> Option<Fault> {
        loops::refuse_loop(&self.listening, address)
    }

    /// Writes lines on connections that were refused without a record, for ever.
    pub(super) async fn record_refusals(&self) {
        loop {
            self.refusals.begun().await;
            tokio::time::sleep(refusals::GATHER).await;
            self.record_refused();
        }
    }

    pub(super) fn record_refused(&self) {
        if let Some(refused) = self.refusals.take(&self.settings)
            && self.settings.events.close
        {
            self.recorder.push(&Line::Refused(refused));
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

    /// The number of a new connection, which is counted by that.
    pub(super) fn next_seq(&self, entry: &Entry) -> u64 {
        entry.connections.opened.fetch_add(1, Ordering::Relaxed);
        self.seq.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The place of a new connection among its client's, if those are counted. Why it is refused, as far
    /// as its address tells.
    pub(super) fn admit(&self, peer: SocketAddr) -> Result<Option<Box<ClientPlace>>, Failure> {
        if let Some(fault) = self.settings.access.refuse_client(Some(peer)) {
            return Err(Failure::denied(Phase::Accept, fault));
        }
        if self.settings.accept_proxy {
            return Ok(None);
        }
        let place = self.admission.take_of(peer.ip().to_canonical());
        place.map_err(|fault| Failure::limited(Phase::Accept, fault))
    }

    /// Whether a connection that is refused gets a record of its own.
    pub(super) fn has_record(&self, client: Option<IpAddr>, failure: &Failure) -> bool {
        let code = failure.fault.as_ref().map_or("EIO", |fault| &*fault.code);
        self.refusals.has_record(client, code)
    }
}

/// A socket that takes both families shows IPv4 peers as `::ffff:a.b.c.d`.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        // A link-local address keeps its scope.
        IpAddr::V6(_) => address,
    }
}
