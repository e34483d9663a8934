//! One direction of a pair, by copying.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll};
use std::time::Instant;

use socket2::SockRef;

use super::leg::Side;

/// Read at once. Each worker thread has one such buffer; a half borrows it while it is polled and
/// keeps only what the other side would not take.
const BUFFER: usize = 64 * 1024;

/// Reads and writes of one half before the other one has its turn.
const TURN: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// The state of one direction. A quiet one owns no memory.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Read and not written yet, from `written` on.
    pending: Vec<u8>,
    written: usize,
    done: bool,
}

impl Half {
    /// Whether this direction has ended.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it waits for its source, or would, if it were polled.
    pub(super) fn is_reading(&self) -> bool {
        !self.done && self.pending.is_empty()
    }

    /// Ends this direction: what is in hand cannot be delivered.
    pub(super) fn give_up(&mut self) {
        self.pending = Vec::new();
        self.written = 0;
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
            let moved = if self.pending.is_empty() {
                self.poll_read(source, sink, cx)
            } else {
                self.poll_write(sink, cx)
            };
            if moved.is_pending() {
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
        match std::task::ready!(source.stream.poll_read_ready(cx)) {
            Ok(()) => SCRATCH.with_borrow_mut(|buffer| self.pass(source, sink, buffer)),
            Err(error) => self.source_failed(source, &error),
        }
        Poll::Ready(())
    }

    fn pass(&mut self, source: &mut Side<'_>, sink: &mut Side<'_>, buffer: &mut [u8]) {
        let bytes = match source.stream.try_read(buffer) {
            Ok(0) => return self.reached_end(source, sink),
            Ok(bytes) => bytes,
            Err(error) if is_again(&error) => return,
            Err(error) => return self.source_failed(source, &error),
        };
        source.state.meter.rx.moved(bytes, Instant::now());
        if let Some(taken) = self.write(sink, &buffer[..bytes])
            && taken < bytes
        {
            self.pending.extend_from_slice(&buffer[taken..bytes]);
        }
    }

    /// Waits for the sink and writes what is pending.
    fn poll_write(&mut self, sink: &mut Side<'_>, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = std::task::ready!(sink.stream.poll_write_ready(cx)) {
            self.sink_failed(sink, &error);
            return Poll::Ready(());
        }
        let pending = std::mem::take(&mut self.pending);
        if let Some(taken) = self.write(sink, &pending[self.written..]) {
            self.written += taken;
            if self.written < pending.len() {
                self.pending = pending;
            } else {
                self.written = 0;
            }
        }
        Poll::Ready(())
    }

    /// Writes once; how much the sink took, or `None` when it is broken.
    fn write(&mut self, sink: &mut Side<'_>, bytes: &[u8]) -> Option<usize> {
        let taken = match sink.stream.try_write(bytes) {
            Ok(taken) => taken,
            Err(error) if is_again(&error) => 0,
            Err(error) => {
                self.sink_failed(sink, &error);
                return None;
            }
        };
        let now = Instant::now();
        let meter = &mut sink.state.meter;
        if taken > 0 {
            meter.tx.moved(taken, now);
        }
        let blocked = meter.write_blocked.get_or_insert_default();
        blocked.end(now);
        if taken < bytes.len() {
            blocked.begin(now);
        }
        Some(taken)
    }

    fn reached_end(&mut self, source: &mut Side<'_>, sink: &mut Side<'_>) {
        source.state.reached_end();
        self.done = true;
        if source.state.gone || sink.state.gone {
            return;
        }
        sink.state.meter.look_at_eof(sink.stream);
        match SockRef::from(sink.stream).shutdown(Shutdown::Write) {
            Ok(()) => sink.state.meter.tx.ended = Some(Instant::now()),
            Err(error) => sink.shutdown_failed(&error),
        }
    }

    fn source_failed(&mut self, source: &mut Side<'_>, error: &io::Error) {
        source.state.read_failed(error);
        self.done = true;
    }

    fn sink_failed(&mut self, sink: &mut Side<'_>, error: &io::Error) {
        sink.state.write_failed(error);
        self.give_up();
    }
}

fn is_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
