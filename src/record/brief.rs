//! The brief record: a subset of the keys, each with the same meaning.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    By, Delivered, Delta, EndedTurn, Ending, EofInfo, How, LimitedBy, Line, Mode, Outcome,
    Overflow, Phase, Phases, Process, Record, Refused, Report, Sample, Shape, Socket, SocketSample,
    Start, Stop, Tls, TurnTime, TurnWait, Turns, Verdict, Warning, WarningCode, time,
};
use crate::nanos;
use crate::record::stat::Stat;
use crate::tcp_info::TcpInfo;

/// One line of the output with `--detail brief`. Lines of every level of detail can be read as this
/// type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum BriefLine<'r> {
    /// A run of the program began: its first line.
    Start(Start),
    /// A pair is connected on both sides.
    Open(Box<BriefRecord<'r>>),
    /// A sample of a pair that is still open.
    Sample(Box<Sample>),
    /// A turn of a pair has ended: a request and its answer.
    Turn(Box<EndedTurn>),
    /// A pair has ended, even if it never reached its upstream.
    Close(Box<BriefRecord<'r>>),
    /// Pairs that were refused without a line of their own.
    Refused(Refused),
    /// A run of the program ended: its last line.
    Stop(Stop),
    /// One URL was fetched; never shortened.
    Stat(Box<Stat>),
    /// A socket's connection has ended; never shortened.
    Socket(Box<Socket>),
    /// A sample of a socket that is still open.
    #[serde(rename = "socketSample")]
    SocketSample(Box<SocketSample>),
    /// The kernel has dropped events of ended sockets.
    Overflow(Overflow),
}

/// A brief [`Record`]. It borrows from its record; when parsed, it owns its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefRecord<'r> {
    /// Version of the record format.
    pub schema: u32,
    /// When this event happened: RFC 3339, UTC, six fraction digits.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name, or the value of `--host`.
    pub host: Cow<'r, str>,
    /// Keys and values of `--label`.
    pub labels: Cow<'r, BTreeMap<String, String>>,
    /// This run of the program, a UUIDv7.
    pub run_id: Uuid,
    /// Number of the pair in this run: 1, 2, 3…
    pub seq: u64,
    /// `runId` and `seq`, for joining the lines of one pair; opaque.
    pub id: Cow<'r, str>,
    /// How the client connected. Null until the client has shown it.
    pub mode: Option<Mode>,
    /// Address and port of the listener that accepted the client.
    pub listener: Cow<'r, str>,
    /// `host:port` as requested, before any look-up. Null until it is known.
    pub target: Option<Cow<'r, str>>,
    /// The outcome in one word. Null while the pair is open.
    pub outcome: Option<Outcome>,
    /// From accept to close, ns; so far, while the pair is open.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// Where the time before the first answer went.
    pub phases: BriefPhases,
    /// The socket to the client.
    pub client: BriefLeg<'r>,
    /// The socket to the upstream, or to the parent proxy. Null when no attempt succeeded.
    pub upstream: Option<BriefLeg<'r>>,
    /// Delivery of the bytes written.
    pub delivery: BriefDelivery,
    /// Who ended it, and how. Null while the pair is open.
    pub ending: Option<BriefEnding<'r>>,
    /// Who was slow. Null while the pair is open, and where the kernel lacks the figures.
    pub verdict: Option<BriefVerdict>,
    /// Requests and their answers. Null while the pair is open, and if there was no request.
    pub turns: Option<BriefTurns>,
    /// What the TLS handshake shows. Null when the client did not begin with a ClientHello.
    pub tls: Option<BriefTls<'r>>,
    /// The local program that is the client. Null when that is not known.
    pub process: Option<BriefProcess<'r>>,
    /// Warnings, each code at most once per leg.
    pub warnings: Vec<BriefWarning>,
    /// Bytes since this pair's previous `open` or `sample` line.
    pub delta: Delta,
    /// Number of the line in this run: 1, 2, 3… Always the last key.
    pub line: u64,
}

/// [`Phases`] in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefPhases {
    /// The look-up of the target's name, ns. Null unless one was made.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub resolve: Option<Duration>,
    /// From the first attempt's beginning to the end of the one that won, or to giving up, ns.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub connect: Option<Duration>,
    /// From the upstream's connection to its first byte, ns; when none came, to its end. Null when it was
    /// not reached.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub first_byte: Option<Duration>,
}

