//! Whose turn it is to speak, and what each moment of a pair was spent on.
//!
//! ```text
//!            client speaks          upstream speaks
//!   Silence ───────────────▶ Request ───────────────▶ Answer
//!      │    upstream speaks     ▲                       ▲│
//!      └────────────────────────┼───────────────────────┘│
//!                               └────────────────────────┘ client speaks
//! ```
//!
//! Nothing tells what a moment is for while it lasts: a pause of the client is part of its request if it goes
//! on, and a wait for the upstream if that answers. So each event, a read or a write, charges the time since
//! the event before it, by who spoke last and who speaks now. Every moment is charged once.
//!
//! While bytes are in hand for a side, it is that side that is waited for, or the path to it.
//!
//! What of a pause or a wait is the path's, a look at the sockets tells; one is taken when 10 ms of waits have
//! gone by since the last one, so a pair takes at most 100 a second.

use std::sync::Arc;
use std::time::Duration;

use super::charges::{Cause, Charges};
use super::edit::Speech;
use super::looks::{Late, Looks, Peer, Seen};
use super::pulse::Pulse;
use super::tally::{Tally, Told};
use crate::clock::{Moment, Nanos};
use crate::record::Direction;

/// An answer ends before a silence of so much. What comes then was not asked for.
pub(super) const SILENCE: Nanos = Nanos::of(Duration::from_secs(5));

/// Who pauses for so long has said what it had to say: a burst ends.
pub(super) const BURST: Nanos = Nanos::of(Duration::from_secs(1));

/// An upload that goes on within so much of its last byte is one request, though the answer has begun.
const UPLOAD_PAUSE: Nanos = Nanos::of(Duration::from_millis(10));

/// So many bytes make an upload.
const UPLOAD: u64 = 64 * 1024;

/// What a client of TLS 1.3 is sent unasked right after its handshake comes within so much of its first byte.
const TICKETS_TAKE: Nanos = Nanos::of(Duration::from_millis(20));

/// And is no longer than this: a few tickets.
const TICKETS: u64 = 2048;

/// An answer that comes in less than half of the smallest round-trip time was on its way before the request,
/// where that time is long enough to tell.
const CAN_BE_TOLD: Nanos = Nanos::of(Duration::from_millis(1));

/// Who spoke last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Silence,
    /// The client.
    Request,
    /// The upstream.
    Answer,
}

/// The turn that is taking place.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) began: Moment,
    /// When the request was written to the upstream's socket, as far as it was read.
    pub(super) written: Moment,
    pub(super) answered: Option<Moment>,
    pub(super) wait: Nanos,
    pub(super) on_path: Nanos,
    pub(super) request_bytes: u64,
    pub(super) answer_bytes: u64,
    /// It is part of a handshake of TLS.
    pub(super) is_handshake: bool,
    /// What answered may be a ticket of TLS, sent unasked.
    pub(super) is_tentative: bool,
    /// It began after the upstream had spoken.
    pub(super) is_later: bool,
    /// The client paused for long in its request.
    pub(super) has_paused: bool,
    /// The answer, or a part of it, had to wait before it could be written.
    pub(super) is_slowly_taken: bool,
    pub(super) is_crossed: bool,
}

/// A side that has spoken: whether the relay had to wait for it, and what it said, as far as that can be
/// told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spoken {
    pub(super) bytes: usize,
    pub(super) speech: Speech,
    /// When the client's previous byte was read, and whether its end of stream was.
    pub(super) client_last: Option<Moment>,
    pub(super) client_has_ended: bool,
}

#[cfg(feature = "stat")]
impl Spoken {
    pub(super) fn of_bytes(bytes: usize) -> Self {
        Self { bytes, speech: Speech::Payload, client_last: None, client_has_ended: false }
    }
}

/// Bytes that were written to a side, or were to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) bytes: usize,
    /// Some are in hand still.
    pub(crate) is_short: bool,
    /// They had to wait before.
    pub(crate) was_blocked: bool,
}

