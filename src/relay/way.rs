//! One direction of a pair as its half sees it, and what is told of it to the pair's story.

use super::edit::Speech;
use super::leg::Side;
use super::looks::Sockets;
use super::turns::{Spoken, Turns, Written};
use crate::clock::Moment;
use crate::record::Direction;

/// One direction's sides, and the story of its pair.
pub(super) struct Way<'w, 'l> {
    pub(super) direction: Direction,
    pub(super) source: &'w mut Side<'l>,
    pub(super) sink: &'w mut Side<'l>,
    pub(super) turns: &'w mut Turns,
}

/// Bytes that were read, when, and when the last ones before them were.
pub(super) struct Read {
    bytes: usize,
    at: Moment,
    last: Option<Moment>,
}

impl<'l> Way<'_, 'l> {
    /// Counts what was read.
    pub(super) fn have_read(&mut self, bytes: usize) -> Read {
        let rx = &mut self.source.state.meter.rx;
        let read = Read { bytes, at: Moment::now(), last: rx.last };
        rx.moved(bytes, read.at);
        read
    }

    /// Counts what was read while the sink takes no more: it ends no wait.
    pub(super) fn have_read_ahead(&mut self, bytes: usize) {
        self.source.state.meter.rx.moved(bytes, Moment::now());
        self.turns.came_ahead(self.direction, bytes);
    }

    /// The source has said this.
    pub(super) fn has_spoken(&mut self, Read { bytes, at, last }: Read, speech: Speech) {
        let looks = self.looks();
        let spoken =
            |client_last, client_has_ended| Spoken { bytes, speech, client_last, client_has_ended };
        match self.direction {
            Direction::ToUpstream => self.turns.client_spoke(spoken(last, false), &looks, at),
            Direction::ToClient => {
                let rx = &self.sink.state.meter.rx;
                self.turns.upstream_spoke(spoken(rx.last, rx.ended.is_some()), &looks, at);
            }
        }
    }

    /// Bytes were written to the sink, or were to be.
    pub(super) fn have_written(&mut self, written: Written, now: Moment) {
        let looks = self.looks();
        match self.direction {
            Direction::ToUpstream => self.turns.request_written(written, &looks, now),
            Direction::ToClient => self.turns.answer_written(written, &looks, now),
        }
    }

    fn looks(&self) -> Sockets<'l> {
        let (source, sink) = (self.source.stream, self.sink.stream);
        match self.direction {
            Direction::ToUpstream => Sockets { client: source, upstream: sink },
            Direction::ToClient => Sockets { client: sink, upstream: source },
        }
    }
}
