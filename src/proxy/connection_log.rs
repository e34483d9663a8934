//! What is known of a pair, from accept to its record.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;

use super::admission::{ClientPlace, Place};
use super::entry::Entry;
use super::payload::CountedPayload;
use super::sampler_state::SamplerState;
use super::settings::Limits;
use super::shared::Shared;
use crate::clock::{self, CompactDuration, CompactInstant};
use crate::conn::{Epoch, Meter};
use crate::dial::{DialLog, OwnConnection, OwnStream};
use crate::ingress::RequestInfo;
use crate::judge::PairEnd;
use crate::observe::Observations;
use crate::process;
use crate::record::{Delta, Line};
use crate::relay::{
    FinishedTurn, Leg, LegState, Monitor, PairTimeouts, Side, TimeBreakdown, TurnTracker,
};
use crate::target::Target;

/// What is known of a pair, except for the state of its two sockets. It lives from accept until
/// both sockets are closed; its lines are built from it.
pub(super) struct ConnectionLog {
    pub(super) shared: Arc<Shared>,
    pub(super) request_info: RequestInfo,
    /// How long it took to read the client's request. `None` if there is none to read.
    pub(super) request: Option<CompactDuration>,
    pub(super) dial_log: DialLog,
    /// Registration of the upstream's connection as our own; held until its socket is closed.
    pub(super) own_connection: Option<OwnConnection>,
    /// The local program that is the client, once it is found.
    pub(super) process: Option<process::ProcessSlot>,
    /// What the observers of a tunnel have seen.
    pub(super) observations: Option<Arc<Observations>>,
    /// The pair that used the client's connection before, by its id.
    pub(super) previous: Option<String>,
    /// The client's connection outlives the pair.
    pub(super) client_stays: bool,
    /// The state of the sampler between two exchanges, if samples are written.
    pub(super) sampler: Option<Box<SamplerState>>,
    /// Held until both sockets are closed.
    pub(super) client_place: Option<Box<ClientPlace>>,
    pub(super) place: Place,
    pub(super) seq: u64,
    pub(super) epoch: Epoch,
    pub(super) entry: Arc<Entry>,
    /// The listener's own entry.
    pub(super) listener: Arc<Entry>,
    /// Payload that was counted while the pair was open.
    added: CountedPayload,
    /// Bytes to upstream and to client that earlier lines reported. Boxed, because most pairs have none.
    reported: Option<Box<(u64, u64)>>,
    is_recorded: bool,
    /// The end was counted.
    is_counted: bool,
}

impl Monitor for ConnectionLog {
    fn poll(
        &mut self,
        client: &Side<'_>,
        upstream: &Side<'_>,
        turns: &mut TurnTracker,
        _: &mut Context<'_>,
    ) {
        self.count_payload(&client.state.meter, Some(&upstream.state.meter));
        self.turns_ended(&turns.take_finished(), &client.state.meter);
    }
}

impl Drop for ConnectionLog {
    /// Counts a pair whose task panicked, or was dropped, before its record could be made.
    fn drop(&mut self) {
        self.count_end();
        if !self.is_recorded && self.shared.settings.events.close {
            self.shared.recorder.count_lost();
            match std::thread::panicking() {
                true => tracing::error!(
                    "internal error: the task of a connection panicked, and its record is lost"
                ),
                false => {
                    tracing::error!("the task of a connection was dropped; its record is lost")
                }
            }
        }
    }
}

impl ConnectionLog {
    pub(super) fn new(
        shared: Arc<Shared>,
        seq: u64,
        epoch: Epoch,
        entry: Arc<Entry>,
        place: Place,
    ) -> Self {
        Self {
            shared,
            request_info: RequestInfo::default(),
            request: None,
            dial_log: DialLog::default(),
            own_connection: None,
            process: None,
            observations: None,
            previous: None,
            client_stays: false,
            sampler: None,
            client_place: None,
            place,
            seq,
            epoch,
            listener: Arc::clone(&entry),
            entry,
            added: CountedPayload::default(),
            reported: None,
            is_recorded: false,
            is_counted: false,
        }
    }

    /// Idle and lifetime limits of relaying.
    pub(super) fn timeouts(&self) -> Option<Box<PairTimeouts>> {
        let Limits { idle, lifetime, .. } = self.shared.settings.limits;
        let [idle, lifetime] = [idle, lifetime].map(|time| time.filter(|time| !time.is_zero()));
        let until = lifetime.map(|lifetime| clock::after(self.epoch.start().into(), lifetime));
        PairTimeouts::new(idle, until)
    }

    /// Notes that reading the client's request has ended, successfully or not.
    pub(super) fn request_ended(&mut self) {
        self.request = Some(self.epoch.start().elapsed().into());
    }

