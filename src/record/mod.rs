//! The record: what a line of the proxy's output means. This is a document first; each field says
//! what it is, its unit, and when it is null.
//!
//! One JSON object a line, keys in camelCase. A key is always there; what is not known is null,
//! never 0. Durations are ns, sizes bytes, instants Unix ns: the wall clock at accept plus
//! monotonic time since, so that differences are durations. Integers never exceed 2^63−1.

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
mod refused;
mod remark;
mod sample;
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
pub use brief::{
    BriefDelivered, BriefDelivery, BriefEnding, BriefEofInfo, BriefInfo, BriefLeg, BriefLine,
    BriefPhases, BriefProcess, BriefRecord, BriefSysInfo, BriefTls, BriefTurns, BriefVerdict,
    BriefWarning,
};
pub use check::{Check, Checked};
pub use delivery::{Delivered, Delivery, Delta};
pub use detail::Detail;
pub use ending::{By, Ending, How, Outcome, Phase};
pub use finding::{BadLine, Finding, MAX_BAD_LINES, OpenPair};
pub use header::Header;
#[cfg(feature = "proxy")]
pub(crate) use json::write as write_json;
pub use observed::{Http, Process, Tls};
pub use phases::{Attempt, AttemptOutcome, Phases, ResolveSource};
pub use printable::Printable;
pub use read_error::{Compression, MAX_LINE, ReadError};
pub use reader::{read, read_brief};
pub use refused::{Refused, RefusedClients, RefusedReason};
pub use remark::Remark;
pub use sample::{Awaited, Sample, SampleReason, SampledLeg, WaitingFor};
pub use turns::{EndedTurn, Shape, Turn, TurnTime, TurnWait, Turns};
pub use verdict::{Basis, Direction, Evidence, LimitedBy, Verdict, VerdictTime};
pub use warning::{Leg, Warning, WarningCode};

/// The number of this contract, in every line.
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
    /// A pair that is still open, looked at in between.
    Sample(Box<Sample>),
    /// A turn of a pair has ended: a request and its answer.
    Turn(Box<EndedTurn>),
    /// A pair has ended, also one that never got to its upstream.
    Close(Box<Record>),
    /// Pairs that were refused and have no line of their own.
    Refused(Refused),
    /// A run of the program ended: its last line.
    Stop(Stop),
    /// One URL was asked for: `conniver stat`.
    Stat(Box<stat::Stat>),
}

impl Line {
    /// The line as JSON, without its end. Characters that command a terminal are escaped, also those
    /// that JSON leaves as they are.
    ///
    /// # Errors
    ///
    /// A number is one that JSON cannot have.
    pub fn to_json(&self) -> serde_json::Result<String> {
        json::to_string(self)
    }
}

