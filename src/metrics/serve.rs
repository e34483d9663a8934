//! The HTTP server that shows the metrics: `/metrics` and `/healthz`.
//!
//! Anyone who can connect can hold connections open. So each carries one request, lives for a few
//! seconds, and is closed when a newer one needs its place: a request is answered, whatever
//! connections others hold.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::Metrics;
use super::respond::Responder;
use crate::access::Access;
use crate::clock;
use crate::descriptors;
use crate::fault::text_of;
use crate::ingress::ListenAddr;
use crate::log_throttle::LogRateLimit;
use crate::plural::counted;
use crate::proxy::BindError;

/// Maximum lifetime of a connection, for its request and the response.
const LIFE: Duration = Duration::from_secs(5);

/// Longest head of a request.
const HEAD: usize = 16 << 10;

/// Maximum number of bytes read after a request, such as the body of a refused one, before the
/// connection is closed.
const REST: u64 = 64 << 10;

/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound listening socket for the metrics.
#[derive(Debug)]
pub struct MetricsListener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Connections being served. When all places are taken, the oldest one is closed.
struct Connections {
    /// The oldest first.
    served: VecDeque<AbortHandle>,
    places: usize,
}

/// Logs refused clients.
#[derive(Default)]
struct RefusalLog {
    throttle: LogRateLimit,
    last: Option<SocketAddr>,
}

impl MetricsListener {
    /// Binds and listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used.
    pub async fn bind(listen: ListenAddr) -> Result<Self, BindError> {
        let error = |error| BindError { address: listen.0, error };
        let socket = TcpListener::bind(listen.0).await.map_err(error)?;
        let address = socket.local_addr().map_err(error)?;
        // Inherited by all connections, so that unacknowledged data is not kept after close.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(LIFE)).map_err(error)?;
        Ok(Self { socket, address })
    }

    /// Where it listens, with the port that port 0 became.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves clients that `access` permits, forever. `health` returns what is wrong with the
    /// proxy, or `None`.
    pub async fn serve(
        self,
        metrics: Metrics,
        access: Access,
        health: impl Fn() -> Option<&'static str> + Send + Sync + 'static,
    ) {
        let Self { socket, address } = self;
        let responder = Arc::new(Responder { metrics, health, address, latest: Mutex::default() });
        let mut connections = Connections::new();
        let mut refusals = RefusalLog::default();
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = refusals.due() => {
                    refusals.log();
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Err(fault) = access.check_client(Some(peer)) {
                        refusals.note(peer, &fault.text);
                        continue;
                    }
                    let responder = Arc::clone(&responder);
                    connections.spawn(async move {
                        let answer = |request: &Request<Incoming>| responder.answer(request);
                        let served = serve_connection(stream, &answer);
                        // Dropping the stream closes the connection.
                        let _ = tokio::time::timeout(LIFE, served).await;
                    });
                    // A request that has already arrived is answered now, before the next
                    // connection can take its place.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    tracing::debug!("cannot accept connections on {address}: {}", text_of(&error));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Connections {
    fn new() -> Self {
        let places = descriptors::metrics(descriptors::limit());
        Self { served: VecDeque::new(), places: usize::try_from(places).unwrap_or(1) }
    }

    fn spawn(&mut self, serving: impl Future<Output = ()> + Send + 'static) {
        self.served.retain(|connection| !connection.is_finished());
        if self.served.len() >= self.places
            && let Some(oldest) = self.served.pop_front()
        {
            oldest.abort();
        }
        self.served.push_back(tokio::spawn(serving).abort_handle());
    }
}

impl RefusalLog {
    fn note(&mut self, peer: SocketAddr, why: &str) {
        self.last = Some(peer);
        if self.throttle.should_log() {
            tracing::warn!("metrics request from {peer} refused: {why}");
        }
    }

    /// Waits until there is something to log.
    async fn due(&self) {
        clock::sleep_until(self.throttle.due()).await;
    }

    fn log(&mut self) {
        let count = self.throttle.take_count();
        let last = self.last.map(|peer| format!(", the last one from {peer}")).unwrap_or_default();
        let more = counted(count, "more metrics request");
        let were = if count == 1 { "was" } else { "were" };
        tracing::warn!("{more} {were} refused{last}");
    }
}

async fn serve_connection(
    stream: TcpStream,
    answer: &(dyn Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Sync),
) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let served = match connection.without_shutdown().await {
        Ok(parts) => finish(parts.io.into_inner()).await,
        Err(error) => return tracing::debug!("metrics connection failed: {error}"),
    };
    if let Err(error) = served {
        tracing::debug!("metrics connection failed: {}", text_of(&error));
    }
}

/// Ends a connection after its response. Closing it with unread bytes would reset it, and the
/// response might be lost.
async fn finish(mut stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(REST), &mut tokio::io::sink()).await?;
    Ok(())
}
