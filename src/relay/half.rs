//! One direction of a pair, by copying.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::leg::Side;

/// Read at once. Each worker thread has one such buffer; a half borrows it while it is polled and
/// keeps only what the other side would not take.
const BUFFER: usize = 64 * 1024;

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
    /// Whether nothing will pass any more.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Ends this direction: what is in hand cannot be delivered.
    pub(super) fn give_up(&mut self) {
        self.pending = Vec::new();
        self.written = 0;
        self.done = true;
    }

    /// Moves what can be moved from `source` to `sink`; ready when this direction is over. After
    /// the source's end of stream the sink has got ours; a broken socket is noted in its state.
    pub(super) fn poll(
        &mut self,
        source: &mut Side<'_>,
        sink: &mut Side<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        while !self.done {
            if self.written < self.pending.len() {
                match ready!(sink.stream.poll_write_ready(cx)) {
                    Ok(()) => self.write_pending(sink),
                    Err(error) => self.sink_failed(sink, &error),
                }
            } else {
                match ready!(source.stream.poll_read_ready(cx)) {
                    Ok(()) => SCRATCH.with_borrow_mut(|buffer| self.pass(source, sink, buffer)),
                    Err(error) => self.source_failed(source, &error),
                }
            }
        }
        Poll::Ready(())
    }

    /// Reads once and writes what was read.
    fn pass(&mut self, source: &mut Side<'_>, sink: &mut Side<'_>, buffer: &mut [u8]) {
        let bytes = match receive(source.stream, buffer) {
            Ok(0) => return self.reached_end(source, sink),
            Ok(bytes) => bytes,
            Err(error) if is_again(&error) => return,
            Err(error) => return self.source_failed(source, &error),
        };
        source.state.meter.rx.moved(bytes, Instant::now());
        let taken = match self.write(sink, &buffer[..bytes]) {
            Some(taken) => taken,
            None => return,
        };
        if taken < bytes {
            self.pending.extend_from_slice(&buffer[taken..bytes]);
        }
    }

    fn write_pending(&mut self, sink: &mut Side<'_>) {
        let pending = std::mem::take(&mut self.pending);
        if let Some(taken) = self.write(sink, &pending[self.written..]) {
            self.written += taken;
            if self.written < pending.len() {
                self.pending = pending;
            } else {
                self.written = 0;
            }
        }
    }

    /// Writes once; how much the sink took, or `None` when it is broken.
    fn write(&mut self, sink: &mut Side<'_>, bytes: &[u8]) -> Option<usize> {
        let taken = match send(sink.stream, bytes) {
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
            Err(error) => sink.state.write_failed(&error),
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

/// recv(2). A read that does not fill the buffer has emptied the socket, so readiness is cleared
/// without asking a second time; an end of stream or a reset that came with the data is kept by
/// tokio apart from that.
fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut received = None;
    let tried = stream.try_io(Interest::READABLE, || {
        let bytes = (&*SockRef::from(stream)).read(buffer)?;
        received = Some(bytes);
        if 0 < bytes && bytes < buffer.len() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(())
        }
    });
    received.map_or_else(|| Err(tried.err().unwrap_or(io::ErrorKind::WouldBlock.into())), Ok)
}

/// send(2), likewise: a write that is not taken whole has filled the socket.
fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = None;
    let tried = stream.try_io(Interest::WRITABLE, || {
        let taken = (&*SockRef::from(stream)).write(bytes)?;
        sent = Some(taken);
        if taken < bytes.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    sent.map_or_else(|| Err(tried.err().unwrap_or(io::ErrorKind::WouldBlock.into())), Ok)
}
