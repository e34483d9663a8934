//! A connection as far as reports need it: the keys of a `close` line of any level of detail.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::nanos;
use crate::record::{
    AttemptOutcome, By, Direction, How, LimitedBy, Mode, Outcome, Phase, ResolveSource, Shape,
    TurnTime, WarningCode, reset_by,
};

/// A `close` line. Fields have the names and meanings of [`Record`](crate::record::Record); one that
/// the line's level of detail does not have is `None`, 0 or empty.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Connection {
    /// When the line was written, RFC 3339.
    pub time: String,
    /// The machine's name.
    pub host: String,
    /// Keys and values of `--label`.
    pub labels: BTreeMap<String, String>,
    /// Number of the connection in its run.
    pub seq: u64,
    /// The id of the connection.
    pub id: String,
    /// How the client connected.
    pub mode: Option<Mode>,
    /// The listener that accepted the client.
    pub listener: String,
    /// The client's address.
    pub client_host: Option<String>,
    /// Its port.
    pub client_port: Option<u16>,
    /// `host:port` as requested.
    pub target: Option<String>,
    /// The parent proxy.
    pub via: Option<String>,
    /// The outcome in one word.
    pub outcome: Option<Outcome>,
    /// When the client was accepted, Unix ns. [`Connection::opened_at`] also has it for brief lines.
    #[serde(rename = "openedAt")]
    pub accepted_at: Option<i64>,
    /// From accept to close.
    #[serde(with = "nanos")]
    pub duration: Duration,
    /// Durations of the phases.
    pub phases: PhaseTimes,
    /// Where the upstream's addresses came from.
    pub resolve_source: Option<ResolveSource>,
    /// The attempts to connect.
    pub attempts: Vec<Dial>,
    /// The socket to the client.
    pub client: Socket,
    /// The socket to the upstream.
    pub upstream: Option<Socket>,
    /// Bytes that were never acknowledged.
    pub delivery: Deliveries,
    /// Who ended it, and how.
    pub ending: Option<End>,
    /// Who was waited for.
    pub verdict: Option<Judgement>,
    /// Requests and their answers.
    pub turns: Option<Exchanges>,
    /// What the TLS handshake shows.
    pub tls: Option<TlsFigures>,
    /// The first exchange of plain HTTP/1.
    pub http: Option<HttpExchange>,
    /// The local program that was the client.
    pub process: Option<Program>,
    /// Warnings.
    pub warnings: Vec<Warning>,
}

/// Durations of the phases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct PhaseTimes {
    /// In the accept queue.
    #[serde(with = "nanos::option")]
    pub accept_queue: Option<Duration>,
    /// Reading the request for a target.
    #[serde(with = "nanos::option")]
    pub request: Option<Duration>,
    /// The look-up of the target's name.
    #[serde(with = "nanos::option")]
    pub resolve: Option<Duration>,
    /// Connecting to the upstream.
    #[serde(with = "nanos::option")]
    pub connect: Option<Duration>,
    /// From there to the upstream's first byte, or its end.
    #[serde(with = "nanos::option")]
    pub first_byte: Option<Duration>,
    /// From the first byte of the request to the answer's first byte.
    #[serde(with = "nanos::option")]
    pub response: Option<Duration>,
}

/// One attempt to connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Dial {
    /// The address and port.
    pub addr: Option<SocketAddr>,
    /// From the first attempt's beginning.
    #[serde(with = "nanos")]
    pub started_after: Duration,
    /// How long it took.
    #[serde(with = "nanos")]
    pub duration: Duration,
    /// How it went.
    pub outcome: Option<AttemptOutcome>,
    /// SYNs that were sent again.
    pub syn_retransmits: Option<u64>,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// Its symbol.
    pub error_code: Option<String>,
}

/// One of the two sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Socket {
    /// The proxy's own address and port.
    pub local_addr: Option<SocketAddr>,
    /// The peer's.
    pub remote_addr: Option<SocketAddr>,
    /// When it was accepted or connected, Unix ns.
    pub opened_at: Option<i64>,
    /// When it was closed, Unix ns.
    pub closed_at: Option<i64>,
    /// First and last bytes read and written, Unix ns.
    pub first_rx_at: Option<i64>,
    /// First bytes written, Unix ns.
    pub first_tx_at: Option<i64>,
    /// Last bytes read, Unix ns.
    pub last_rx_at: Option<i64>,
    /// Last bytes written, Unix ns.
    pub last_tx_at: Option<i64>,
    /// When the peer's end of stream was seen, Unix ns.
    pub rx_eof_at: Option<i64>,
    /// Bytes read.
    pub rx_bytes: u64,
    /// Bytes written.
    pub tx_bytes: u64,
    /// Of `rx_bytes`: what the proxy consumed itself.
    pub own_rx_bytes: u64,
    /// Of `tx_bytes`: what the proxy wrote itself.
    pub own_tx_bytes: u64,
    /// Symbol of the first read error.
    pub rx_err_code: Option<String>,
    /// Symbol of the first write error.
    pub tx_err_code: Option<String>,
    /// Time in which bytes waited for the socket.
    #[serde(with = "nanos::option")]
    pub write_blocked: Option<Duration>,
    /// Segments that were really lost.
    pub lost: Option<u64>,
    /// TCP information at open.
    pub opened_info: Option<OpenFigures>,
    /// From right before the proxy's own end of stream.
    pub eof_info: Option<EofFigures>,
    /// TCP information at close.
    pub closed_info: Option<CloseFigures>,
}

