//! The wrapper for tokio's streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Blocked, Conn};
use crate::clock::CompactInstant;

impl<S: AsyncRead + Unpin> AsyncRead for Conn<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, room) = (buf.filled().len(), buf.remaining());
        let result = std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        let result = result.map(|()| buf.filled().len() - before);
        this.note_read(&result, room);
        Poll::Ready(result.map(|_| ()))
    }
}

impl<S: AsyncWrite + Unpin> Conn<S> {
    /// Notes a write and how long it had to wait.
    fn note_poll(&mut self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let now = CompactInstant::now();
        let blocked = self.meter.write_blocked.get_or_insert_with(Blocked::default);
        match &poll {
            Poll::Pending => blocked.begin(now),
            Poll::Ready(result) => {
                blocked.end(now);
                self.note_write(result, now);
            }
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Conn<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_poll(poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.note_poll(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// A half-close: reading stays open.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.meter.tx.ended.is_none() {
            this.snapshot_before_eof();
        }
        let result = std::task::ready!(Pin::new(&mut this.stream).poll_shutdown(cx));
        Poll::Ready(this.note_shutdown(result))
    }
}
