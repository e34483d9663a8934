//! Responses to requests for the metrics.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::host::{HostError, check_loopback_host};
use super::{Metrics, older_format};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// A rendered text is reused for this multiple of the time that rendering took: rendering takes at
/// most a twentieth of a CPU, however many requests come.
const SERVES_FOR: u32 = 20;

/// Responds to requests.
pub(super) struct Responder<A> {
    pub(super) metrics: Metrics,
    /// Health check: what is wrong with the proxy, or `None`.
    pub(super) health: A,
    /// The address of the listener.
    pub(super) address: SocketAddr,
    pub(super) latest: Mutex<Option<RenderedMetrics>>,
}

/// The rendered metrics, in both formats.
pub(super) struct RenderedMetrics {
    open_metrics: Bytes,
    plain: Bytes,
    /// When it expires.
    until: Instant,
}

impl<A: Fn() -> Option<&'static str>> Responder<A> {
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        // On other addresses than loopback, any host is accepted.
        if self.address.ip().to_canonical().is_loopback()
            && let Err(error) = check_loopback_host(request)
        {
            return self.refuse_host(error);
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut response =
                text_response(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are supported");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => self.show(wants_open_metrics(request)),
            "/healthz" => match (self.health)() {
                None => text_response(StatusCode::OK, "well"),
                Some(what) => text_response(StatusCode::SERVICE_UNAVAILABLE, what),
            },
            _ => text_response(StatusCode::NOT_FOUND, "not found; see /metrics and /healthz"),
        }
    }

    fn refuse_host(&self, error: HostError) -> Response<Full<Bytes>> {
        match error {
            HostError::Malformed => {
                text_response(StatusCode::BAD_REQUEST, "a request must have exactly one Host field")
            }
            HostError::Foreign => {
                let text = format!(
                    "the Host of this request is neither localhost nor a loopback address; use \
                     http://{}/metrics",
                    self.address
                );
                text_response(StatusCode::MISDIRECTED_REQUEST, &text)
            }
        }
    }

    fn show(&self, as_open_metrics: bool) -> Response<Full<Bytes>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = latest.take().filter(|latest| Instant::now() < latest.until);
        let rendered = match fresh.map_or_else(|| RenderedMetrics::new(&self.metrics), Ok) {
            Ok(rendered) => latest.insert(rendered),
            Err(fmt::Error) => {
                let text = "cannot encode the metrics as text";
                return text_response(StatusCode::INTERNAL_SERVER_ERROR, text);
            }
        };
        if as_open_metrics {
            respond(StatusCode::OK, OPEN_METRICS, rendered.open_metrics.clone())
        } else {
            respond(StatusCode::OK, PLAIN, rendered.plain.clone())
        }
    }
}

impl RenderedMetrics {
    fn new(metrics: &Metrics) -> Result<Self, fmt::Error> {
        let began = Instant::now();
        let open_metrics = metrics.open_metrics()?;
        let plain = older_format::plain(&open_metrics).into();
        let took = began.elapsed().min(Duration::from_secs(1));
        Ok(Self {
            open_metrics: open_metrics.into(),
            plain,
            until: Instant::now() + took * SERVES_FOR,
        })
    }
}

/// Prometheus requests the newer format by name; all other clients get the older one.
fn wants_open_metrics<B>(request: &Request<B>) -> bool {
    let mut accepted = request.headers().get_all(ACCEPT).iter();
    accepted.any(|value| {
        value.to_str().is_ok_and(|value| value.contains("application/openmetrics-text"))
    })
}

fn text_response(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, PLAIN_TEXT, format!("{text}\n").into())
}

fn respond(status: StatusCode, kind: &'static str, text: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
