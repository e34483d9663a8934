//! Tracks the turns of a pair, and charges its time to causes.
//!
//! ```text
//!            client sends           upstream sends
//!   Silence ───────────────▶ Request ───────────────▶ Answer
//!      │    upstream sends      ▲                       ▲│
//!      └────────────────────────┼───────────────────────┘│
//!                               └────────────────────────┘ client sends
//! ```
//!
//! What a period is spent on is known only when it is over: a pause of the client is part of its
//! request if the request goes on, and a wait for the upstream if that answers. So each event, a
//! read or a write, charges the time since the previous event, by who sent last and who sends now.
//! All time is charged exactly once.
//!
//! While bytes are pending for a side, the wait is for that side, or for the path to it.
//!
//! The path's share of a pause or wait is taken from TCP_INFO. It is sampled after 10 ms of waits
//! since the last sample, so at most 100 times a second for each pair.

use std::sync::Arc;
use std::time::Duration;

use super::edit::ContentKind;
use super::evidence::{InfoSource, LateAnswer, PathEvidence, Peer};
use super::stall_detector::StallDetector;
use super::time_by_cause::{Cause, Charges};
use super::turn_totals::{FinishedTurn, Tally};
use crate::clock::{CompactDuration, CompactInstant};
use crate::record::Direction;

/// An answer ends before a silence this long. Data after it was not requested.
pub(super) const SILENCE: CompactDuration = CompactDuration::new(Duration::from_secs(5));

/// A pause this long ends a burst.
pub(super) const BURST: CompactDuration = CompactDuration::new(Duration::from_secs(1));

/// An upload that continues within this time is still the same request, even if the answer has
/// begun.
const UPLOAD_PAUSE: CompactDuration = CompactDuration::new(Duration::from_millis(10));

/// A request of at least this many bytes is an upload.
const UPLOAD: u64 = 64 * 1024;

/// TLS 1.3 session tickets, sent unasked right after the handshake, arrive within this time of
/// their first byte.
const TICKETS_TAKE: CompactDuration = CompactDuration::new(Duration::from_millis(20));

/// Session tickets have at most this many bytes together.
const TICKETS: u64 = 2048;

/// An answer that arrives in less than half of the minimum round-trip time was sent before the
/// request. Below this round-trip time that cannot be told.
const CAN_BE_TOLD: CompactDuration = CompactDuration::new(Duration::from_millis(1));

/// Who sent data last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Silence,
    /// The client.
    Request,
    /// The upstream.
    Answer,
}

/// The current turn.
#[derive(Debug)]
pub(super) struct CurrentTurn {
    pub(super) began: CompactInstant,
    /// When the latest byte of the request was written to the upstream's socket.
    pub(super) written: CompactInstant,
    pub(super) answered: Option<CompactInstant>,
    pub(super) wait: CompactDuration,
    pub(super) on_path: CompactDuration,
    pub(super) request_bytes: u64,
    pub(super) answer_bytes: u64,
    /// It is part of a TLS handshake.
    pub(super) is_handshake: bool,
    /// The answer may be a TLS session ticket, sent unasked.
    pub(super) is_tentative: bool,
    /// When such a ticket came before the request.
    pub(super) first_ticket: Option<CompactInstant>,
    /// It began after the upstream had sent data.
    pub(super) is_later: bool,
    /// The client paused for long in its request.
    pub(super) has_paused: bool,
    /// A part of the answer had to wait before it could be written.
    pub(super) is_slowly_taken: bool,
    pub(super) is_crossed: bool,
}

/// Bytes that were read from a side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadEvent {
    pub(super) bytes: usize,
    pub(super) content_kind: ContentKind,
    /// When the client's previous byte was read, and whether its end of stream was read.
    pub(super) client_last: Option<CompactInstant>,
    pub(super) client_has_ended: bool,
}

#[cfg(feature = "stat")]
impl ReadEvent {
    pub(super) fn from_bytes(bytes: usize) -> Self {
        Self {
            bytes,
            content_kind: ContentKind::Payload,
            client_last: None,
            client_has_ended: false,
        }
    }
}

/// Bytes that were written to a side, or an attempt to write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteEvent {
    pub(crate) bytes: usize,
    /// Some bytes are still pending.
    pub(crate) is_short: bool,
    /// The bytes had to wait before.
    pub(crate) was_blocked: bool,
}

