//! Samples of open pairs.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Delta, Header, Leg, Process};
use crate::nanos;
#[cfg(feature = "proxy")]
use crate::tcp_info::TcpInfo;

/// A sample of an open pair: bytes so far, and TCP information that has changed since its previous
/// sample. The same at every level of detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Sample {
    /// Identifies the run and the pair.
    #[serde(flatten)]
    pub header: Header,
    /// From accept until now, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// Why the sample was taken.
    pub reason: SampleReason,
    /// The socket that the reason is about. Null with `interval` and `quiet`.
    pub leg: Option<Leg>,
    /// The local program that is the client. Null when that is not known, or not yet.
    pub process: Option<SampledProcess>,
    /// The socket to the client.
    pub client: SampledLeg,
    /// The socket to the upstream, or to the parent proxy.
    pub upstream: SampledLeg,
    /// Who is waited for now, as far as that can be told before the wait is over. Null if it
    /// cannot: when the answer may go on, after a request where turns are
    /// `mixed`, or before any data.
    pub waiting_for: Option<WaitingFor>,
    /// Bytes since this pair's previous `open` or `sample` line.
    pub delta: Delta,
    /// 1, 2, 3… of the lines of this run; the last key.
    pub line: u64,
}

/// A [`Process`] in samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SampledProcess {
    /// PID of the program. Null if the process could not be inspected.
    pub pid: Option<u32>,
    /// Its short name. Null with `pid`.
    pub name: Option<String>,
}

impl From<&Process> for SampledProcess {
    fn from(process: &Process) -> Self {
        Self { pid: process.pid, name: process.name.clone() }
    }
}

/// Why a sample was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum SampleReason {
    /// The interval has elapsed, and bytes have passed or wait.
    Interval,
    /// Nothing has passed or waited since the pair's previous sample, for a minute or the interval if
    /// that is longer.
    Quiet,
    /// The peer began to announce a window of zero: it accepts no more data. Linux 5.19
    /// (`tcpi_snd_wnd`).
    ZeroWindow,
    /// The retransmission timer expired, for the first time since an acknowledgement. Linux 6.7
    /// (`tcpi_total_rto_recoveries`).
    RetransmissionTimeout,
    /// Bytes wait for this peer, and it has acknowledged nothing for more than a second. Linux.
    Stall,
}

/// A wait in progress.
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
    /// The client accepts no more.
    Client,
    /// The upstream has a request and has not answered yet, or accepts no more of it.
    Upstream,
    /// The path to the client: what was sent is not acknowledged.
    NetworkClient,
    /// The path to the upstream.
    NetworkUpstream,
    /// Nobody: the last answer is at least five seconds old, or only the client sends data, at its
    /// own pace.
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
    /// Time so far in which bytes waited because this socket was not writable, ns. Never null.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub write_blocked: Option<Duration>,
    /// Current TCP information, without `sysInfo`: the keys whose value has changed since the
    /// pair's previous sample; in the first sample, all. Null if the kernel gave none, and for a
    /// client whose connection another pair uses (`previous`).
    #[cfg_attr(feature = "schema", schemars(schema_with = "changed_info"))]
    pub info: Option<Map<String, Value>>,
}

/// The keys of a `TcpInfo`, none of them required.
#[cfg(feature = "schema")]
pub(super) fn changed_info(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
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

/// What a sample tells of TCP information: all keys but those of `sysInfo`.
#[cfg(feature = "proxy")]
pub(crate) fn sampled_keys(info: &TcpInfo) -> Map<String, Value> {
    let mut info = info.clone();
    info.sys_info.retain_fields(|_| false);
    let mut keys = info.to_map();
    keys.remove("sysInfo");
    keys.remove("sysInfoLength");
    keys
}

/// The keys whose value differs from the one before, or that were not there.
#[cfg(feature = "proxy")]
pub(crate) fn changes(before: &Map<String, Value>, now: &Map<String, Value>) -> Map<String, Value> {
    let is_news = |(key, value): &(&String, &Value)| before.get(*key) != Some(value);
    now.iter().filter(is_news).map(|(key, value)| (key.clone(), value.clone())).collect()
}
