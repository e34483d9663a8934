//! The turns of a pair: requests and their answers, told apart by who sends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Header, LimitedBy, nanos};

/// The turns of a pair. A turn is a request and its answer: it begins with the client's first byte
/// after the upstream's last one, and ends with the upstream's last byte before the next turn.
/// Turns are told apart by who sends, never by content; a TLS handshake is not a turn.
///
/// An unanswered request is the last turn, if somebody waited for its answer.
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
    /// How many turns of `count` have answers that began before their requests can have arrived, or
    /// while those were still being written, so that they may answer other requests.
    pub crossed: u64,
    /// The turns that waited longest, at most three, the longest first. Empty if `shape` is
    /// `mixed`.
    pub slowest: Vec<Turn>,
}

/// Sum and maximum of one part of all turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TurnTime {
    /// Sum, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub total: Duration,
    /// Maximum, ns.
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
    /// Sum, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub total: Duration,
    /// Median, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub p50: Duration,
    /// 99th percentile, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub p99: Duration,
    /// Maximum, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub max: Duration,
    /// When the turn with the longest wait began, Unix ns.
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
    /// Part of the wait in which request or answer was in transit, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub network: Duration,
    /// Bytes of the request that were written to the upstream.
    pub request_bytes: u64,
    /// Bytes of the answer that came. 0 without an answer.
    pub answer_bytes: u64,
    /// Who certainly took more than half of the duration; `none` if nobody did.
    pub limited_by: LimitedBy,
}

/// A turn that has ended, written at the next turn's first byte, at bytes that come unasked after a
/// silence, or at the pair's end. Once the turns of a pair are known to be `mixed`, it has no more such
/// lines. The same at every level of detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndedTurn {
    /// Identifies the run and the pair.
    #[serde(flatten)]
    pub header: Header,
    /// Number of the turn in this pair: 1, 2, 3…
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
    /// Several run at once, or both sides send at any time (HTTP/2, WebSocket): requests and
    /// answers cannot be matched.
    Mixed,
}
