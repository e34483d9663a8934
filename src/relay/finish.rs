//! Charges the last wait of a pair when it ends, whoever ends it.

use std::borrow::Cow;
use std::time::Duration;

use super::evidence::{InfoSource, Peer, send_delay};
use super::leg::LegState;
use super::time_by_cause::{Cause, Charges, ChargesAt, Doubts};
use super::turn_totals::Tally;
use super::turns::{BURST, CurrentTurn, Phase, TurnTracker};
use crate::clock::{CompactDuration, CompactInstant};
use crate::record::Direction;
use crate::tcp_info::{LinuxInfo, Snapshot};

/// A closing message (TLS close_notify, HTTP/2 GOAWAY) has at most this many bytes, right before
/// its sender's end of stream.
const MAX_CLOSING_MESSAGE: u64 = 256;

/// A TLS close_notify has at most this many bytes, whatever the cipher: 24 in TLS 1.3, usually 31
/// in 1.2.
const CLOSE_NOTIFY: u64 = 69;

/// The end of stream follows a closing message within this time.
const CLOSING_MESSAGE_TIME: CompactDuration = CompactDuration::new(Duration::from_millis(10));

/// A client that answers the upstream's `close_notify` does so within this time: a long round trip.
const CLOSE_NOTIFY_REPLY_TIME: CompactDuration = CompactDuration::new(Duration::from_secs(1));

/// What a pair's time was spent on since relaying began, and its turns.
#[derive(Debug)]
pub(crate) struct TimeBreakdown {
    pub(crate) charges: Charges,
    /// The uncertain part of the charges.
    pub(crate) doubts: Doubts,
    /// `None` if there was no turn.
    pub(crate) tally: Option<Box<Tally>>,
    /// Several conversations ran at once, or answers came out of turn.
    pub(crate) is_mixed: bool,
    /// The end of the last wait, or the last byte if that was later.
    pub(crate) ended: CompactInstant,
}

impl TimeBreakdown {
    /// When relaying began. All the time since then is charged.
    pub(crate) fn began(&self) -> CompactInstant {
        let charged = Cause::ALL
            .iter()
            .fold(CompactDuration::default(), |all, &cause| all + self.charges[cause]);
        self.ended.saturating_sub(charged.get())
    }
}

/// The state of one side when its socket was closed.
#[derive(Debug)]
pub(super) struct LegEnd {
    /// When the peer ended the connection by itself.
    pub(super) ended: Option<CompactInstant>,
    /// When the connection broke.
    pub(super) broken_at: Option<CompactInstant>,
    pub(super) closed: CompactInstant,
    /// The last TCP_INFO and when it was taken: before our own end of stream, if there was one.
    pub(super) info: Option<Box<LinuxInfo>>,
    pub(super) sampled_at: CompactInstant,
    /// Some of the bytes written were not acknowledged.
    pub(super) is_undelivered: bool,
    /// Bytes that the peer has acknowledged at close, and when its end of stream was read.
    pub(super) acked: Option<u64>,
    pub(super) acked_at_end: Option<u64>,
}

impl LegEnd {
    /// `syn`: our own SYN counts as acknowledged.
    fn from_leg(leg: &LegState, syn: u64) -> Self {
        let meter = &leg.meter;
        let closed = meter.closed.unwrap_or_else(CompactInstant::now);
        let at_close = meter.close_snapshot.as_deref().and_then(Snapshot::linux);
        let acked = at_close.as_ref().and_then(|info| info.bytes_acked);
        let others = meter.others.as_deref().map_or(0, |others| others.tx_bytes);
        let acked = acked.map(|acked| acked.saturating_sub(syn + others));
        let (info, sampled_at) =
            match (meter.eof_snapshot.as_deref().and_then(Snapshot::linux), meter.tx.ended) {
                (Some(info), Some(ended)) => (Some(info), ended),
                _ => (at_close, closed),
            };
        Self {
            ended: leg.ended.as_ref().map(|end| end.at),
            broken_at: leg.ended.as_ref().filter(|_| leg.is_broken).map(|end| end.at),
            closed,
            info: info.map(Box::new),
            sampled_at,
            is_undelivered: acked.is_some_and(|acked| acked < meter.tx.bytes),
            acked: acked.map(|acked| acked.min(meter.tx.bytes)),
            acked_at_end: leg
                .ended
                .as_ref()
                .and_then(|end| end.progress.as_ref()?.acked)
                .map(|(acked, _)| acked),
        }
    }
}

/// The last TCP_INFO of both sockets.
struct EndInfos<'l> {
    client: &'l LegEnd,
    upstream: &'l LegEnd,
}

