//! One direction of a pair: copies what comes in small pieces, splices what streams.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;

use super::edit::{Edit, Edited, Then};
use super::leg::Side;
use super::pipe::{self, Pipe};
use super::pulse::Pulse;
use super::waits::{Waited, Waits};
use crate::clock::Moment;

/// Read at once. Each worker thread has one such buffer; a half borrows it while it is polled and
/// keeps only what the other side would not take.
const BUFFER: usize = 64 * 1024;

/// Reads in a row that fill the buffer, after which a half streams.
const STREAMS_AFTER: u8 = 2;

/// A splice that moves less than this costs more than copying would have.
const SHORT: usize = 16 * 1024;

/// Short splices in a row after which a half has gone quiet and copies again.
const QUIET_AFTER: u8 = 4;

/// Reads and writes of one half before the other one has its turn.
const TURN: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// The state of one direction. A quiet one owns neither memory nor a pipe.
#[derive(Debug, Default)]
pub(crate) struct Half {
    in_hand: InHand,
    pace: Pace,
    done: bool,
    waits: Waits,
}

/// What was read and is not written yet.
#[derive(Debug, Default)]
enum InHand {
    #[default]
    Nothing,
    /// Bytes from `written` on.
    Bytes { bytes: Vec<u8>, written: usize },
    /// So much in a pipe.
    Piped { pipe: Pipe, bytes: usize },
}

/// How a half moves bytes.
#[derive(Debug)]
enum Pace {
    /// By copying; so many reads in a row have filled the buffer.
    Copying { full: u8 },
    /// By splicing; so many splices in a row were short.
    Streaming { short: u8 },
    /// By copying for ever: splice(2) was refused.
    CopyingOnly,
    /// By copying, through an editor that has not done yet.
    Editing(Box<dyn Edit>),
}

impl Default for Pace {
    fn default() -> Self {
        Self::Copying { full: 0 }
    }
}

impl Half {
    /// A half that writes these bytes before any that it reads.
    pub(crate) fn beginning_with(bytes: Vec<u8>) -> Self {
        let in_hand = match bytes.is_empty() {
            true => InHand::Nothing,
            false => InHand::Bytes { bytes, written: 0 },
        };
        Self { in_hand, pace: Pace::default(), done: false, waits: Waits::default() }
    }

    /// Gives it an editor of all that it reads.
    pub(crate) fn edit_by(&mut self, editor: Box<dyn Edit>) {
        self.pace = Pace::Editing(editor);
    }

    /// Tells its waits when the proxy stands still.
    pub(super) fn heed(&mut self, pulse: &Arc<Pulse>) {
        self.waits.heed(pulse);
    }

    /// Whom it has waited for so far.
    pub(crate) fn waited(&self) -> Waited {
        self.waits.waited()
    }

    /// Whether this direction has ended.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it waits for its source, or would, if it were polled.
    pub(super) fn is_reading(&self) -> bool {
        !self.done && matches!(self.in_hand, InHand::Nothing)
    }

    /// Ends this direction: what is in hand cannot be delivered.
    pub(super) fn give_up(&mut self) {
        if let InHand::Piped { pipe, .. } = std::mem::take(&mut self.in_hand) {
            pipe::discard(pipe);
        }
        self.done = true;
    }