    /// Makes the upstream's leg, right after connect.
    pub(super) fn upstream_leg(&mut self, own: OwnStream) -> Box<Leg> {
        let OwnStream { stream, connection } = own;
        self.own_connection = Some(connection);
        let mut meter = Meter::new(self.epoch, CompactInstant::now());
        meter.snapshot_open(&stream);
        meter.local = stream.local_addr().ok();
        if let Some((address, failed)) = self.dial_log.winner() {
            // Not always the address that was dialled: the unspecified one leads to loopback.
            meter.remote = Some(stream.peer_addr().unwrap_or(address));
            meter.reconnects = u32::try_from(failed).unwrap_or(u32::MAX);
        }
        Leg::boxed(stream, meter)
    }

    /// Whether the connection to the upstream has come back to a listener of ours.
    pub(super) fn has_returned(&self) -> bool {
        self.own_connection.as_ref().is_some_and(OwnConnection::has_returned)
    }

    /// Whether each turn is reported: as a line, or in the metrics.
    pub(super) fn wants_turns(&self) -> bool {
        self.shared.settings.events.turn || self.shared.counters.is_exported()
    }

    /// Counts these turns, and writes their lines if turn lines are enabled.
    fn turns_ended(&self, turns: &[FinishedTurn], client: &Meter) {
        if turns.is_empty() || self.is_multiplexed() {
            return;
        }
        let settings = &self.shared.settings;
        for finished in turns {
            if finished.answer.is_some() {
                self.entry.waits.add(finished.wait);
            }
            if settings.events.turn && finished.wait >= settings.turn_min {
                self.record_turn(finished, client);
            }
        }
    }

    /// Whether bytes were relayed since the pair's previous `open` or `sample` line.
    pub(super) fn has_new_data(&self, [client, upstream]: [&Meter; 2]) -> bool {
        (upstream.tx.bytes, client.tx.bytes)
            != self.reported.as_deref().copied().unwrap_or_default()
    }

    /// Bytes relayed since the pair's previous `open` or `sample` line; this line becomes the previous one.
    pub(super) fn delta(&mut self, to_upstream: u64, to_client: u64) -> Delta {
        let now = Box::new((to_upstream, to_client));
        let before = self.reported.replace(now).as_deref().copied().unwrap_or_default();
        Delta { to_upstream: to_upstream - before.0, to_client: to_client - before.1 }
    }

    /// What the time of relaying was spent on. To be called when both sockets are closed.
    pub(super) fn breakdown(
        &self,
        mut turns: TurnTracker,
        client: &LegState,
        upstream: &LegState,
    ) -> Box<TimeBreakdown> {
        self.turns_ended(&turns.take_finished(), &client.meter);
        let breakdown = turns.finish(client, upstream, self.is_multiplexed());
        if let Some(tally) = breakdown.tally.as_ref().filter(|_| !breakdown.is_mixed) {
            self.turns_ended(&tally.finished, &client.meter);
        }
        Box::new(breakdown)
    }

    /// Whether the protocol is known to carry several conversations at once.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.observations.as_ref().is_some_and(|observations| observations.is_multiplexed())
    }

    /// Writes the record of a pair whose sockets are both closed.
    pub(super) fn record(
        &mut self,
        client: &LegState,
        upstream: Option<&LegState>,
        finish: PairEnd,
    ) {
        (self.place, self.client_place, self.own_connection) = (None, None, None);
        self.count_payload(&client.meter, upstream.map(|leg| &leg.meter));
        self.count_end();
        let shared = Arc::clone(&self.shared);
        let is_written = shared.settings.events.close;
        if is_written || shared.hooks.close.is_set() {
            let record = self.line(client, upstream, Some(finish));
            shared.hooks.close.call(&record);
            if is_written {
                self.write(Line::Close(Box::new(record)));
            }
        }
        self.is_recorded = true;
    }

    /// The pair ends without a record of its own: it was counted.
    pub(super) fn skip_record(&mut self) {
        self.entry.connections.refused.fetch_add(1, Ordering::Relaxed);
        (self.is_recorded, self.is_counted) = (true, true);
    }

    /// From here on, counts payload by this target, if it was dialled.
    pub(super) fn count_by_target(&mut self, target: &Target) {
        if self.dial_log.has_attempts()
            && let Some(entry) = self.shared.counters.entry_for(&self.entry, target)
        {
            self.entry = entry;
        }
    }

    /// Adds the payload that has passed since the last call.
    pub(super) fn count_payload(&mut self, client: &Meter, upstream: Option<&Meter>) {
        let passed = [upstream.map_or(0, Meter::payload_sent), client.payload_sent()];
        self.added.add_rest(passed, &self.entry.payload);
    }

    fn count_end(&mut self) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.entry.connections.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}