/// A leg ([`Report`]) in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefLeg<'r> {
    /// The peer's address and port.
    pub remote_addr: Option<SocketAddr>,
    /// Bytes read.
    pub rx_bytes: u64,
    /// Bytes written: taken by the kernel, not necessarily sent or acknowledged.
    pub tx_bytes: u64,
    /// Time in which bytes waited because this socket was not writable, ns.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub write_blocked: Option<Duration>,
    /// Segments that were really lost. Null while the socket is open, and where the system does not
    /// tell.
    pub lost: Option<u64>,
    /// From right before our own end of stream. Null if the peer's reset came first.
    pub eof_info: Option<BriefEofInfo<'r>>,
    /// From right before the socket was closed.
    pub closed_info: Option<BriefInfo<'r>>,
}

/// [`EofInfo`] in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefEofInfo<'r> {
    /// Smoothed round-trip time, ns.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub rtt: Option<Duration>,
    /// The system's structure, in hexadecimal. Absent unless requested (`--raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub sys_info_raw: Option<Cow<'r, str>>,
}

/// A [`TcpInfo`] in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefInfo<'r> {
    /// Segments retransmitted since the start, on Linux SYNs included.
    pub retransmits: Option<u64>,
    /// Fields of the system's structure.
    pub sys_info: BriefSysInfo,
    /// The structure, in hexadecimal. Absent unless requested (`--raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub sys_info_raw: Option<Cow<'r, str>>,
}

/// A [`SysInfo`](crate::tcp_info::SysInfo) in brief; fields that the system does not tell are
/// absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefSysInfo {
    /// Smallest round-trip time, ns. Linux (`tcpi_min_rtt`).
    #[serde(
        rename = "minRTT",
        with = "nanos::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub min_rtt: Option<Duration>,
    /// Segments sent that carried data. Linux (`tcpi_data_segs_out`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_segs_out: Option<u32>,
}

/// [`Delivery`](super::Delivery) in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefDelivery {
    /// What was sent to the upstream. Null without one.
    pub to_upstream: Option<BriefDelivered>,
    /// What was sent to the client.
    pub to_client: Option<BriefDelivered>,
}

/// [`Delivered`] in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefDelivered {
    /// Bytes that our kernel took.
    pub written: u64,
    /// Bytes that were never acknowledged. Null while that cannot be known.
    pub undelivered: Option<u64>,
}

/// An [`Ending`] in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefEnding<'r> {
    /// What was going on.
    pub phase: Phase,
    /// Who ended first.
    pub first_by: By,
    /// How the first end came.
    pub first_how: How,
    /// The symbol of what went wrong. Null when nothing did.
    pub error_code: Option<Cow<'r, str>>,
}

/// A [`Verdict`] in brief.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefVerdict {
    /// Who it was.
    pub limited_by: LimitedBy,
    /// Its share of `active`. Null with `none`.
    pub share: Option<f64>,
    /// The time that was judged, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub active: Duration,
}

/// [`Turns`] in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefTurns {
    /// How many there were.
    pub count: u64,
    /// Of these: without an answer, 0 or 1.
    pub unanswered: u64,
    /// From a request's first byte until its last one was written to the upstream's socket.
    pub request: TurnTime,
    /// From there to the answer's first byte. Null where `shape` is `mixed`.
    pub wait: Option<TurnWait>,
    /// From there until the answer's last byte was written to the client's socket.
    pub answer: TurnTime,
    /// Whether requests and answers take turns.
    pub shape: Shape,
    /// Of `count`: whose answers may answer others.
    pub crossed: u64,
}

/// [`Tls`] in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefTls<'r> {
    /// The requested server name. Null without one.
    pub server_name: Option<Cow<'r, str>>,
    /// The version that the server chose. Null without a ServerHello.
    pub version: Option<Cow<'r, str>>,
}

/// A [`Process`] in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefProcess<'r> {
    /// PID of the program. Null if the process could not be inspected.
    pub pid: Option<u32>,
    /// Its short name. Null with `pid`.
    pub name: Option<Cow<'r, str>>,
}

/// A [`Warning`] in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BriefWarning {
    /// Code of the warning.
    pub code: WarningCode,
}

impl<'r> From<&'r Line> for BriefLine<'r> {
    fn from(line: &'r Line) -> Self {
        match line {
            Line::Start(start) => Self::Start(start.clone()),
            Line::Open(record) => Self::Open(Box::new((&**record).into())),
            Line::Sample(sample) => Self::Sample(sample.clone()),
            Line::Turn(turn) => Self::Turn(turn.clone()),
            Line::Close(record) => Self::Close(Box::new((&**record).into())),
            Line::Refused(refused) => Self::Refused(refused.clone()),
            Line::Stop(stop) => Self::Stop(stop.clone()),
            Line::Stat(stat) => Self::Stat(stat.clone()),
            Line::Socket(socket) => Self::Socket(socket.clone()),
            Line::SocketSample(sample) => Self::SocketSample(sample.clone()),
            Line::Overflow(overflow) => Self::Overflow(overflow.clone()),
        }
    }
}

