//! A look at a pair that is still open.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Delta, Header, Leg};
use crate::nanos;

/// A pair while it is open: what has passed so far, and what is different since its previous sample.
/// The same for every detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Sample {
    /// Whose it is.
    #[serde(flatten)]
    pub header: Header,
    /// From accept until now, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// Why the look is told.
    pub reason: SampleReason,
    /// The socket that the reason is about. Null with `interval` and `quiet`.
    pub leg: Option<Leg>,
    /// The socket to the client.
    pub client: SampledLeg,
    /// The socket to the upstream, or to the parent proxy.
    pub upstream: SampledLeg,
    /// Who is waited for at this moment, as far as that can be told before it is over. Null when it cannot: when
    /// the answer may go on, when a pair's turns are `mixed`, or before anybody has spoken.
    pub waiting_for: Option<WaitingFor>,
    /// Bytes since this pair's previous `open` or `sample` line.
    pub delta: Delta,
    /// 1, 2, 3… of the lines of this run; the last key.
    pub line: u64,
}

/// Why a look at an open pair is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum SampleReason {
    /// The interval is over, and bytes have passed or wait.
    Interval,
    /// Nothing has passed or waited since the pair's previous sample, for a minute or the interval if
    /// that is longer.
    Quiet,
    /// The peer began to announce a window of zero: it takes nothing more. Linux 5.19
    /// (`tcpi_snd_wnd`).
    ZeroWindow,
    /// The retransmission timer ran out, the first time since something was acknowledged. Linux
    /// 6.7 (`tcpi_total_rto_recoveries`).
    RetransmissionTimeout,
    /// Bytes wait for this peer, and it has acknowledged nothing for more than a second. Linux.
    Stall,
}

/// A wait that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WaitingFor {
    /// Who is waited for.
    pub who: Awaited,
    /// When the last byte moved, Unix ns.
    pub since: i64,
    /// From then until now, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
}

/// Who is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Awaited {
    /// The client takes no more.
    Client,
    /// The upstream has a request and does not answer yet, or takes no more of it.
    Upstream,
    /// The path to the client: what was sent is not acknowledged.
    NetworkClient,
    /// The path to the upstream.
    NetworkUpstream,
    /// Nobody: the last answer is at least five seconds old, or the client alone speaks, when it has something
    /// to say.
    Idle,
}

/// One socket of a pair that is still open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SampledLeg {
    /// Bytes read so far.
    pub rx_bytes: u64,
    /// Bytes written so far: taken by the kernel, not necessarily sent or acknowledged.
    pub tx_bytes: u64,
    /// Time so far in which bytes waited because this socket would not take them, ns. Never
    /// null.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub write_blocked: Option<Duration>,
    /// TCP information of now, without `sysInfo`: the keys whose value is another one than in the
    /// pair's previous sample; in the first one, all. Null when the kernel gave none.
    #[cfg_attr(feature = "schema", schemars(schema_with = "changed_info"))]
    pub info: Option<Map<String, Value>>,
}

/// The keys of a `TcpInfo`, none of them required.
#[cfg(feature = "schema")]
fn changed_info(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    use schemars::JsonSchema;
    let mut schema = crate::TcpInfo::json_schema(generator);
    schema.remove("required");
    schema.insert("type".into(), serde_json::json!(["object", "null"]));
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.remove("sysInfo");
        properties.remove("sysInfoLength");
    }
    schema
}
