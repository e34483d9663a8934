//! Delivery: bytes written to a socket, and those acknowledged by its peer's kernel.

use serde::{Deserialize, Serialize};

/// Delivery in each direction.
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

/// Delivery of the bytes written to one socket.
///
/// An acknowledgement proves that the peer's kernel received the bytes, not that its program read
/// them. Undelivered is an upper bound: bytes whose acknowledgement was lost, or not sent yet when
/// the reset came, are counted although they arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Delivered {
    /// Bytes accepted by our kernel: the leg's `txBytes`.
    pub written: u64,
    /// Bytes that the peer's kernel acknowledged, SYN and FIN taken off (Linux 4.1:
    /// `tcpi_bytes_acked`). Null where the system does not tell, and while the pair is open. A peer
    /// that resets may have received more: a reset acknowledges nothing.
    pub acked: Option<u64>,
    /// Bytes that were never acknowledged, sent or not. Known once the send queue is empty, or the
    /// connection was ended by a reset or a timeout. Null while they may still arrive; a warning
    /// then has their number.
    pub undelivered: Option<u64>,
}

/// Bytes relayed since the pair's previous `open` or `sample` line.
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