impl<'r> From<&'r Record> for BriefRecord<'r> {
    fn from(record: &'r Record) -> Self {
        Self {
            schema: record.schema,
            time: record.time,
            host: record.host.as_str().into(),
            labels: Cow::Borrowed(&record.labels),
            run_id: record.run_id,
            seq: record.seq,
            id: record.id.as_str().into(),
            mode: record.mode,
            listener: record.listener.as_str().into(),
            target: text(&record.target),
            outcome: record.outcome,
            duration: record.duration,
            phases: BriefPhases::from(&record.phases),
            client: BriefLeg::from(&record.client),
            upstream: record.upstream.as_ref().map(BriefLeg::from),
            delivery: BriefDelivery {
                to_upstream: record.delivery.to_upstream.as_ref().map(BriefDelivered::from),
                to_client: record.delivery.to_client.as_ref().map(BriefDelivered::from),
            },
            ending: record.ending.as_ref().map(BriefEnding::from),
            verdict: record.verdict.as_ref().map(BriefVerdict::from),
            turns: record.turns.as_ref().map(BriefTurns::from),
            tls: record.tls.as_ref().map(BriefTls::from),
            process: record.process.as_ref().map(BriefProcess::from),
            warnings: record.warnings.iter().map(BriefWarning::from).collect(),
            delta: record.delta,
            line: record.line,
        }
    }
}

fn text(whole: &Option<String>) -> Option<Cow<'_, str>> {
    whole.as_deref().map(Cow::Borrowed)
}

impl From<&Phases> for BriefPhases {
    fn from(&Phases { resolve, connect, first_byte, .. }: &Phases) -> Self {
        Self { resolve, connect, first_byte }
    }
}

impl<'r> From<&'r Report> for BriefLeg<'r> {
    fn from(leg: &'r Report) -> Self {
        Self {
            remote_addr: leg.remote_addr,
            rx_bytes: leg.rx_bytes,
            tx_bytes: leg.tx_bytes,
            write_blocked: leg.write_blocked,
            lost: leg.lost,
            eof_info: leg.eof_info.as_ref().map(BriefEofInfo::from),
            closed_info: leg.closed_info.as_ref().map(BriefInfo::from),
        }
    }
}

impl<'r> From<&'r EofInfo> for BriefEofInfo<'r> {
    fn from(info: &'r EofInfo) -> Self {
        Self { rtt: info.rtt, sys_info_raw: text(&info.sys_info_raw) }
    }
}

impl<'r> From<&'r TcpInfo> for BriefInfo<'r> {
    fn from(info: &'r TcpInfo) -> Self {
        let linux = info.sys_info.linux();
        let sys_info = BriefSysInfo {
            min_rtt: linux.and_then(|linux| linux.min_rtt),
            data_segs_out: linux.and_then(|linux| linux.data_segs_out),
        };
        Self { retransmits: info.retransmits, sys_info, sys_info_raw: text(&info.sys_info_raw) }
    }
}

impl From<&Delivered> for BriefDelivered {
    fn from(&Delivered { written, undelivered, .. }: &Delivered) -> Self {
        Self { written, undelivered }
    }
}

impl<'r> From<&'r Ending> for BriefEnding<'r> {
    fn from(ending: &'r Ending) -> Self {
        let &Ending { phase, first_by, first_how, .. } = ending;
        Self { phase, first_by, first_how, error_code: text(&ending.error_code) }
    }
}

impl From<&Verdict> for BriefVerdict {
    fn from(&Verdict { limited_by, share, active, .. }: &Verdict) -> Self {
        Self { limited_by, share, active }
    }
}

impl From<&Turns> for BriefTurns {
    fn from(turns: &Turns) -> Self {
        let &Turns { count, unanswered, request, wait, answer, shape, crossed, .. } = turns;
        Self { count, unanswered, request, wait, answer, shape, crossed }
    }
}

impl<'r> From<&'r Tls> for BriefTls<'r> {
    fn from(tls: &'r Tls) -> Self {
        Self { server_name: text(&tls.server_name), version: text(&tls.version) }
    }
}

impl<'r> From<&'r Process> for BriefProcess<'r> {
    fn from(process: &'r Process) -> Self {
        Self { pid: process.pid, name: text(&process.name) }
    }
}

impl From<&Warning> for BriefWarning {
    fn from(warning: &Warning) -> Self {
        Self { code: warning.code }
    }
}