impl InfoSource for EndInfos<'_> {
    fn info(&self, peer: Peer) -> Option<Cow<'_, LinuxInfo>> {
        let last = match peer {
            Peer::Client => self.client,
            Peer::Upstream => self.upstream,
        };
        last.info.as_deref().map(Cow::Borrowed)
    }
}

impl TurnTracker {
    /// Notes that the upstream answers a client that has ended its stream. If the client
    /// acknowledges nothing after that, it had gone.
    pub(super) fn client_may_have_left(&mut self) {
        let at_end = ChargesAt { charges: self.charges.clone(), until: self.charged };
        self.evidence.get_or_insert_default().at_client_end.get_or_insert_with(|| Box::new(at_end));
    }

    /// Ends the accounting of a pair whose sockets are both closed. `is_multiplexed`: the protocol
    /// is known to carry several conversations at once.
    pub(crate) fn finish(
        self,
        client: &LegState,
        upstream: &LegState,
        is_multiplexed: bool,
    ) -> TimeBreakdown {
        let (client, upstream) = (LegEnd::from_leg(client, 0), LegEnd::from_leg(upstream, 1));
        self.finish_with(&client, &upstream, is_multiplexed)
    }

    pub(super) fn finish_with(
        mut self,
        client: &LegEnd,
        upstream: &LegEnd,
        is_multiplexed: bool,
    ) -> TimeBreakdown {
        let sockets = EndInfos { client, upstream };
        self.forget_answer_to_nobody(client);
        self.forget_closing_messages(client, upstream);
        let is_mixed = is_multiplexed || self.tally.as_ref().is_some_and(|tally| tally.is_mixed());
        // The last wait ends when the first side ends.
        let ends = [client.ended, upstream.ended, Some(client.closed), Some(upstream.closed)];
        let end = ends.into_iter().flatten().min().unwrap_or(self.charged);
        let [to_upstream, to_client] = self.has_pending;
        match self.phase {
            Phase::Request if to_upstream => {
                let end = upstream.broken_at.or(client.broken_at).unwrap_or(upstream.closed);
                self.charge_blocked(Direction::ToUpstream, &sockets, end);
            }
            _ if to_client => {
                let end = client.broken_at.or(upstream.broken_at).unwrap_or(client.closed);
                self.charge_blocked(Direction::ToClient, &sockets, end);
            }
            Phase::Silence => {}
            Phase::Request => self.unanswered(upstream, is_mixed, &sockets, end),
            Phase::Answer => self.undelivered(client, &sockets),
        }
        let is_alone = |turn: &CurrentTurn| turn.has_paused && turn.answered.is_none();
        if self.phase == Phase::Request && self.turn.as_ref().is_some_and(is_alone) {
            // Only one side sent data, at its own pace.
            for cause in [Cause::ClientSends, Cause::FromClient] {
                let before = self.tally.as_ref().map(|tally| tally.charged_before[cause]);
                let time = self.charges[cause] - before.unwrap_or_default();
                self.charges.move_to(cause, Cause::Idle, time);
            }
        }
        if is_mixed {
            // Whether anything was requested is unknown.
            let time = self.charges[Cause::UpstreamSends];
            self.charges.move_to(Cause::UpstreamSends, Cause::Idle, time);
        }
        self.into_breakdown(is_mixed)
    }

    pub(super) fn into_breakdown(mut self, is_mixed: bool) -> TimeBreakdown {
        self.end_turn();
        let doubts = self.evidence.map(|evidence| evidence.doubts).unwrap_or_default();
        let Self { charges, tally, charged, .. } = self;
        TimeBreakdown { charges, doubts, tally, is_mixed, ended: charged }
    }

    /// Discards an answer to a client that had gone: one that has acknowledged nothing since its
    /// end of stream.
    fn forget_answer_to_nobody(&mut self, client: &LegEnd) {
        let Some(at_end) =
            self.evidence.as_mut().and_then(|evidence| evidence.at_client_end.take())
        else {
            return;
        };
        if client.acked.is_none() || client.acked != client.acked_at_end {
            return;
        }
        (self.charges, self.charged) = (at_end.charges, at_end.until);
        self.phase = Phase::Request;
        self.has_pending = [false; 2];
        if let Some(turn) = &mut self.turn {
            (turn.answered, turn.wait, turn.answer_bytes) = (None, CompactDuration::default(), 0);
        }
    }

