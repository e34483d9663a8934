//! The first keys of `sample` and `turn` lines.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Mode, time};

/// Identifies the run and the pair of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Header {
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
    /// Number of the pair in this run: 1, 2, 3…
    pub seq: u64,
    /// `runId` and `seq`, for joining the lines of one pair; opaque.
    pub id: String,
    /// How the client connected. Never null.
    pub mode: Option<Mode>,
    /// Address and port of the listener that accepted the client.
    pub listener: String,
    /// `host:port` as requested, before any look-up. Never null.
    pub target: Option<String>,
}
