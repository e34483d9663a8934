//! The end of a pair: the last wait counts, whoever ends it.

use std::time::Duration;

use super::charges::{Cause, ChargedThen, Charges};
use super::leg::LegState;
use super::looks::{Doubts, Looks, Peer, late};
use super::tally::Tally;
use super::turns::{BURST, Phase, Turn, Turns};
use crate::clock::{Moment, Nanos};
use crate::record::Direction;
use crate::tcp_info::{LinuxInfo, Snapshot};

/// At most so many bytes, right before their sender's end of stream, are a farewell: TLS's close_notify, HTTP/2's
/// GOAWAY.
const FAREWELL: u64 = 256;

/// A close_notify of TLS has no more bytes, whatever the cipher: 24 in TLS 1.3, 31 as a rule in 1.2.
const CLOSE_NOTIFY: u64 = 69;

/// And that end of stream follows within this.
const FAREWELL_TAKES: Nanos = Nanos::of(Duration::from_millis(10));

/// What a pair's time was spent on from the beginning of relaying, and its turns.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) charges: Charges,
    /// Of what is charged.
    pub(crate) doubts: Doubts,
    /// `None` if there was no turn.
    pub(crate) tally: Option<Box<Tally>>,
    /// Several conversations at once were seen, or one that answers out of turn.
    pub(crate) is_mixed: bool,
    /// Until then somebody waited, or the last byte passed.
    pub(crate) ended: Moment,
}

impl Story {
    /// When relaying began: every moment since then is charged.
    pub(crate) fn began(&self) -> Moment {
        let charged =
            Cause::ALL.iter().fold(Nanos::default(), |all, &cause| all + self.charges[cause]);
        self.ended.saturating_sub(charged.get())
    }
}

/// What is known of one side when its socket is closed.
#[derive(Debug)]
pub(super) struct Last {
    /// When the peer ended by itself.
    pub(super) ended: Option<Moment>,
    /// When it broke.
    pub(super) broke: Option<Moment>,
    pub(super) closed: Moment,
    /// Its last look, and when that was taken: before our own end of stream, if there was one.
    pub(super) info: Option<Box<LinuxInfo>>,
    pub(super) looked: Moment,
    /// Some of what was written has not arrived.
    pub(super) is_undelivered: bool,
    /// Bytes that the peer has acknowledged, and had when its end of stream was read.
    pub(super) acked: Option<u64>,
    pub(super) acked_at_end: Option<u64>,
}

impl Last {
    /// `syn`: our own SYN counts as acknowledged.
    fn of(leg: &LegState, syn: u64) -> Self {
        let meter = &leg.meter;
        let closed = meter.closed.unwrap_or_else(Moment::now);
        let at_close = meter.closed_look.as_deref().and_then(Snapshot::linux);
        let acked = at_close.as_ref().and_then(|info| info.bytes_acked);
        let acked = acked.map(|acked| acked.saturating_sub(syn));
        let (info, looked) =
            match (meter.eof_look.as_deref().and_then(Snapshot::linux), meter.tx.ended) {
                (Some(info), Some(ended)) => (Some(info), ended),
                _ => (at_close, closed),
            };
        Self {
            ended: leg.ended.as_ref().map(|end| end.at),
            broke: leg.ended.as_ref().filter(|_| leg.gone).map(|end| end.at),
            closed,
            info,
            looked,
            is_undelivered: acked.is_some_and(|acked| acked < meter.tx.bytes),
            acked: acked.map(|acked| acked.min(meter.tx.bytes)),
            acked_at_end: leg
                .ended
                .as_ref()
                .and_then(|end| end.passed.as_ref()?.acked)
                .map(|(acked, _)| acked),
        }
    }
}

/// The last looks at both sockets.
struct LastLooks<'l> {
    client: &'l Last,
    upstream: &'l Last,
}

impl Looks for LastLooks<'_> {
    fn at(&self, peer: Peer) -> Option<Box<LinuxInfo>> {
        let last = match peer {
            Peer::Client => self.client,
            Peer::Upstream => self.upstream,
        };
        last.info.clone()
    }
}

