//! What arrived: bytes written to a socket, and what its peer's kernel acknowledged of them.

use serde::{Deserialize, Serialize};

/// What arrived, in each direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Delivery {
    /// What was sent to the upstream. Null without one.
    pub to_upstream: Option<Delivered>,
    /// What was sent to the client. Never null today.
    pub to_client: Option<Delivered>,
}

/// What became of the bytes written to one socket. That the peer's kernel acknowledged them does
/// not prove that its program read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Delivered {
    /// Bytes that our kernel took: the leg's `txBytes`.
    pub written: u64,
    /// Bytes that the peer's kernel acknowledged, SYN and FIN taken off (Linux 4.1:
    /// `tcpi_bytes_acked`). Null where the system does not tell, and while the pair is open. A peer
    /// that resets may have got more: a reset acknowledges nothing.
    pub acked: Option<u64>,
    /// Bytes that never were acknowledged. Known once the send queue is empty or the connection is
    /// gone; null before, and a warning says how much is in the queue.
    pub undelivered: Option<u64>,
}

/// Bytes relayed since the pair's previous line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Delta {
    /// Bytes written to the upstream.
    pub to_upstream: u64,
    /// Bytes written to the client.
    pub to_client: u64,
}
