//! The HTTP server that shows the metrics: `/metrics` and `/healthz`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Metrics, text};
use crate::access::Access;
use crate::fault::text_of;
use crate::ingress::ListenAddr;
use crate::proxy::BindError;

/// Longest time for the head of a request, and between requests.
const HEAD: Duration = Duration::from_secs(30);

/// Connections that are served at once; the others wait.
const CONNECTIONS: usize = 16;

/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
const WORDS: &str = "text/plain; charset=utf-8";

/// A bound listening socket for whoever asks for the metrics.
#[derive(Debug)]
pub struct MetricsListener {
    socket: TcpListener,
    address: SocketAddr,
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
        Ok(Self { socket, address })
    }

    /// Where it listens, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever, those whom `access` lets in. `ailment` tells what is wrong with the proxy,
    /// if something is.
    pub async fn serve(
        self,
        metrics: Metrics,
        access: Access,
        ailment: impl Fn() -> Option<&'static str> + Send + Sync + 'static,
    ) {
        let answer =
            Arc::new(move |request: &Request<Incoming>| answer(&metrics, &ailment, request));
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // It is never closed.
            let place = Arc::clone(&room).acquire_owned().await;
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    if let Some(fault) = access.refuse_client(Some(peer)) {
                        tracing::warn!("{peer} asked for metrics: {}", fault.text);
                        continue;
                    }
                    let answer = Arc::clone(&answer);
                    tokio::spawn(async move {
                        serve_connection(stream, &*answer).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!("accepting on {}: {}", self.address, text_of(&error));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    answer: &(dyn Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Sync),
) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("a connection for metrics: {error}");
    }
}

fn answer(
    metrics: &Metrics,
    ailment: &dyn Fn() -> Option<&'static str>,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = words(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => show(metrics, wants_open_metrics(request)),
        "/healthz" => match ailment() {
            None => words(StatusCode::OK, "well"),
            Some(what) => words(StatusCode::SERVICE_UNAVAILABLE, what),
        },
        _ => words(StatusCode::NOT_FOUND, "there are /metrics and /healthz"),
    }
}

/// Prometheus asks for the newer format by its name; what a person or a tool gets is the older one,
/// which all of them can read.
fn wants_open_metrics(request: &Request<Incoming>) -> bool {
    let mut accepted = request.headers().get_all(ACCEPT).iter();
    accepted.any(|value| {
        value.to_str().is_ok_and(|value| value.contains("application/openmetrics-text"))
    })
}

fn show(metrics: &Metrics, as_open_metrics: bool) -> Response<Full<Bytes>> {
    match metrics.open_metrics() {
        Ok(text) if as_open_metrics => respond(StatusCode::OK, OPEN_METRICS, text),
        Ok(text) => respond(StatusCode::OK, PLAIN, text::plain(&text)),
        Err(_) => words(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be put as text"),
    }
}

fn words(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    respond(status, WORDS, format!("{words}\n"))
}

fn respond(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
