//! Connection states under one set of names for all systems.

use serde::{Deserialize, Serialize};

/// A connection's state (RFC 9293 section 3.3.2), under the names that Linux's tools print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum State {
    /// Open, data may flow both ways.
    Established,
    /// A connection request has been sent.
    SynSent,
    /// A connection request has been received and answered.
    SynRecv,
    /// Our end of stream is sent and not yet acknowledged.
    #[serde(rename = "FIN_WAIT1")]
    FinWait1,
    /// Our end of stream is acknowledged, the peer's has not come.
    #[serde(rename = "FIN_WAIT2")]
    FinWait2,
    /// Both sides have ended; waiting for stray packets to die.
    TimeWait,
    /// No connection: never opened, reset, timed out, or ended.
    Close,
    /// The peer's end of stream has come, ours is not sent.
    CloseWait,
    /// The peer ended first, our end of stream waits for its acknowledgement.
    LastAck,
    /// Waiting for connection requests.
    Listen,
    /// Both ended at once, our end of stream waits for its acknowledgement.
    Closing,
    /// Linux: a request in the accept queue that has no socket of its own yet.
    NewSynRecv,
}

impl State {
    /// Linux `include/net/tcp_states.h`. `None` for 0, which no socket has, and for numbers that
    /// came later than this list.
    pub(crate) fn from_linux(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            12 => Self::NewSynRecv,
            _ => return None,
        })
    }

    /// FreeBSD and macOS `netinet/tcp_fsm.h`.
    pub(super) fn from_bsd(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Close,
            1 => Self::Listen,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::Established,
            5 => Self::CloseWait,
            6 => Self::FinWait1,
            7 => Self::Closing,
            8 => Self::LastAck,
            9 => Self::FinWait2,
            10 => Self::TimeWait,
            _ => return None,
        })
    }

    /// Windows `TCPSTATE` of `mstcpip.h`.
    pub(super) fn from_windows(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Close,
            1 => Self::Listen,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::Established,
            5 => Self::FinWait1,
            6 => Self::FinWait2,
            7 => Self::CloseWait,
            8 => Self::Closing,
            9 => Self::LastAck,
            10 => Self::TimeWait,
            _ => return None,
        })
    }
}
