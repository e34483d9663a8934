//! Connectors for hyper-util's client that wrap their streams.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::{Builder, Conn};
use crate::tcp_info::Socket;

/// A connector for hyper-util's client that wraps each stream of another one, such as
/// `HttpConnector`. It goes under a TLS connector too: the report is the TCP connection's.
///
/// ```
/// use conniver::{Conn, Connector};
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use hyper_util::rt::TokioExecutor;
///
/// let connector = Connector::new(HttpConnector::new(), |_uri| {
///     Conn::builder().on_close(|report| println!("{report}"))
/// });
/// let client: Client<_, String> = Client::builder(TokioExecutor::new()).build(connector);
/// ```
#[derive(Clone)]
pub struct Connector<C, F> {
    connector: C,
    builder: F,
}

impl<C, F: Fn(&Uri) -> Builder> Connector<C, F> {
    /// Calls `builder` for every stream, with the scheme and the authority of the request, to
    /// configure its wrapper.
    pub fn new(connector: C, builder: F) -> Self {
        Self { connector, builder }
    }
}

impl<C, F, S> Service<Uri> for Connector<C, F>
where
    C: Service<Uri, Response = TokioIo<S>>,
    F: Fn(&Uri) -> Builder,
    S: Socket,
{
    type Response = TokioIo<Conn<S>>;
    type Error = C::Error;
    type Future = Connecting<C::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let builder = Some((self.builder)(&uri));
        Connecting { connecting: Box::pin(self.connector.call(uri)), builder }
    }
}

/// The connection of a [`Connector`] that is being opened.
pub struct Connecting<T> {
    connecting: Pin<Box<T>>,
    builder: Option<Builder>,
}

impl<T> fmt::Debug for Connecting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").field("builder", &self.builder).finish_non_exhaustive()
    }
}

impl<T, S, E> Future for Connecting<T>
where
    T: Future<Output = Result<TokioIo<S>, E>>,
    S: Socket,
{
    type Output = Result<TokioIo<Conn<S>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let connected = ready!(self.connecting.as_mut().poll(cx));
        let builder = self.builder.take().unwrap_or_default();
        Poll::Ready(connected.map(|stream| TokioIo::new(builder.wrap(stream.into_inner()))))
    }
}

impl<S: Connection> Connection for Conn<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl<C: fmt::Debug, F> fmt::Debug for Connector<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("connector", &self.connector).finish_non_exhaustive()
    }
}
