//! One direction of a pair: copies small pieces and splices bulk data.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;

use super::edit::{ContentKind, Edit, EditOutput, Next};
use super::leg::Side;
use super::pipe::{self, Pipe};
use super::transfer::{ReadBytes, Transfer};
use super::turns::WriteEvent;
use crate::clock::CompactInstant;
use crate::record::Direction;

/// Size of a read. Each worker thread has one such buffer; a half borrows it while it is polled,
/// and keeps only what the other side did not accept.
const BUFFER: usize = 64 * 1024;

/// After this many reads in a row that fill the buffer, a half splices.
const STREAMS_AFTER: u8 = 2;

/// A splice that moves less than this costs more than a copy.
const SHORT: usize = 16 * 1024;

/// After this many short splices in a row, a half copies again.
const QUIET_AFTER: u8 = 4;

/// At most this many bytes of a next exchange are read ahead, plus one read.
const MOST_HELD: usize = 64 * 1024;

/// Reads and writes of one half before it yields to the other one.
const TURN: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// The state of one direction. An idle half owns neither a buffer nor a pipe.
#[derive(Debug, Default)]
pub(crate) struct Half {
    pending: PendingData,
    pace: Pace,
    sink_end: SinkEnd,
    /// Bytes of the next exchange. Boxed, because most pairs never have any.
    held: Option<Box<HeldBytes>>,
    /// Bytes read are discarded: the sink is broken, and the source must not be reset.
    discards: bool,
    done: bool,
}

/// Whether the sink has everything before the source has ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum SinkEnd {
    #[default]
    No,
    /// It has, and stays open for the next exchange.
    Rest,
    /// The same, and nothing more is read from the source.
    Detached,
    /// Its end of stream is sent once nothing is pending.
    Due,
    Done,
}

/// Bytes of the next exchange that were read during the current one, or after it.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    pub(crate) bytes: Vec<u8>,
    /// When the first of them was read, and when the last byte before them was.
    pub(crate) since: CompactInstant,
    pub(crate) last_before: Option<CompactInstant>,
}

/// Bytes that were read and not written yet.
#[derive(Debug, Default)]
enum PendingData {
    #[default]
    Nothing,
    /// Bytes from `written` on.
    Bytes { bytes: Vec<u8>, written: usize },
    /// Bytes in a pipe.
    Piped { pipe: Pipe, bytes: usize },
}

/// What happens to the bytes that a half moves.
#[derive(Debug)]
enum Pace {
    /// They pass unchanged.
    Passing(Method),
    /// They are copied through an editor.
    Editing(Box<dyn Edit>),
    /// A number of them pass unchanged, then the editor goes on.
    PassingSome(Box<PassingSome>),
}

/// How unedited bytes are moved.
#[derive(Debug)]
enum Method {
    /// By copying; `full` reads in a row have filled the buffer.
    Copying { full: u8 },
    /// By splicing; `short` splices in a row were short.
    Streaming { short: u8 },
    /// By copying only: splice(2) is not supported here.
    CopyingOnly,
}

#[derive(Debug)]
struct PassingSome {
    method: Method,
    /// At least 1.
    left: u64,
    editor: Box<dyn Edit>,
}

impl Default for Method {
    fn default() -> Self {
        Self::Copying { full: 0 }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::Passing(Method::default())
    }
}

impl Pace {
    /// How bytes are moved; `None` while they are edited.
    fn method(&mut self) -> Option<&mut Method> {
        match self {
            Self::Passing(method) => Some(method),
            Self::PassingSome(some) => Some(&mut some.method),
            Self::Editing(_) => None,
        }
    }

    /// Most bytes that may be read in one call.
    fn limit(&self) -> usize {
        match self {
            Self::PassingSome(some) => usize::try_from(some.left).unwrap_or(usize::MAX),
            Self::Passing(_) | Self::Editing(_) => usize::MAX,
        }
    }
}

impl Half {
    /// Creates a half that writes these bytes before any that it reads.
    pub(crate) fn with_pending(bytes: Vec<u8>) -> Self {
        let pending = match bytes.is_empty() {
            true => PendingData::Nothing,
            false => PendingData::Bytes { bytes, written: 0 },
        };
        let mut half = Self::default();
        half.pending = pending;
        half
    }

