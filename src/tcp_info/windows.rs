//! Windows: `TCP_INFO_v0` and `TCP_INFO_v1` of `mstcpip.h` (`SIO_TCP_INFO`).

use std::time::Duration;

use super::read::*;
use super::table::sys_info;
use super::{State, TcpInfo, TcpOption, warnings};

sys_info! {
    /// Windows's `TCP_INFO_v1`, of which `TCP_INFO_v0` is the first 88 bytes; each field under the
    /// Go package's key.
    ///
    /// A field is `None` when the structure ends before it, and when its value means "not known";
    /// in JSON the first is left out and the second is null.
    pub struct WindowsInfo;
    kernel {
        /// Connection state (`State`).
        state: State = "state", "State", WindowsState at 0;
        /// Largest segment, bytes (`Mss`).
        mss: u32 = "mss", "Mss", U32 at 4;
        /// Age of the connection, ns (`ConnectionTimeMs`).
        connected_time: Duration = "connectedTimeNS", "ConnectionTimeMs", Millis64 at 8;
        /// Timestamps are in use (`TimestampsEnabled`).
        timestamps_enabled: bool = "timestampsEnabled", "TimestampsEnabled", Bool at 16;
        /// Smoothed round-trip time, ns (`RttUs`). Null without a sample.
        rtt: Duration = "rtt", "RttUs", MicrosIfAny at 20;
        /// Smallest round-trip time, ns (`MinRttUs`). Null without a sample.
        rtt_min: Duration = "rttMin", "MinRttUs", MinMicros at 24;
        /// Bytes in flight (`BytesInFlight`).
        bytes_in_flight: u32 = "bytesInFlight", "BytesInFlight", U32 at 28;
        /// Congestion window, bytes (`Cwnd`).
        congestion_window: u32 = "congestionWindow", "Cwnd", U32 at 32;
        /// Window that the peer announces, bytes (`SndWnd`).
        tx_window: u32 = "txWindow", "SndWnd", U32 at 36;
        /// Window that we announce, bytes (`RcvWnd`).
        rx_window: u32 = "rxWindow", "RcvWnd", U32 at 40;
        /// Receive buffer, bytes (`RcvBuf`).
        rx_buffer: u32 = "rxBuffer", "RcvBuf", U32 at 44;
        /// Bytes sent (`BytesOut`).
        tx_bytes: u64 = "txBytes", "BytesOut", U64 at 48;
        /// Bytes received (`BytesIn`).
        rx_bytes: u64 = "rxBytes", "BytesIn", U64 at 56;
        /// Bytes that came out of order (`BytesReordered`).
        rx_out_of_order_bytes: u32 = "rxOutOfOrderBytes", "BytesReordered", U32 at 64;
        /// Bytes retransmitted (`BytesRetrans`).
        tx_retransmit_bytes: u32 = "txRetransmitBytes", "BytesRetrans", U32 at 68;
        /// Fast retransmissions, events (`FastRetrans`).
        fast_retransmissions: u32 = "fastRetransmissions", "FastRetrans", U32 at 72;
        /// Duplicate acknowledgements received (`DupAcksIn`).
        duplicate_acks_in: u32 = "duplicateAcksIn", "DupAcksIn", U32 at 76;
        /// Retransmission time-outs, episodes (`TimeoutEpisodes`).
        timeout_episodes: u32 = "timeoutEpisodes", "TimeoutEpisodes", U32 at 80;
        /// Retransmitted SYNs (`SynRetrans`).
        syn_retransmissions: u8 = "synRetransmissions", "SynRetrans", U8 at 84;
        /// Times that the peer's window began to hold us (`SndLimTransRwin`).
        snd_lim_trans_rwin: u32 = "sndLimTransRwin", "SndLimTransRwin", U32 at 88;
        /// Time that it held us, ns (`SndLimTimeRwin`, ms).
        snd_lim_time_rwin: Duration = "sndLimTimeRwin", "SndLimTimeRwin", Millis at 92;
        /// Bytes sent meanwhile (`SndLimBytesRwin`).
        snd_lim_bytes_rwin: u64 = "sndLimBytesRwin", "SndLimBytesRwin", U64 at 96;
        /// Times that the congestion window began to hold us (`SndLimTransCwnd`).
        snd_lim_trans_cwnd: u32 = "sndLimTransCwnd", "SndLimTransCwnd", U32 at 104;
        /// Time that it held us, ns (`SndLimTimeCwnd`, ms).
        snd_lim_time_cwnd: Duration = "sndLimTimeCwnd", "SndLimTimeCwnd", Millis at 108;
        /// Bytes sent meanwhile (`SndLimBytesCwnd`).
        snd_lim_bytes_cwnd: u64 = "sndLimBytesCwnd", "SndLimBytesCwnd", U64 at 112;
        /// Times that the program began to hold us (`SndLimTransSnd`).
        snd_lim_trans_snd: u32 = "sndLimTransSnd", "SndLimTransSnd", U32 at 120;
        /// Time that it held us, ns (`SndLimTimeSnd`, ms).
        snd_lim_time_snd: Duration = "sndLimTimeSnd", "SndLimTimeSnd", Millis at 124;
        /// Bytes sent meanwhile (`SndLimBytesSnd`).
        snd_lim_bytes_snd: u64 = "sndLimBytesSnd", "SndLimBytesSnd", U64 at 128;
    }
    beside {}
}

impl WindowsInfo {
    /// Decodes what `WSAIoctl(SIO_TCP_INFO)` returned, version 0 or 1 by its length. Never fails;
    /// from too few bytes comes an info with nothing in it.
    pub fn decode(bytes: &[u8]) -> Self {
        Self::read(bytes)
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        warnings([
            ("retransmitBytes", self.tx_retransmit_bytes.unwrap_or(0).into()),
            ("retransmitSyn", self.syn_retransmissions.unwrap_or(0).into()),
            ("outOfOrderBytes", self.rx_out_of_order_bytes.unwrap_or(0).into()),
            ("timeoutEpisodes", self.timeout_episodes.unwrap_or(0).into()),
            ("duplicateAcksIn", self.duplicate_acks_in.unwrap_or(0).into()),
            ("fastRetransmissions", self.fast_retransmissions.unwrap_or(0).into()),
        ])
    }

    pub(super) fn normalise(self, sys_info_length: usize) -> TcpInfo {
        let timestamps = self
            .timestamps_enabled
            .map(|on| if on { vec![TcpOption::Timestamps] } else { Vec::new() });
        TcpInfo {
            state: self.state,
            tx_options: timestamps.clone(),
            rx_options: timestamps,
            tx_mss: self.mss.map(u64::from),
            rtt: self.rtt,
            rx_window: self.rx_window.map(u64::from),
            tx_c_window_bytes: self.congestion_window.map(u64::from),
            ..TcpInfo::unknown(super::SysInfo::Windows(Box::new(self)), sys_info_length)
        }
    }
}
