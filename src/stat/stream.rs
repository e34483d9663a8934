//! The connection while hyper and rustls have it: within reach, and watched for its first byte.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::conn::{Conn, Report};

/// A connection that others read and write, and that can be looked at and closed here at any time.
#[derive(Clone)]
pub(super) struct Held(Arc<Mutex<Option<Conn<TcpStream>>>>);

impl Held {
    pub(super) fn new(conn: Conn<TcpStream>) -> Self {
        Self(Arc::new(Mutex::new(Some(conn))))
    }

    /// Looks at what the kernel knows now, as before our own end of stream.
    pub(super) fn look(&self) {
        if let Some(conn) = self.lock().as_mut() {
            conn.before_our_end();
        }
    }

    /// Closes it, whoever has it; `None` if it was closed before.
    pub(super) fn close(&self) -> Option<Report> {
        let conn = self.lock().take();
        conn.map(Conn::close)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Conn<TcpStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll<T>(
        &self,
        poll: impl FnOnce(Pin<&mut Conn<TcpStream>>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.lock().as_mut() {
            Some(conn) => poll(Pin::new(conn)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Held {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|conn| conn.poll_read(cx, buf))
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|conn| conn.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|conn| conn.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|conn| conn.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|conn| conn.poll_shutdown(cx))
    }
}

/// When the first byte was read from a stream.
pub(super) type FirstByte = Arc<OnceLock<Instant>>;

/// What HTTP goes over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream that notes it. Boxed, so that hyper is compiled for one kind of stream alone.
pub(super) struct Watched {
    stream: Box<dyn Stream>,
    first_byte: FirstByte,
}

impl Watched {
    pub(super) fn new(stream: impl Stream + 'static) -> (Self, FirstByte) {
        let first_byte = FirstByte::default();
        (Self { stream: Box::new(stream), first_byte: Arc::clone(&first_byte) }, first_byte)
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
        if buf.filled().len() > before {
            self.first_byte.get_or_init(Instant::now);
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
