//! macOS: `struct tcp_connection_info` of xnu's `bsd/netinet/tcp.h` (`TCP_CONNECTION_INFO`).

use std::time::Duration;

use super::read::*;
use super::table::sys_info;
use super::{State, TcpInfo, TcpOption, warnings};

sys_info! {
    /// macOS's `struct tcp_connection_info`, each field under the Go package's key.
    ///
    /// A field is `None` when the kernel's structure ends before it, and when the kernel's value
    /// means "not known"; in JSON the first is left out and the second is null.
    pub struct MacosInfo;
    kernel {
        /// Connection state (`tcpi_state`).
        state: State = "state", "tcpi_state", BsdState at 0;
        /// Shift of the windows that the peer announces (`tcpi_snd_wscale`).
        tx_window_scale: u8 = "txWindowScale", "tcpi_snd_wscale", U8 at 1;
        /// Shift of the windows that we announce (`tcpi_rcv_wscale`).
        rx_window_scale: u8 = "rxWindowScale", "tcpi_rcv_wscale", U8 at 2;
        /// Options in use; the window scale is the one that we announced (`tcpi_options`).
        tx_options: Vec<TcpOption> = "txOptions", "tcpi_options", MacosTxOptions at 4;
        /// Options in use; the window scale is the one that the peer announced (`tcpi_options`).
        rx_options: Vec<TcpOption> = "rxOptions", "tcpi_options", MacosRxOptions at 4;
        /// Bit 0: in loss recovery, bit 1: reordering was seen (`tcpi_flags`).
        flags: u32 = "flags", "tcpi_flags", U32 at 8;
        /// Retransmission time-out, ns (`tcpi_rto`, ms). Null while the timer does not run.
        rto: Duration = "rto", "tcpi_rto", MillisIfAny at 12;
        /// Largest segment, bytes (`tcpi_maxseg`).
        mss: u32 = "mss", "tcpi_maxseg", U32 at 16;
        /// Slow start threshold, bytes (`tcpi_snd_ssthresh`). Null while it is infinite.
        tx_ss_threshold: u32 = "txSSThreshold", "tcpi_snd_ssthresh", SsThresholdBytes at 20;
        /// Congestion window, bytes (`tcpi_snd_cwnd`).
        tx_c_window_bytes: u32 = "txCWindowBytes", "tcpi_snd_cwnd", U32 at 24;
        /// Window that the peer announces, bytes (`tcpi_snd_wnd`).
        tx_window: u32 = "txWindow", "tcpi_snd_wnd", U32 at 28;
        /// Bytes in the send buffer, in flight or not (`tcpi_snd_sbbytes`).
        tx_send_buffer_bytes: u32 = "txSendBufferBytes", "tcpi_snd_sbbytes", U32 at 32;
        /// Window that we announce, bytes (`tcpi_rcv_wnd`).
        rx_window: u32 = "rxWindow", "tcpi_rcv_wnd", U32 at 36;
        /// Latest round-trip time, ns (`tcpi_rttcur`, ms). Null without a sample or below 1 ms.
        rtt_cur: Duration = "rttCur", "tcpi_rttcur", MillisIfAny at 40;
        /// Smoothed round-trip time, ns (`tcpi_srtt`, ms). Null without a sample or below 1 ms.
        rtt_smoothed: Duration = "rttSmoothed", "tcpi_srtt", MillisIfAny at 44;
        /// Its mean deviation, ns (`tcpi_rttvar`, ms). Null without a sample or below 1 ms.
        rtt_var: Duration = "rttVar", "tcpi_rttvar", MillisIfAny at 48;
        /// TCP Fast Open's fifteen flags, `tcpi_tfo_cookie_req` in bit 0.
        tfo_flags: u32 = "tfoFlags", "tcpi_tfo_*", U32 at 52;
        /// Packets sent (`tcpi_txpackets`).
        tx_packets: u64 = "txPackets", "tcpi_txpackets", U64 at 56;
        /// Bytes sent (`tcpi_txbytes`).
        tx_bytes: u64 = "txBytes", "tcpi_txbytes", U64 at 64;
        /// Bytes retransmitted (`tcpi_txretransmitbytes`).
        tx_retransmit_bytes: u64 = "txRetransmitBytes", "tcpi_txretransmitbytes", U64 at 72;
        /// Packets received (`tcpi_rxpackets`).
        rx_packets: u64 = "rxPackets", "tcpi_rxpackets", U64 at 80;
        /// Bytes received (`tcpi_rxbytes`).
        rx_bytes: u64 = "rxBytes", "tcpi_rxbytes", U64 at 88;
        /// Bytes that came out of order (`tcpi_rxoutoforderbytes`).
        rx_out_of_order_bytes: u64 = "rxOutOfOrderBytes", "tcpi_rxoutoforderbytes", U64 at 96;
        /// Packets retransmitted (`tcpi_txretransmitpackets`).
        tx_retransmit_packets: u64 = "txRetransmitPackets", "tcpi_txretransmitpackets", U64 at 104;
    }
    beside {}
}

impl MacosInfo {
    /// The states, closed and listening, in which the kernel fills nothing but the state.
    const UNFILLED: std::ops::RangeInclusive<u8> = 0..=1;

    /// Decodes what `getsockopt(TCP_CONNECTION_INFO)` returned. Never fails; from too few bytes
    /// comes an info with nothing in it, from a socket that is closed or listens its state alone.
    pub fn decode(bytes: &[u8]) -> Self {
        match bytes.split_first() {
            Some((state, rest)) if Self::UNFILLED.contains(state) => {
                Self::read(&bytes[..bytes.len() - rest.len()])
            }
            _ => Self::read(bytes),
        }
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        warnings([
            ("retransmitBytes", self.tx_retransmit_bytes.unwrap_or(0)),
            ("retransmitPackets", self.tx_retransmit_packets.unwrap_or(0)),
            ("outOfOrderBytes", self.rx_out_of_order_bytes.unwrap_or(0)),
        ])
    }

    pub(super) fn normalise(self, sys_info_length: usize) -> TcpInfo {
        TcpInfo {
            state: self.state,
            tx_options: self.tx_options.clone(),
            rx_options: self.rx_options.clone(),
            tx_mss: self.mss.map(u64::from),
            rx_mss: None,
            rtt: self.rtt_smoothed,
            rtt_var: self.rtt_var,
            rto: self.rto,
            rx_window: self.rx_window.map(u64::from),
            tx_ss_threshold: self.tx_ss_threshold.map(u64::from),
            tx_c_window_bytes: self.tx_c_window_bytes.map(u64::from),
            retransmits: self.tx_retransmit_packets,
            ..TcpInfo::unknown(super::SysInfo::Macos(Box::new(self)), sys_info_length)
        }
    }
}
