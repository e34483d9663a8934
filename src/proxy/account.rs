//! The pair's account: what happened.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;

use super::admission::{ClientPlace, Place};
use super::entry::Entry;
use super::payload::Added;
use super::settings::Limits;
use super::shared::Shared;
use crate::clock::{self, Moment, Nanos};
use crate::conn::{Epoch, Meter};
use crate::dial::{DialLog, OwnConnection, OwnStream};
use crate::ingress::Asked;
use crate::judge::Finish;
use crate::observe::Sight;
use crate::process;
use crate::record::{Delta, Line};
use crate::relay::{Leg, LegState, Patience, Side, Story, Told, Turns, Watch};
use crate::target::Target;

/// What is known of a pair beside its two sockets.
pub(super) struct Account {
    pub(super) shared: Arc<Shared>,
    pub(super) asked: Asked,
    /// How long the client's request took. `None` where there is none to read.
    pub(super) request: Option<Nanos>,
    pub(super) dialled: DialLog,
    /// The upstream's connection among those that we dialled; held until its socket is closed.
    pub(super) own_connection: Option<OwnConnection>,
    /// The local program that is the client, once it was found.
    pub(super) process: Option<process::Answer>,
    /// What the observers of a tunnel see.
    pub(super) sight: Option<Arc<Sight>>,
    /// Held until both sockets are closed.
    pub(super) client_place: Option<Box<ClientPlace>>,
    place: Place,
    pub(super) seq: u64,
    pub(super) epoch: Epoch,
    pub(super) entry: Arc<Entry>,
    /// Payload that was counted while the pair was open.
    added: Added,
    /// Bytes to upstream and to client that earlier lines reported. Boxed, because most pairs have none.
    reported: Option<Box<(u64, u64)>>,
    is_recorded: bool,
    /// The end was counted.
    is_counted: bool,
}

impl Watch for Account {
    fn poll(
        &mut self,
        client: &Side<'_>,
        upstream: &Side<'_>,
        turns: &mut Turns,
        _: &mut Context<'_>,
    ) {
        self.count_payload(&client.state.meter, Some(&upstream.state.meter));
        self.turns_ended(&turns.ended());
    }
}

impl Drop for Account {
    /// A pair whose task ended in a panic where it has no record to give is accounted for as well.
    fn drop(&mut self) {
        self.count_end();
        if !self.is_recorded && self.shared.settings.events.close {
            self.shared.recorder.lose();
            tracing::error!(
                "internal error: the task of a connection panicked, and its record is lost"
            );
        }
    }
}

impl Account {
    pub(super) fn new(
        shared: Arc<Shared>,
        seq: u64,
        epoch: Epoch,
        entry: Arc<Entry>,
        place: Place,
    ) -> Self {
        Self {
            shared,
            asked: Asked::default(),
            request: None,
            dialled: DialLog::default(),
            own_connection: None,
            process: None,
            sight: None,
            client_place: None,
            place,
            seq,
            epoch,
            entry,
            added: Added::default(),
            reported: None,
            is_recorded: false,
            is_counted: false,
        }
    }

    /// How long relaying may go on from here.
    pub(super) fn patience(&self) -> Option<Box<Patience>> {
        let Limits { idle, lifetime, .. } = self.shared.settings.limits;
        let [idle, lifetime] = [idle, lifetime].map(|time| time.filter(|time| !time.is_zero()));
        let until = lifetime.map(|lifetime| clock::after(self.epoch.start().into(), lifetime));
        Patience::new(idle, until)
    }

    /// The client's request has come to its end, whichever.
    pub(super) fn request_ended(&mut self) {
        self.request = Some(self.epoch.start().elapsed().into());
    }

    /// The upstream's leg, right after connect.
    pub(super) fn upstream_leg(&mut self, own: OwnStream) -> Box<Leg> {
        let OwnStream { stream, connection } = own;
        self.own_connection = Some(connection);
        let mut meter = Meter::new(self.epoch, Moment::now());
        meter.look_at_open(&stream);
        meter.local = stream.local_addr().ok();
        if let Some((address, failed)) = self.dialled.winner() {
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

    /// Whether somebody is told of each turn.
    pub(super) fn heeds_turns(&self) -> bool {
        self.shared.settings.events.turn || self.shared.counters.are_shown()
    }

    /// Counts these turns, and writes lines of them if those are asked for.
    fn turns_ended(&self, turns: &[Told]) {
        if turns.is_empty() || self.is_multiplexed() {
            return;
        }
        let settings = &self.shared.settings;
        for told in turns {
            self.entry.waits.add(told.wait);
            if settings.events.turn && told.wait >= settings.turn_min {
                self.record_turn(told);
            }
        }
    }

    /// Whether bytes were relayed since the pair's previous line.
    pub(super) fn has_news(&self, [client, upstream]: [&Meter; 2]) -> bool {
        (upstream.tx.bytes, client.tx.bytes)
            != self.reported.as_deref().copied().unwrap_or_default()
    }

    /// What was relayed since the pair's previous line, with this one.
    pub(super) fn delta(&mut self, to_upstream: u64, to_client: u64) -> Delta {
        let now = Box::new((to_upstream, to_client));
        let before = self.reported.replace(now).as_deref().copied().unwrap_or_default();
        Delta { to_upstream: to_upstream - before.0, to_client: to_client - before.1 }
    }

    /// What the pair's time was spent on while it was relayed. Both sockets are closed.
    pub(super) fn story(
        &self,
        mut turns: Turns,
        client: &LegState,
        upstream: &LegState,
    ) -> Box<Story> {
        self.turns_ended(&turns.ended());
        let story = turns.finish(client, upstream, self.is_multiplexed());
        if let Some(tally) = story.tally.as_ref().filter(|_| !story.is_mixed) {
            self.turns_ended(&tally.ended);
        }
        Box::new(story)
    }

    /// Its protocol is known to carry many conversations at once.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.sight.as_ref().is_some_and(|sight| sight.is_multiplexed())
    }

    /// The pair's end. Both sockets are closed: there is time to decode.
    pub(super) fn record(
        &mut self,
        client: &LegState,
        upstream: Option<&LegState>,
        finish: Finish,
    ) {
        (self.place, self.client_place, self.own_connection) = (None, None, None);
        self.count_payload(&client.meter, upstream.map(|leg| &leg.meter));
        self.count_end();
        let shared = Arc::clone(&self.shared);
        let is_written = shared.settings.events.close;
        if is_written || shared.hooks.close.is_set() {
            let record = self.line(client, upstream, Some(finish));
            shared.hooks.close.tell(&record);
            if is_written {
                self.write(Line::Close(Box::new(record)));
            }
        }
        self.is_recorded = true;
    }

    /// The pair ends without a record: it was counted.
    pub(super) fn leave_unrecorded(&mut self) {
        self.entry.connections.refused.fetch_add(1, Ordering::Relaxed);
        (self.is_recorded, self.is_counted) = (true, true);
    }

    /// Counts from here on what passes as going to this target, if it was dialled.
    pub(super) fn count_by_target(&mut self, target: &Target) {
        if self.dialled.has_attempts()
            && let Some(entry) = self.shared.counters.entry_for(&self.entry, target)
        {
            self.entry = entry;
        }
    }

    /// Adds the payload that has passed since it last did.
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
