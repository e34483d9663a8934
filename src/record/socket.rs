//! Sockets that were watched without a proxy: the lines of `conniver watch`. Keys that are also in a
//! pair's record or in a leg have the same meaning.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::sample::SampleReason;
#[cfg(feature = "schema")]
use super::sample::changed_info;
use super::{Delivered, EofInfo, How, Process, Warning, time};
use crate::nanos;
use crate::tcp_info::{State, TcpInfo};

/// A TCP socket of this machine whose connection has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Socket {
    /// Identifies the run and the socket, and says who uses it.
    #[serde(flatten)]
    pub header: SocketHeader,
    /// When it was known to be open for the first time, Unix ns: when the first dump showed it, or
    /// earlier, as far as the ages in its TCP information prove.
    pub opened_at: i64,
    /// How long it can have been open before `openedAt`, ns: the time since the dump before. Null if
    /// the first dump showed it: it is older than the watch, and nobody knows by how much.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub seen_after: Option<Duration>,
    /// When the kernel destroyed it, Unix ns; with `source` `dump`, when the last dump showed it.
    pub closed_at: i64,
    /// From `openedAt` to `closedAt`, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// Where the last figures come from.
    pub source: SocketSource,
    /// The socket, under the keys of a leg.
    pub socket: SocketLeg,
    /// Delivery of the bytes written.
    pub delivery: Delivered,
    /// How the connection ended, as far as the kernel tells.
    pub ending: SocketEnding,
    /// Warnings, each code at most once. Their `leg` is null.
    pub warnings: Vec<Warning>,
    /// Bytes since this socket's previous `socketSample` line; without one, all.
    pub delta: SocketDelta,
    /// 1, 2, 3… of the lines of this run; the last key.
    pub line: u64,
}

/// A sample of a socket that is still open: bytes so far, and TCP information that has changed since
/// its previous sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SocketSample {
    /// Identifies the run and the socket, and says who uses it.
    #[serde(flatten)]
    pub header: SocketHeader,
    /// From `openedAt`, as the `socket` line will have it, until now, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// How long it can have been open before that, ns. Null if it is older than the watch.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub seen_after: Option<Duration>,
    /// Why the sample was taken: `interval` or `quiet`.
    pub reason: SampleReason,
    /// The socket.
    pub socket: SampledSocket,
    /// Bytes since this socket's previous sample; in the first sample, all.
    pub delta: SocketDelta,
    /// 1, 2, 3… of the lines of this run; the last key.
    pub line: u64,
}

/// The kernel has dropped events of destroyed sockets, because they came faster than they were read.
/// Written once the dumps after it have shown which sockets are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Overflow {
    /// Version of the record format.
    pub schema: u32,
    /// When the line was made.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name, or the value of `--host`.
    pub host: String,
    /// Keys and values of `--label`.
    pub labels: BTreeMap<String, String>,
    /// This run of the program, a UUIDv7.
    pub run_id: Uuid,
    /// How often the kernel has dropped events in this run so far.
    pub overflows: u64,
    /// Sockets of this run whose event was among those: they were in a dump, and were written with
    /// `source` `dump`.
    pub last_seen: u64,
    /// Sockets that ended between two dumps and whose event was among those. Always null, as nobody
    /// counts them.
    pub never_seen: Option<u64>,
    /// 1, 2, 3… of the lines of this run; the last key.
    pub line: u64,
}

/// The first keys of `socket` and `socketSample` lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SocketHeader {
    /// Version of the record format.
    pub schema: u32,
    /// When the line was made: RFC 3339, UTC, six fraction digits.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name, or the value of `--host`.
    pub host: String,
    /// Keys and values of `--label`.
    pub labels: BTreeMap<String, String>,
    /// This run of the program, a UUIDv7.
    pub run_id: Uuid,
    /// Number of the socket in this run: 1, 2, 3… in the order in which they first appear in a line.
    pub seq: u64,
    /// `runId` and `seq`, for joining the lines of one socket; opaque.
    pub id: String,
    /// Which side opened the connection. Null if neither a dump nor the counters show it.
    pub origin: Option<Origin>,
    /// Address and port of the local listener that accepted the connection. Null for `connected`,
    /// and if no dump has shown the listener.
    pub listener: Option<String>,
    /// The local program that has the socket, found while it is open; of a socket that no program
    /// has accepted yet, or that ended between two dumps, null.
    pub process: Option<Process>,
}

