//! The phases of a connection and its attempts to reach the upstream.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nanos;

/// Durations of what came before the data, ns. A phase that began has its duration, whether it
/// succeeded or not; one that never began is null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Phases {
    /// From the client's handshake to our accept, ns. Linux (`tcpi_last_data_sent` before any write),
    /// in steps of the kernel's clock, some ms.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub accept_queue: Option<Duration>,
    /// From accept until the client's request, or its PROXY protocol header, was complete, ns. Null
    /// if there is none to read.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub request: Option<Duration>,
    /// The look-up of the target's name, ns; with a parent proxy, of the names that are looked up
    /// here. Null unless one was made.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub resolve: Option<Duration>,
    /// From the start of the first attempt to the end of the winning one, or to giving up, ns. With
    /// a parent proxy, to its answer. Null when nothing was dialled.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub connect: Option<Duration>,
    /// From the upstream's connection, or the parent proxy's answer, to the target's first byte, ns; when
    /// none came, to the end of the target's stream or connection, or else of the pair. Null when the
    /// target was not reached, and while the pair is open and none has come.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub first_byte: Option<Duration>,
    /// From the first byte that the upstream was sent to its own first byte after it, ns; when none came,
    /// as long as `firstByte` lasts. Null when it was sent nothing, when it spoke first or had ended its
    /// stream before, and while the pair is open and none has come.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub response: Option<Duration>,
}

/// Where the upstream's addresses came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ResolveSource {
    /// The system's resolver was asked, for this pair or for another one at the same time.
    Lookup,
    /// The answer to an earlier look-up was used; it serves for 5 s.
    Cache,
    /// The target was an address, or `localhost` where the hosts file does not have it.
    Literal,
    /// The look-up failed.
    Failed,
}

/// One attempt to connect to one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Attempt {
    /// The address and port dialled.
    pub addr: SocketAddr,
    /// From the first attempt's beginning to this one's, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub started_after: Duration,
    /// How long it took, ns.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub duration: Duration,
    /// How it went.
    pub outcome: AttemptOutcome,
    /// Retransmitted SYNs, from the socket at the end of the attempt (Linux: `tcpi_total_retrans`,
    /// Windows: `SynRetrans`). Null where the system does not tell.
    pub syn_retransmits: Option<u64>,
    /// What went wrong, in words. Null when nothing did.
    pub error: Option<String>,
    /// Its symbol, such as `ECONNREFUSED` or `CONNECT_TIMEOUT`. Null with `error`.
    pub error_code: Option<String>,
}

/// How an attempt to connect went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// It connected.
    Ok,
    /// It failed, or its time limit expired.
    Error,
    /// It was cancelled: another one won, or the client had gone.
    Cancelled,
}