/// Tracks the turns of a pair and charges its time.
#[derive(Debug)]
pub(crate) struct TurnTracker {
    pub(super) stall_detector: Option<Arc<StallDetector>>,
    /// Everything before this is charged.
    pub(super) charged: CompactInstant,
    pub(super) phase: Phase,
    /// Which peers are on this machine, so that there is no network path: client, upstream.
    pub(super) is_local: [bool; 2],
    /// The halves that wait to read, and those with pending bytes: to upstream, to client.
    pub(super) is_reading: [bool; 2],
    pub(super) has_pending: [bool; 2],
    /// The upstream has sent data.
    pub(super) has_answered: bool,
    /// A TLS handshake was seen.
    pub(super) is_tls: bool,
    /// Finished turns are kept until they are taken.
    pub(super) keeps_finished: bool,
    pub(super) charges: Charges,
    pub(super) turn: Option<CurrentTurn>,
    pub(super) tally: Option<Box<Tally>>,
    /// Time charged to the sender, and to the path to the receiver, since the last sample.
    pub(super) unsampled: CompactDuration,
    pub(super) unsampled_blocked: CompactDuration,
    /// Bytes that arrived since the last pause.
    pub(super) burst: u32,
    /// What the samples have shown. Boxed, because pairs that hardly wait take none.
    pub(super) evidence: Option<Box<PathEvidence>>,
}

impl TurnTracker {
    /// For a pair whose relaying begins. `is_local`: whether the client and the upstream are on
    /// this machine.
    pub(crate) fn new(
        stall_detector: Option<Arc<StallDetector>>,
        now: CompactInstant,
        is_local: [bool; 2],
    ) -> Self {
        Self {
            stall_detector,
            charged: now,
            phase: Phase::Silence,
            is_local,
            is_reading: [false; 2],
            has_pending: [false; 2],
            has_answered: false,
            is_tls: false,
            keeps_finished: false,
            charges: Charges::default(),
            turn: None,
            tally: None,
            unsampled: CompactDuration::default(),
            unsampled_blocked: CompactDuration::default(),
            burst: 0,
            evidence: None,
        }
    }

    /// Relaying begins with a pending request.
    pub(crate) fn begin_with_request(&mut self, content_kind: ContentKind) {
        self.has_pending[0] = true;
        self.begin(self.charged, content_kind);
    }

    /// From here on, finished turns are kept for [`take_finished`](Self::take_finished).
    pub(crate) fn keep_finished(&mut self) {
        self.keeps_finished = true;
    }

    /// The turns that have ended since this was last called.
    pub(crate) fn take_finished(&mut self) -> Vec<FinishedTurn> {
        self.tally.as_mut().map(|tally| std::mem::take(&mut tally.finished)).unwrap_or_default()
    }

    /// Notes that a half waits for its source.
    pub(crate) fn on_read_blocked(&mut self, direction: Direction) {
        self.is_reading[direction as usize] = true;
    }

    /// Begins a request.
    fn begin(&mut self, now: CompactInstant, content_kind: ContentKind) {
        self.enter(Phase::Request);
        self.is_tls |= content_kind == ContentKind::Handshake;
        self.note_charges();
        if let Some(evidence) = &mut self.evidence {
            evidence.forget_growth();
        }
        self.turn = Some(CurrentTurn {
            began: now,
            written: now,
            answered: None,
            wait: CompactDuration::default(),
            on_path: CompactDuration::default(),
            request_bytes: 0,
            answer_bytes: 0,
            is_handshake: content_kind == ContentKind::Handshake,
            is_tentative: false,
            first_ticket: None,
            is_later: self.has_answered,
            has_paused: false,
            is_slowly_taken: false,
            is_crossed: false,
        });
    }

    /// Notes what was charged before the turn that begins: the greeting, the handshake, earlier turns. Before the
    /// first of all turns nothing was, and nothing is allocated.
    fn note_charges(&mut self) {
        if self.has_answered {
            self.tally.get_or_insert_default();
        }
        if let Some(tally) = &mut self.tally {
            tally.charged_before.clone_from(&self.charges);
            if let Some(evidence) = &self.evidence {
                tally.doubted_before.clone_from(&evidence.doubts);
            }
        }
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        (self.unsampled, self.unsampled_blocked) = Default::default();
        self.burst = 0;
    }

    /// Ends the current turn; all time up to now is charged.
    pub(super) fn end_turn(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        if turn.is_handshake || turn.answered.is_none() {
            return;
        }
        let answer = turn.answered.map(|answered| self.charged.saturating_since(answered));
        self.count_turn(&turn, answer);
    }