/// TCP information at open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct OpenFigures {
    /// Smoothed round-trip time.
    #[serde(with = "nanos::option")]
    pub rtt: Option<Duration>,
    /// Largest segment that is sent, bytes.
    #[serde(rename = "txMSS")]
    pub tx_mss: Option<u32>,
}

/// Figures from right before the proxy's own end of stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct EofFigures {
    /// Smoothed round-trip time.
    #[serde(with = "nanos::option")]
    pub rtt: Option<Duration>,
    /// Smallest round-trip time.
    #[serde(rename = "minRTT", with = "nanos::option")]
    pub min_rtt: Option<Duration>,
    /// Time with data to send or in flight.
    #[serde(with = "nanos::option")]
    pub busy_time: Option<Duration>,
    /// Part of it limited by the peer's window.
    #[serde(with = "nanos::option")]
    pub rx_window_limited: Option<Duration>,
}

/// TCP information at close.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct CloseFigures {
    /// Smoothed round-trip time.
    #[serde(with = "nanos::option")]
    pub rtt: Option<Duration>,
    /// Its mean deviation.
    #[serde(with = "nanos::option")]
    pub rtt_var: Option<Duration>,
    /// Largest segment that is sent, bytes.
    #[serde(rename = "txMSS")]
    pub tx_mss: Option<u32>,
    /// Segments sent again, SYNs included on Linux.
    pub retransmits: Option<u64>,
    /// Fields of the system's structure.
    pub sys_info: SysFigures,
}

/// Fields of the system's structure at close.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SysFigures {
    /// Smallest round-trip time.
    #[serde(rename = "minRTT", with = "nanos::option")]
    pub min_rtt: Option<Duration>,
    /// Segments with data that were sent.
    pub data_segs_out: Option<u64>,
    /// Segments with data that came.
    pub data_segs_in: Option<u64>,
    /// Packets that came out of order.
    pub rx_out_of_order: Option<u64>,
    /// Expired retransmission timers.
    #[serde(rename = "totalRTO")]
    pub total_rto: Option<u64>,
    /// Delivery rate, bytes/s.
    pub delivery_rate: Option<u64>,
    /// Path MTU, bytes.
    pub pmtu: Option<u64>,
    /// Window that the peer announced last, bytes.
    pub tx_window: Option<u64>,
    /// Time with data to send or in flight.
    #[serde(with = "nanos::option")]
    pub busy_time: Option<Duration>,
    /// Part of it limited by the peer's window.
    #[serde(with = "nanos::option")]
    pub rx_window_limited: Option<Duration>,
    /// Congestion control.
    pub cc_algorithm: Option<String>,
}

/// Delivery in each direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Deliveries {
    /// To the upstream.
    pub to_upstream: Option<Undelivered>,
    /// To the client.
    pub to_client: Option<Undelivered>,
}

/// Delivery in one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Undelivered {
    /// Bytes that were never acknowledged.
    pub undelivered: Option<u64>,
}

/// Who ended a connection, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct End {
    /// The phase in which it ended.
    pub phase: Phase,
    /// Who ended first.
    pub first_by: By,
    /// How.
    pub first_how: How,
    /// Who ended second.
    #[serde(default)]
    pub second_by: Option<By>,
    /// How.
    #[serde(default)]
    pub second_how: Option<How>,
    /// The time between.
    #[serde(default, with = "nanos::option")]
    pub gap: Option<Duration>,
    /// What went wrong, in words.
    #[serde(default)]
    pub error: Option<String>,
    /// Its symbol.
    #[serde(default)]
    pub error_code: Option<String>,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Judgement {
    /// Who was slow.
    pub limited_by: LimitedBy,
    /// Its share of `active`.
    #[serde(default)]
    pub share: Option<f64>,
    /// The direction.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// The time in which somebody waited.
    #[serde(with = "nanos")]
    pub active: Duration,
    /// What `active` was spent on.
    #[serde(default)]
    pub time: Option<crate::record::VerdictTime>,
}

/// The turns.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Exchanges {
    /// How many.
    pub count: u64,
    /// Of these without an answer.
    pub unanswered: u64,
    /// Sending the requests.
    pub request: TurnTime,
    /// The waits for answers.
    pub wait: Option<crate::record::TurnWait>,
    /// Sending the answers.
    pub answer: TurnTime,
    /// Whether requests and answers take turns.
    pub shape: Shape,
    /// The turns that waited longest.
    #[serde(default)]
    pub slowest: Vec<crate::record::Turn>,
}

/// What a TLS handshake shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct TlsFigures {
    /// The requested server name.
    pub server_name: Option<String>,
    /// The application protocol.
    pub alpn: Option<String>,
    /// The version.
    pub version: Option<String>,
    /// How long the handshake took.
    #[serde(with = "nanos::option")]
    pub handshake: Option<Duration>,
}

