//! One request and its response: dial, TLS, HTTP, and their record.

use std::fs::File;
use std::future::{Future, pending};
use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::{Failure, from_http_error, from_stream_error};
use super::http::Connection;
use super::request::{Form, Request};
use super::stream::{FirstByteStream, FirstBytes, SharedConn, Stream};
use super::{Client, save};
use crate::clock;
use crate::conn::{Conn, Epoch};
use crate::dial::{self, DialLog, Limits, RemoteEnd};
use crate::failure;
use crate::fault::Fault;
use crate::judge::{Setup, SetupInput, exchange_verdict, upstream_warnings};
use crate::other_protocol;
use crate::record::stat::{Ending, Exchange, Header, Http, Phase, Phases, Tls};
use crate::record::{By, How, Outcome, Report};
use crate::relay::{StallDetector, TimeBreakdown};

/// A finished exchange.
pub(super) struct FinishedExchange {
    pub(super) exchange: Exchange,
    /// The next request, if the response redirects.
    pub(super) next: Option<Request>,
    /// The file with its body.
    pub(super) saved_to: Option<PathBuf>,
}

/// How to treat a redirect.
#[derive(Debug, Clone, Copy)]
pub(super) enum Redirects {
    /// Like any other response.
    Shown,
    Followed,
    /// As an error: the maximum number of redirects is reached.
    Exhausted,
}

/// A deadline and its error.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    code: &'static str,
    text: &'static str,
}

/// The state of an exchange. It is filled step by step, so that it is complete even if the exchange
/// fails.
struct ExchangeState {
    epoch: Epoch,
    dial_log: DialLog,
    /// The current phase of dialling.
    dialling: Phase,
    /// When the target was reached.
    connected: Option<Instant>,
    /// When it was ready for the request: after the TLS handshake, if there is one.
    ready: Option<Instant>,
    /// First bytes received, under TLS.
    first_raw: Arc<FirstBytes>,
    /// First bytes received of HTTP.
    first: Arc<FirstBytes>,
    last_byte: Option<Instant>,
    connection: Option<SharedConn>,
    report: Option<Report>,
    /// The longest wait for a closed window.
    longest_closed: Duration,
    /// What the time since connecting was spent on.
    breakdown: Option<TimeBreakdown>,
    tls: Option<Tls>,
    status: Option<u16>,
    version: Option<Version>,
    headers: Vec<Header>,
    body_bytes: u64,
    next: Option<Request>,
    saved_to: Option<PathBuf>,
}

impl Client {
    pub(super) async fn exchange(
        &self,
        request: &Request,
        redirects: Redirects,
        max_time: Option<Instant>,
    ) -> FinishedExchange {
        let mut state = ExchangeState {
            epoch: Epoch::now(),
            dial_log: DialLog::default(),
            dialling: Phase::Resolve,
            connected: None,
            ready: None,
            first_raw: Arc::default(),
            first: Arc::default(),
            last_byte: None,
            connection: None,
            report: None,
            longest_closed: Duration::ZERO,
            breakdown: None,
            tls: None,
            status: None,
            version: None,
            headers: Vec::new(),
            body_bytes: 0,
            next: None,
            saved_to: None,
        };
        let max_time = max_time.map(|at| Deadline {
            at,
            code: "MAX_TIME",
            text: "the time limit was reached",
        });
        let stall_detector = Arc::new(StallDetector::default());
        let result = tokio::select! {
            // The detector must run before anything is waited for.
            biased;
            never = stall_detector.run_forever() => never,
            result = state.run(self, request, redirects, max_time, &stall_detector) => result,
        };
        let ended = state.last_byte.unwrap_or_else(Instant::now);
        if let Some(connection) = state.connection.take() {
            state.breakdown = state.breakdown.or_else(|| connection.end());
            if let Some((report, longest_closed)) = connection.close() {
                (state.report, state.longest_closed) = (Some(report), longest_closed);
            }
        }
        state.into_finished(request, result.err(), ended)
    }
}

