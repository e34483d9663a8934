//! The turns of a pair: requests and their answers, told apart by who speaks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Header, LimitedBy, nanos};

/// What took place between client and upstream, turn by turn. A turn is a request and its answer: it begins with
/// the client's first byte after the upstream's last one, and ends with the upstream's last byte before the
/// next turn. Bytes are told apart by who sends them, never by what they say; a handshake of TLS is no turn.
///
/// A request that nobody answered is the last turn, if somebody waited for its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Turns {
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
    /// Of `count`: whose answers began before their requests can have arrived, or while they were still
    /// written, so that they may answer others.
    pub crossed: u64,
    /// Those that waited longest, at most three, the longest first. Empty where `shape` is `mixed`.
    pub slowest: Vec<Turn>,
}

/// A part of all turns, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TurnTime {
    /// All of it, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub total: Duration,
    /// The longest one, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub max: Duration,
}

/// The waits for answers. Quantiles are by nearest rank: exact up to 32 turns, beyond that within 3.2 %. Below 100
/// turns the 99th percentile is the longest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TurnWait {
    /// All of them, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub total: Duration,
    /// The one that half of them did not exceed, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub p50: Duration,
    /// The one that 99 in 100 of them did not exceed, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub p99: Duration,
    /// The longest one, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub max: Duration,
    /// When the turn with the longest one began, Unix ns.
    pub max_at: i64,
}

/// One turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Turn {
    /// When its first byte was read, Unix ns.
    pub at: i64,
    /// From there until the answer's last byte was written to the client's socket, or until nobody waited
    /// any more, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// From the request's last byte, written to the upstream's socket, to the answer's first one, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub wait: Duration,
    /// Of it: what the path took, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub network: Duration,
    /// Bytes of the request that were written to the upstream.
    pub request_bytes: u64,
    /// Bytes of the answer that came. 0 without an answer.
    pub answer_bytes: u64,
    /// Who took more than half of its duration: `none` if nobody did.
    pub limited_by: LimitedBy,
}

/// A turn that has ended, told with the next turn's first byte or at the pair's end. Pairs whose turns are `mixed` have no such lines, as soon as that is known. The same for
/// every detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndedTurn {
    /// Whose it is.
    #[serde(flatten)]
    pub header: Header,
    /// 1, 2, 3… of the pair's turns.
    pub number: u64,
    /// The answer began before the request can have arrived, or while it was still written, so that it may answer
    /// another one.
    pub crossed: bool,
    /// The turn itself.
    #[serde(flatten)]
    pub turn: Turn,
    /// 1, 2, 3… of the lines of this run; the last key.
    pub line: u64,
}

/// How a conversation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Shape {
    /// Each request is answered before the next one.
    Exchange,
    /// Many go on at once, or both sides send when they like (HTTP/2, WebSocket): nobody can tell from outside
    /// which answer was waited for.
    Mixed,
}
