//! FreeBSD: `struct tcp_info` of `sys/netinet/tcp.h`, which begins like Linux's and goes its own way.

use std::time::Duration;

use super::read::*;
use super::table::sys_info;
use super::{State, TcpInfo, TcpOption, warnings};

sys_info! {
    /// FreeBSD's `struct tcp_info`; the fields that it declares for likeness with Linux and never
    /// fills (their names begin with two underscores) are left out.
    ///
    /// A field is `None` when the kernel's structure ends before it, and when the kernel's value
    /// means "not known"; in JSON the first is left out and the second is null.
    pub struct FreeBsdInfo;
    kernel {
        /// Connection state (`tcpi_state`).
        state: State = "state", "tcpi_state", BsdState at 0;
        /// Options in use; the window scale is the one that we announced (`tcpi_options`).
        tx_options: Vec<TcpOption> = "txOptions", "tcpi_options", FreeBsdTxOptions at 5 from 7;
        /// Options in use; the window scale is the one that the peer announced (`tcpi_options`).
        rx_options: Vec<TcpOption> = "rxOptions", "tcpi_options", FreeBsdRxOptions at 5 from 7;
        /// Shift of the windows that the peer announces (`tcpi_snd_wscale`).
        tx_window_scale: u8 = "txWindowScale", "tcpi_snd_wscale", FirstNibble at 6;
        /// Shift of the windows that we announce (`tcpi_rcv_wscale`).
        rx_window_scale: u8 = "rxWindowScale", "tcpi_rcv_wscale", SecondNibble at 6;
        /// Retransmission time-out, ns (`tcpi_rto`, µs).
        rto: Duration = "rto", "tcpi_rto", Micros at 8;
        /// Largest segment that we send, bytes (`tcpi_snd_mss`).
        tx_mss: u32 = "txMSS", "tcpi_snd_mss", U32 at 16;
        /// Largest segment that we take, bytes (`tcpi_rcv_mss`).
        rx_mss: u32 = "rxMSS", "tcpi_rcv_mss", U32 at 20;
        /// Since data last came, ns (`tcpi_last_data_recv`, µs, which wrap after 71 minutes).
        last_rx_at: Duration = "lastRxAt", "tcpi_last_data_recv", Micros at 52;
        /// Smoothed round-trip time, ns (`tcpi_rtt`, µs). Null without a sample.
        rtt: Duration = "rtt", "tcpi_rtt", MicrosIfAny at 68;
        /// Its mean deviation, ns (`tcpi_rttvar`, µs). Null without a sample.
        rtt_var: Duration = "rttVar", "tcpi_rttvar", Micros at 72;
        /// Slow start threshold, bytes (`tcpi_snd_ssthresh`). Null while it is infinite.
        tx_ss_threshold: u32 = "txSSThreshold", "tcpi_snd_ssthresh", SsThresholdBytes at 76;
        /// Congestion window, bytes (`tcpi_snd_cwnd`).
        tx_c_window_bytes: u32 = "txCWindowBytes", "tcpi_snd_cwnd", U32 at 80;
        /// Window that we announce, bytes (`tcpi_rcv_space`).
        rx_window: u32 = "rxWindow", "tcpi_rcv_space", U32 at 96;
        /// Window that the peer announces, bytes (`tcpi_snd_wnd`).
        tx_window: u32 = "txWindow", "tcpi_snd_wnd", U32 at 100;
        /// Next sequence number to send (`tcpi_snd_nxt`).
        tx_next: u32 = "txNext", "tcpi_snd_nxt", U32 at 108;
        /// Next sequence number expected (`tcpi_rcv_nxt`).
        rx_next: u32 = "rxNext", "tcpi_rcv_nxt", U32 at 112;
        /// Identifier of the connection on a card that runs TCP (`tcpi_toe_tid`).
        toe_tid: u32 = "toeTID", "tcpi_toe_tid", U32 at 116;
        /// Packets retransmitted (`tcpi_snd_rexmitpack`).
        tx_retransmit_packets: u32 = "txRetransmitPackets", "tcpi_snd_rexmitpack", U32 at 120;
        /// Packets that came out of order (`tcpi_rcv_ooopack`).
        rx_out_of_order: u32 = "rxOutOfOrder", "tcpi_rcv_ooopack", U32 at 124;
        /// Windows of size zero that we announced (`tcpi_snd_zerowin`).
        tx_zero_windows: u32 = "txZeroWindows", "tcpi_snd_zerowin", U32 at 128;
        /// Segments delivered with a congestion mark (`tcpi_delivered_ce`).
        delivered_ce: u32 = "deliveredCE", "tcpi_delivered_ce", U32 at 132;
        /// Packets received with a congestion mark (`tcpi_received_ce`).
        received_ce: u32 = "receivedCE", "tcpi_received_ce", U32 at 136;
        /// Tail loss probes sent (`tcpi_total_tlp`).
        total_tlp: u32 = "totalTLP", "tcpi_total_tlp", U32 at 164;
        /// Bytes in them (`tcpi_total_tlp_bytes`).
        total_tlp_bytes: u64 = "totalTLPBytes", "tcpi_total_tlp_bytes", U64 at 168;
        /// Oldest sequence number not acknowledged (`tcpi_snd_una`).
        tx_un_acked: u32 = "txUnAcked", "tcpi_snd_una", U32 at 176;
        /// Highest sequence number sent (`tcpi_snd_max`).
        tx_max: u32 = "txMax", "tcpi_snd_max", U32 at 180;
        /// Blocks selectively acknowledged (`tcpi_rcv_numsacks`).
        rx_sack_blocks: u32 = "rxSACKBlocks", "tcpi_rcv_numsacks", U32 at 184;
        /// Sequence number up to which we announced a window (`tcpi_rcv_adv`).
        rx_advertised: u32 = "rxAdvertised", "tcpi_rcv_adv", U32 at 188;
        /// Duplicate acknowledgements in a row (`tcpi_dupacks`).
        dup_acks: u32 = "dupAcks", "tcpi_dupacks", U32 at 192;
        /// Smallest round-trip time seen, ns (`tcpi_rttmin`, µs). Null without a sample.
        min_rtt: Duration = "minRTT", "tcpi_rttmin", MinMicros at 196;
    }
    beside {}
}