/// The story of a pair.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(super) pulse: Option<Arc<Pulse>>,
    /// Everything before this is charged.
    pub(super) charged: Moment,
    pub(super) phase: Phase,
    /// Which peers are on this machine, so that no path leads to them.
    pub(super) is_local: [bool; 2],
    /// The halves that wait to read, and those that have bytes in hand: to upstream, to client.
    pub(super) is_reading: [bool; 2],
    pub(super) in_hand: [bool; 2],
    /// The upstream has spoken.
    pub(super) has_answered: bool,
    /// A handshake of TLS was seen.
    pub(super) is_tls: bool,
    /// Every turn is kept when it has ended, until somebody takes it.
    pub(super) tells_each: bool,
    pub(super) charges: Charges,
    pub(super) turn: Option<Turn>,
    pub(super) tally: Option<Box<Tally>>,
    /// Charged to who sends, and to the path to who receives, since the last look.
    pub(super) unlooked: Nanos,
    pub(super) unlooked_blocked: Nanos,
    /// Bytes that came since the last pause.
    pub(super) burst: u32,
    /// What the looks have shown. Boxed, because pairs that hardly wait take none.
    pub(super) seen: Option<Box<Seen>>,
}

impl Turns {
    /// Of a pair that begins to be relayed. `local` says which peers are on this machine: the client, the
    /// upstream.
    pub(crate) fn new(pulse: Option<Arc<Pulse>>, now: Moment, is_local: [bool; 2]) -> Self {
        Self {
            pulse,
            charged: now,
            phase: Phase::Silence,
            is_local,
            is_reading: [false; 2],
            in_hand: [false; 2],
            has_answered: false,
            is_tls: false,
            tells_each: false,
            charges: Charges::default(),
            turn: None,
            tally: None,
            unlooked: Nanos::default(),
            unlooked_blocked: Nanos::default(),
            burst: 0,
            seen: None,
        }
    }

    /// A request is in hand when relaying begins.
    pub(crate) fn begin_with(&mut self, speech: Speech) {
        self.in_hand[0] = true;
        self.begin(self.charged, speech);
    }

    /// From here on every turn that has ended is to be had by [`ended`](Self::ended).
    pub(crate) fn tell_each(&mut self) {
        self.tells_each = true;
    }

    /// The turns that have ended since this was last called.
    pub(crate) fn ended(&mut self) -> Vec<Told> {
        self.tally.as_mut().map(|tally| std::mem::take(&mut tally.ended)).unwrap_or_default()
    }

    /// A half waits for its source.
    pub(crate) fn reading(&mut self, direction: Direction) {
        self.is_reading[direction as usize] = true;
    }

    /// A request begins.
    fn begin(&mut self, now: Moment, speech: Speech) {
        self.enter(Phase::Request);
        self.is_tls |= speech == Speech::Handshake;
        if let Some(tally) = &mut self.tally {
            tally.charged_before.clone_from(&self.charges);
        }
        self.turn = Some(Turn {
            began: now,
            written: now,
            answered: None,
            wait: Nanos::default(),
            on_path: Nanos::default(),
            request_bytes: 0,
            answer_bytes: 0,
            is_handshake: speech == Speech::Handshake,
            is_tentative: false,
            is_later: self.has_answered,
            has_paused: false,
            is_slowly_taken: false,
            is_crossed: false,
        });
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        (self.unlooked, self.unlooked_blocked) = Default::default();
        self.burst = 0;
    }

    /// The turn that takes place ends where all is charged.
    pub(super) fn end_turn(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        if turn.is_handshake || turn.answered.is_none() {
            return;
        }
        let answer = turn.answered.map(|answered| self.charged.saturating_since(answered));
        self.tell(&turn, answer);
    }

    pub(super) fn tell(&mut self, turn: &Turn, answer: Option<Duration>) {
        let tally = self.tally.get_or_insert_default();
        let told = Told {
            number: tally.count + 1,
            at: turn.began,
            request: turn.written.saturating_since(turn.began),
            wait: turn.wait.get(),
            on_path: turn.on_path.get(),
            answer,
            request_bytes: turn.request_bytes,
            answer_bytes: turn.answer_bytes,
            is_crossed: turn.is_crossed,
            limited_by: self.charges.most_since(&tally.charged_before),
        };
        tally.add(told);
        if self.tells_each {
            tally.ended.push(told);
        }
    }

