//! The connection while hyper and rustls have it: within reach, and watched for its first byte and its waits.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;

use crate::clock::Moment;
use crate::conn::{Conn, Report, WINDOW_PROBE};
use crate::relay::{Exchange, Looks, Peer, Pulse, Story, Turns, Written, figures};
use crate::tcp_info::LinuxInfo;

/// A connection that others read and write, and that can be looked at and closed here at any time.
#[derive(Clone)]
pub(super) struct Held(Arc<Mutex<Option<Socket>>>);

struct Socket {
    conn: Conn<TcpStream>,
    exchange: Option<Waiting>,
}

/// Whom an exchange waits for.
struct Waiting {
    exchange: Exchange,
    is_blocked: bool,
}

/// Looks at the one socket.
struct Upstream<'s>(&'s TcpStream);

impl Looks for Upstream<'_> {
    fn at(&self, peer: Peer) -> Option<Box<LinuxInfo>> {
        match peer {
            Peer::Client => None,
            Peer::Upstream => figures(self.0),
        }
    }
}

impl Waiting {
    fn for_reading(&mut self, socket: &TcpStream, is_over: bool, bytes: usize) {
        match is_over {
            true => self.exchange.have_read(bytes, &Upstream(socket), Moment::now()),
            false => self.exchange.reading(),
        }
    }

    fn for_writing(&mut self, socket: &TcpStream, is_over: bool, bytes: usize) {
        let was_blocked = std::mem::replace(&mut self.is_blocked, !is_over);
        if is_over || !was_blocked {
            let written = Written { bytes, is_short: !is_over, was_blocked };
            self.exchange.have_written(written, &Upstream(socket), Moment::now());
        }
    }
}

impl Held {
    pub(super) fn new(conn: Conn<TcpStream>, pulse: &Arc<Pulse>) -> Self {
        let mut conn = conn;
        let is_local = conn.parts().1.is_local();
        let turns = Turns::new(Some(Arc::clone(pulse)), Moment::now(), [true, is_local]);
        let exchange = Some(Waiting { exchange: Exchange::new(turns), is_blocked: false });
        Self(Arc::new(Mutex::new(Some(Socket { conn, exchange }))))
    }

    /// The request is about to be sent.
    pub(super) fn begin(&self) {
        if let Some(Socket { conn, exchange: Some(waiting) }) = self.lock().as_mut() {
            waiting.exchange.asks(&Upstream(conn.get_ref()), Moment::now());
        }
    }

    /// The response has begun.
    pub(super) fn answered(&self) {
        if let Some(Socket { conn, exchange: Some(waiting) }) = self.lock().as_mut() {
            waiting.exchange.answered(&Upstream(conn.get_ref()), Moment::now());
        }
    }

    /// The exchange is over, complete or not: its story. `None` if it has ended before.
    pub(super) fn end(&self) -> Option<Story> {
        let mut held = self.lock();
        let Socket { conn, exchange } = held.as_mut()?;
        Some(exchange.take()?.exchange.end(&Upstream(conn.get_ref()), Moment::now()))
    }

    /// Looks at what the kernel knows now, as before our own end of stream.
    pub(super) fn look(&self) {
        if let Some(socket) = self.lock().as_mut() {
            socket.conn.before_our_end();
        }
    }

    /// Looks at the peer's window from time to time while bytes wait for it; never ready.
    pub(super) async fn watch_window(&self) -> Infallible {
        loop {
            tokio::time::sleep(WINDOW_PROBE / 2).await;
            if let Some(Socket { conn, .. }) = self.lock().as_mut() {
                let (stream, meter) = conn.parts();
                meter.look_at_window(stream, Moment::now());
            }
        }
    }

    /// Closes it, whoever has it; its report, and the longest wait for the peer's closed window. `None` if it
    /// was closed before.
    pub(super) fn close(&self) -> Option<(Report, Duration)> {
        let Socket { mut conn, .. } = self.lock().take()?;
        let longest = conn.parts().1.longest_closed();
        Some((conn.close(), longest))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Socket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls it, and tells an exchange whether it has to wait.
    fn poll<T>(
        &self,
        wait: fn(&mut Waiting, &TcpStream, bool, usize),
        poll: impl FnOnce(Pin<&mut Conn<TcpStream>>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut held = self.lock();
        let Some(Socket { conn, exchange }) = held.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let before = moved(conn);
        let poll = poll(Pin::new(conn));
        let bytes = moved(conn) - before;
        // A task whose turn is over is told to wait, too, but not for the socket.
        let has_turn = poll.is_ready() || has_budget_remaining();
        if let Some(exchange) = exchange
            && has_turn
        {
            wait(exchange, conn.get_ref(), poll.is_ready(), bytes);
        }
        poll
    }
}

/// Bytes that it has received and sent.
fn moved(conn: &mut Conn<TcpStream>) -> usize {
    let (_, meter) = conn.parts();
    usize::try_from(meter.rx.bytes + meter.tx.bytes).unwrap_or(usize::MAX)
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
        self.poll(|_, _, _, _| (), |conn| conn.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|_, _, _, _| (), |conn| conn.poll_shutdown(cx))
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
