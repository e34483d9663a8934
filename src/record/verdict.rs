//! The verdict: who was slow.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nanos;

/// Who was waited for, over all the time in which somebody waited: from accept, through name
/// resolution and connecting, to the end of the last wait. The time from an answer to the next
/// request is idle, and charged to nobody.
///
/// It is based on the relay's own waits, divided by the kernel's figures of the sockets:
/// `docs/verdict.md` says what is charged to whom. Nobody is named for a share below one half, or
/// for less than 50 ms in total.
///
/// In a `stat` line it covers the exchange to the response's last byte: the client is conniver
/// itself, and there is no proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Verdict {
    /// Who it was.
    pub limited_by: LimitedBy,
    /// Its share of `active`, 0.5 to 1.0. Null with `none`.
    pub share: Option<f64>,
    /// The direction of the largest part of the time charged to `limitedBy`. Null with `none`,
    /// `resolver` and `proxy`, and where that is connecting alone.
    pub direction: Option<Direction>,
    /// The time in which somebody waited, ns. With `time.idle` it is the time from the pair's beginning to the
    /// end of the last wait.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub active: Duration,
    /// What `active` was spent on.
    pub time: VerdictTime,
    /// Which end's figures it is based on. Null where `direction` is, and with a `stat` line's
    /// `client`.
    pub basis: Option<Basis>,
    /// The figures that it is based on.
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
    /// The proxy: it was working, or was stalled.
    Proxy,
    /// Nobody took half of the time, or there was too little time.
    None,
}

impl LimitedBy {
    /// Minimum active time for a verdict: with less, nobody is named. The kernel counts in steps of 4 or 10 ms,
    /// and a busy machine delays wake-ups by as much. A short exchange without pauses stays below it.
    pub const MIN_ACTIVE: Duration = Duration::from_millis(50);

    /// Everybody, and nobody.
    pub const ALL: &[Self] = &[
        Self::Client,
        Self::Upstream,
        Self::NetworkClient,
        Self::NetworkUpstream,
        Self::Resolver,
        Self::Proxy,
        Self::None,
    ];

    /// Who it is, in a sentence: `the network to the client`.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Client => "the client",
            Self::Upstream => "the upstream",
            Self::NetworkClient => "the network to the client",
            Self::NetworkUpstream => "the network to the upstream",
            Self::Resolver => "the resolver",
            Self::Proxy => "the proxy",
            Self::None => "nobody",
        }
    }
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

/// The basis of a verdict.
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
    /// To the client: it had begun a request and sent no more of it, or it accepted no more of an
    /// answer.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub client: Duration,
    /// To the upstream: it had a request and sent nothing, or it accepted no more of a request.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub upstream: Duration,
    /// To the path to the client: it accepted no more, packets were reordered, or data was in
    /// transit.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub network_client: Duration,
    /// To the path to the upstream: connecting, it accepted no more, packets were reordered, or
    /// data was in transit.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub network_upstream: Duration,
    /// To the proxy: the remaining time, in which it was working or stalled.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub proxy: Duration,
    /// To nobody: there was no unanswered request.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub idle: Duration,
}

/// The evidence of a verdict: the relay's waits in both directions, and figures of the sockets at
/// both ends of the direction with most payload.
///
/// Without payload, times of sockets are 0 and nullable figures are null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Evidence {
    /// Time in which the relay waited to read, with nothing pending or unsent, and somebody waited
    /// for the data, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub starved: Duration,
    /// Part of `starved` charged to a path, because packets were reordered, late, or one round trip
    /// apart, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub starved_by_path: Duration,
    /// Time in which bytes were pending, or unsent in the socket, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub blocked: Duration,
    /// Part of `blocked` limited by the receiver's window, ns, by samples of the sending socket:
    /// less than half of the widest that it had announced, or less than the congestion window and
    /// three quarters full (`tcpi_snd_wnd`), or counted by the kernel (`tcpi_rwnd_limited`); and no
    /// packet was missing at the receiver (`tcpi_sacked`, `tcpi_total_retrans`).
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub blocked_by_window: Duration,
    /// Charged time that is uncertain, ns. It is charged to the likelier cause, but does not count
    /// towards naming it.
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
    /// Segments that the sending socket retransmitted. Null where the system does not tell, and
    /// without payload.
    pub retransmits: Option<u64>,
    /// Packets that the receiving socket got out of order. Linux 5.4 (`tcpi_rcv_ooopack`). Null on older
    /// kernels, and without payload.
    pub rx_out_of_order: Option<u32>,
    /// Packets that it got with a congestion mark (`tcpi_received_ce`). Null on kernels that do not
    /// count them, and without payload.
    #[serde(rename = "receivedCE")]
    pub received_ce: Option<u32>,
}
