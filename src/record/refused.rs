//! Connections that were refused without a line of their own.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time;

/// Connections that were refused on arrival since the previous such line of this run, and have no
/// `close` line because there were too many. The same at every level of detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Refused {
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
    /// This run of the program.
    pub run_id: Uuid,
    /// Number of connections. Each has a `seq` that is in no `close` line.
    pub count: u64,
    /// When the first of them was refused, Unix ns.
    pub first_at: i64,
    /// When the last of them was refused, Unix ns.
    pub last_at: i64,
    /// Reasons, the most frequent first.
    pub reasons: Vec<RefusedReason>,
    /// Networks with most of the connections, at most 5. Only the first 64 networks are counted.
    pub clients: Vec<RefusedClients>,
    /// Number of the line in this run: 1, 2, 3… Always the last key.
    pub line: u64,
}

/// Connections that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RefusedReason {
    /// As `ending.errorCode`: `CLIENT_DENIED`, `CLIENT_LIMIT`, `LOOP`.
    pub error_code: String,
    /// How many.
    pub count: u64,
}

/// Connections of one client that were refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RefusedClients {
    /// An IPv4 address (`192.0.2.1/32`), or an IPv6 network of 64 bits (`2001:db8::/64`).
    pub network: String,
    /// How many.
    pub count: u64,
}
