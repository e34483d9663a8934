//! One direction of a pair: copies what comes in small pieces, splices what streams.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;

use super::edit::{Edit, Edited, Speech, Then};
use super::leg::Side;
use super::pipe::{self, Pipe};
use super::turns::Written;
use super::way::Way;
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
    finish: Finish,
    /// What is read goes nowhere: the sink is of no use any more, and the source is not to be reset.
    discards: bool,
    done: bool,
}

/// Whether the sink gets its end of stream before the source has ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Finish {
    #[default]
    No,
    /// Once nothing is in hand.
    Due,
    Done,
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

/// What happens to the bytes that a half moves.
#[derive(Debug)]
enum Pace {
    /// They pass as they are.
    Passing(Method),
    /// They are copied, through an editor that has not done yet.
    Editing(Box<dyn Edit>),
    /// A number of them passes, then they are edited again.
    PassingSome(Box<PassingSome>),
}

/// How bytes that nobody changes are moved.
#[derive(Debug)]
enum Method {
    /// By copying; so many reads in a row have filled the buffer.
    Copying { full: u8 },
    /// By splicing; so many splices in a row were short.
    Streaming { short: u8 },
    /// By copying for ever: splice(2) was refused.
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

    /// Most bytes that may be read at once.
    fn limit(&self) -> usize {
        match self {
            Self::PassingSome(some) => usize::try_from(some.left).unwrap_or(usize::MAX),
            Self::Passing(_) | Self::Editing(_) => usize::MAX,
        }
    }
}

impl Half {
    /// A half that writes these bytes before any that it reads.
    pub(crate) fn beginning_with(bytes: Vec<u8>) -> Self {
        let in_hand = match bytes.is_empty() {
            true => InHand::Nothing,
            false => InHand::Bytes { bytes, written: 0 },
        };
        let mut half = Self::default();
        half.in_hand = in_hand;
        half
    }

    /// Gives it an editor of all that it reads.
    pub(crate) fn edit_by(&mut self, editor: Box<dyn Edit>) {
        self.pace = Pace::Editing(editor);
    }

    /// Whether this direction has ended.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it waits for its source, or would, if it were polled.
    pub(super) fn is_reading(&self) -> bool {
        !self.done && matches!(self.in_hand, InHand::Nothing)
    }

    /// Whether the sink has all that it is to get, though the source has not ended.
    pub(super) fn is_finishing(&self) -> bool {
        self.finish != Finish::No
    }

    /// Ends this direction: what is in hand cannot be delivered.
    pub(super) fn give_up(&mut self) {
        self.drop_in_hand();
        self.done = true;
    }

    /// The sink takes no more, but what the source still sends is to be read.
    pub(super) fn discard_rest(&mut self) {
        if !std::mem::replace(&mut self.discards, true) {
            self.drop_in_hand();
            self.pace = Pace::Passing(Method::CopyingOnly);
        }
    }

    fn drop_in_hand(&mut self) {
        if let InHand::Piped { pipe, .. } = std::mem::take(&mut self.in_hand) {
            pipe::discard(pipe);
        }
    }