/// A connection pair: what is known of it at this event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Record {
    /// The number of the contract that this line follows.
    pub schema: u32,
    /// When this event happened: RFC 3339, UTC, six fraction digits. The wall clock read anew.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name, or what `--host` says.
    pub host: String,
    /// What `--label` says.
    pub labels: BTreeMap<String, String>,
    /// This run of the program, a UUIDv7.
    pub run_id: Uuid,
    /// 1, 2, 3… of the pairs of this run. Numbers without a `close` line are those that `refused` lines
    /// count.
    pub seq: u64,
    /// `runId` and `seq`, for joining the lines of one pair; opaque.
    pub id: String,
    /// The way in. Null where the client shows it and has not yet.
    pub mode: Option<Mode>,
    /// The address and port that the client came in by.
    pub listener: String,
    /// The client's address; with `--accept-proxy`, the one that was announced. The socket's own is
    /// in `client.remoteAddr`. Never null today.
    pub client_host: Option<String>,
    /// The client's port, likewise. Never null today.
    pub client_port: Option<u16>,
    /// `host:port` as asked for, before any look-up. Null until it is known.
    pub target: Option<String>,
    /// Its host in lower case, without brackets and final dot. Null with `target`.
    pub target_host: Option<String>,
    /// Its port. Null with `target`.
    pub target_port: Option<u16>,
    /// The parent proxy, `http://host:port` without credentials, or null.
    pub via: Option<String>,
    /// How it went, in a word. Null while the pair is open.
    pub outcome: Option<Outcome>,
    /// When the client was accepted, Unix ns.
    pub opened_at: i64,
    /// When both sockets were closed, Unix ns. Null while the pair is open.
    pub closed_at: Option<i64>,
    /// From accept to close, ns; so far, while the pair is open.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// Where the time before the first answer went.
    pub phases: Phases,
    /// Where the upstream's addresses came from. Null while they were not needed.
    pub resolve_source: Option<ResolveSource>,
    /// The attempts to connect, in the order of their beginnings: at most 16, and at most 16 addresses
    /// that were refused by a rule.
    pub attempts: Vec<Attempt>,
    /// How many addresses the answer had beside those in `attempts`: not tried because another one
    /// connected before, or because 16 were tried. Null when there were no addresses.
    pub attempts_omitted: Option<u64>,
    /// The socket to the client.
    pub client: Report,
    /// The socket to the upstream, or to the parent proxy. Null when no attempt succeeded.
    pub upstream: Option<Report>,
    /// What arrived.
    pub delivery: Delivery,
    /// Who ended it, and how. Null while the pair is open.
    pub ending: Option<Ending>,
    /// Who kept whom waiting. Null while the pair is open, and where the kernel keeps no such figures (it
    /// takes Linux 4.10).
    pub verdict: Option<Verdict>,
    /// Requests and their answers, told apart by who speaks. Null while the pair is open, and where
    /// nobody asked for anything.
    pub turns: Option<Turns>,
    /// What the TLS handshake shows to anyone on the path. Null when the client did not begin with a
    /// whole ClientHello of at most 16 KiB.
    pub tls: Option<Tls>,
    /// The first exchange of plain HTTP/1. Null when the client did not begin with a request.
    pub http: Option<Http>,
    /// The local program at the other end of the client's socket. Null when that is on another
    /// machine or in another network namespace, when the connection was over before the program was
    /// found, when more connections came than could be looked after, with `--no-process`, and on
    /// other systems than Linux. In an `open` line it is not known yet as a rule.
    pub process: Option<Process>,
    /// What deserves a look, each once.
    pub warnings: Vec<Warning>,
    /// Bytes since this pair's previous line.
    pub delta: Delta,
    /// 1, 2, 3… of the lines of this run; a gap is a line that was lost. The last key: it is
    /// written when the line takes its place in the queue.
    pub line: u64,
}

impl Record {
    /// Whether the target has said anything, so that `phases.firstByte` tells when.
    pub fn is_answered(&self) -> bool {
        self.upstream.as_ref().is_some_and(|leg| leg.rx_bytes > leg.own_rx_bytes)
    }
}

/// The first line of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Start {
    /// The number of the contract that this line follows.
    pub schema: u32,
    /// When the run began.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name, or what `--host` says.
    pub host: String,
    /// What `--label` says.
    pub labels: BTreeMap<String, String>,
    /// This run of the program.
    pub run_id: Uuid,
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub listeners: Vec<Listening>,
    /// 1, 2, 3… of the lines of this run.
    pub line: u64,
}

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Listening {
    /// The way in; null where each connection shows its own: HTTP or SOCKS.
    pub mode: Option<Mode>,
    /// Address and port, as pairs have them in `listener`.
    pub listener: String,
    /// The one target of a forwarding listener; null where each connection brings its own.
    pub target: Option<String>,
}

/// The last line of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Stop {
    /// The number of the contract that this line follows.
    pub schema: u32,
    /// When the run ended.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name, or what `--host` says.
    pub host: String,
    /// What `--label` says.
    pub labels: BTreeMap<String, String>,
    /// This run of the program.
    pub run_id: Uuid,
    /// How long it ran, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// Pairs that were accepted.
    pub pairs: u64,
    /// Lines of this run that were given up before this one.
    pub lines_lost: u64,
    /// 1, 2, 3… of the lines of this run.
    pub line: u64,
}

/// The way in: who asked, and where the target came from.
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

/// Displays values as they stand in JSON, where they are words.
macro_rules! display_as_in_json {
    ($($word:ty),+) => {$(
        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        }
    )+};
}

display_as_in_json!(Mode, Outcome, By, LimitedBy);

/// The JSON Schema of one line of this detail, derived from these types. That of `full` holds for
/// `normal` as well: no key of `sysInfo` is required.
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
mod time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{time:.6}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}