impl Turns {
    /// The upstream answers a client that has ended its stream: if that client acknowledges nothing any more,
    /// it had left.
    pub(super) fn client_may_have_left(&mut self) {
        let at_end = ChargedThen { charges: self.charges.clone(), until: self.charged };
        self.seen.get_or_insert_default().at_client_end.get_or_insert_with(|| Box::new(at_end));
    }

    /// The pair has ended, and both sockets are closed. `is_multiplexed`: its protocol is known to carry many
    /// conversations at once.
    pub(crate) fn finish(
        self,
        client: &LegState,
        upstream: &LegState,
        is_multiplexed: bool,
    ) -> Story {
        let (client, upstream) = (Last::of(client, 0), Last::of(upstream, 1));
        self.finish_with(&client, &upstream, is_multiplexed)
    }

    pub(super) fn finish_with(
        mut self,
        client: &Last,
        upstream: &Last,
        is_multiplexed: bool,
    ) -> Story {
        let looks = LastLooks { client, upstream };
        self.forget_answer_to_nobody(client);
        self.forget_farewells(client, upstream);
        let is_mixed = is_multiplexed || self.tally.as_ref().is_some_and(|tally| tally.is_mixed());
        // What is waited for at the end, ends with whoever ends first.
        let ends = [client.ended, upstream.ended, Some(client.closed), Some(upstream.closed)];
        let end = ends.into_iter().flatten().min().unwrap_or(self.charged);
        let [to_upstream, to_client] = self.in_hand;
        match self.phase {
            Phase::Request if to_upstream => {
                let end = upstream.broke.or(client.broke).unwrap_or(upstream.closed);
                self.charge_blocked(Direction::ToUpstream, &looks, end);
            }
            _ if to_client => {
                let end = client.broke.or(upstream.broke).unwrap_or(client.closed);
                self.charge_blocked(Direction::ToClient, &looks, end);
            }
            Phase::Silence => {}
            Phase::Request => self.unanswered(upstream, is_mixed, &looks, end),
            Phase::Answer => self.undelivered(client, &looks),
        }
        let is_alone = |turn: &Turn| turn.has_paused && turn.answered.is_none();
        if self.phase == Phase::Request && self.turn.as_ref().is_some_and(is_alone) {
            // One side alone spoke, when it had something to say.
            for cause in [Cause::ClientSends, Cause::FromClient] {
                let before = self.tally.as_ref().map(|tally| tally.charged_before[cause]);
                let time = self.charges[cause] - before.unwrap_or_default();
                self.charges.move_to(cause, Cause::Idle, time);
            }
        }
        if is_mixed {
            // Nobody knows whether anything was asked for.
            let time = self.charges[Cause::UpstreamSends];
            self.charges.move_to(Cause::UpstreamSends, Cause::Idle, time);
        }
        self.into_story(is_mixed)
    }

    pub(super) fn into_story(mut self, is_mixed: bool) -> Story {
        self.end_turn();
        let doubts = self.seen.map(|seen| seen.doubts).unwrap_or_default();
        let Self { charges, tally, charged, .. } = self;
        Story { charges, doubts, tally, is_mixed, ended: charged }
    }

    /// The client had left before it was answered: it has acknowledged nothing since its end of stream.
    fn forget_answer_to_nobody(&mut self, client: &Last) {
        let Some(at_end) = self.seen.as_mut().and_then(|seen| seen.at_client_end.take()) else {
            return;
        };
        if client.acked.is_none() || client.acked != client.acked_at_end {
            return;
        }
        (self.charges, self.charged) = (at_end.charges, at_end.until);
        self.phase = Phase::Request;
        self.in_hand = [false; 2];
        if let Some(turn) = &mut self.turn {
            (turn.answered, turn.wait, turn.answer_bytes) = (None, Nanos::default(), 0);
        }
    }

