//! Who was slow.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nanos;

/// Who kept whom waiting, over all the time in which somebody waited: from the client's acceptance over
/// looking up and connecting to the end of the last wait, whoever ended it. What follows an answer until the
/// next request is idle time, and nobody's.
///
/// The relay's own waits decide, and what the kernel knows of the sockets divides them: `docs/verdict.md` says
/// what is charged to whom. A share below one half, or less than 50 ms in all, is too little to tell.
///
/// Of a `stat` line it is who limited the exchange, to the response's last byte: the client is conniver itself,
/// at work or standing still, and there is no proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Verdict {
    /// Who it was.
    pub limited_by: LimitedBy,
    /// Its share of `active`, 0.5 to 1.0. Null with `none`.
    pub share: Option<f64>,
    /// The direction of what was waited for longest of all that is charged to it. Null with `none`,
    /// `resolver` and `proxy`, and where that is connecting alone.
    pub direction: Option<Direction>,
    /// The time in which somebody waited, ns. With `time.idle` it is the time from the pair's beginning to the
    /// end of the last wait.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub active: Duration,
    /// What `active` was spent on.
    pub time: VerdictTime,
    /// Which end's figures it rests on. Null where `direction` is, and with a `stat` line's `client`.
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
    /// The resolver: a name was looked up.
    Resolver,
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

/// Time charged to each, ns. Every moment is charged once; all but `idle` make up `active`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerdictTime {
    /// To the resolver: a name was looked up.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub resolver: Duration,
    /// To the client: it had begun to ask and sent no more, or it took no more of an answer.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub client: Duration,
    /// To the upstream: it had a request and sent nothing, or it took no more of a request.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub upstream: Duration,
    /// To the path to the client: it took no more, packets came out of order, or an answer and the next
    /// request were on it.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub network_client: Duration,
    /// To the path to the upstream: connecting, it took no more, packets came out of order, or a request
    /// and its answer were on it.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub network_upstream: Duration,
    /// To the proxy: all the rest, in which it was at work or stood still.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub proxy: Duration,
    /// To nobody: nothing had been asked for that was not answered.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub idle: Duration,
}

/// What a verdict rests on: the relay's waits, both ways, and figures of the sockets on both ends of the
/// direction that carried most payload.
///
/// Of a pair that carried no payload its times are 0, and what may be null is null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Evidence {
    /// Time in which the relay waited to read, with nothing in hand and nothing unsent, and somebody
    /// waited for it, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub starved: Duration,
    /// Of it: charged to a path, because packets came out of order, late, or a round trip apart, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub starved_by_path: Duration,
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
    /// Of all that is charged: what may have been another one's. It stands with the likelier one, who is not
    /// named for it.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub doubtful: Duration,
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
