//! The record: the lines of the proxy's output as types. The documentation of each field is the
//! reference: meaning, unit, and when it is null.
//!
//! One JSON object per line, keys in camelCase. Keys are always present; an unknown value is null,
//! never 0. Durations are ns, sizes bytes, instants Unix ns: the wall clock at accept plus
//! monotonic time since, so that differences are durations. Integers never exceed 2^63−1.

mod blocks;
mod brief;
mod check;
mod delivery;
mod detail;
mod ending;
mod finding;
#[cfg(all(feature = "proxy", any(test, fuzzing)))]
pub(crate) mod fuzzing;
mod header;
mod input;
mod json;
mod numbers;
mod observed;
mod phases;
mod printable;
mod read_error;
mod reader;
#[cfg(feature = "proxy")]
mod recognise;
mod refused;
mod remark;
mod sample;
mod socket;
pub mod stat;
mod turns;
mod verdict;
mod warning;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use crate::conn::{EofInfo, Report};
use crate::nanos;
pub use blocks::Blocks;
pub use brief::{
    BriefDelivered, BriefDelivery, BriefEnding, BriefEofInfo, BriefInfo, BriefLeg, BriefLine,
    BriefPhases, BriefProcess, BriefRecord, BriefSysInfo, BriefTls, BriefTurns, BriefVerdict,
    BriefWarning,
};
pub use check::{Check, CheckReport};
pub use delivery::{Delivered, Delivery, Delta};
pub use detail::Detail;
#[cfg(feature = "report")]
pub(crate) use ending::reset_by;
pub use ending::{By, Ending, How, Outcome, Phase};
pub use finding::{BadLine, Finding, MAX_BAD_LINES, OpenPair};
pub use header::Header;
#[cfg(feature = "proxy")]
pub(crate) use json::write as write_json;
#[cfg(feature = "report")]
pub(crate) use numbers::Numbers;
pub use observed::{Http, Process, Tls};
pub use phases::{Attempt, AttemptOutcome, Phases, ResolveSource};
pub use printable::Printable;
pub use read_error::{Compression, MAX_LINE, ReadError};
#[cfg(feature = "cli")]
pub(crate) use reader::read_as;
pub use reader::{read, read_brief};
#[cfg(feature = "proxy")]
pub(crate) use recognise::may_hold_records;
pub use refused::{Refused, RefusedClients, RefusedReason};
pub use remark::Remark;
pub use sample::{Awaited, Sample, SampleReason, SampledLeg, SampledProcess, WaitingFor};
#[cfg(feature = "proxy")]
pub(crate) use sample::{changes, sampled_keys};
pub use socket::{
    Origin, Overflow, SampledSocket, Socket, SocketDelta, SocketEnding, SocketHeader, SocketLeg,
    SocketSample, SocketSource,
};
pub use turns::{EndedTurn, Shape, Turn, TurnTime, TurnWait, Turns};
pub use verdict::{Basis, Direction, Evidence, LimitedBy, Verdict, VerdictTime};
pub use warning::{Leg, Warning, WarningCode};

/// Version of the record format, in every line.
pub const SCHEMA: u32 = 1;

/// One line of the output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Line {
    /// A run of the program began: its first line.
    Start(Start),
    /// A pair is connected on both sides.
    Open(Box<Record>),
    /// A sample of a pair that is still open.
    Sample(Box<Sample>),
    /// A turn of a pair has ended: a request and its answer.
    Turn(Box<EndedTurn>),
    /// A pair has ended, even if it never reached its upstream.
    Close(Box<Record>),
    /// Pairs that were refused without a line of their own.
    Refused(Refused),
    /// A run of the program ended: its last line.
    Stop(Stop),
    /// One URL was fetched: `conniver stat`.
    Stat(Box<stat::Stat>),
    /// A socket's connection has ended: `conniver watch`.
    Socket(Box<Socket>),
    /// A sample of a socket that is still open: `conniver watch`.
    #[serde(rename = "socketSample")]
    SocketSample(Box<SocketSample>),
    /// The kernel has dropped events of ended sockets: `conniver watch`.
    Overflow(Overflow),
}