/// Which side opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// The peer connected to a listener of this machine.
    Accepted,
    /// The program connected to the peer.
    Connected,
}

/// Where the last figures of a socket come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SocketSource {
    /// From the kernel's event when it destroyed the socket: final.
    Event,
    /// From the last dump that showed the socket. There was no event (see `overflow` lines), the
    /// program kept the socket of an ended connection, or it aborted the connection (`SO_LINGER` 0),
    /// which clears the kernel's counters.
    Dump,
}

/// One socket, by the kernel's TCP information. `rx` is what was received from the peer, `tx` what was
/// sent to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SocketLeg {
    /// Its own address and port. IPv4 on an IPv6 socket is shown as IPv4.
    pub local_addr: SocketAddr,
    /// The peer's address and port.
    pub remote_addr: SocketAddr,
    /// Bytes received in order, read by the program or not (`tcpi_bytes_received`). One too many if
    /// the peer's FIN came and `ending.finReceived` is null: the kernel counts it.
    pub rx_bytes: u64,
    /// Bytes written by the program: taken by the kernel, not necessarily sent or acknowledged.
    pub tx_bytes: u64,
    /// Segments that were really lost: those retransmitted, minus those that the peer reported as
    /// duplicates. SYNs are left out if a dump showed the socket before it sent data. Null without
    /// selective acknowledgements, and where the kernel does not tell.
    pub lost: Option<u64>,
    /// TCP information from the first dump that showed the connection established. Null if it was
    /// there before the watch, and if no dump showed it so.
    pub opened_info: Option<TcpInfo>,
    /// Figures that our own end of stream would distort, from the last dump before it. Null if no
    /// dump showed the socket before its end.
    pub eof_info: Option<EofInfo>,
    /// The last TCP information. Null if the kernel gave none.
    pub closed_info: Option<TcpInfo>,
}

/// How a connection ended, as far as one of its sockets shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SocketEnding {
    /// The state in the last dump that showed the socket. Null if none did.
    pub state: Option<State>,
    /// Whether this side has sent its end of stream. Null if that cannot be told: `origin` is null, or
    /// the kernel is older than Linux 4.19.
    pub fin_sent: Option<bool>,
    /// Whether the peer's end of stream was received. Null if that cannot be told: no dump came
    /// between it and the end of the connection.
    pub fin_received: Option<bool>,
    /// `fin`: this side ended its stream, and the peer acknowledged all of it. `reset`: it did not,
    /// and nothing was being retransmitted, so one side reset the connection. `refused`: the peer
    /// answered the connection request with a reset. Null if it is none of these for certain.
    pub how: Option<How>,
}

/// A socket that is still open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SampledSocket {
    /// Its own address and port.
    pub local_addr: SocketAddr,
    /// The peer's address and port.
    pub remote_addr: SocketAddr,
    /// Bytes received so far.
    pub rx_bytes: u64,
    /// Bytes written so far.
    pub tx_bytes: u64,
    /// Segments lost so far. It falls when the peer reports one that was retransmitted as a duplicate.
    /// Null without selective acknowledgements, and where the kernel does not tell.
    pub lost: Option<u64>,
    /// Current TCP information, without `sysInfo`: the keys whose value has changed since the
    /// socket's previous sample; in the first sample, all. Null if the kernel gave none.
    #[cfg_attr(feature = "schema", schemars(schema_with = "changed_info"))]
    pub info: Option<Map<String, Value>>,
}

/// Bytes since a socket's previous sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SocketDelta {
    /// Bytes received.
    pub rx: u64,
    /// Bytes written.
    pub tx: u64,
}