    /// Moves what can be moved from `source` to `sink`. After the source's end of stream the sink
    /// has got ours; a broken socket is noted in its state.
    pub(super) fn poll(
        &mut self,
        source: &mut Side<'_>,
        sink: &mut Side<'_>,
        cx: &mut Context<'_>,
    ) {
        for _ in 0..TURN {
            if self.done {
                return;
            }
            let moved = if self.is_reading() {
                self.poll_read(source, sink, cx)
            } else {
                self.poll_write(sink, cx)
            };
            if moved.is_pending() {
                self.waits.waiting(self.is_reading());
                self.read_ahead(source);
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Waits for the source, reads once, and writes what was read.
    fn poll_read(
        &mut self,
        source: &mut Side<'_>,
        sink: &mut Side<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        match ready!(source.stream.poll_read_ready(cx)) {
            Ok(()) if self.spliced(source, sink) => {}
            Ok(()) => SCRATCH.with_borrow_mut(|buffer| self.copy(source, sink, buffer)),
            Err(error) => self.source_failed(source, &error),
        }
        Poll::Ready(())
    }

    /// Splices once, if this half streams; `false` if that proved nothing. Then recv decides: neither
    /// "try again" nor an end of stream is true as long as an urgent mark holds splice up.
    fn spliced(&mut self, source: &mut Side<'_>, sink: &mut Side<'_>) -> bool {
        let Pace::Streaming { short } = &mut self.pace else { return false };
        let Some(pipe) = pipe::take() else { return false };
        match pipe.fill(source.stream) {
            Ok(bytes @ 1..) => {
                *short = if bytes < SHORT { *short + 1 } else { 0 };
                if *short == QUIET_AFTER {
                    self.pace = Pace::default();
                }
                self.have_read(source, sink, bytes);
                self.in_hand = InHand::Piped { pipe, bytes };
                self.write(sink);
                true
            }
            nothing => {
                pipe::give_back(pipe);
                match nothing {
                    Err(error) if pipe::is_refusal(&error) => self.pace = Pace::CopyingOnly,
                    // The socket's error is told once: recv would see an end of stream now.
                    Err(error) if !is_again(&error) => {
                        self.source_failed(source, &error);
                        return true;
                    }
                    Ok(_) | Err(_) => {}
                }
                false
            }
        }
    }

    /// While the sink takes no more, what the source has received may as well wait in the pipe.
    fn read_ahead(&mut self, source: &mut Side<'_>) {
        if let InHand::Piped { pipe, bytes } = &mut self.in_hand
            && *bytes < pipe.size() / 2
        {
            match pipe.fill(source.stream) {
                Ok(0) => {}
                Ok(more) => {
                    source.state.meter.rx.moved(more, Moment::now());
                    *bytes += more;
                }
                Err(error) if is_again(&error) || pipe::is_refusal(&error) => {}
                // What is in hand is still to be delivered; after it, recv shows an end.
                Err(error) => source.state.read_failed(&error),
            }
        }
    }

    /// Reads once into `buffer` and writes what was read.
    fn copy(&mut self, source: &mut Side<'_>, sink: &mut Side<'_>, buffer: &mut [u8]) {
        let bytes = match source.receive(buffer) {
            Ok(0) if self.let_go() => return,
            Ok(0) => return self.reached_end(source, sink),
            Ok(bytes) => bytes,
            Err(error) if is_again(&error) => return,
            Err(error) => return self.source_failed(source, &error),
        };
        if let Pace::Copying { full } = &mut self.pace {
            *full = if bytes == buffer.len() { *full + 1 } else { 0 };
            if *full == STREAMS_AFTER {
                self.pace = Pace::Streaming { short: 0 };
            }
        }
        self.have_read(source, sink, bytes);
        if let Pace::Editing(editor) = &mut self.pace {
            let edited = editor.edit(&buffer[..bytes]);
            self.hand_over_edited(source, sink, edited);
        } else {
            self.hand_over(sink, &buffer[..bytes]);
        }
    }

    fn have_read(&mut self, source: &mut Side<'_>, sink: &Side<'_>, bytes: usize) {
        let now = Moment::now();
        let receiver_sent = sink.state.meter.rx.last;
        self.waits.have_read(source.stream, sink.stream, receiver_sent, now);
        source.state.meter.rx.moved(bytes, now);
    }

    /// Writes once of these bytes, and keeps the rest in hand.
    fn hand_over(&mut self, sink: &mut Side<'_>, bytes: &[u8]) {
        let result = sink.send(bytes);
        if let Some(taken) = self.taken(sink, result, bytes.len())
            && taken < bytes.len()
        {
            self.in_hand = InHand::Bytes { bytes: bytes[taken..].to_vec(), written: 0 };
        }
    }

    fn hand_over_edited(
        &mut self,
        source: &mut Side<'_>,
        sink: &mut Side<'_>,
        Edited { write, consumed, authored, then }: Edited<'_>,
    ) {
        source.state.meter.own_rx += consumed as u64;
        sink.state.meter.own_tx += authored as u64;
        match then {
            Then::Edit => {}
            Then::Pass => self.pace = Pace::default(),
            Then::Fail(fault) => {
                source.state.broke_protocol(fault);
                return self.give_up();
            }
        }
        if !write.is_empty() {
            self.hand_over(sink, &write);
        }
    }

    /// Takes in hand what an editor kept back, as it is; whether there was anything.
    fn let_go(&mut self) -> bool {
        let Pace::Editing(editor) = &mut self.pace else { return false };
        let bytes = editor.held();
        self.pace = Pace::default();
        if bytes.is_empty() {
            return false;
        }
        self.in_hand = InHand::Bytes { bytes, written: 0 };
        true
    }

    /// Waits for the sink and writes what is in hand.
    fn poll_write(&mut self, sink: &mut Side<'_>, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(sink.stream.poll_write_ready(cx)) {
            Ok(()) => self.write(sink),
            Err(error) => self.sink_failed(sink, &error),
        }
        Poll::Ready(())
    }

    /// Writes once of what is in hand.
    fn write(&mut self, sink: &mut Side<'_>) {
        match std::mem::take(&mut self.in_hand) {
            InHand::Nothing => {}
            InHand::Bytes { bytes, mut written } => {
                let result = sink.stream.try_write(&bytes[written..]);
                if let Some(taken) = self.taken(sink, result, bytes.len() - written) {
                    written += taken;
                    if written < bytes.len() {
                        self.in_hand = InHand::Bytes { bytes, written };
                    }
                }
            }
            InHand::Piped { pipe, bytes } => {
                let stream = sink.stream;
                let result = stream.try_io(Interest::WRITABLE, || pipe.drain(stream, bytes));
                if result.as_ref().is_err_and(pipe::is_refusal) {
                    return self.take_out(sink, pipe, bytes);
                }
                match self.taken(sink, result, bytes) {
                    Some(taken) if taken == bytes => pipe::give_back(pipe),
                    Some(taken) => self.in_hand = InHand::Piped { pipe, bytes: bytes - taken },
                    None => pipe::discard(pipe),
                }
            }
        }
    }

    /// The sink takes no spliced bytes: from here on this half copies, beginning with those.
    fn take_out(&mut self, sink: &mut Side<'_>, pipe: Pipe, bytes: usize) {
        self.pace = Pace::CopyingOnly;
        match pipe.read(bytes) {
            Ok(bytes) => {
                pipe::give_back(pipe);
                self.in_hand = InHand::Bytes { bytes, written: 0 };
            }
            Err(error) => {
                pipe::discard(pipe);
                self.sink_failed(sink, &error);
            }
        }
    }

    /// Counts what the sink took of `offered` bytes; `None` when it is broken.
    fn taken(
        &mut self,
        sink: &mut Side<'_>,
        result: io::Result<usize>,
        offered: usize,
    ) -> Option<usize> {
        let taken = match result {
            Ok(taken) => taken,
            Err(error) if is_again(&error) => 0,
            Err(error) => {
                self.sink_failed(sink, &error);
                return None;
            }
        };
        let now = Moment::now();
        let meter = &mut sink.state.meter;
        if taken > 0 {
            meter.tx.moved(taken, now);
        }
        let blocked = meter.write_blocked.get_or_insert_default();
        let blocked_since = blocked.end(now);
        if taken < offered {
            blocked.begin(now);
        }
        self.waits.have_written(sink.stream, blocked_since, now);
        Some(taken)
    }

    fn reached_end(&mut self, source: &mut Side<'_>, sink: &mut Side<'_>) {
        source.reached_end();
        self.done = true;
        if source.state.gone || sink.state.gone {
            return;
        }
        sink.state.meter.look_at_eof(sink.stream);
        match SockRef::from(sink.stream).shutdown(Shutdown::Write) {
            Ok(()) => sink.state.meter.tx.ended = Some(Moment::now()),
            Err(error) => sink.shutdown_failed(&error),
        }
    }

    fn source_failed(&mut self, source: &mut Side<'_>, error: &io::Error) {
        source.state.read_failed(error);
        self.done = !self.let_go();
    }

    fn sink_failed(&mut self, sink: &mut Side<'_>, error: &io::Error) {
        sink.state.write_failed(error);
        self.give_up();
    }
}

impl Drop for Half {
    /// A pair that is cut short may have bytes in a pipe.
    fn drop(&mut self) {
        self.give_up();
    }
}

fn is_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