impl FreeBsdInfo {
    /// Where release 14 put fields into what release 13 and older call padding, keeping the length.
    const TAIL: std::ops::Range<usize> = 132..236;

    /// Decodes what `getsockopt(TCP_INFO)` returned. Never fails; from too few bytes comes an info
    /// with nothing in it.
    pub fn decode(bytes: &[u8]) -> Self {
        // The length does not tell whether the tail is filled. A connection has sequence numbers
        // in it, so a tail of zeros alone is an older kernel's padding.
        let tail = Self::TAIL.start..bytes.len().min(Self::TAIL.end);
        let filled = if tail.is_empty() || !is_zero(bytes, tail) {
            bytes
        } else {
            &bytes[..Self::TAIL.start]
        };
        let mut info = Self::read(filled);
        if info.rtt.is_none() {
            info.rtt_var = None;
        }
        info
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        warnings([
            ("retransmitPackets", self.tx_retransmit_packets.unwrap_or(0).into()),
            ("outOfOrderPackets", self.rx_out_of_order.unwrap_or(0).into()),
            ("zeroWindows", self.tx_zero_windows.unwrap_or(0).into()),
        ])
    }

    pub(super) fn normalise(self, sys_info_length: usize) -> TcpInfo {
        TcpInfo {
            state: self.state,
            tx_options: self.tx_options.clone(),
            rx_options: self.rx_options.clone(),
            tx_mss: self.tx_mss.map(u64::from),
            rx_mss: self.rx_mss.map(u64::from),
            rtt: self.rtt,
            rtt_var: self.rtt_var,
            rto: self.rto,
            last_rx_at: self.last_rx_at,
            rx_window: self.rx_window.map(u64::from),
            tx_ss_threshold: self.tx_ss_threshold.map(u64::from),
            tx_c_window_bytes: self.tx_c_window_bytes.map(u64::from),
            retransmits: self.tx_retransmit_packets.map(u64::from),
            ..TcpInfo::unknown(super::SysInfo::FreeBsd(Box::new(self)), sys_info_length)
        }
    }
}