    /// Holds bytes back that were read before.
    pub(crate) fn set_held(&mut self, bytes: Vec<u8>, now: CompactInstant) {
        if !bytes.is_empty() {
            self.held = Some(Box::new(HeldBytes { bytes, since: now, last_before: Some(now) }));
        }
    }

    /// Sets the editor of all bytes that are read.
    pub(crate) fn set_editor(&mut self, editor: Box<dyn Edit>) {
        self.pace = Pace::Editing(editor);
    }

    /// Whether this direction has ended.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the half waits for its source, or would if it were polled.
    pub(super) fn is_reading(&self) -> bool {
        !self.done && matches!(self.pending, PendingData::Nothing) && !self.holds_enough()
    }

    /// Whether the sink has everything that it will get, though the source has not ended.
    pub(super) fn is_finishing(&self) -> bool {
        matches!(self.sink_end, SinkEnd::Due | SinkEnd::Done)
    }

    /// Whether the sink has everything of this exchange, and stays open for the next one.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.sink_end, SinkEnd::Rest | SinkEnd::Detached)
            && matches!(self.pending, PendingData::Nothing)
    }

    /// Ends the rest: there is no next exchange, and the sink gets its end of stream.
    pub(super) fn finish(&mut self) {
        self.sink_end = SinkEnd::Due;
        self.done = false;
    }

    /// Whether bytes of the next exchange are held back.
    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the bytes of the next exchange.
    pub(super) fn take_held(&mut self) -> Option<Box<HeldBytes>> {
        self.held.take()
    }

    /// Drops the bytes of the next exchange, which will not take place; returns how many.
    pub(super) fn drop_held(&mut self) -> u64 {
        self.held.take().map_or(0, |held| held.bytes.len() as u64)
    }

    fn holds_enough(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.bytes.len() >= MOST_HELD)
    }

    /// Ends this direction. Pending bytes are dropped.
    pub(super) fn give_up(&mut self) {
        self.drop_pending();
        self.done = true;
    }

    /// The sink accepts no more; from here on, what the source sends is read and discarded.
    pub(super) fn discard_rest(&mut self) {
        if !std::mem::replace(&mut self.discards, true) {
            self.drop_pending();
            self.pace = Pace::Passing(Method::CopyingOnly);
        }
    }

    fn drop_pending(&mut self) {
        if let PendingData::Piped { pipe, .. } = std::mem::take(&mut self.pending) {
            pipe::discard(pipe);
        }
    }

    /// Moves what can be moved from `source` to `sink`. After the source's end of stream the sink
    /// has got ours; a broken socket is noted in its state.
    pub(super) fn poll(&mut self, transfer: &mut Transfer<'_, '_>, cx: &mut Context<'_>) {
        for _ in 0..TURN {
            if self.done {
                return;
            }
            if matches!(self.pending, PendingData::Nothing) {
                match self.sink_end {
                    SinkEnd::Due => {
                        self.send_early_fin(transfer);
                        continue;
                    }
                    SinkEnd::Detached => {
                        self.done = true;
                        return;
                    }
                    SinkEnd::No | SinkEnd::Rest | SinkEnd::Done if self.holds_enough() => return,
                    SinkEnd::No | SinkEnd::Rest | SinkEnd::Done => {}
                }
            }
            let moved = if self.is_reading() {
                self.poll_read(transfer, cx)
            } else {
                self.poll_write(transfer, cx)
            };
            if moved.is_pending() {
                if self.is_reading() {
                    transfer.turns.on_read_blocked(transfer.direction);
                }
                self.read_ahead(transfer);
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Waits for the source, reads once, and writes what was read.
    fn poll_read(&mut self, transfer: &mut Transfer<'_, '_>, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(transfer.source.stream.poll_read_ready(cx)) {
            Ok(()) if self.try_splice(transfer) => {}
            Ok(()) => SCRATCH.with_borrow_mut(|buffer| self.copy(transfer, buffer)),
            Err(error) => self.source_failed(transfer, &error),
        }
        Poll::Ready(())
    }

    /// Splices once, if this half streams. Returns `false` if the result is inconclusive, and the
    /// caller must use recv: while an urgent mark blocks splice, neither its EAGAIN nor its end of
    /// stream can be trusted.
    fn try_splice(&mut self, transfer: &mut Transfer<'_, '_>) -> bool {
        let limit = self.pace.limit();
        let streams = |method: &&mut Method| matches!(method, Method::Streaming { .. });
        let Some(method) = self.pace.method().filter(streams) else { return false };
        let Some(pipe) = pipe::take() else { return false };
        match pipe.fill(transfer.source.stream, limit) {
            Ok(bytes @ 1..) => {
                if let Method::Streaming { short } = method {
                    *short = if bytes < SHORT { *short + 1 } else { 0 };
                    if *short == QUIET_AFTER {
                        *method = Method::default();
                    }
                }
                let read = transfer.count_read(bytes);
                transfer.notify_read(read, ContentKind::Payload);
                self.pending = PendingData::Piped { pipe, bytes };
                self.count_passed(transfer, bytes);
                self.write(transfer);
                true
            }
            nothing => {
                pipe::give_back(pipe);
                match nothing {
                    Err(error) if pipe::is_refusal(&error) => *method = Method::CopyingOnly,
                    // The socket reports its error once: recv would see an end of stream now.
                    Err(error) if !is_again(&error) => {
                        self.source_failed(transfer, &error);
                        return true;
                    }
                    Ok(_) | Err(_) => {}
                }
                false
            }
        }
    }

    /// Reads ahead into the pipe while the sink accepts no more.
    fn read_ahead(&mut self, transfer: &mut Transfer<'_, '_>) {
        // Bytes that an editor has not let pass must not get into the pipe.
        if let PendingData::Piped { pipe, bytes } = &mut self.pending
            && *bytes < pipe.size() / 2
            && let Pace::Passing(_) = self.pace
        {
            match pipe.fill(transfer.source.stream, usize::MAX) {
                Ok(0) => {}
                Ok(more) => {
                    transfer.count_read_ahead(more);
                    *bytes += more;
                }
                Err(error) if is_again(&error) || pipe::is_refusal(&error) => {}
                // Pending bytes are still delivered; after them, recv shows an end of stream.
                Err(error) => transfer.source.state.note_read_error(&error),
            }
        }
    }

    /// Reads once into `buffer` and writes what was read.
    fn copy(&mut self, transfer: &mut Transfer<'_, '_>, buffer: &mut [u8]) {
        let most = self.pace.limit().min(buffer.len());
        let buffer = &mut buffer[..most];
        let bytes = match transfer.source.receive(buffer) {
            Ok(0) if self.is_holding() => {
                // What is held back comes before the end of stream, which is read again then.
                transfer.source.note_fin();
                self.done = true;
                return;
            }
            Ok(0) if self.flush_editor(transfer) => return,
            Ok(0) => return self.note_fin(transfer),
            Ok(bytes) => bytes,
            Err(error) if is_again(&error) => return,
            Err(error) => return self.source_failed(transfer, &error),
        };
        if let Some(method) = self.pace.method()
            && let Method::Copying { full } = method
        {
            *full = if bytes == BUFFER { *full + 1 } else { 0 };
            if *full == STREAMS_AFTER {
                *method = Method::Streaming { short: 0 };
            }
        }
        let read = transfer.count_read(bytes);
        if let Pace::Editing(editor) = &mut self.pace
            && !self.discards
        {
            let edited = editor.edit(&buffer[..bytes]);
            let (now, behind) = buffer[..bytes].split_at(bytes.saturating_sub(edited.held));
            if !behind.is_empty() {
                hold(&mut self.held, behind, &read, now.is_empty());
            }
            // What a client sends between its requests and the proxy ignores is no request.
            let ignored = match (transfer.direction, &edited.next) {
                (Direction::ToUpstream, Next::Edit) => edited.consumed,
                _ => 0,
            };
            if now.len() > ignored {
                transfer.notify_read(read.without(behind.len() + ignored), editor.content_kind());
            }
            return self.write_edited(transfer, edited);
        }
        if self.discards {
            // Discarded bytes do not count as data of a turn.
            transfer.source.state.meter.own_rx += bytes as u64;
        } else {
            transfer.notify_read(read, ContentKind::Payload);
            self.write_or_buffer(transfer, &buffer[..bytes]);
            self.count_passed(transfer, bytes);
        }
    }

    /// Counts bytes that passed unchanged. After the last one that may, the editor goes on.
    fn count_passed(&mut self, transfer: &mut Transfer<'_, '_>, bytes: usize) {
        let Pace::PassingSome(some) = &mut self.pace else { return };
        some.left = some.left.saturating_sub(bytes as u64);
        if some.left > 0 {
            return;
        }
        if let Pace::PassingSome(some) = std::mem::take(&mut self.pace) {
            let mut editor = some.editor;
            let edited = editor.edit(&[]);
            self.pace = Pace::Editing(editor);
            self.write_edited(transfer, edited);
        }
    }

    /// Writes once, and keeps the rest of the bytes pending.
    fn write_or_buffer(&mut self, transfer: &mut Transfer<'_, '_>, bytes: &[u8]) {
        let result = transfer.sink.send(bytes);
        if let Some(taken) = self.count_written(transfer, result, bytes.len())
            && taken < bytes.len()
        {
            self.pending = PendingData::Bytes { bytes: bytes[taken..].to_vec(), written: 0 };
        }
    }

    /// Writes the output of the editor. While bytes are pending, there is none.
    fn write_edited(
        &mut self,
        transfer: &mut Transfer<'_, '_>,
        EditOutput { write, consumed, authored, next, .. }: EditOutput<'_>,
    ) {
        transfer.source.state.meter.own_rx += consumed as u64;
        transfer.sink.state.meter.own_tx += authored as u64;
        match next {
            Next::Edit => {}
            Next::Pass => self.pace = Pace::default(),
            Next::PassBytes(left) => {
                if let Pace::Editing(editor) = std::mem::take(&mut self.pace) {
                    let method = Method::default();
                    self.pace = Pace::PassingSome(Box::new(PassingSome { method, left, editor }));
                }
            }
            Next::Finish(None) | Next::Rest | Next::Detach if self.is_finishing() => {}
            Next::Finish(fault) => {
                self.sink_end = SinkEnd::Due;
                match fault {
                    None => transfer.source.state.is_complete = true,
                    Some(fault) => transfer.source.state.note_protocol_error(fault),
                }
            }
            Next::Rest | Next::Detach => {
                let is_rest = matches!(next, Next::Rest);
                self.sink_end = if is_rest { SinkEnd::Rest } else { SinkEnd::Detached };
                // A connection that broke instead of a response is not complete.
                transfer.source.state.is_complete |= !transfer.source.state.is_broken;
            }
            Next::Fail(fault) => {
                transfer.source.state.note_protocol_error(fault);
                return self.give_up();
            }
        }
        if !write.is_empty() && !transfer.sink.state.is_broken {
            self.write_or_buffer(transfer, &write);
        }
    }

    /// Flushes the editor, if there is one. Returns whether anything is left to write before the
    /// sink gets its end of stream.
    fn flush_editor(&mut self, transfer: &mut Transfer<'_, '_>) -> bool {
        let Pace::Editing(mut editor) = std::mem::take(&mut self.pace) else { return false };
        let was_finishing = self.is_finishing();
        let edited = editor.end(transfer.source.state.is_broken);
        let is_empty = edited.write.is_empty();
        self.write_edited(transfer, edited);
        !is_empty || self.is_finishing() != was_finishing
    }

    /// Sends the sink its end of stream, though the source has not ended.
    fn send_early_fin(&mut self, transfer: &mut Transfer<'_, '_>) {
        self.sink_end = SinkEnd::Done;
        self.done = transfer.source.state.is_broken;
        send_end(transfer.sink);
    }

    /// Waits for the sink and writes pending bytes.
    fn poll_write(&mut self, transfer: &mut Transfer<'_, '_>, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(transfer.sink.stream.poll_write_ready(cx)) {
            Ok(()) => self.write(transfer),
            Err(error) => self.sink_failed(transfer, &error),
        }
        Poll::Ready(())
    }

    /// Writes pending bytes once.
    fn write(&mut self, transfer: &mut Transfer<'_, '_>) {
        match std::mem::take(&mut self.pending) {
            PendingData::Nothing => {}
            PendingData::Bytes { bytes, mut written } => {
                let result = transfer.sink.stream.try_write(&bytes[written..]);
                if let Some(taken) = self.count_written(transfer, result, bytes.len() - written) {
                    written += taken;
                    if written < bytes.len() {
                        self.pending = PendingData::Bytes { bytes, written };
                    }
                }
            }
            PendingData::Piped { pipe, bytes } => {
                let stream = transfer.sink.stream;
                let result = stream.try_io(Interest::WRITABLE, || pipe.drain(stream, bytes));
                if result.as_ref().is_err_and(pipe::is_refusal) {
                    return self.fall_back_to_copy(transfer, pipe, bytes);
                }
                match self.count_written(transfer, result, bytes) {
                    Some(taken) if taken == bytes => pipe::give_back(pipe),
                    Some(taken) => self.pending = PendingData::Piped { pipe, bytes: bytes - taken },
                    None => pipe::discard(pipe),
                }
            }
        }
    }

    /// The sink does not support splice: from here on this half copies, beginning with the bytes in
    /// the pipe.
    fn fall_back_to_copy(&mut self, transfer: &mut Transfer<'_, '_>, pipe: Pipe, bytes: usize) {
        if let Some(method) = self.pace.method() {
            *method = Method::CopyingOnly;
        }
        match pipe.read(bytes) {
            Ok(bytes) => {
                pipe::give_back(pipe);
                self.pending = PendingData::Bytes { bytes, written: 0 };
            }
            Err(error) => {
                pipe::discard(pipe);
                self.sink_failed(transfer, &error);
            }
        }
    }

    /// Counts how many of `offered` bytes the sink accepted; `None` when it is broken.
    fn count_written(
        &mut self,
        transfer: &mut Transfer<'_, '_>,
        result: io::Result<usize>,
        offered: usize,
    ) -> Option<usize> {
        let taken = match result {
            Ok(taken) => taken,
            Err(error) if is_again(&error) => 0,
            Err(error) => {
                self.sink_failed(transfer, &error);
                return None;
            }
        };
        let now = CompactInstant::now();
        let meter = &mut transfer.sink.state.meter;
        if taken > 0 {
            meter.tx.count(taken, now);
        }
        let blocked = meter.write_blocked.get_or_insert_default();
        let blocked_since = blocked.end(now);
        if taken < offered {
            blocked.begin(now);
        }
        let written = WriteEvent {
            bytes: taken,
            is_short: taken < offered,
            was_blocked: blocked_since.is_some(),
        };
        transfer.notify_write(written, now);
        Some(taken)
    }

    fn note_fin(&mut self, transfer: &mut Transfer<'_, '_>) {
        transfer.source.note_fin();
        self.done = true;
        if !transfer.source.state.is_broken && self.sink_end == SinkEnd::No {
            send_end(transfer.sink);
        }
    }

    fn source_failed(&mut self, transfer: &mut Transfer<'_, '_>, error: &io::Error) {
        transfer.source.state.note_read_error(error);
        self.done = !self.flush_editor(transfer);
    }

    fn sink_failed(&mut self, transfer: &mut Transfer<'_, '_>, error: &io::Error) {
        transfer.sink.state.note_write_error(error);
        self.give_up();
    }
}

impl Drop for Half {
    /// A pair that is cut short may have bytes in a pipe.
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Adds bytes that belong to the next exchange. `are_alone`: they were read without others.
fn hold(held: &mut Option<Box<HeldBytes>>, bytes: &[u8], read: &ReadBytes, are_alone: bool) {
    let held = held.get_or_insert_with(|| {
        let last_before = if are_alone { read.last() } else { Some(read.at()) };
        Box::new(HeldBytes { bytes: Vec::new(), since: read.at(), last_before })
    });
    held.bytes.extend_from_slice(bytes);
}

/// Sends an end of stream after all that was written.
fn send_end(sink: &mut Side<'_>) {
    if sink.state.is_broken {
        return;
    }
    sink.state.meter.snapshot_eof(sink.stream);
    match SockRef::from(sink.stream).shutdown(Shutdown::Write) {
        Ok(()) => sink.state.meter.tx.ended = Some(CompactInstant::now()),
        Err(error) => sink.note_shutdown_error(&error),
    }
}

fn is_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
