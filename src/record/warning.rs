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
    /// Of what: `segments`, `packets`, `timeouts`, `bytes`, `options`, `responses`, `ns`.
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
    /// Segments were sent again, SYNs not counted.
    Retransmits,
    /// The retransmission timer ran out, for SYNs not counted. Linux (`tcpi_total_rto`).
    RetransmissionTimeouts,
    /// Packets came out of order: some before them were lost or overtaken. Linux.
    OutOfOrder,
    /// The peer's receive window was closed for 200 ms or more on end: its program does not read.
    /// Looks at the socket found it closed (zero, or bytes to send and none in flight) while bytes
    /// waited for it to take them, or at its close; that is the longest such wait, as far as the kernel
    /// charges it to the window. Linux (`tcpi_snd_wnd`, `tcpi_rwnd_limited`).
    ZeroWindow,
    /// The peer's receive window held us for 200 ms or more, and for a fifth of the time in which there was
    /// something to send, but was never found closed: it is smaller than the path needs. Its program has a
    /// small receive buffer, or reads just slower than the path brings. Linux (`tcpi_rwnd_limited`).
    WindowLimited,
    /// Our segments are smaller than the path's packets allow, by more than any headers: the peer
    /// or something between announces or probes less. Not told of loopback. Linux (`tcpi_snd_mss`,
    /// `tcpi_pmtu`).
    #[serde(rename = "smallMSS")]
    SmallMss,
    /// Windows are not scaled (RFC 7323). Not told on Windows.
    NoWindowScaling,
    /// There are no selective acknowledgements (RFC 2018). Not told on Windows.
    #[serde(rename = "noSACK")]
    NoSack,
    /// There are no timestamps (RFC 7323); Windows' programs use none unless they are told to. Not
    /// told on Windows.
    NoTimestamps,
    /// ECN was agreed on (RFC 3168), but no data segment came marked as capable of it: something
    /// between clears the marks. Told from 10 data segments on. Linux.
    EcnBleached,
    /// Our SYNs had to be sent again, those of attempts that failed as well; on the client's socket,
    /// our SYN-ACKs.
    SynRetransmits,
    /// The client waited to be accepted, 20 ms or more.
    AcceptQueue,
    /// The wall clock moved against the monotonic one by 100 ms or more while the pair was open:
    /// it was set, or the machine slept.
    ClockStep,
    /// Bytes were left in the send queue when the socket was closed; what became of them is unknown.
    QueueNotEmptied,
    /// In http mode, bytes came behind the one request that a connection may carry; they were
    /// discarded.
    BytesAfterRequest,
    /// In http mode, the upstream sent bytes behind its one response; they were discarded.
    BytesAfterResponse,
    /// In http mode, what the upstream sent has no HTTP/1 head that can be read in one way only; the
    /// client got the proxy's own 502 instead. `ending.error` says why.
    ResponseNotHttp,
}