    /// A few bytes right before their sender's end of stream ask for nothing, and answer nothing.
    fn forget_farewells(&mut self, client: &Last, upstream: &Last) {
        let is_farewell = |began: Moment, bytes: u64, ended: Option<Moment>| {
            let soon = ended.is_some_and(|ended| ended.since(began) <= FAREWELL_TAKES);
            soon && bytes <= FAREWELL
        };
        if self.phase == Phase::Request
            && let Some(turn) = &self.turn
            && turn.is_later
            && is_farewell(turn.began, turn.request_bytes, client.ended)
        {
            self.turn = None;
            self.phase = Phase::Answer;
        }
        // The one side's close_notify is often answered by the other's.
        let is_answered_farewell = |turn: &Turn| {
            self.is_tls
                && turn.is_later
                && turn.request_bytes.max(turn.answer_bytes) <= CLOSE_NOTIFY
                && is_farewell(turn.began, turn.request_bytes, client.ended)
        };
        if self.turn.as_ref().is_some_and(is_answered_farewell) {
            self.turn = None;
        }
        if let Some(late) = self.seen.as_ref().and_then(|seen| seen.late.as_ref())
            && is_farewell(late.at, late.bytes, upstream.ended)
        {
            self.charges.move_to(Cause::UpstreamSends, Cause::Idle, late.charged);
        }
    }

    /// The client has asked, and nobody has answered.
    fn unanswered(&mut self, upstream: &Last, is_mixed: bool, looks: &LastLooks<'_>, end: Moment) {
        let is_waiting = |turn: &&Turn| !turn.has_paused && turn.answered.is_none() && !is_mixed;
        let Some(turn) = self.turn.as_ref().filter(is_waiting) else { return };
        let written = turn.written;
        let wait = end.since(self.charged);
        self.charge(Cause::UpstreamThinks, end);
        let (path, on_path) = self.path_unanswered(upstream, wait, written, looks);
        self.charges.move_to(Cause::UpstreamThinks, path, on_path);
        if let Some(turn) = self.turn.take().filter(|turn| !turn.is_handshake) {
            let turn = Turn { wait, on_path, ..turn };
            self.tell(&turn, None);
        }
    }

    /// Of a wait without an answer: what the path took, and what for.
    fn path_unanswered(
        &mut self,
        upstream: &Last,
        wait: Nanos,
        written: Moment,
        looks: &LastLooks<'_>,
    ) -> (Cause, Nanos) {
        let nothing = (Cause::RequestOnPath, Nanos::default());
        if self.is_local(Peer::Upstream) {
            return nothing;
        }
        let Some(info) = looks.at(Peer::Upstream) else { return nothing };
        let seen = self.seen.get_or_insert_default();
        if seen.upstream.is_disturbed(&info) {
            // A hole in the answer that was never filled.
            return (Cause::FromUpstream, wait);
        }
        if upstream.is_undelivered {
            let is_held = info.tx_window == Some(0);
            let path = if is_held { Nanos::default() } else { wait };
            return (Cause::RequestOnPath, path);
        }
        let queued = late(&info, written, upstream.looked);
        let found = seen.upstream.request(&info, wait, queued);
        seen.doubts.upstream += found.in_doubt;
        (Cause::RequestOnPath, found.path.min(wait))
    }

    /// What the client's socket still had when the last byte of the answer was written to it.
    fn undelivered(&mut self, client: &Last, looks: &LastLooks<'_>) {
        let is_disturbed = looks.at(Peer::Upstream).is_some_and(|info| {
            let is_local = self.is_local(Peer::Upstream);
            self.seen.as_mut().is_some_and(|seen| !is_local && seen.upstream.is_disturbed(&info))
        });
        let Some(info) = looks.at(Peer::Client) else { return };
        if client.is_undelivered {
            let end = client.broke.unwrap_or(client.closed);
            let queued = end.since(self.charged);
            if queued >= BURST || self.may_be_queued() {
                self.charge_queued(queued, looks);
            }
        } else if self.may_be_queued() {
            let queued = late(&info, self.charged, client.looked);
            self.charge_queued(queued.min(client.closed.since(self.charged)), looks);
        } else if is_disturbed {
            // A hole that was never filled: more had been sent.
            self.charge(Cause::FromUpstream, client.ended.unwrap_or(client.closed));
        }
    }
}