    /// Bytes have come from the client.
    pub(super) fn client_spoke(&mut self, spoken: Spoken, looks: &impl Looks, now: Moment) {
        let has_waited = self.has_waited(Direction::ToUpstream);
        match self.phase {
            Phase::Silence => {
                self.charge(if has_waited { Cause::Idle } else { Cause::Proxy }, now);
                self.begin(now, spoken.speech);
            }
            Phase::Answer => {
                if self.continues(spoken, looks, now) {
                    self.pause(Direction::ToUpstream, has_waited, spoken.bytes, looks, now);
                    if let Some(turn) = &mut self.turn {
                        turn.is_crossed = true;
                    }
                    return self.enter(Phase::Request);
                }
                let is_hello = |turn: &Turn| turn.is_handshake && !turn.is_later;
                let follows_hello = self.turn.as_ref().is_some_and(is_hello);
                self.rest(looks, now);
                self.begin(now, spoken.speech);
                if let Some(turn) = &mut self.turn {
                    // The handshake's last words and the first request came together.
                    turn.is_tentative = follows_hello && spoken.speech == Speech::Payload;
                }
            }
            Phase::Request => {
                let pause = now.since(self.charged);
                self.pause(Direction::ToUpstream, has_waited, spoken.bytes, looks, now);
                self.go_on(pause, spoken.speech, now);
            }
        }
        self.count_of_burst(spoken.bytes);
    }

    /// The client goes on with its request.
    fn go_on(&mut self, pause: Nanos, speech: Speech, now: Moment) {
        let Some(turn) = &mut self.turn else { return };
        turn.has_paused |= pause >= BURST;
        if turn.is_handshake && speech == Speech::Payload {
            // The handshake's last words are followed by the first request.
            (turn.is_handshake, turn.is_tentative) = (false, true);
            (turn.began, turn.request_bytes, turn.has_paused) = (now, 0, false);
        }
    }

    /// Whether the client goes on with the request that is being answered already.
    fn continues(&mut self, spoken: Spoken, looks: &impl Looks, now: Moment) -> bool {
        let (Some(turn), Some(last)) = (&self.turn, spoken.client_last) else { return false };
        let pause = now.since(last);
        if turn.request_bytes >= UPLOAD && pause <= UPLOAD_PAUSE {
            return true;
        }
        // It cannot have seen the answer yet.
        pause < SILENCE && pause < self.min_rtt(Peer::Client, looks)
    }

    /// Bytes of a request were written to the upstream's socket.
    pub(super) fn request_written(&mut self, written: Written, looks: &impl Looks, now: Moment) {
        self.in_hand[Direction::ToUpstream as usize] = written.is_short;
        if self.phase == Phase::Request {
            self.have_written(Direction::ToUpstream, written.was_blocked, looks, now);
            if let Some(turn) = &mut self.turn {
                turn.written = now;
            }
        }
        if let Some(turn) = &mut self.turn {
            turn.request_bytes += written.bytes as u64;
        }
    }

    /// Bytes have come from the upstream.
    pub(super) fn upstream_spoke(&mut self, spoken: Spoken, looks: &impl Looks, now: Moment) {
        let has_waited = self.has_waited(Direction::ToClient);
        self.has_answered = true;
        match self.phase {
            Phase::Silence => {
                // It speaks first: a greeting is waited for.
                self.wait(has_waited, spoken.bytes, self.charged, looks, now);
                self.enter(Phase::Answer);
            }
            Phase::Request if self.is_of_handshake(spoken.speech) => {}
            Phase::Request => self.answered(spoken, has_waited, looks, now),
            Phase::Answer => self.goes_on(has_waited, spoken.bytes, looks, now),
        }
        if let Some(late) = self.seen.as_mut().and_then(|seen| seen.late.as_mut()) {
            late.bytes += spoken.bytes as u64;
        }
        if let Some(turn) = &mut self.turn {
            turn.answer_bytes += spoken.bytes as u64;
        }
        self.count_of_burst(spoken.bytes);
    }

