//! Time accounting for an exchange of our own client, which knows when its request is sent and when
//! the answer begins.

use super::evidence::{InfoSource, Peer};
use super::finish::TimeBreakdown;
use super::time_by_cause::Cause;
use super::turns::{Phase, ReadEvent, TurnTracker, WriteEvent};
use crate::clock::{CompactDuration, CompactInstant};
use crate::record::Direction;

/// HTTP/2 control frames over TLS (acknowledged settings, pings, window updates) are at most this
/// long. They request nothing.
const CONTROL: usize = 56;

/// The stage of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The TLS handshake, if there is one.
    Opening,
    /// The request is being sent, or its answer is awaited.
    Asking,
    /// The answer is being received.
    Answering,
}

/// Charges the time of an exchange, from connecting to the answer's last byte.
#[derive(Debug)]
pub(crate) struct ExchangeTracker {
    turns: TurnTracker,
    stage: Stage,
}

impl ExchangeTracker {
    /// Starts when the connection is established.
    pub(crate) fn new(turns: TurnTracker) -> Self {
        Self { turns, stage: Stage::Opening }
    }

    /// The request is about to be sent.
    pub(crate) fn begin_request(&mut self, sockets: &impl InfoSource, now: CompactInstant) {
        self.begin_send(sockets, now);
        self.stage = Stage::Asking;
    }

    /// A read would block.
    pub(crate) fn on_read_blocked(&mut self) {
        self.turns.on_read_blocked(Direction::ToClient);
    }

    /// Bytes were read.
    pub(crate) fn on_read(&mut self, bytes: usize, sockets: &impl InfoSource, now: CompactInstant) {
        match self.stage {
            Stage::Opening | Stage::Answering => {
                self.turns.on_upstream_read(ReadEvent::from_bytes(bytes), sockets, now);
            }
            // In HTTP/2, much of what arrives is not the answer.
            Stage::Asking => self.turns.charge_until_read(sockets, now),
        }
    }

    /// Bytes were written, or a write would block.
    pub(crate) fn on_write(
        &mut self,
        written: WriteEvent,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        match self.stage {
            Stage::Opening => {
                if self.turns.phase != Phase::Request {
                    self.begin_send(sockets, now);
                }
                self.turns.on_request_write(written, sockets, now);
            }
            Stage::Asking => {
                let before = self.turns.turn.as_ref().map(|turn| turn.written);
                self.turns.on_request_write(written, sockets, now);
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
    pub(crate) fn begin_answer(&mut self, sockets: &impl InfoSource, now: CompactInstant) {
        if self.stage == Stage::Asking {
            self.turns.start_answer(sockets, now);
            self.stage = Stage::Answering;
        }
    }

    /// Ends the exchange, complete or not.
    pub(crate) fn end(mut self, sockets: &impl InfoSource, now: CompactInstant) -> TimeBreakdown {
        self.turns.charge_to_end(sockets, now);
        self.turns.into_breakdown(false)
    }

    /// Begins to send; the time before that is our own.
    fn begin_send(&mut self, sockets: &impl InfoSource, now: CompactInstant) {
        self.turns.charge(Cause::Proxy, now);
        self.turns.on_client_read(ReadEvent::from_bytes(0), sockets, now);
    }
}

impl TurnTracker {
    /// Charges the time until a read that did not bring the answer.
    fn charge_until_read(&mut self, sockets: &impl InfoSource, now: CompactInstant) {
        self.is_reading[Direction::ToClient as usize] = false;
        match self.has_pending[Direction::ToUpstream as usize] {
            true => self.charge_blocked(Direction::ToUpstream, sockets, now),
            false => {
                let stalled = self.stall_before_read(0, Peer::Upstream, sockets, now);
                self.charge_before_stall(Cause::UpstreamThinks, stalled, now);
            }
        }
    }

    /// The answer to the request that was written has begun.
    fn start_answer(&mut self, sockets: &impl InfoSource, now: CompactInstant) {
        self.charge_until_read(sockets, now);
        let written = self.turn.as_ref().map_or(now, |turn| turn.written);
        let wait = now.since(written).min(self.charges[Cause::UpstreamThinks]);
        let path = self.path_of_wait(wait, written, sockets, now).min(wait);
        self.charges.move_to(Cause::UpstreamThinks, Cause::RequestOnPath, path);
        if let Some(turn) = &mut self.turn {
            (turn.wait, turn.on_path, turn.answered) = (wait, path, Some(now));
        }
        self.enter(Phase::Answer);
    }

    /// Charges the last wait.
    fn charge_to_end(&mut self, sockets: &impl InfoSource, now: CompactInstant) {
        let is_reading = std::mem::take(&mut self.is_reading[Direction::ToClient as usize]);
        if self.has_pending[Direction::ToUpstream as usize] {
            return self.charge_blocked(Direction::ToUpstream, sockets, now);
        }
        match (self.phase, is_reading) {
            (Phase::Request, true) => {
                let written = self.turn.as_ref().map_or(now, |turn| turn.written);
                self.charge_wait(true, 0, written, sockets, now);
            }
            (Phase::Answer, true) => self.charge_pause(Direction::ToClient, true, 0, sockets, now),
            _ => self.charge(Cause::Proxy, now),
        }
        debug_assert!(now.since(self.charged) == CompactDuration::default());
    }
}
