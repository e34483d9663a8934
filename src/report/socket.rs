//! One of a connection's two sockets as far as reports need it.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::nanos;

/// One of the two sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Socket {
    /// The proxy's own address and port.
    pub local_addr: Option<SocketAddr>,
    /// The peer's.
    pub remote_addr: Option<SocketAddr>,
    /// When it was accepted or connected, Unix ns.
    pub opened_at: Option<i64>,
    /// When it was closed, Unix ns.
    pub closed_at: Option<i64>,
    /// First and last bytes read and written, Unix ns.
    pub first_rx_at: Option<i64>,
    /// First bytes written, Unix ns.
    pub first_tx_at: Option<i64>,
    /// Last bytes read, Unix ns.
    pub last_rx_at: Option<i64>,
    /// Last bytes written, Unix ns.
    pub last_tx_at: Option<i64>,
    /// When the peer's end of stream was seen, Unix ns.
    pub rx_eof_at: Option<i64>,
    /// Bytes read.
    pub rx_bytes: u64,
    /// Bytes written.
    pub tx_bytes: u64,
    /// Of `rx_bytes`: what the proxy consumed itself.
    pub own_rx_bytes: u64,
    /// Of `tx_bytes`: what the proxy wrote itself.
    pub own_tx_bytes: u64,
    /// Symbol of the first read error.
    pub rx_err_code: Option<String>,
    /// Symbol of the first write error.
    pub tx_err_code: Option<String>,
    /// Time in which bytes waited for the socket.
    #[serde(with = "nanos::option")]
    pub write_blocked: Option<Duration>,
    /// Segments that were really lost.
    pub lost: Option<u64>,
    /// TCP information at open.
    pub opened_info: Option<OpenFigures>,
    /// From right before the proxy's own end of stream.
    pub eof_info: Option<EofFigures>,
    /// TCP information at close.
    pub closed_info: Option<CloseFigures>,
}

/// TCP information at open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct OpenFigures {
    /// Smoothed round-trip time.
    #[serde(with = "nanos::option")]
    pub rtt: Option<Duration>,
    /// Largest segment that is sent, bytes.
    #[serde(rename = "txMSS")]
    pub tx_mss: Option<u32>,
}

/// Figures from right before the proxy's own end of stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct EofFigures {
    /// Smoothed round-trip time.
    #[serde(with = "nanos::option")]
    pub rtt: Option<Duration>,
    /// Smallest round-trip time.
    #[serde(rename = "minRTT", with = "nanos::option")]
    pub min_rtt: Option<Duration>,
    /// Time with data to send or in flight.
    #[serde(with = "nanos::option")]
    pub busy_time: Option<Duration>,
    /// Part of it limited by the peer's window.
    #[serde(with = "nanos::option")]
    pub rx_window_limited: Option<Duration>,
}

/// TCP information at close.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct CloseFigures {
    /// Smoothed round-trip time.
    #[serde(with = "nanos::option")]
    pub rtt: Option<Duration>,
    /// Its mean deviation.
    #[serde(with = "nanos::option")]
    pub rtt_var: Option<Duration>,
    /// Largest segment that is sent, bytes.
    #[serde(rename = "txMSS")]
    pub tx_mss: Option<u32>,
    /// Segments sent again, SYNs included on Linux.
    pub retransmits: Option<u64>,
    /// Fields of the system's structure.
    pub sys_info: SysFigures,
}

/// Fields of the system's structure at close.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SysFigures {
    /// Smallest round-trip time.
    #[serde(rename = "minRTT", with = "nanos::option")]
    pub min_rtt: Option<Duration>,
    /// Segments with data that were sent.
    pub data_segs_out: Option<u64>,
    /// Segments with data that came.
    pub data_segs_in: Option<u64>,
    /// Packets that came out of order.
    pub rx_out_of_order: Option<u64>,
    /// Expired retransmission timers.
    #[serde(rename = "totalRTO")]
    pub total_rto: Option<u64>,
    /// Delivery rate, bytes/s.
    pub delivery_rate: Option<u64>,
    /// Path MTU, bytes.
    pub pmtu: Option<u64>,
    /// Window that the peer announced last, bytes.
    pub tx_window: Option<u64>,
    /// Time with data to send or in flight.
    #[serde(with = "nanos::option")]
    pub busy_time: Option<Duration>,
    /// Part of it limited by the peer's window.
    #[serde(with = "nanos::option")]
    pub rx_window_limited: Option<Duration>,
    /// Congestion control.
    pub cc_algorithm: Option<String>,
}

impl Socket {
    /// The smoothed round-trip time from before our own end of stream, otherwise at close.
    pub fn undisturbed_rtt(&self) -> Option<Duration> {
        let before_our_end = self.eof_info.as_ref().and_then(|info| info.rtt);
        before_our_end.or_else(|| self.closed_info.as_ref()?.rtt)
    }

    /// The smallest round-trip time.
    pub fn min_rtt(&self) -> Option<Duration> {
        let closed = self.closed_info.as_ref().and_then(|info| info.sys_info.min_rtt);
        closed.or_else(|| self.eof_info.as_ref()?.min_rtt)
    }

    /// Whether the peer is on this machine.
    pub fn is_local(&self) -> bool {
        let [remote, local] =
            [self.remote_addr, self.local_addr].map(|addr| addr.map(|a| a.ip().to_canonical()));
        remote.is_some_and(|ip| ip.is_loopback() || Some(ip) == local)
    }

    /// Segments sent again, without SYNs as far as `syns` tells.
    pub fn retransmits(&self, syns: u64) -> Option<u64> {
        Some(self.closed_info.as_ref()?.retransmits?.saturating_sub(syns))
    }

    /// Bytes that were received but not for the proxy itself.
    pub fn payload_rx(&self) -> u64 {
        self.rx_bytes.saturating_sub(self.own_rx_bytes)
    }

    /// Bytes that were sent but not by the proxy itself.
    pub fn payload_tx(&self) -> u64 {
        self.tx_bytes.saturating_sub(self.own_tx_bytes)
    }
}