    /// The upstream's part of a handshake comes while a request is out: it is no answer to it.
    fn is_of_handshake(&self, speech: Speech) -> bool {
        speech == Speech::Handshake && self.turn.as_ref().is_some_and(|turn| !turn.is_handshake)
    }

    /// The answer has begun.
    fn answered(&mut self, spoken: Spoken, has_waited: bool, looks: &impl Looks, now: Moment) {
        let before = self.charged;
        if spoken.client_has_ended {
            self.client_may_have_left();
        }
        if self.in_hand[Direction::ToUpstream as usize] {
            // It comes early: the request is still being written.
            self.charge_blocked(Direction::ToUpstream, looks, now);
            if let Some(turn) = &mut self.turn {
                turn.is_crossed = true;
            }
        } else {
            let written = self.turn.as_ref().map_or(before, |turn| turn.written);
            let path = self.wait(has_waited, spoken.bytes, written, looks, now);
            let wait = now.since(before);
            let soonest =
                self.seen.as_ref().and_then(|seen| seen.upstream.min_rtt).unwrap_or_default();
            if let Some(turn) = &mut self.turn {
                turn.wait += wait;
                turn.on_path += path;
                turn.is_crossed |= soonest >= CAN_BE_TOLD && wait + wait < soonest;
            }
        }
        if let Some(turn) = &mut self.turn {
            turn.answered = Some(now);
        }
        self.enter(Phase::Answer);
    }

    /// The upstream goes on with its answer, or says something unasked.
    fn goes_on(&mut self, has_waited: bool, bytes: usize, looks: &impl Looks, now: Moment) {
        let pause = now.since(self.charged);
        if has_waited && pause >= SILENCE && !self.in_hand[Direction::ToClient as usize] {
            // An answer ends before it.
            self.rest(looks, now);
            return self.enter(Phase::Answer);
        }
        let charged_before = self.charges[Cause::UpstreamSends];
        self.pause(Direction::ToClient, has_waited, bytes, looks, now);
        if pause >= BURST {
            let charged = self.charges[Cause::UpstreamSends] - charged_before;
            self.seen.get_or_insert_default().late = Some(Late { at: now, charged, bytes: 0 });
        }
        if let Some(turn) = &mut self.turn
            && let Some(answered) = turn.answered
            && turn.is_tentative
        {
            if now.since(answered) >= TICKETS_TAKE && turn.answer_bytes <= TICKETS {
                // What came before was none of the answer.
                turn.wait += now.since(answered);
                turn.answered = Some(now);
                turn.answer_bytes = 0;
            }
            turn.is_tentative = turn.answer_bytes <= TICKETS && now.since(answered) < TICKETS_TAKE;
        }
    }

    /// Bytes of an answer were written to the client's socket.
    pub(super) fn answer_written(&mut self, written: Written, looks: &impl Looks, now: Moment) {
        self.in_hand[Direction::ToClient as usize] = written.is_short;
        match self.phase {
            Phase::Silence => self.charge(Cause::Proxy, now),
            Phase::Answer => {
                self.have_written(Direction::ToClient, written.was_blocked, looks, now);
            }
            // As long as a client does not take an answer, it waits for no other.
            Phase::Request if written.was_blocked && !self.in_hand[0] => {
                self.charge_blocked(Direction::ToClient, looks, now);
            }
            Phase::Request => {}
        }
        if let Some(turn) = &mut self.turn {
            turn.is_slowly_taken |= written.is_short;
        }
    }

    /// Bytes have come while those before them were still in hand. A request's count when they are written.
    pub(super) fn came_ahead(&mut self, direction: Direction, bytes: usize) {
        if let (Direction::ToClient, Some(turn)) = (direction, &mut self.turn) {
            turn.answer_bytes += bytes as u64;
        }
        self.count_of_burst(bytes);
    }

    fn count_of_burst(&mut self, bytes: usize) {
        self.burst = self.burst.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    fn has_waited(&mut self, direction: Direction) -> bool {
        if let Some(pulse) = &self.pulse {
            pulse.pair_moved();
        }
        std::mem::take(&mut self.is_reading[direction as usize])
    }
}

#[cfg(test)]
mod tests;
