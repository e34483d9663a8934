//! Who was slow.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nanos;

/// Who limited the transfer, in the direction that carried most payload, between its first and its
/// last payload byte. The relay's own waits decide; the kernel's timers only divide them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Verdict {
    /// Who it was.
    pub limited_by: LimitedBy,
    /// Its share of `active`, 0.0 to 1.0. Null with `none`.
    pub share: Option<f64>,
    /// The direction that was looked at. Null when nothing was carried.
    pub direction: Option<Direction>,
    /// From the direction's first payload byte to its last, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub active: Duration,
    /// What `active` was spent on.
    pub time: VerdictTime,
    /// Which end's figures it rests on. Null with `none`.
    pub basis: Option<Basis>,
    /// The figures that it rests on.
    pub evidence: BTreeMap<String, Option<f64>>,
}

/// Who limited a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LimitedBy {
    /// The client.
    Client,
    /// The upstream.
    Upstream,
    /// The path to the client.
    NetworkClient,
    /// The path to the upstream.
    NetworkUpstream,
    /// The proxy.
    Proxy,
    /// Nobody stands out, or there is too little to tell.
    None,
}

/// A direction of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Direction {
    /// From the client to the upstream.
    ToUpstream,
    /// From the upstream to the client.
    ToClient,
}

/// What a verdict rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Basis {
    /// Figures of the socket that sends, where path and peer can be told apart.
    Sender,
    /// Figures of the socket that receives, where they cannot.
    Receiver,
}

/// Time charged to each, ns; together `active`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerdictTime {
    /// To the client.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub client: Duration,
    /// To the upstream.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub upstream: Duration,
    /// To the path to the client.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub network_client: Duration,
    /// To the path to the upstream.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub network_upstream: Duration,
    /// To the proxy.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub proxy: Duration,
}