/// The first exchange of plain HTTP/1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct HttpExchange {
    /// The request's method.
    pub method: Option<String>,
    /// Its host.
    pub host: Option<String>,
    /// The answer's status.
    pub status: Option<u16>,
}

/// A local program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Program {
    /// Its PID.
    pub pid: Option<u32>,
    /// The user.
    pub uid: Option<u32>,
    /// Its short name.
    pub name: Option<String>,
    /// Its executable.
    pub exe: Option<String>,
}

/// A warning.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Warning {
    /// Its code.
    pub code: WarningCode,
    /// The socket; `None` when it concerns the pair, and in brief lines.
    #[serde(default)]
    pub leg: Option<crate::record::Leg>,
    /// The value, in `unit`.
    #[serde(default)]
    pub value: u64,
    /// Unit of the value.
    #[serde(default)]
    pub unit: String,
    /// The warning in words.
    #[serde(default)]
    pub text: String,
}

impl Connection {
    /// When the client was accepted, Unix ns. Of brief lines, to the ms or so: when the line was
    /// written less the duration. `None` if the line has neither.
    pub fn opened_at(&self) -> Option<i64> {
        self.accepted_at.or_else(|| {
            let time: Timestamp = self.time.parse().ok()?;
            let end = i64::try_from(time.as_nanosecond()).ok()?;
            Some(end.saturating_sub(i64::try_from(self.duration.as_nanos()).ok()?))
        })
    }

    /// When it had ended, Unix ns; see [`Connection::opened_at`].
    pub fn closed_at(&self) -> Option<i64> {
        let duration = i64::try_from(self.duration.as_nanos()).unwrap_or(i64::MAX);
        self.opened_at().map(|opened| opened.saturating_add(duration))
    }

    /// Whether it did not end well.
    pub fn is_failed(&self) -> bool {
        self.outcome.is_some_and(|outcome| outcome != Outcome::Ok)
    }

    /// Whether the target has sent anything.
    pub fn is_answered(&self) -> bool {
        self.upstream.as_ref().is_some_and(|leg| leg.rx_bytes > leg.own_rx_bytes)
    }

    /// The longest wait for an answer; where there are no turns, for the upstream's first byte. `None`
    /// of an upstream that was not reached, or was asked nothing and said nothing.
    pub fn longest_wait(&self) -> Option<Duration> {
        let of_turns = self.turns.as_ref().and_then(|turns| turns.wait);
        let first_byte = self.phases.first_byte.filter(|_| self.is_answered());
        of_turns.map(|wait| wait.max).or(first_byte)
    }

    /// Segments that were lost on both sockets. `None` where neither is known.
    pub fn lost(&self) -> Option<u64> {
        let upstream = self.upstream.as_ref().and_then(|leg| leg.lost);
        match (self.client.lost, upstream) {
            (Some(client), Some(upstream)) => Some(client.saturating_add(upstream)),
            (client, upstream) => client.or(upstream),
        }
    }

    /// SYNs to the upstream that were sent again. `None` where that is not known.
    pub fn syn_retransmits(&self) -> Option<u64> {
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.syn_retransmits)
            .reduce(u64::saturating_add)
    }

    /// The side that reset the connection first. `None` if nobody did.
    pub fn reset_by(&self) -> Option<By> {
        let end = self.ending.as_ref()?;
        reset_by((end.first_by, end.first_how), (end.second_by, end.second_how))
    }

    /// The name of the local program.
    pub fn program(&self) -> Option<&str> {
        self.process.as_ref()?.name.as_deref()
    }
}

impl Socket {
    /// The smoothed round-trip time from before our own end of stream, otherwise at close.
    pub fn undisturbed_rtt(&self) -> Option<Duration> {
        let before_our_end = self.eof_info.as_ref().and_then(|info| info.rtt);
        before_our_end.or_else(|| self.closed_info.as_ref()?.rtt)
    }

    /// The smallest round-trip time.
    pub fn min_rtt(&self) -> Option<Duration> {
        let closed = self.closed_info.as_ref().and_then(|info| info.sys_info.min_rtt);
        closed.or_else(|| self.eof_info.as_ref()?.min_rtt)
    }

    /// Whether the peer is on this machine.
    pub fn is_local(&self) -> bool {
        let [remote, local] =
            [self.remote_addr, self.local_addr].map(|addr| addr.map(|a| a.ip().to_canonical()));
        remote.is_some_and(|ip| ip.is_loopback() || Some(ip) == local)
    }

    /// Segments sent again, without SYNs as far as `syns` tells.
    pub fn retransmits(&self, syns: u64) -> Option<u64> {
        Some(self.closed_info.as_ref()?.retransmits?.saturating_sub(syns))
    }

    /// Bytes that were received but not for the proxy itself.
    pub fn payload_rx(&self) -> u64 {
        self.rx_bytes.saturating_sub(self.own_rx_bytes)
    }

    /// Bytes that were sent but not by the proxy itself.
    pub fn payload_tx(&self) -> u64 {
        self.tx_bytes.saturating_sub(self.own_tx_bytes)
    }
}
