//! A connection as far as reports need it: the keys of a `close` line of any level of detail.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::socket::Socket;
use crate::nanos;
use crate::record::{
    AttemptOutcome, By, Direction, How, LimitedBy, Mode, Outcome, Phase, Printable, ResolveSource,
    Shape, TurnTime, WarningCode, reset_by,
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
    /// In http mode, the id of the pair that used the client's connection before.
    pub previous: Option<String>,
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

/// The end of an id: enough to find it in most files.
pub fn short_id(id: &str) -> String {
    let id = Printable(id).to_string();
    match id.rsplit_once('-') {
        Some((run, seq)) => {
            let skipped = run.chars().count().saturating_sub(4);
            format!("{}-{seq}", run.chars().skip(skipped).collect::<String>())
        }
        None => id,
    }
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

    /// Whether it carries a request of the pair before, which got no answer there, and which the proxy has sent again:
    /// a request without a byte from the client. In http mode; never in brief lines.
    pub fn is_repeated(&self) -> bool {
        let is_sent = self.upstream.as_ref().is_some_and(|leg| leg.tx_bytes > 0);
        self.previous.is_some() && self.client.rx_bytes == 0 && is_sent
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
