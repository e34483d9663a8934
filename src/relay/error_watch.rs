//! Noticing an error on a socket that no half waits for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

use super::leg::Side;

/// Ready once an error is pending on the stream.
pub(super) async fn error_on(stream: &TcpStream) -> io::Result<Ready> {
    stream.ready(Interest::ERROR).await
}

/// Takes the error, once.
pub(super) struct ErrorWatch<'w, F>(Option<Pin<&'w mut F>>);

impl<'w, F: Future<Output = io::Result<Ready>>> ErrorWatch<'w, F> {
    pub(super) fn new(error: Pin<&'w mut F>) -> Self {
        Self(Some(error))
    }

    pub(super) fn poll(&mut self, side: &mut Side<'_>, cx: &mut Context<'_>) {
        if let Some(error) = &mut self.0
            && let Poll::Ready(_) = error.as_mut().poll(cx)
        {
            self.0 = None;
            side.take_error();
        }
    }
}
