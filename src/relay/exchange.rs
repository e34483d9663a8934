//! The story of an exchange of a client of ours: it knows when its request is out and when the answer begins.

use super::charges::Cause;
use super::finish::Story;
use super::looks::{Looks, Peer};
use super::turns::{Phase, Spoken, Turns, Written};
use crate::clock::{Moment, Nanos};
use crate::record::Direction;

/// In HTTP/2 over TLS, so few bytes acknowledge settings or pings, or open a window: they ask for nothing.
const CONTROL: usize = 56;

/// How far an exchange has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A handshake of TLS, where there is one.
    Opening,
    /// The request is being sent, or waits for its answer.
    Asking,
    /// The answer comes.
    Answering,
}

/// An exchange, from connecting to the answer's last byte.
#[derive(Debug)]
pub(crate) struct Exchange {
    turns: Turns,
    stage: Stage,
}

impl Exchange {
    /// The connection is there.
    pub(crate) fn new(turns: Turns) -> Self {
        Self { turns, stage: Stage::Opening }
    }

    /// The request is about to be sent.
    pub(crate) fn asks(&mut self, looks: &impl Looks, now: Moment) {
        self.speaks(looks, now);
        self.stage = Stage::Asking;
    }

    /// Nothing can be read, and something is to be.
    pub(crate) fn reading(&mut self) {
        self.turns.reading(Direction::ToClient);
    }

    /// Bytes were read.
    pub(crate) fn have_read(&mut self, bytes: usize, looks: &impl Looks, now: Moment) {
        match self.stage {
            Stage::Opening | Stage::Answering => {
                self.turns.upstream_spoke(Spoken::of_bytes(bytes), looks, now);
            }
            // In HTTP/2 much comes that is no answer.
            Stage::Asking => self.turns.heard(looks, now),
        }
    }

    /// Bytes were written, or would be.
    pub(crate) fn have_written(&mut self, written: Written, looks: &impl Looks, now: Moment) {
        match self.stage {
            Stage::Opening => {
                if self.turns.phase != Phase::Request {
                    self.speaks(looks, now);
                }
                self.turns.request_written(written, looks, now);
            }
            Stage::Asking => {
                let before = self.turns.turn.as_ref().map(|turn| turn.written);
                self.turns.request_written(written, looks, now);
                if let (Some(before), Some(turn)) = (before, &mut self.turns.turn)
                    && written.bytes <= CONTROL
                {
                    turn.written = before;
                }
            }
            Stage::Answering => {}
        }
    }

    /// The answer has begun.
    pub(crate) fn answered(&mut self, looks: &impl Looks, now: Moment) {
        if self.stage == Stage::Asking {
            self.turns.answer_begins(looks, now);
            self.stage = Stage::Answering;
        }
    }

    /// It is over, complete or not.
    pub(crate) fn end(mut self, looks: &impl Looks, now: Moment) -> Story {
        self.turns.cut(looks, now);
        self.turns.into_story(false)
    }

    /// We have something to say, and what we did before that took our own time.
    fn speaks(&mut self, looks: &impl Looks, now: Moment) {
        self.turns.charge(Cause::Proxy, now);
        self.turns.client_spoke(Spoken::of_bytes(0), looks, now);
    }
}

impl Turns {
    /// Something came that does not answer.
    fn heard(&mut self, looks: &impl Looks, now: Moment) {
        self.is_reading[Direction::ToClient as usize] = false;
        match self.in_hand[Direction::ToUpstream as usize] {
            true => self.charge_blocked(Direction::ToUpstream, looks, now),
            false => {
                let stalled = self.stalled_before(0, Peer::Upstream, looks, now);
                self.charge_and_stall(Cause::UpstreamThinks, stalled, now);
            }
        }
    }

    /// The answer that a request waited for since it was written has begun.
    fn answer_begins(&mut self, looks: &impl Looks, now: Moment) {
        self.heard(looks, now);
        let written = self.turn.as_ref().map_or(now, |turn| turn.written);
        let wait = now.since(written).min(self.charges[Cause::UpstreamThinks]);
        let path = self.path_of_wait(wait, written, looks, now).min(wait);
        self.charges.move_to(Cause::UpstreamThinks, Cause::RequestOnPath, path);
        if let Some(turn) = &mut self.turn {
            (turn.wait, turn.on_path, turn.answered) = (wait, path, Some(now));
        }
        self.enter(Phase::Answer);
    }

    /// Nothing more is waited for.
    fn cut(&mut self, looks: &impl Looks, now: Moment) {
        let is_reading = std::mem::take(&mut self.is_reading[Direction::ToClient as usize]);
        if self.in_hand[Direction::ToUpstream as usize] {
            return self.charge_blocked(Direction::ToUpstream, looks, now);
        }
        match (self.phase, is_reading) {
            (Phase::Request, true) => {
                let written = self.turn.as_ref().map_or(now, |turn| turn.written);
                self.wait(true, 0, written, looks, now);
            }
            (Phase::Answer, true) => self.pause(Direction::ToClient, true, 0, looks, now),
            _ => self.charge(Cause::Proxy, now),
        }
        debug_assert!(now.since(self.charged) == Nanos::default());
    }
}