impl ExchangeState {
    async fn run(
        &mut self,
        client: &Client,
        request: &Request,
        redirects: Redirects,
        max_time: Option<Deadline>,
        stall_detector: &Arc<StallDetector>,
    ) -> Result<(), Failure> {
        let timeout = client.settings.connect_timeout;
        let connect_time = Deadline {
            at: clock::deadline(self.epoch.start().into(), timeout),
            code: "CONNECT_TIMEOUT",
            text: "the TLS handshake timed out",
        };
        let (conn, form) = self.dial(client, request, timeout, max_time).await?;
        self.connected = Some(Instant::now());
        let conn_handle = SharedConn::new(conn, stall_detector);
        self.connection = Some(conn_handle.clone());
        if !request.url.is_secure() {
            self.ready = self.connected;
            conn_handle.begin();
            let asking = self.ask(client, request, conn_handle.clone(), form, redirects);
            let asking = watched(&conn_handle, asking);
            within(max_time, asking).await?.shut_down().await;
            return Ok(());
        }
        let soonest = max_time.filter(|max| max.at < connect_time.at).unwrap_or(connect_time);
        let stream =
            within(Some(soonest), self.secure(client, request, conn_handle.clone())).await?;
        self.ready = Some(Instant::now());
        conn_handle.begin();
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let form = if is_http2 { Form::Http2 } else { form };
        let asking = watched(&conn_handle, self.ask(client, request, stream, form, redirects));
        within(max_time, asking).await?.shut_down().await;
        Ok(())
    }

    /// Connects to the target, perhaps through a parent proxy, which determines the form of the
    /// request target.
    async fn dial(
        &mut self,
        client: &Client,
        request: &Request,
        timeout: Duration,
        max_time: Option<Deadline>,
    ) -> Result<(Conn<tokio::net::TcpStream>, Form), Failure> {
        let url = &request.url;
        let dialler = client.dialler();
        let (anywhere, any_name) = (|_| Ok(()), || Ok(()));
        let limits = Limits {
            timeout,
            hops: None,
            client: None,
            check_address: &anywhere,
            check_name: &any_name,
            check_parent: &anywhere,
        };
        let mut cancelled = pin!(async {
            match max_time {
                Some(Deadline { at, code, text }) => {
                    tokio::time::sleep_until(at.into()).await;
                    let fault = Some(Fault { code: code.into(), text: text.into() });
                    let (by, how) = (By::Client, How::Timeout);
                    let (phase, outcome) = (crate::record::Phase::Connect, Outcome::Timeout);
                    failure::Failure { phase, outcome, by, how, fault }
                }
                None => pending().await,
            }
        });
        let (target, via, in_http) = (url.target(), client.via(url), !url.is_secure());
        let log = &mut self.dial_log;
        let dialling = dialler.dial(target, via, in_http, limits, log, cancelled.as_mut());
        let dialled = dialling.await.map_err(|failure| {
            if failure.phase == crate::record::Phase::Connect {
                self.dialling = Phase::Connect;
            }
            Failure::from(failure)
        })?;
        self.dialling = Phase::Connect;
        let failed = self.dial_log.winner().map_or(0, |(_, failed)| failed);
        let mut conn = Conn::builder()
            .epoch(self.epoch)
            .reconnects(u32::try_from(failed).unwrap_or(u32::MAX))
            .wrap(dialled.stream.stream);
        let form = match dialled.remote_end {
            RemoteEnd::Target => Form::Origin,
            RemoteEnd::Parent(via) => Form::Absolute(via.authorization()),
            RemoteEnd::Tunnel(tunnel) => {
                let (stream, meter) = conn.parts();
                let opened = tunnel.open(stream, meter, &mut self.dial_log, cancelled).await;
                if let Err(failure) = opened {
                    self.report = Some(conn.close());
                    return Err(failure.into());
                }
                Form::Origin
            }
        };
        Ok((conn, form))
    }

