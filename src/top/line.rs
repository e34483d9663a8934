//! What the screen takes from a line of the records, at any level of detail.
//!
//! `record::BriefLine` has it as well, but its tag and its flattened header make serde build every line
//! twice: 1,000 lines a second would take several times the processor time. Unknown events and keys are skipped.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::record::{How, LimitedBy, Mode, Origin, Outcome, WaitingFor, time};
use crate::tcp_info::State;

/// A line, as far as the screen shows it. Keys that its event does not have are `None` or 0.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SeenLine {
    pub(super) event: Event,
    #[serde(with = "time")]
    pub(super) time: Timestamp,
    pub(super) run_id: Uuid,
    pub(super) seq: u64,
    pub(super) mode: Option<Mode>,
    pub(super) client_host: Option<String>,
    pub(super) client_port: Option<u16>,
    pub(super) target: Option<String>,
    /// From accept until now, ns; of a turn, its own.
    pub(super) duration: u64,
    pub(super) process: Option<SeenProcess>,
    pub(super) client: Option<SeenLeg>,
    pub(super) upstream: Option<SeenLeg>,
    /// Of a watched socket.
    pub(super) socket: Option<SeenLeg>,
    pub(super) origin: Option<Origin>,
    /// How long a watched socket can have been open before `duration`, ns. `None` if it is older than the watch.
    pub(super) seen_after: Option<u64>,
    pub(super) delta: Option<SeenDelta>,
    pub(super) reason: Option<SeenReason>,
    pub(super) waiting_for: Option<WaitingFor>,
    pub(super) outcome: Option<Outcome>,
    pub(super) ending: Option<SeenEnding>,
    /// Of a turn: when it began, Unix ns.
    pub(super) at: i64,
    pub(super) wait: u64,
    pub(super) request_bytes: u64,
    pub(super) answer_bytes: u64,
    pub(super) limited_by: Option<LimitedBy>,
    /// Of `start` lines; a watch has none.
    pub(super) listeners: Option<Vec<serde::de::IgnoredAny>>,
    /// Of `refused` lines: how many connections.
    pub(super) count: u64,
    /// Of `overflow` lines: how often the kernel has dropped events in this run.
    pub(super) overflows: u64,
}

/// The kind of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Event {
    Start,
    Open,
    Sample,
    Turn,
    Close,
    Refused,
    /// The connection of a watched socket has ended.
    Socket,
    SocketSample,
    Overflow,
    Stop,
    /// Of `conniver stat`.
    Stat,
    #[default]
    #[serde(other)]
    Other,
}

/// Why a sample was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum SeenReason {
    Interval,
    Quiet,
    /// Something began between two intervals.
    #[serde(other)]
    Between,
}

/// Bytes since the line before: of a connection, or of a watched socket.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SeenDelta {
    to_upstream: u64,
    to_client: u64,
    tx: u64,
    rx: u64,
}

impl SeenDelta {
    /// Bytes sent to the upstream or the peer.
    pub(super) fn sent(self) -> u64 {
        self.to_upstream + self.tx
    }

    /// Bytes received from it.
    pub(super) fn received(self) -> u64 {
        self.to_client + self.rx
    }
}

/// The local program that is the client, or has the watched socket.
#[derive(Debug, Deserialize)]
pub(super) struct SeenProcess {
    pub(super) pid: Option<u32>,
    pub(super) name: Option<String>,
}

/// One socket.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SeenLeg {
    pub(super) local_addr: Option<SocketAddr>,
    pub(super) remote_addr: Option<SocketAddr>,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    pub(super) write_blocked: Option<u64>,
    pub(super) lost: Option<u64>,
    pub(super) info: Option<SeenInfo>,
    pub(super) opened_info: Option<SeenInfo>,
    pub(super) closed_info: Option<SeenInfo>,
}

/// TCP information; in samples, what has changed.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SeenInfo {
    pub(super) state: Option<State>,
    pub(super) rtt: Option<u64>,
    pub(super) rtt_var: Option<u64>,
    pub(super) rto: Option<u64>,
    pub(super) rx_window: Option<u64>,
    pub(super) tx_c_window_segs: Option<u64>,
    pub(super) retransmits: Option<u64>,
    /// Ages of the last data, ns.
    pub(super) last_tx_at: Option<u64>,
    pub(super) last_rx_at: Option<u64>,
}

/// How a connection ended.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SeenEnding {
    pub(super) error_code: Option<String>,
    /// Of a watched socket.
    pub(super) how: Option<How>,
    /// Of a watched socket: its state in the last dump that showed it.
    pub(super) state: Option<State>,
}

impl SeenLine {
    /// When the line was made, Unix ns.
    pub(super) fn made_at(&self) -> i64 {
        i64::try_from(self.time.as_nanosecond()).unwrap_or(i64::MAX)
    }

    pub(super) fn age(&self) -> Duration {
        Duration::from_nanos(self.duration)
    }
}
