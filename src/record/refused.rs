//! Connections that were refused and have no line of their own.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::time;

/// Connections that were refused as they came, since this run's previous such line, and have no `close`
/// line: more of them came than get one. The same for every detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Refused {
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
    /// This run of the program.
    pub run_id: Uuid,
    /// How many. Each has a number (`seq`) that stands in no `close` line.
    pub count: u64,
    /// When the first of them was refused, Unix ns.
    pub first_at: i64,
    /// When the last of them was refused, Unix ns.
    pub last_at: i64,
    /// Why, the most frequent reason first.
    pub reasons: Vec<RefusedReason>,
    /// Where most of them came from, at most 5 networks. Of more than 64 networks, those that came
    /// first are counted.
    pub clients: Vec<RefusedClients>,
    /// 1, 2, 3… of the lines of this run; the last key.
    pub line: u64,
}

/// Connections that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RefusedReason {
    /// What `ending.errorCode` would be: `CLIENT_DENIED`, `CLIENT_LIMIT`, `LOOP`.
    pub error_code: String,
    /// How many.
    pub count: u64,
}

/// Connections that were refused to one client.
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
