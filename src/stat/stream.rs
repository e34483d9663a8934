//! The connection while hyper and rustls own it: shared, so that it can be sampled and closed.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;

use crate::clock::CompactInstant;
use crate::conn::{Conn, Report, WINDOW_PROBE};
use crate::relay::{
    ExchangeTracker, InfoSource, Peer, StallDetector, TimeBreakdown, TurnTracker, WriteEvent,
    linux_info,
};
use crate::tcp_info::LinuxInfo;

/// A shared handle of a connection that hyper and rustls read and write; it can be sampled and
/// closed at any time.
#[derive(Clone)]
pub(super) struct SharedConn(Arc<Mutex<Option<Socket>>>);

struct Socket {
    conn: Conn<TcpStream>,
    exchange: Option<TrackedExchange>,
}

/// Tracks the waits of an exchange.
struct TrackedExchange {
    exchange: ExchangeTracker,
    is_blocked: bool,
}

/// TCP_INFO of the one socket.
struct Upstream<'s>(&'s TcpStream);

impl InfoSource for Upstream<'_> {
    fn info(&self, peer: Peer) -> Option<Cow<'_, LinuxInfo>> {
        match peer {
            Peer::Client => None,
            Peer::Upstream => linux_info(self.0).map(Cow::Owned),
        }
    }
}

impl TrackedExchange {
    fn for_reading(&mut self, socket: &TcpStream, is_over: bool, bytes: usize) {
        match is_over {
            true => self.exchange.on_read(bytes, &Upstream(socket), CompactInstant::now()),
            false => self.exchange.on_read_blocked(),
        }
    }

    fn for_writing(&mut self, socket: &TcpStream, is_over: bool, bytes: usize) {
        let was_blocked = std::mem::replace(&mut self.is_blocked, !is_over);
        if is_over || !was_blocked {
            let written = WriteEvent { bytes, is_short: !is_over, was_blocked };
            self.exchange.on_write(written, &Upstream(socket), CompactInstant::now());
        }
    }
}

impl SharedConn {
    pub(super) fn new(conn: Conn<TcpStream>, stall_detector: &Arc<StallDetector>) -> Self {
        let mut conn = conn;
        let is_local = conn.parts().1.is_local();
        let turns = TurnTracker::new(
            Some(Arc::clone(stall_detector)),
            CompactInstant::now(),
            [true, is_local],
        );
        let exchange =
            Some(TrackedExchange { exchange: ExchangeTracker::new(turns), is_blocked: false });
        Self(Arc::new(Mutex::new(Some(Socket { conn, exchange }))))
    }

    /// The request is about to be sent.
    pub(super) fn begin(&self) {
        if let Some(Socket { conn, exchange: Some(waiting) }) = self.lock().as_mut() {
            waiting.exchange.begin_request(&Upstream(conn.get_ref()), CompactInstant::now());
        }
    }

    /// The response has begun.
    pub(super) fn answered(&self) {
        if let Some(Socket { conn, exchange: Some(waiting) }) = self.lock().as_mut() {
            waiting.exchange.begin_answer(&Upstream(conn.get_ref()), CompactInstant::now());
        }
    }

    /// Ends the exchange, complete or not, and returns what its time was spent on. `None` if it has
    /// ended before.
    pub(super) fn end(&self) -> Option<TimeBreakdown> {
        let mut guard = self.lock();
        let Socket { conn, exchange } = guard.as_mut()?;
        Some(exchange.take()?.exchange.end(&Upstream(conn.get_ref()), CompactInstant::now()))
    }

    /// Takes the snapshot before our own end of stream.
    pub(super) fn snapshot_eof(&self) {
        if let Some(socket) = self.lock().as_mut() {
            socket.conn.snapshot_before_eof();
        }
    }

    /// Samples the peer's window from time to time while bytes wait for it; never ready.
    pub(super) async fn watch_window(&self) -> Infallible {
        loop {
            tokio::time::sleep(WINDOW_PROBE / 2).await;
            if let Some(Socket { conn, .. }) = self.lock().as_mut() {
                let (stream, meter) = conn.parts();
                meter.sample_window(stream, CompactInstant::now());
            }
        }
    }

    /// Closes the connection; returns its report and the longest wait for a closed window. `None`
    /// if it was closed before.
    pub(super) fn close(&self) -> Option<(Report, Duration)> {
        let Socket { mut conn, .. } = self.lock().take()?;
        let longest = conn.parts().1.longest_closed();
        Some((conn.close(), longest))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Socket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the connection and reports waits to the exchange.
    fn poll<T>(
        &self,
        wait: fn(&mut TrackedExchange, &TcpStream, bool, usize),
        poll: impl FnOnce(Pin<&mut Conn<TcpStream>>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut guard = self.lock();
        let Some(Socket { conn, exchange }) = guard.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let before = moved(conn);
        let poll = poll(Pin::new(conn));
        let bytes = moved(conn) - before;
        // A task without budget is pending too, but not because of the socket.
        let has_turn = poll.is_ready() || has_budget_remaining();
        if let Some(exchange) = exchange
            && has_turn
        {
            wait(exchange, conn.get_ref(), poll.is_ready(), bytes);
        }
        poll
    }
}

/// Bytes received and sent.
fn moved(conn: &mut Conn<TcpStream>) -> usize {
    let (_, meter) = conn.parts();
    usize::try_from(meter.rx.bytes + meter.tx.bytes).unwrap_or(usize::MAX)
}

impl AsyncRead for SharedConn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(TrackedExchange::for_reading, |conn| conn.poll_read(cx, buf))
    }
}

impl AsyncWrite for SharedConn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(TrackedExchange::for_writing, |conn| conn.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(TrackedExchange::for_writing, |conn| conn.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|_, _, _, _| (), |conn| conn.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|_, _, _, _| (), |conn| conn.poll_shutdown(cx))
    }
}

/// How many of the first received bytes are kept.
const FIRST: usize = 256;

/// The first bytes received from a stream.
#[derive(Debug, Default)]
pub(super) struct FirstBytes {
    /// When the first one was read.
    pub(super) at: OnceLock<Instant>,
    bytes: Mutex<Vec<u8>>,
}

impl FirstBytes {
    /// The first bytes so far.
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

/// A stream for HTTP.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream that keeps its first bytes. Boxed, so that hyper is compiled for only one type of
/// stream.
pub(super) struct FirstByteStream {
    stream: Box<dyn Stream>,
    first: Arc<FirstBytes>,
}

impl FirstByteStream {
    pub(super) fn new(stream: impl Stream + 'static) -> (Self, Arc<FirstBytes>) {
        let first = Arc::<FirstBytes>::default();
        (Self { stream: Box::new(stream), first: Arc::clone(&first) }, first)
    }
}

impl AsyncRead for FirstByteStream {
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

impl AsyncWrite for FirstByteStream {
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
