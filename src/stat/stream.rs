//! The connection while hyper and rustls have it: within reach, and watched for its first byte and its waits.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;

use crate::clock::Moment;
use crate::conn::{Conn, Report};
use crate::record::Direction;
use crate::relay::{Pulse, Waited, Waits};

/// A connection that others read and write, and that can be looked at and closed here at any time.
#[derive(Clone)]
pub(super) struct Held(Arc<Mutex<Option<Socket>>>);

struct Socket {
    conn: Conn<TcpStream>,
    exchange: Option<Waiting>,
}

/// Whom an exchange waits for.
struct Waiting {
    waits: Waits,
    /// Since when the socket takes no more.
    blocked: Option<Moment>,
    /// Bytes that it had received and sent before.
    before: [u64; 2],
}

impl Waiting {
    fn for_reading(&mut self, socket: &TcpStream, is_over: bool) {
        let now = Moment::now();
        if !is_over {
            return self.waits.waiting_since(now);
        }
        // In HTTP/2 much is read while a request is sent. What is blocked is charged as that.
        if let Some(since) = &mut self.blocked {
            self.waits.have_written(socket, Some(std::mem::replace(since, now)), now);
        }
        self.waits.have_read(socket, socket, None, now);
    }

    fn for_writing(&mut self, socket: &TcpStream, is_over: bool) {
        let now = Moment::now();
        if is_over {
            self.waits.have_written(socket, self.blocked.take(), now);
        } else {
            self.blocked.get_or_insert(now);
        }
    }
}

impl Held {
    pub(super) fn new(conn: Conn<TcpStream>) -> Self {
        Self(Arc::new(Mutex::new(Some(Socket { conn, exchange: None }))))
    }

    /// The request is about to be sent.
    pub(super) fn begin(&self, pulse: &Arc<Pulse>) {
        if let Some(Socket { conn, exchange }) = self.lock().as_mut() {
            let waits = Waits::of_an_exchange(pulse, Moment::now());
            *exchange = Some(Waiting { waits, blocked: None, before: moved(conn) });
        }
    }

    /// The response has begun.
    pub(super) fn answered(&self) {
        if let Some(Socket { conn, exchange: Some(exchange) }) = self.lock().as_mut() {
            exchange.waits.answered(conn.get_ref());
        }
    }

    /// The exchange is over, complete or not: whom it waited for, and in which direction more went.
    /// `None` if there was none, or it has ended before.
    pub(super) fn end(&self) -> Option<(Waited, Direction)> {
        let mut held = self.lock();
        let Socket { conn, exchange } = held.as_mut()?;
        let mut exchange = exchange.take()?;
        exchange.for_reading(conn.get_ref(), true);
        let [received, sent] = exchange.before;
        let [received, sent] = match moved(conn) {
            [now_received, now_sent] => [now_received - received, now_sent - sent],
        };
        let direction = if sent > received { Direction::ToUpstream } else { Direction::ToClient };
        Some((exchange.waits.waited(), direction))
    }

    /// Looks at what the kernel knows now, as before our own end of stream.
    pub(super) fn look(&self) {
        if let Some(socket) = self.lock().as_mut() {
            socket.conn.before_our_end();
        }
    }

    /// Closes it, whoever has it; its report, and the longest time in which it took no more. `None` if it
    /// was closed before.
    pub(super) fn close(&self) -> Option<(Report, Duration)> {
        let Socket { mut conn, .. } = self.lock().take()?;
        let longest = conn.parts().1.longest_blocked();
        Some((conn.close(), longest))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Socket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls it, and tells an exchange whether it has to wait.
    fn poll<T>(
        &self,
        wait: fn(&mut Waiting, &TcpStream, bool),
        poll: impl FnOnce(Pin<&mut Conn<TcpStream>>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut held = self.lock();
        let Some(Socket { conn, exchange }) = held.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let poll = poll(Pin::new(conn));
        // A task whose turn is over is told to wait, too, but not for the socket.
        let has_turn = poll.is_ready() || has_budget_remaining();
        if let Some(exchange) = exchange
            && has_turn
        {
            wait(exchange, conn.get_ref(), poll.is_ready());
        }
        poll
    }
}

/// Bytes that it has received and sent.
fn moved(conn: &mut Conn<TcpStream>) -> [u64; 2] {
    let (_, meter) = conn.parts();
    [meter.rx.bytes, meter.tx.bytes]
}

impl AsyncRead for Held {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(Waiting::for_reading, |conn| conn.poll_read(cx, buf))
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(Waiting::for_writing, |conn| conn.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(Waiting::for_writing, |conn| conn.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|_, _, _| (), |conn| conn.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|_, _, _| (), |conn| conn.poll_shutdown(cx))
    }
}

/// So many of the first bytes that come are kept.
const FIRST: usize = 256;

/// What comes first from a stream.
#[derive(Debug, Default)]
pub(super) struct FirstBytes {
    /// When the first one was read.
    pub(super) at: OnceLock<Instant>,
    bytes: Mutex<Vec<u8>>,
}

impl FirstBytes {
    /// The first ones so far.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, more: &[u8]) {
        self.at.get_or_init(Instant::now);
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = FIRST.saturating_sub(bytes.len());
        bytes.extend(more.iter().take(room));
    }
}

/// What HTTP goes over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream that notes them. Boxed, so that hyper is compiled for one kind of stream alone.
pub(super) struct Watched {
    stream: Box<dyn Stream>,
    first: Arc<FirstBytes>,
}

impl Watched {
    pub(super) fn new(stream: impl Stream + 'static) -> (Self, Arc<FirstBytes>) {
        let first = Arc::<FirstBytes>::default();
        (Self { stream: Box::new(stream), first: Arc::clone(&first) }, first)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(more) = buf.filled().get(before..).filter(|more| !more.is_empty()) {
            self.first.add(more);
        }
        poll
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