impl Line {
    /// The line as JSON, without its line feed. Terminal control characters are escaped, including
    /// those that JSON permits.
    ///
    /// # Errors
    ///
    /// A number cannot be represented in JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        json::to_string(self)
    }
}

/// A connection (the client's socket and the upstream's), as known at this event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Record {
    /// Version of the record format.
    pub schema: u32,
    /// When this event happened: RFC 3339, UTC, six fraction digits. The wall clock read anew.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name, or the value of `--host`.
    pub host: String,
    /// Keys and values of `--label`.
    pub labels: BTreeMap<String, String>,
    /// This run of the program, a UUIDv7.
    pub run_id: Uuid,
    /// Number of the pair in this run: 1, 2, 3… Numbers without a `close` line belong to pairs
    /// counted by `refused` lines.
    pub seq: u64,
    /// `runId` and `seq`, for joining the lines of one pair; opaque.
    pub id: String,
    /// How the client connected. Null until the client has shown it.
    pub mode: Option<Mode>,
    /// Address and port of the listener that accepted the client.
    pub listener: String,
    /// The client's address; with `--accept-proxy`, the one that was announced. The socket's own
    /// address is in `client.remoteAddr`. Never null today.
    pub client_host: Option<String>,
    /// The port of that address. Never null today.
    pub client_port: Option<u16>,
    /// `host:port` as requested, before any look-up. Null until it is known.
    pub target: Option<String>,
    /// Its host in lower case, without brackets and final dot. Null with `target`.
    pub target_host: Option<String>,
    /// Its port. Null with `target`.
    pub target_port: Option<u16>,
    /// The parent proxy, `http://host:port` without credentials, or null.
    pub via: Option<String>,
    /// The outcome in one word. Null while the pair is open.
    pub outcome: Option<Outcome>,
    /// When the client was accepted, Unix ns; with `previous`, when the first byte of the request
    /// was read.
    pub opened_at: i64,
    /// When both sockets were closed, or the client's connection went on to another pair, Unix ns.
    /// Null while the pair is open.
    pub closed_at: Option<i64>,
    /// From `openedAt` to `closedAt`, ns; so far, while the pair is open.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// Durations of the phases before the first answer.
    pub phases: Phases,
    /// Where the upstream's addresses came from. Null while they were not needed.
    pub resolve_source: Option<ResolveSource>,
    /// The attempts to connect, in the order in which they began: at most 16, and at most 16
    /// addresses refused by a rule.
    pub attempts: Vec<Attempt>,
    /// How many addresses the answer had beside those in `attempts`: not tried because another one
    /// connected before, or because 16 were tried. Null when there were no addresses.
    pub attempts_omitted: Option<u64>,
    /// The socket to the client.
    pub client: Report,
    /// The socket to the upstream, or to the parent proxy. Null when no attempt succeeded.
    pub upstream: Option<Report>,
    /// Delivery of the bytes written.
    pub delivery: Delivery,
    /// Who ended it, and how. Null while the pair is open.
    pub ending: Option<Ending>,
    /// Who was waited for. Null while the pair is open, and where the kernel keeps no such figures
    /// (it takes Linux 4.10).
    pub verdict: Option<Verdict>,
    /// Requests and their answers, told apart by who sends. Null while the pair is open, and if
    /// there was no request.
    pub turns: Option<Turns>,
    /// What the TLS handshake shows to anyone on the path. Null when the client did not begin with a
    /// whole ClientHello of at most 16 KiB.
    pub tls: Option<Tls>,
    /// The first exchange of plain HTTP/1. Null when the client did not begin with a request.
    pub http: Option<Http>,
    /// The local program at the other end of the client's socket. Null if that is on another
    /// machine or in another network namespace, if the connection ended before the program was
    /// found, if there were too many connections to look up, with `--no-process`, and on other
    /// systems than Linux. Usually null in an `open` line.
    pub process: Option<Process>,
    /// In http mode, the `id` of the pair that used the client's connection before this one: a
    /// request for another target, or after the upstream has closed its connection, begins a new
    /// pair. Null for the first pair of a connection.
    pub previous: Option<String>,
    /// Warnings, each code at most once per leg.
    pub warnings: Vec<Warning>,
    /// Bytes since this pair's previous `open` or `sample` line.
    pub delta: Delta,
    /// 1, 2, 3… of the lines of this run; a gap means lost lines. Always the last key: it is
    /// assigned when the line enters the queue.
    pub line: u64,
}

