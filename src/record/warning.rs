//! Warnings, as objects that a filter can select by code.

use serde::{Deserialize, Serialize};

/// One warning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Warning {
    /// Code of the warning.
    pub code: WarningCode,
    /// The socket that it was seen on. Null when it concerns the pair.
    pub leg: Option<Leg>,
    /// The value, in `unit`.
    pub value: u64,
    /// Unit of the value: `segments`, `packets`, `timeouts`, `bytes`, `options`, `responses`, `ns`.
    pub unit: String,
    /// The warning in words.
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
    /// Segments were retransmitted, not counting SYNs.
    Retransmits,
    /// The retransmission timer expired, not counting SYNs. Linux (`tcpi_total_rto`).
    RetransmissionTimeouts,
    /// Packets arrived out of order: earlier ones were lost or overtaken. Linux.
    OutOfOrder,
    /// The peer's receive window was closed for 200 ms or more at a stretch: its program does not
    /// read. Samples of the socket found it closed (zero, or bytes to send and none in flight)
    /// while bytes waited, or at close. The value is the longest such wait, as far as the kernel
    /// charges it to the window. Linux (`tcpi_snd_wnd`, `tcpi_rwnd_limited`).
    ZeroWindow,
    /// The peer's receive window was the limit for 200 ms or more, and for a fifth of the time in
    /// which there was data to send, but was never found closed: it is smaller than the path needs.
    /// Its program has a small receive buffer, or reads just slower than the path brings. Linux
    /// (`tcpi_rwnd_limited`).
    WindowLimited,
    /// Our segments are smaller than the path's packets allow, by more than any headers: the peer
    /// or something between announces or probes less. Not reported on loopback. Linux
    /// (`tcpi_snd_mss`, `tcpi_pmtu`).
    #[serde(rename = "smallMSS")]
    SmallMss,
    /// No window scaling (RFC 7323). Not reported on Windows.
    NoWindowScaling,
    /// No selective acknowledgements (RFC 2018). Not reported on Windows.
    #[serde(rename = "noSACK")]
    NoSack,
    /// No timestamps (RFC 7323); Windows does not use them by default. Not reported on Windows.
    NoTimestamps,
    /// ECN was negotiated (RFC 3168), but no data segment came marked as capable of it: something
    /// between clears the marks. Reported from 10 data segments on. Linux.
    EcnBleached,
    /// Our SYNs were retransmitted, including those of failed attempts; on the client's socket, our
    /// SYN-ACKs.
    SynRetransmits,
    /// The client waited 20 ms or more in the accept queue.
    AcceptQueue,
    /// The wall clock moved against the monotonic one by 100 ms or more while the pair was open:
    /// it was set, or the machine slept.
    ClockStep,
    /// Bytes were left in the send queue when the socket was closed; what became of them is unknown.
    QueueNotEmptied,
    /// In http mode, bytes came after the last request of a connection; they were discarded.
    BytesAfterRequest,
    /// In http mode, the upstream sent bytes that answer no request; they were discarded, and its
    /// connection was closed.
    BytesAfterResponse,
    /// In http mode, the upstream closed its connection without a response, or sent no HTTP/1 head that
    /// can be read in one way only; the client got the proxy's own 502 instead. `ending.error` says why.
    ResponseNotHttp,
}