    pub(super) fn count_turn(&mut self, turn: &CurrentTurn, answer: Option<Duration>) {
        let tally = self.tally.get_or_insert_default();
        let doubts = self.evidence.as_ref().map(|evidence| &evidence.doubts);
        let doubts = doubts.map(|doubts| doubts.since(&tally.doubted_before)).unwrap_or_default();
        let finished = FinishedTurn {
            number: tally.count + 1,
            at: turn.began,
            request: turn.written.saturating_since(turn.began),
            wait: turn.wait.get(),
            on_path: turn.on_path.get(),
            answer,
            request_bytes: turn.request_bytes,
            answer_bytes: turn.answer_bytes,
            is_crossed: turn.is_crossed,
            limited_by: self.charges.dominant_since(&tally.charged_before, &doubts),
        };
        tally.add(finished);
        if self.keeps_finished && !tally.is_mixed() {
            tally.finished.push(finished);
        }
    }

    /// Bytes were read from the client.
    pub(super) fn on_client_read(
        &mut self,
        event: ReadEvent,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        let has_waited = self.has_waited(Direction::ToUpstream);
        match self.phase {
            Phase::Silence => {
                self.charge(if has_waited { Cause::Idle } else { Cause::Proxy }, now);
                self.begin(now, event.content_kind);
            }
            Phase::Answer => {
                if self.is_same_request(event, sockets, now) {
                    self.charge_pause(Direction::ToUpstream, has_waited, event.bytes, sockets, now);
                    if let Some(turn) = &mut self.turn {
                        turn.is_crossed = true;
                    }
                    return self.enter(Phase::Request);
                }
                let handshake = self.turn.as_ref().filter(|turn| turn.is_handshake);
                let follows_handshake = handshake.is_some();
                // Of a ticket that came before the request, while the handshake's last message was its turn.
                let first_ticket =
                    handshake.filter(|turn| turn.is_later).and_then(|turn| turn.answered);
                self.end_answer(sockets, now);
                self.begin(now, event.content_kind);
                if let Some(turn) = &mut self.turn {
                    // The handshake's last message and the first request came together, or a ticket came
                    // between them and another may follow.
                    turn.is_tentative =
                        follows_handshake && event.content_kind == ContentKind::Payload;
                    turn.first_ticket = first_ticket;
                }
            }
            Phase::Request => {
                let pause = now.since(self.charged);
                self.charge_pause(Direction::ToUpstream, has_waited, event.bytes, sockets, now);
                self.continue_request(pause, event.content_kind, now);
            }
        }
        self.count_burst(event.bytes);
    }

    /// The client continues its request.
    fn continue_request(
        &mut self,
        pause: CompactDuration,
        content_kind: ContentKind,
        now: CompactInstant,
    ) {
        let Some(turn) = &mut self.turn else { return };
        turn.has_paused |= pause >= BURST;
        if turn.is_handshake && content_kind == ContentKind::Payload {
            // The first request follows the handshake's last message.
            (turn.is_handshake, turn.is_tentative) = (false, true);
            (turn.began, turn.request_bytes, turn.has_paused) = (now, 0, false);
            self.note_charges();
        }
    }

    /// Whether the client continues the request that is already being answered.
    fn is_same_request(
        &mut self,
        event: ReadEvent,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) -> bool {
        let (Some(turn), Some(last)) = (&self.turn, event.client_last) else { return false };
        let pause = now.since(last);
        if turn.request_bytes >= UPLOAD && pause <= UPLOAD_PAUSE {
            return true;
        }
        // It cannot have seen the answer yet.
        pause < SILENCE && pause < self.min_rtt(Peer::Client, sockets)
    }

    /// Bytes of a request were written to the upstream.
    pub(super) fn on_request_write(
        &mut self,
        written: WriteEvent,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        self.has_pending[Direction::ToUpstream as usize] = written.is_short;
        if self.phase == Phase::Request {
            self.charge_write(Direction::ToUpstream, written.was_blocked, sockets, now);
            if let Some(turn) = &mut self.turn {
                turn.written = now;
            }
        }
        if let Some(turn) = &mut self.turn {
            turn.request_bytes += written.bytes as u64;
        }
    }

    /// Bytes were read from the upstream.
    pub(super) fn on_upstream_read(
        &mut self,
        event: ReadEvent,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        let has_waited = self.has_waited(Direction::ToClient);
        self.has_answered = true;
        match self.phase {
            Phase::Silence => {
                // It sends first: the greeting is what was waited for.
                self.charge_wait(has_waited, event.bytes, self.charged, sockets, now);
                self.enter(Phase::Answer);
            }
            Phase::Request if self.is_handshake_reply(event.content_kind) => {}
            Phase::Request => self.begin_answer(event, has_waited, sockets, now),
            Phase::Answer => self.continue_answer(has_waited, event.bytes, sockets, now),
        }
        if let Some(late) = self.evidence.as_mut().and_then(|evidence| evidence.late.as_mut()) {
            late.bytes += event.bytes as u64;
        }
        if let Some(turn) = &mut self.turn {
            turn.answer_bytes += event.bytes as u64;
        }
        self.count_burst(event.bytes);
    }