impl Record {
    /// Whether the target has sent any data, so that `phases.firstByte` is the time to its first
    /// byte.
    pub fn is_answered(&self) -> bool {
        self.upstream.as_ref().is_some_and(|leg| leg.rx_bytes > leg.own_rx_bytes)
    }

    /// The outcome, with the side that reset the connection or the error's code: `ok`, `reset by upstream`,
    /// `refused (ECONNREFUSED)`. Empty while the pair is open.
    pub fn ended_in_words(&self) -> String {
        let ending = self.ending.as_ref();
        let code = ending.and_then(|ending| ending.error_code.as_deref());
        self.outcome.map_or_else(String::new, |outcome| {
            outcome.in_words(ending.and_then(Ending::reset_by), code)
        })
    }
}

/// The first line of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Start {
    /// Version of the record format.
    pub schema: u32,
    /// When the run began.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name, or the value of `--host`.
    pub host: String,
    /// Keys and values of `--label`.
    pub labels: BTreeMap<String, String>,
    /// This run of the program.
    pub run_id: Uuid,
    /// The program's version.
    pub version: String,
    /// PID of the program.
    pub pid: u32,
    /// The listening sockets; `conniver watch` has none.
    pub listeners: Vec<Listening>,
    /// Number of the line in this run: 1, 2, 3…
    pub line: u64,
}

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Listening {
    /// How clients connect; null if each connection shows its own mode: HTTP or SOCKS.
    pub mode: Option<Mode>,
    /// Address and port, as in `listener` of pairs.
    pub listener: String,
    /// The one target of a forwarding listener; null if each connection has its own.
    pub target: Option<String>,
}

/// The last line of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Stop {
    /// Version of the record format.
    pub schema: u32,
    /// When the run ended.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name, or the value of `--host`.
    pub host: String,
    /// Keys and values of `--label`.
    pub labels: BTreeMap<String, String>,
    /// This run of the program.
    pub run_id: Uuid,
    /// How long it ran, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// Pairs that were accepted; of `conniver watch`, its `socket` lines.
    pub pairs: u64,
    /// Lines of this run that were lost before this one.
    pub lines_lost: u64,
    /// Number of the line in this run: 1, 2, 3…
    pub line: u64,
}

/// How a client connected, and where the target came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// One listener, one target, from the command line.
    Forward,
    /// HTTP `CONNECT`.
    Connect,
    /// An HTTP request in absolute form.
    Http,
    /// SOCKS 4 and 4a.
    Socks4,
    /// SOCKS 5.
    Socks5,
    /// nftables/iptables `REDIRECT`.
    Redirect,
    /// `TPROXY`.
    Tproxy,
}

impl Mode {
    /// Every kind of listener.
    pub const ALL: &[Self] = &[
        Self::Forward,
        Self::Connect,
        Self::Http,
        Self::Socks4,
        Self::Socks5,
        Self::Redirect,
        Self::Tproxy,
    ];
}

/// Implements `Display` as the word in JSON.
macro_rules! display_as_in_json {
    ($($word:ty),+) => {$(
        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        }
    )+};
}

display_as_in_json!(Mode, Outcome, By, How, LimitedBy, WarningCode);

/// These values, each as the word in JSON.
#[cfg(any(feature = "proxy", feature = "report"))]
pub(crate) fn words(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// The JSON Schema of one line at this level of detail, derived from these types. The schema of
/// `full` also holds for `normal`: no key of `sysInfo` is required.
#[cfg(feature = "schema")]
pub fn json_schema(detail: Detail) -> schemars::Schema {
    // As written, not as read: every key is required, null or not.
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    let generator = settings.into_generator();
    match detail {
        Detail::Brief => generator.into_root_schema_for::<BriefLine<'_>>(),
        Detail::Normal | Detail::Full => generator.into_root_schema_for::<Line>(),
    }
}

/// RFC 3339 in UTC with six fraction digits: a fixed width, so that text sorts as time.
pub(crate) mod time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{time:.6}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}