    /// Moves what can be moved from `source` to `sink`. After the source's end of stream the sink
    /// has got ours; a broken socket is noted in its state.
    pub(super) fn poll(&mut self, way: &mut Way<'_, '_>, cx: &mut Context<'_>) {
        for _ in 0..TURN {
            if self.done {
                return;
            }
            if self.finish == Finish::Due && self.is_reading() {
                self.finish(way);
                continue;
            }
            let moved =
                if self.is_reading() { self.poll_read(way, cx) } else { self.poll_write(way, cx) };
            if moved.is_pending() {
                if self.is_reading() {
                    way.turns.reading(way.direction);
                }
                self.read_ahead(way);
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Waits for the source, reads once, and writes what was read.
    fn poll_read(&mut self, way: &mut Way<'_, '_>, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(way.source.stream.poll_read_ready(cx)) {
            Ok(()) if self.spliced(way) => {}
            Ok(()) => SCRATCH.with_borrow_mut(|buffer| self.copy(way, buffer)),
            Err(error) => self.source_failed(way, &error),
        }
        Poll::Ready(())
    }

    /// Splices once, if this half streams; `false` if that proved nothing. Then recv decides: neither
    /// "try again" nor an end of stream is true as long as an urgent mark holds splice up.
    fn spliced(&mut self, way: &mut Way<'_, '_>) -> bool {
        let limit = self.pace.limit();
        let streams = |method: &&mut Method| matches!(method, Method::Streaming { .. });
        let Some(method) = self.pace.method().filter(streams) else { return false };
        let Some(pipe) = pipe::take() else { return false };
        match pipe.fill(way.source.stream, limit) {
            Ok(bytes @ 1..) => {
                if let Method::Streaming { short } = method {
                    *short = if bytes < SHORT { *short + 1 } else { 0 };
                    if *short == QUIET_AFTER {
                        *method = Method::default();
                    }
                }
                let read = way.have_read(bytes);
                way.has_spoken(read, Speech::Payload);
                self.in_hand = InHand::Piped { pipe, bytes };
                self.passed(way, bytes);
                self.write(way);
                true
            }
            nothing => {
                pipe::give_back(pipe);
                match nothing {
                    Err(error) if pipe::is_refusal(&error) => *method = Method::CopyingOnly,
                    // The socket's error is told once: recv would see an end of stream now.
                    Err(error) if !is_again(&error) => {
                        self.source_failed(way, &error);
                        return true;
                    }
                    Ok(_) | Err(_) => {}
                }
                false
            }
        }
    }

    /// While the sink takes no more, what the source has received may as well wait in the pipe.
    fn read_ahead(&mut self, way: &mut Way<'_, '_>) {
        // What an editor has not let pass may not get into the pipe.
        if let InHand::Piped { pipe, bytes } = &mut self.in_hand
            && *bytes < pipe.size() / 2
            && let Pace::Passing(_) = self.pace
        {
            match pipe.fill(way.source.stream, usize::MAX) {
                Ok(0) => {}
                Ok(more) => {
                    way.have_read_ahead(more);
                    *bytes += more;
                }
                Err(error) if is_again(&error) || pipe::is_refusal(&error) => {}
                // What is in hand is still to be delivered; after it, recv shows an end.
                Err(error) => way.source.state.read_failed(&error),
            }
        }
    }

    /// Reads once into `buffer` and writes what was read.
    fn copy(&mut self, way: &mut Way<'_, '_>, buffer: &mut [u8]) {
        let most = self.pace.limit().min(buffer.len());
        let buffer = &mut buffer[..most];
        let bytes = match way.source.receive(buffer) {
            Ok(0) if self.end_edit(way) => return,
            Ok(0) => return self.reached_end(way),
            Ok(bytes) => bytes,
            Err(error) if is_again(&error) => return,
            Err(error) => return self.source_failed(way, &error),
        };
        if let Some(method) = self.pace.method()
            && let Method::Copying { full } = method
        {
            *full = if bytes == BUFFER { *full + 1 } else { 0 };
            if *full == STREAMS_AFTER {
                *method = Method::Streaming { short: 0 };
            }
        }
        let read = way.have_read(bytes);
        if let Pace::Editing(editor) = &mut self.pace
            && !self.discards
        {
            let edited = editor.edit(&buffer[..bytes]);
            way.has_spoken(read, editor.speech());
            return self.hand_over_edited(way, edited);
        }
        if self.discards {
            // What goes nowhere says nothing.
            way.source.state.meter.own_rx += bytes as u64;
        } else {
            way.has_spoken(read, Speech::Payload);
            self.hand_over(way, &buffer[..bytes]);
            self.passed(way, bytes);
        }
    }

    /// So many bytes passed as they are. After the last one that may, the editor is asked what comes
    /// next.
    fn passed(&mut self, way: &mut Way<'_, '_>, bytes: usize) {
        let Pace::PassingSome(some) = &mut self.pace else { return };
        some.left = some.left.saturating_sub(bytes as u64);
        if some.left > 0 {
            return;
        }
        if let Pace::PassingSome(some) = std::mem::take(&mut self.pace) {
            let mut editor = some.editor;
            let edited = editor.edit(&[]);
            self.pace = Pace::Editing(editor);
            self.hand_over_edited(way, edited);
        }
    }

    /// Writes once of these bytes, and keeps the rest in hand.
    fn hand_over(&mut self, way: &mut Way<'_, '_>, bytes: &[u8]) {
        let result = way.sink.send(bytes);
        if let Some(taken) = self.taken(way, result, bytes.len())
            && taken < bytes.len()
        {
            self.in_hand = InHand::Bytes { bytes: bytes[taken..].to_vec(), written: 0 };
        }
    }

    /// Writes what an editor made of the bytes that were read. While anything is in hand, it has
    /// nothing to write.
    fn hand_over_edited(
        &mut self,
        way: &mut Way<'_, '_>,
        Edited { write, consumed, authored, then }: Edited<'_>,
    ) {
        way.source.state.meter.own_rx += consumed as u64;
        way.sink.state.meter.own_tx += authored as u64;
        match then {
            Then::Edit => {}
            Then::Pass => self.pace = Pace::default(),
            Then::PassBytes(left) => {
                if let Pace::Editing(editor) = std::mem::take(&mut self.pace) {
                    let method = Method::default();
                    self.pace = Pace::PassingSome(Box::new(PassingSome { method, left, editor }));
                }
            }
            Then::Finish(fault) => {
                self.finish = Finish::Due;
                match fault {
                    None => way.source.state.said_all = true,
                    Some(fault) => way.source.state.broke_protocol(fault),
                }
            }
            Then::Fail(fault) => {
                way.source.state.broke_protocol(fault);
                return self.give_up();
            }
        }
        if !write.is_empty() && !way.sink.state.gone {
            self.hand_over(way, &write);
        }
    }

    /// Tells the editor, if there is one, that no more comes; whether that leaves anything to do
    /// for the sink before it gets its end.
    fn end_edit(&mut self, way: &mut Way<'_, '_>) -> bool {
        let Pace::Editing(mut editor) = std::mem::take(&mut self.pace) else { return false };
        let was_finishing = self.is_finishing();
        let edited = editor.end(way.source.state.gone);
        let is_empty = edited.write.is_empty();
        self.hand_over_edited(way, edited);
        !is_empty || self.is_finishing() != was_finishing
    }

    /// Gives the sink its end of stream, though the source has not ended.
    fn finish(&mut self, way: &mut Way<'_, '_>) {
        self.finish = Finish::Done;
        self.done = way.source.state.gone;
        send_end(way.sink);
    }

    /// Waits for the sink and writes what is in hand.
    fn poll_write(&mut self, way: &mut Way<'_, '_>, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(way.sink.stream.poll_write_ready(cx)) {
            Ok(()) => self.write(way),
            Err(error) => self.sink_failed(way, &error),
        }
        Poll::Ready(())
    }

    /// Writes once of what is in hand.
    fn write(&mut self, way: &mut Way<'_, '_>) {
        match std::mem::take(&mut self.in_hand) {
            InHand::Nothing => {}
            InHand::Bytes { bytes, mut written } => {
                let result = way.sink.stream.try_write(&bytes[written..]);
                if let Some(taken) = self.taken(way, result, bytes.len() - written) {
                    written += taken;
                    if written < bytes.len() {
                        self.in_hand = InHand::Bytes { bytes, written };
                    }
                }
            }
            InHand::Piped { pipe, bytes } => {
                let stream = way.sink.stream;
                let result = stream.try_io(Interest::WRITABLE, || pipe.drain(stream, bytes));
                if result.as_ref().is_err_and(pipe::is_refusal) {
                    return self.take_out(way, pipe, bytes);
                }
                match self.taken(way, result, bytes) {
                    Some(taken) if taken == bytes => pipe::give_back(pipe),
                    Some(taken) => self.in_hand = InHand::Piped { pipe, bytes: bytes - taken },
                    None => pipe::discard(pipe),
                }
            }
        }
    }

    /// The sink takes no spliced bytes: from here on this half copies, beginning with those.
    fn take_out(&mut self, way: &mut Way<'_, '_>, pipe: Pipe, bytes: usize) {
        if let Some(method) = self.pace.method() {
            *method = Method::CopyingOnly;
        }
        match pipe.read(bytes) {
            Ok(bytes) => {
                pipe::give_back(pipe);
                self.in_hand = InHand::Bytes { bytes, written: 0 };
            }
            Err(error) => {
                pipe::discard(pipe);
                self.sink_failed(way, &error);
            }
        }
    }

    /// Counts what the sink took of `offered` bytes; `None` when it is broken.
    fn taken(
        &mut self,
        way: &mut Way<'_, '_>,
        result: io::Result<usize>,
        offered: usize,
    ) -> Option<usize> {
        let taken = match result {
            Ok(taken) => taken,
            Err(error) if is_again(&error) => 0,
            Err(error) => {
                self.sink_failed(way, &error);
                return None;
            }
        };
        let now = Moment::now();
        let meter = &mut way.sink.state.meter;
        if taken > 0 {
            meter.tx.moved(taken, now);
        }
        let blocked = meter.write_blocked.get_or_insert_default();
        let blocked_since = blocked.end(now);
        if taken < offered {
            blocked.begin(now);
        }
        let written = Written {
            bytes: taken,
            is_short: taken < offered,
            was_blocked: blocked_since.is_some(),
        };
        way.have_written(written, now);
        Some(taken)
    }

    fn reached_end(&mut self, way: &mut Way<'_, '_>) {
        way.source.reached_end();
        self.done = true;
        if !way.source.state.gone && !self.is_finishing() {
            send_end(way.sink);
        }
    }

    fn source_failed(&mut self, way: &mut Way<'_, '_>, error: &io::Error) {
        way.source.state.read_failed(error);
        self.done = !self.end_edit(way);
    }

    fn sink_failed(&mut self, way: &mut Way<'_, '_>, error: &io::Error) {
        way.sink.state.write_failed(error);
        self.give_up();
    }
}

impl Drop for Half {
    /// A pair that is cut short may have bytes in a pipe.
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Sends an end of stream, behind all that was written.
fn send_end(sink: &mut Side<'_>) {
    if sink.state.gone {
        return;
    }
    sink.state.meter.look_at_eof(sink.stream);
    match SockRef::from(sink.stream).shutdown(Shutdown::Write) {
        Ok(()) => sink.state.meter.tx.ended = Some(Moment::now()),
        Err(error) => sink.shutdown_failed(&error),
    }
}

fn is_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
