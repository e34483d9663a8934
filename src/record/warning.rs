//! What deserves a look, as objects that a filter can select by code.

use serde::{Deserialize, Serialize};

/// One thing that deserves a look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Warning {
    /// What it is.
    pub code: WarningCode,
    /// The socket that it was seen on. Null when it concerns the pair.
    pub leg: Option<Leg>,
    /// How much.
    pub value: u64,
    /// Of what: `segments`, `packets`, `timeouts`, `bytes`, `responses`, `ns`.
    pub unit: String,
    /// The same in words.
    pub text: String,
}

/// One of the two sockets of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Leg {
    /// The one to the client.
    Client,
    /// The one to the upstream.
    Upstream,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum WarningCode {
    /// Segments were sent again.
    Retransmits,
    /// The retransmission timer ran out.
    RetransmissionTimeouts,
    /// Packets came out of order.
    OutOfOrder,
    /// Our SYN had to be sent again.
    SynRetransmits,
    /// The client waited to be accepted.
    AcceptQueue,
    /// Bytes were left in the send queue when the socket was closed; what became of them is unknown.
    QueueNotEmptied,
    /// In http mode, bytes came behind the one request that a connection may carry; they were
    /// discarded.
    BytesAfterRequest,
    /// In http mode, what the upstream sent has no HTTP/1 head; it was passed on as it came.
    ResponseNotHttp,
}
