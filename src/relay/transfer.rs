//! One direction of a pair as its half sees it, and its link to the tracking of turns.

use super::edit::ContentKind;
use super::evidence::Sockets;
use super::leg::Side;
use super::turns::{ReadEvent, TurnTracker, WriteEvent};
use crate::clock::CompactInstant;
use crate::record::Direction;

/// The source and the sink of one direction, and the turns of the pair.
pub(super) struct Transfer<'w, 'l> {
    pub(super) direction: Direction,
    pub(super) source: &'w mut Side<'l>,
    pub(super) sink: &'w mut Side<'l>,
    pub(super) turns: &'w mut TurnTracker,
}

/// Bytes that were read: how many, when, and when the previous ones were.
pub(super) struct ReadBytes {
    bytes: usize,
    at: CompactInstant,
    last: Option<CompactInstant>,
}

impl ReadBytes {
    pub(super) fn at(&self) -> CompactInstant {
        self.at
    }

    /// When the previous byte was read.
    pub(super) fn last(&self) -> Option<CompactInstant> {
        self.last
    }

    /// Without the last ones, which belong to the next exchange.
    pub(super) fn without(self, held: usize) -> Self {
        Self { bytes: self.bytes.saturating_sub(held), ..self }
    }
}

impl<'l> Transfer<'_, 'l> {
    /// Counts bytes that were read.
    pub(super) fn count_read(&mut self, bytes: usize) -> ReadBytes {
        let rx = &mut self.source.state.meter.rx;
        let read = ReadBytes { bytes, at: CompactInstant::now(), last: rx.last };
        rx.count(bytes, read.at);
        read
    }

    /// Counts bytes that were read while the sink accepts no more. They end no wait.
    pub(super) fn count_read_ahead(&mut self, bytes: usize) {
        self.source.state.meter.rx.count(bytes, CompactInstant::now());
        self.turns.on_read_ahead(self.direction, bytes);
    }

    /// Reports bytes that were read to the tracker of turns.
    pub(super) fn notify_read(
        &mut self,
        ReadBytes { bytes, at, last }: ReadBytes,
        content_kind: ContentKind,
    ) {
        let sockets = self.sockets();
        let event = |client_last, client_has_ended| ReadEvent {
            bytes,
            content_kind,
            client_last,
            client_has_ended,
        };
        match self.direction {
            Direction::ToUpstream => self.turns.on_client_read(event(last, false), &sockets, at),
            Direction::ToClient => {
                let rx = &self.sink.state.meter.rx;
                self.turns.on_upstream_read(event(rx.last, rx.ended.is_some()), &sockets, at);
            }
        }
    }

    /// Reports a write, or an attempt, to the tracker of turns.
    pub(super) fn notify_write(&mut self, written: WriteEvent, now: CompactInstant) {
        let sockets = self.sockets();
        match self.direction {
            Direction::ToUpstream => self.turns.on_request_write(written, &sockets, now),
            Direction::ToClient => self.turns.on_answer_write(written, &sockets, now),
        }
    }

    fn sockets(&self) -> Sockets<'l> {
        let (source, sink) = (self.source.stream, self.sink.stream);
        match self.direction {
            Direction::ToUpstream => Sockets { client: source, upstream: sink },
            Direction::ToClient => Sockets { client: sink, upstream: source },
        }
    }
}