    /// Discards closing messages: a few bytes right before their sender's end of stream are neither
    /// a request nor an answer.
    fn forget_closing_messages(&mut self, client: &LegEnd, upstream: &LegEnd) {
        let is_closing_message =
            |began: CompactInstant, bytes: u64, ended: Option<CompactInstant>| {
                let soon = ended.is_some_and(|ended| ended.since(began) <= CLOSING_MESSAGE_TIME);
                soon && bytes <= MAX_CLOSING_MESSAGE
            };
        if self.phase == Phase::Request
            && let Some(turn) = &self.turn
            && turn.is_later
            && is_closing_message(turn.began, turn.request_bytes, client.ended)
        {
            self.turn = None;
            self.phase = Phase::Answer;
        }
        // A close_notify is often answered by the other side's. The client's may reset the connection, so that its
        // end of stream is never read.
        let is_close_notify = |turn: &CurrentTurn| {
            let is_last = is_closing_message(turn.began, turn.request_bytes, client.ended);
            let follows_end = |ended| turn.began.since(ended) <= CLOSE_NOTIFY_REPLY_TIME;
            self.is_tls
                && turn.is_later
                && turn.request_bytes.max(turn.answer_bytes) <= CLOSE_NOTIFY
                && (is_last || upstream.ended.is_some_and(follows_end))
        };
        if self.turn.as_ref().is_some_and(is_close_notify) {
            self.turn = None;
            self.phase = Phase::Answer;
        }
        if let Some(late) = self.evidence.as_ref().and_then(|evidence| evidence.late.as_ref())
            && is_closing_message(late.at, late.bytes, upstream.ended)
        {
            self.charges.move_to(Cause::UpstreamSends, Cause::Idle, late.charged);
        }
    }

    /// Charges the wait for an answer that never came.
    fn unanswered(
        &mut self,
        upstream: &LegEnd,
        is_mixed: bool,
        sockets: &EndInfos<'_>,
        end: CompactInstant,
    ) {
        let is_waiting =
            |turn: &&CurrentTurn| !turn.has_paused && turn.answered.is_none() && !is_mixed;
        let Some(turn) = self.turn.as_ref().filter(is_waiting) else { return };
        let written = turn.written;
        let wait = end.since(self.charged);
        self.charge(Cause::UpstreamThinks, end);
        let (path, on_path) = self.path_unanswered(upstream, wait, written, sockets);
        self.charges.move_to(Cause::UpstreamThinks, path, on_path);
        if let Some(turn) = self.turn.take().filter(|turn| !turn.is_handshake) {
            let turn = CurrentTurn { wait, on_path, ..turn };
            self.count_turn(&turn, None);
        }
    }

    /// The share of the path in a wait without an answer, and its cause.
    fn path_unanswered(
        &mut self,
        upstream: &LegEnd,
        wait: CompactDuration,
        written: CompactInstant,
        sockets: &EndInfos<'_>,
    ) -> (Cause, CompactDuration) {
        let nothing = (Cause::RequestOnPath, CompactDuration::default());
        if self.is_local(Peer::Upstream) {
            return nothing;
        }
        let Some(info) = sockets.info(Peer::Upstream) else { return nothing };
        let evidence = self.evidence.get_or_insert_default();
        if evidence.upstream.has_new_reordering(&info) {
            // A missing packet of the answer never arrived.
            return (Cause::FromUpstream, wait);
        }
        if upstream.is_undelivered {
            let is_held = info.tx_window == Some(0);
            let path = if is_held { CompactDuration::default() } else { wait };
            return (Cause::RequestOnPath, path);
        }
        let queued = send_delay(&info, written, upstream.sampled_at);
        let found = evidence.upstream.judge_wait(&info, wait, queued);
        evidence.doubts.upstream += found.in_doubt;
        (Cause::RequestOnPath, found.path.min(wait))
    }

    /// Charges the time for which the answer stayed in the client's socket after its last byte was
    /// written.
    fn undelivered(&mut self, client: &LegEnd, sockets: &EndInfos<'_>) {
        let has_new_reordering = sockets.info(Peer::Upstream).is_some_and(|info| {
            let is_local = self.is_local(Peer::Upstream);
            self.evidence
                .as_mut()
                .is_some_and(|evidence| !is_local && evidence.upstream.has_new_reordering(&info))
        });
        let Some(info) = sockets.info(Peer::Client) else { return };
        if client.is_undelivered {
            let end = client.broken_at.unwrap_or(client.closed);
            let queued = end.since(self.charged);
            if queued >= BURST || self.may_be_queued() {
                self.charge_queued(queued, sockets);
            }
        } else if self.may_be_queued() {
            let queued = send_delay(&info, self.charged, client.sampled_at);
            self.charge_queued(queued.min(client.closed.since(self.charged)), sockets);
        } else if has_new_reordering {
            // A missing packet never arrived: the upstream had sent more.
            self.charge(Cause::FromUpstream, client.ended.unwrap_or(client.closed));
        }
    }
}