    async fn secure(
        &mut self,
        client: &Client,
        request: &Request,
        conn_handle: SharedConn,
    ) -> Result<TlsStream<FirstByteStream>, Failure> {
        let failed = |text: String| Failure::new(Outcome::Error, "TLS_FAILED", text);
        let name = ServerName::try_from(request.url.target().host());
        let name =
            name.map_err(|error| failed(format!("the host is not a valid server name: {error}")))?;
        let alpn: &[&[u8]] = match client.settings.http1_only {
            true => &[b"http/1.1"],
            false => &[b"h2", b"http/1.1"],
        };
        let config = client.identity.config(alpn);
        let (config, verifier) = config.map_err(|error| failed(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(config));
        let (stream, first) = FirstByteStream::new(conn_handle);
        self.first_raw = first;
        let connected = connector.connect(name.clone(), stream).await;
        let connection = connected.as_ref().ok().map(|stream| stream.get_ref().1);
        self.tls = Some(verifier.tls(&name, connection));
        connected.map_err(|error| from_stream_error(&error))
    }

    /// Sends the request and reads the response to its end, without closing the connection.
    async fn ask(
        &mut self,
        client: &Client,
        request: &Request,
        stream: impl Stream + 'static,
        form: Form,
        redirects: Redirects,
    ) -> Result<Connection, Failure> {
        let is_http2 = matches!(form, Form::Http2);
        let message = request.message(form).map_err(|error| {
            let text = format!("the request cannot be written: {error}");
            Failure::new(Outcome::Error, "HTTP_REQUEST", text)
        })?;
        let (stream, first) = FirstByteStream::new(stream);
        if !is_http2 {
            // In HTTP/2 the server's first bytes are not the response.
            self.first = first;
        }
        let mut connection = Connection::open(stream, is_http2).await?;
        let (head, body) = connection.send(message).await?.into_parts();
        self.first.at.get_or_init(Instant::now);
        if let Some(conn_handle) = &self.connection {
            conn_handle.answered();
        }
        self.status = Some(head.status.as_u16());
        self.version = Some(head.version);
        self.headers = headers(&head.headers);
        let next = || request.redirected(head.status, &head.headers);
        match redirects {
            Redirects::Shown => {}
            Redirects::Followed => self.next = next()?,
            Redirects::Exhausted => {
                if next()?.is_some() {
                    let text = "more than 10 redirects";
                    return Err(Failure::new(Outcome::Error, "TOO_MANY_REDIRECTS", text));
                }
            }
        }
        let mut file = None;
        if self.next.is_none() {
            let opened = save::open(&client.settings.save, &request.url, &head.headers)?;
            (file, self.saved_to) = opened.unzip();
        }
        self.receive(body, file).await?;
        self.last_byte = Some(Instant::now());
        if let Some(conn_handle) = &self.connection {
            self.breakdown = conn_handle.end();
            conn_handle.snapshot_eof();
        }
        Ok(connection)
    }

    async fn receive(&mut self, mut body: Incoming, mut file: Option<File>) -> Result<(), Failure> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| from_http_error(&error))?;
            let Some(data) = frame.data_ref() else { continue };
            self.body_bytes += data.len() as u64;
            if let (Some(file), Some(path)) = (&mut file, &self.saved_to) {
                file.write_all(data).map_err(|error| save::unwritten(path, &error))?;
            }
        }
        Ok(())
    }

    /// When the response began.
    fn first_byte(&self) -> Option<Instant> {
        let is_other = self.status.is_none() && !other_protocol::is_http(&self.first.bytes());
        self.first.at.get().copied().filter(|_| !is_other)
    }

    /// Explains a failure by what was received instead of HTTP or TLS.
    fn explain(&self, failure: Failure) -> Failure {
        let failure = failure.explained_by(self.report.as_ref());
        if self.status.is_some() || failure.outcome == Outcome::Timeout {
            return failure;
        }
        let (raw, first) = (self.first_raw.bytes(), self.first.bytes());
        let is_tls_expected = self.ready.is_none();
        let (first, expected) = if is_tls_expected { (raw, "TLS") } else { (first, "HTTP") };
        let is_expected = match is_tls_expected {
            true => other_protocol::protocol(&first) == Some(other_protocol::TLS),
            false => other_protocol::is_http(&first),
        };
        if first.is_empty() || is_expected {
            return failure;
        }
        let code = match other_protocol::protocol(&first) {
            Some(other_protocol::TLS) => "TLS_EXPECTED",
            _ if is_tls_expected && other_protocol::is_http(&first) => "TLS_UNEXPECTED",
            _ if is_tls_expected => "TLS_MALFORMED",
            _ => "HTTP_MALFORMED",
        };
        // Without an open tunnel, the parent proxy itself has answered.
        let is_parent = self.dial_log.via().is_some() && self.dial_log.tunnelled().is_none();
        let peer = if is_parent { dial::PARENT } else { "the server" };
        Failure::new(Outcome::Protocol, code, other_protocol::describe(peer, &first, expected))
    }

    fn phase(&self) -> Phase {
        match (self.connected, self.ready, self.first_byte()) {
            (None, _, _) => self.dialling,
            (_, None, _) => Phase::Tls,
            (_, _, None) => Phase::Server,
            _ => Phase::Transfer,
        }
    }

    fn phases(&self, is_secure: bool, ended: Instant) -> Phases {
        let first_byte = self.first_byte();
        let from = |start: Option<Instant>, end: Option<Instant>| {
            start.map(|start| end.unwrap_or(ended).saturating_duration_since(start))
        };
        Phases {
            resolve: self.dial_log.resolve(),
            connect: self.dial_log.connect(),
            tls: from(self.connected.filter(|_| is_secure), self.ready),
            server: from(self.ready, first_byte),
            transfer: from(first_byte, None),
        }
    }

    fn into_finished(
        self,
        request: &Request,
        failure: Option<Failure>,
        ended: Instant,
    ) -> FinishedExchange {
        let url = &request.url;
        let upstream = self.report.as_ref();
        let failure = failure.map(|failure| self.explain(failure));
        let closed = upstream.and_then(|report| report.closed_at);
        let ending = Ending {
            phase: self.phase(),
            error: failure.as_ref().map(|failure| failure.fault.text.to_string()),
            error_code: failure.as_ref().map(|failure| failure.fault.code.to_string()),
        };
        let attempts = self.dial_log.attempts(upstream);
        let warnings = upstream_warnings(upstream, &attempts, self.longest_closed);
        let verdict = self.breakdown.as_ref().zip(upstream).and_then(|(breakdown, leg)| {
            let setup = Setup::new(&SetupInput {
                total: Some(breakdown.began().saturating_since(self.epoch.start())),
                request: None,
                until_first_byte: None,
                dial_log: &self.dial_log,
                attempts: &attempts,
                upstream: Some(leg),
            });
            exchange_verdict(&setup, breakdown, leg)
        });
        let exchange = Exchange {
            url: url.to_string(),
            target: url.target().to_string(),
            target_host: url.target().host(),
            target_port: url.target().port(),
            via: self.dial_log.via(),
            outcome: failure.map_or(Outcome::Ok, |failure| failure.outcome),
            opened_at: self.epoch.unix_nanos(self.epoch.start()),
            closed_at: closed.unwrap_or_else(|| self.epoch.unix_nanos(ended.into())),
            duration: ended.saturating_duration_since(self.epoch.start().into()),
            phases: self.phases(url.is_secure(), ended),
            resolve_source: self.dial_log.source(),
            attempts,
            attempts_omitted: self.dial_log.attempts_omitted(),
            ending,
            verdict,
            tls: self.tls,
            http: Http {
                method: request.method.to_string(),
                host: request.host(),
                status: self.status,
                version: self.version.map(version_name),
                headers: self.headers,
                body_bytes: self.body_bytes,
            },
            warnings,
            upstream: self.report,
        };
        FinishedExchange { exchange, next: self.next, saved_to: self.saved_to }
    }
}

/// Runs `work` while the peer's window is watched.
async fn watched<T>(conn_handle: &SharedConn, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        result = work => result,
        never = conn_handle.watch_window() => match never {},
    }
}

/// Runs `work` with a deadline.
async fn within<T>(
    deadline: Option<Deadline>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(Deadline { at, code, text }) = deadline else { return work.await };
    let over = |_| Err(Failure::new(Outcome::Timeout, code, text));
    tokio::time::timeout_at(at.into(), work).await.unwrap_or_else(over)
}

fn headers(headers: &HeaderMap) -> Vec<Header> {
    let header =
        |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| Header {
            name: name.to_string(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
    headers.iter().map(header).collect()
}

/// The version as on the wire; HTTP/2 has no minor version.
fn version_name(version: Version) -> String {
    match version {
        Version::HTTP_2 => "HTTP/2".to_owned(),
        other => format!("{other:?}"),
    }
}