    /// Whether these bytes are the upstream's part of a handshake, which does not answer the
    /// pending request.
    fn is_handshake_reply(&self, content_kind: ContentKind) -> bool {
        content_kind == ContentKind::Handshake
            && self.turn.as_ref().is_some_and(|turn| !turn.is_handshake)
    }

    /// The answer has begun.
    fn begin_answer(
        &mut self,
        event: ReadEvent,
        has_waited: bool,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        let before = self.charged;
        if event.client_has_ended {
            self.client_may_have_left();
        }
        if self.has_pending[Direction::ToUpstream as usize] {
            // It is early: the request is still being written.
            self.charge_blocked(Direction::ToUpstream, sockets, now);
            if let Some(turn) = &mut self.turn {
                turn.is_crossed = true;
            }
        } else {
            let written = self.turn.as_ref().map_or(before, |turn| turn.written);
            let path = self.charge_wait(has_waited, event.bytes, written, sockets, now);
            let wait = now.since(before);
            let soonest = self
                .evidence
                .as_ref()
                .and_then(|evidence| evidence.upstream.min_rtt)
                .unwrap_or_default();
            if let Some(turn) = &mut self.turn {
                turn.wait += wait;
                turn.on_path += path;
                turn.is_crossed |= soonest >= CAN_BE_TOLD && wait + wait < soonest;
            }
        }
        if let Some(turn) = &mut self.turn {
            turn.answered = Some(now);
            turn.is_tentative &=
                turn.first_ticket.is_none_or(|first| now.since(first) < TICKETS_TAKE);
        }
        self.enter(Phase::Answer);
    }

    /// The upstream continues its answer, or sends unasked data.
    fn continue_answer(
        &mut self,
        has_waited: bool,
        bytes: usize,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        let pause = now.since(self.charged);
        if has_waited && pause >= SILENCE && !self.has_pending[Direction::ToClient as usize] {
            // The answer ended before this silence.
            self.end_answer(sockets, now);
            return self.enter(Phase::Answer);
        }
        let charged_before = self.charges[Cause::UpstreamSends];
        self.charge_pause(Direction::ToClient, has_waited, bytes, sockets, now);
        if pause >= BURST {
            let charged = self.charges[Cause::UpstreamSends] - charged_before;
            self.evidence.get_or_insert_default().late =
                Some(LateAnswer { at: now, charged, bytes: 0 });
        }
        if let Some(turn) = &mut self.turn
            && let Some(answered) = turn.answered
            && turn.is_tentative
        {
            if now.since(answered) >= TICKETS_TAKE && turn.answer_bytes <= TICKETS {
                // The data before was not part of the answer.
                turn.wait += now.since(answered);
                turn.answered = Some(now);
                turn.answer_bytes = 0;
            }
            turn.is_tentative = turn.answer_bytes <= TICKETS && now.since(answered) < TICKETS_TAKE;
        }
    }

    /// Bytes of an answer were written to the client.
    pub(super) fn on_answer_write(
        &mut self,
        written: WriteEvent,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        self.has_pending[Direction::ToClient as usize] = written.is_short;
        match self.phase {
            Phase::Silence => self.charge(Cause::Proxy, now),
            Phase::Answer => {
                self.charge_write(Direction::ToClient, written.was_blocked, sockets, now);
            }
            // While a client does not accept an answer, it waits for no other.
            Phase::Request if written.was_blocked && !self.has_pending[0] => {
                self.charge_blocked(Direction::ToClient, sockets, now);
            }
            Phase::Request => {}
        }
        if let Some(turn) = &mut self.turn {
            turn.is_slowly_taken |= written.is_short;
        }
    }

    /// Bytes were read while earlier ones were still pending. Those of a request are counted when
    /// they are written.
    pub(super) fn on_read_ahead(&mut self, direction: Direction, bytes: usize) {
        if let (Direction::ToClient, Some(turn)) = (direction, &mut self.turn) {
            turn.answer_bytes += bytes as u64;
        }
        self.count_burst(bytes);
    }

    fn count_burst(&mut self, bytes: usize) {
        self.burst = self.burst.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    fn has_waited(&mut self, direction: Direction) -> bool {
        if let Some(stall_detector) = &self.stall_detector {
            stall_detector.note_activity();
        }
        std::mem::take(&mut self.is_reading[direction as usize])
    }
}

#[cfg(test)]
mod tests;
