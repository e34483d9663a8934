//! What a line of a pair that is open begins with.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Mode, time};

/// Whose a line is: the run, and the pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Header {
    /// The number of the contract that this line follows.
    pub schema: u32,
    /// When the line was made: RFC 3339, UTC, six fraction digits.
    #[serde(with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Timestamp,
    /// The machine's name, or what `--host` says.
    pub host: String,
    /// What `--label` says.
    pub labels: BTreeMap<String, String>,
    /// This run of the program, a UUIDv7.
    pub run_id: Uuid,
    /// 1, 2, 3… of the pairs of this run.
    pub seq: u64,
    /// `runId` and `seq`, for joining the lines of one pair; opaque.
    pub id: String,
    /// The way in. Known by now, never null.
    pub mode: Option<Mode>,
    /// The address and port that the client came in by.
    pub listener: String,
    /// `host:port` as asked for, before any look-up. Known by now, never
    /// null.
    pub target: Option<String>,
}
