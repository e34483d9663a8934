//! Who was slow.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nanos;

/// Who limited the transfer, in the direction that carried most payload, between its first and its
/// last payload byte. The relay's own waits decide; the kernel's timers only divide them.
///
/// A share below one half, or less than 50 ms in all, is too little to tell.
///
/// Of a `stat` line it is who limited the exchange, from the request's first byte to the response's last:
/// the client is conniver itself, at work or standing still, and there is no proxy. An upstream's wait to
/// answer is its own but for the smallest round-trip time (`minRTT`), which the path takes at least.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Verdict {
    /// Who it was.
    pub limited_by: LimitedBy,
    /// Its share of `active`, 0.5 to 1.0. Null with `none`.
    pub share: Option<f64>,
    /// The direction that was looked at. Null when nothing was carried.
    pub direction: Option<Direction>,
    /// From the first payload byte that the relay read in this direction to the last that it wrote,
    /// ns. Of a `stat` line, from its request's beginning to the last byte of the response.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub active: Duration,
    /// What `active` was spent on.
    pub time: VerdictTime,
    /// Which end's figures it rests on. Null with `none` and
    /// `proxy`, and with a `stat` line's `client`.
    pub basis: Option<Basis>,
    /// The figures that it rests on.
    pub evidence: Evidence,
}

/// Who limited a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LimitedBy {
    /// The client; with basis `receiver` the client or the path to it.
    Client,
    /// The upstream; with basis `receiver` the upstream or the path to it.
    Upstream,
    /// The path to the client.
    NetworkClient,
    /// The path to the upstream.
    NetworkUpstream,
    /// The proxy: it was at work, or stood still.
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
    /// To the client: it sent nothing, or took nothing.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub client: Duration,
    /// To the upstream: it sent nothing, or took nothing.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub upstream: Duration,
    /// To the path to the client: it took no more, or packets came out of order.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub network_client: Duration,
    /// To the path to the upstream: it took no more, packets came out of order, or, in `stat`, a
    /// request and its answer were on it.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub network_upstream: Duration,
    /// To the proxy: all the rest, in which it was at work or stood still.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub proxy: Duration,
}

/// What a verdict rests on: the relay's waits in the direction that was looked at, and figures of the
/// sockets on both ends of it.
///
/// Of a pair that carried no payload there is nothing to look at: its times are 0, and what may be null
/// is null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Evidence {
    /// Time in which the relay waited to read, with nothing in hand and nothing unsent, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub starved: Duration,
    /// Of it: until the receiver last sent something, such as a request, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub starved_by_receiver: Duration,
    /// Of it: for the sender, while packets came from it out of order or marked for congestion, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub starved_out_of_order: Duration,
    /// Time in which bytes were in hand, or in the sending socket and unsent, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub blocked: Duration,
    /// Of it: held by the receiver's window, ns, as looks at the sending socket found it: less than half of
    /// the widest that it had announced, or less than the congestion window and three quarters full
    /// (`tcpi_snd_wnd`), or counted by the kernel (`tcpi_rwnd_limited`); and nothing was missing of what
    /// the receiver had got (`tcpi_sacked`, `tcpi_total_retrans`).
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub blocked_by_window: Duration,
    /// The sending socket's time with data to send or in flight, ns (`tcpi_busy_time`).
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub busy_time: Duration,
    /// Of it: time in which the receiver's window held it, ns (`tcpi_rwnd_limited`).
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub rx_window_limited: Duration,
    /// Of it: time in which its own buffer held it, ns (`tcpi_sndbuf_limited`). Null on kernels
    /// that do not count it, and without payload.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub tx_buffer_limited: Option<Duration>,
    /// Segments that the sending socket sent again. Null where the system does not tell, and without
    /// payload.
    pub retransmits: Option<u64>,
    /// Packets that the receiving socket got out of order. Linux 5.4 (`tcpi_rcv_ooopack`). Null on older
    /// kernels, and without payload.
    pub rx_out_of_order: Option<u32>,
    /// Packets that it got with a congestion mark (`tcpi_received_ce`). Null on kernels that do not
    /// count them, and without payload.
    #[serde(rename = "receivedCE")]
    pub received_ce: Option<u32>,
}
