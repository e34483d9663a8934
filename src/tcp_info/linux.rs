//! Linux: `struct tcp_info` of `include/uapi/linux/tcp.h`, and what congestion control adds.

use std::time::Duration;

use super::read::*;
use super::table::sys_info;
use super::{State, TcpInfo, TcpOption, warnings};

sys_info! {
    /// Linux's `struct tcp_info`, each field under the Go package's key where that has one.
    ///
    /// A field is `None` when the kernel's structure ends before it, and when the kernel's value
    /// means "not known"; in JSON the first is left out and the second is null.
    pub struct LinuxInfo;
    kernel {
        /// Connection state (`tcpi_state`).
        state: State = "state", "tcpi_state", LinuxState at 0;
        /// Loss recovery: 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss (`tcpi_ca_state`).
        ca_state: u8 = "caState", "tcpi_ca_state", U8 at 1;
        /// Retransmission time-outs in a row without progress, now (`tcpi_retransmits`).
        retransmits: u8 = "retransmits", "tcpi_retransmits", U8 at 2;
        /// Window probes in a row without an answer, now (`tcpi_probes`).
        probes: u8 = "probes", "tcpi_probes", U8 at 3;
        /// Exponential back-off of the retransmission timer, as a shift, now (`tcpi_backoff`).
        backoff: u8 = "backoff", "tcpi_backoff", U8 at 4;
        /// Options in use; the window scale is the one that we announced (`tcpi_options`, `tcpi_rcv_wscale`).
        tx_options: Vec<TcpOption> = "txOptions", "tcpi_options", LinuxTxOptions at 5 from 7;
        /// Options in use; the window scale is the one that the peer announced (`tcpi_options`, `tcpi_snd_wscale`).
        rx_options: Vec<TcpOption> = "rxOptions", "tcpi_options", LinuxRxOptions at 5 from 7;
        /// Shift of the windows that the peer announces, which limit what we send (`tcpi_snd_wscale`).
        tx_window_scale: u8 = "txWindowScale", "tcpi_snd_wscale", FirstNibble at 6;
        /// Shift of the windows that we announce (`tcpi_rcv_wscale`).
        rx_window_scale: u8 = "rxWindowScale", "tcpi_rcv_wscale", SecondNibble at 6;
        /// The last delivery rate sample was limited by the program, not by the network
        /// (`tcpi_delivery_rate_app_limited`). The bit lies in old padding, so it is real only
        /// where the rate itself is there.
        delivery_rate_app_limited: bool = "deliveryRateAppLimited", "tcpi_delivery_rate_app_limited", FirstBit at 7 from 168;
        /// Why TCP Fast Open failed: 0 unspecified, 1 no cookie, 2 data not acknowledged, 3 the same
        /// after a time-out (`tcpi_fastopen_client_fail`). Came with `tcpi_rcv_ooopack` and
        /// `tcpi_snd_wnd`, one release before `tcpi_rcv_wnd`: surely real where that is there.
        fast_open_client_fail: u8 = "fastOpenClientFail", "tcpi_fastopen_client_fail", NextTwoBits at 7 from 240;
        /// Retransmission time-out, ns (`tcpi_rto`, µs).
        rto: Duration = "rto", "tcpi_rto", Micros at 8;
        /// Delayed acknowledgement time-out, ns; 0 while none is in use (`tcpi_ato`, µs).
        ato: Duration = "ato", "tcpi_ato", Micros at 12;
        /// Largest segment that we send now, bytes (`tcpi_snd_mss`).
        tx_mss: u32 = "txMSS", "tcpi_snd_mss", U32 at 16;
        /// Largest segment seen from the peer, bytes (`tcpi_rcv_mss`).
        rx_mss: u32 = "rxMSS", "tcpi_rcv_mss", U32 at 20;
        /// Segments in flight; of a listener: connections that wait to be accepted (`tcpi_unacked`).
        un_acked: u32 = "unAcked", "tcpi_unacked", U32 at 24;
        /// Segments that the peer has selectively acknowledged; of a listener: its backlog (`tcpi_sacked`).
        sacked: u32 = "sacked", "tcpi_sacked", U32 at 28;
        /// Segments believed lost, now (`tcpi_lost`).
        lost: u32 = "lost", "tcpi_lost", U32 at 32;
        /// Retransmitted segments in flight, now (`tcpi_retrans`).
        retrans: u32 = "retrans", "tcpi_retrans", U32 at 36;
        /// Forward acknowledged segments; null since the kernel gave it up (`tcpi_fackets`).
        fackets: u32 = "fackets", "tcpi_fackets", U32 at 40;
        /// Since we last sent data, ns (`tcpi_last_data_sent`, ms). With none sent: since establishment.
        last_tx_at: Duration = "lastTxAt", "tcpi_last_data_sent", Millis at 44;
        /// Since we last sent an acknowledgement: never filled, always null (`tcpi_last_ack_sent`).
        last_tx_ack_at: Duration = "lastTxAckAt", "tcpi_last_ack_sent", NeverFilled at 48;
        /// Since data last came, ns (`tcpi_last_data_recv`, ms). With none come: since establishment.
        last_rx_at: Duration = "lastRxAt", "tcpi_last_data_recv", Millis at 52;
        /// Since an acknowledgement last came, ns (`tcpi_last_ack_recv`, ms).
        last_rx_ack_at: Duration = "lastRxAckAt", "tcpi_last_ack_recv", Millis at 56;
        /// Largest packet that the path takes, bytes (`tcpi_pmtu`).
        pmtu: u32 = "pmtu", "tcpi_pmtu", U32 at 60;
        /// How far the receive window may open now, bytes (`tcpi_rcv_ssthresh`).
        rx_ss_threshold: u32 = "rxSSThreshold", "tcpi_rcv_ssthresh", U32 at 64;
        /// Smoothed round-trip time, ns (`tcpi_rtt`, µs). Null without a sample.
        rtt: Duration = "rtt", "tcpi_rtt", MicrosIfAny at 68;
        /// Its mean deviation, ns (`tcpi_rttvar`, µs). Null without a sample.
        rtt_var: Duration = "rttVar", "tcpi_rttvar", Micros at 72;
        /// Slow start threshold, segments (`tcpi_snd_ssthresh`). Null while it is infinite.
        tx_ss_threshold: u32 = "txSSThreshold", "tcpi_snd_ssthresh", SsThresholdSegs at 76;
        /// Congestion window, segments (`tcpi_snd_cwnd`).
        tx_c_window: u32 = "txCWindow", "tcpi_snd_cwnd", U32 at 80;
        /// Segment size that we announce, bytes (`tcpi_advmss`).
        adv_mss: u32 = "advMSS", "tcpi_advmss", U32 at 84;
        /// How far packets may be reordered before one counts as lost, segments (`tcpi_reordering`).
        reordering: u32 = "reordering", "tcpi_reordering", U32 at 88;
        /// Round-trip time as the receiver estimates it, ns (`tcpi_rcv_rtt`, µs). Null without a sample.
        rx_rtt: Duration = "rxRTT", "tcpi_rcv_rtt", MicrosIfAny at 92;
        /// Room that automatic tuning gives the receive queue, bytes (`tcpi_rcv_space`).
        rx_space: u32 = "rxSpace", "tcpi_rcv_space", U32 at 96;
        /// Segments retransmitted since the start, SYNs included (`tcpi_total_retrans`).
        total_retrans: u32 = "totalRetrans", "tcpi_total_retrans", U32 at 100;
        /// Pacing rate, bytes per second (`tcpi_pacing_rate`). Null while unlimited.
        pacing_rate: u64 = "pacingRate", "tcpi_pacing_rate", U64 at 104;
        /// Highest pacing rate allowed, bytes per second (`tcpi_max_pacing_rate`). Null while unlimited.
        max_pacing_rate: u64 = "maxPacingRate", "tcpi_max_pacing_rate", U64 at 112;
        /// Bytes that the peer acknowledged; plus 1 for our SYN on the side that connected, plus 1 for
        /// our acknowledged FIN (`tcpi_bytes_acked`).
        bytes_acked: u64 = "bytesAcked", "tcpi_bytes_acked", U64 at 120;
        /// Bytes received in order; plus 1 for the peer's FIN (`tcpi_bytes_received`).
        bytes_received: u64 = "bytesReceived", "tcpi_bytes_received", U64 at 128;
        /// Segments sent, acknowledgements included (`tcpi_segs_out`).
        segs_out: u32 = "segsOut", "tcpi_segs_out", U32 at 136;
        /// Segments received, acknowledgements included (`tcpi_segs_in`).
        segs_in: u32 = "segsIn", "tcpi_segs_in", U32 at 140;
        /// Bytes written that were never sent so far (`tcpi_notsent_bytes`).
        not_sent_bytes: u32 = "notSentBytes", "tcpi_notsent_bytes", U32 at 144;
        /// Smallest round-trip time seen, ns (`tcpi_min_rtt`, µs). Null without a sample.
        min_rtt: Duration = "minRTT", "tcpi_min_rtt", MinMicros at 148;
        /// Segments received that carried data (`tcpi_data_segs_in`).
        data_segs_in: u32 = "dataSegsIn", "tcpi_data_segs_in", U32 at 152;
        /// Segments sent that carried data (`tcpi_data_segs_out`).
        data_segs_out: u32 = "dataSegsOut", "tcpi_data_segs_out", U32 at 156;
        /// Most recent rate of delivery, bytes per second (`tcpi_delivery_rate`).
        delivery_rate: u64 = "deliveryRate", "tcpi_delivery_rate", U64 at 160;
        /// Time in which there was data to send or in flight, ns (`tcpi_busy_time`, µs; counted in jiffies).
        busy_time: Duration = "busyTime", "tcpi_busy_time", Micros64 at 168;
        /// Of it: time in which the peer's window held us, ns (`tcpi_rwnd_limited`, µs).
        rx_window_limited: Duration = "rxWindowLimited", "tcpi_rwnd_limited", Micros64 at 176;
        /// Of it: time in which our send buffer held us, ns (`tcpi_sndbuf_limited`, µs).
        tx_buffer_limited: Duration = "txBufferLimited", "tcpi_sndbuf_limited", Micros64 at 184;
        /// Segments delivered, retransmissions included (`tcpi_delivered`).
        delivered: u32 = "delivered", "tcpi_delivered", U32 at 192;
        /// Of them: segments that met congestion marks (`tcpi_delivered_ce`).
        delivered_ce: u32 = "deliveredCE", "tcpi_delivered_ce", U32 at 196;
        /// Payload bytes sent, retransmissions included (`tcpi_bytes_sent`).
        bytes_sent: u64 = "bytesSent", "tcpi_bytes_sent", U64 at 200;
        /// Payload bytes retransmitted (`tcpi_bytes_retrans`).
        bytes_retrans: u64 = "bytesRetrans", "tcpi_bytes_retrans", U64 at 208;
        /// Duplicates that the peer reported (`tcpi_dsack_dups`).
        dsack_dups: u32 = "dsackDups", "tcpi_dsack_dups", U32 at 216;
        /// Times that reordering was seen (`tcpi_reord_seen`).
        reord_seen: u32 = "reordSeen", "tcpi_reord_seen", U32 at 220;
        /// Packets that came out of order (`tcpi_rcv_ooopack`).
        rx_out_of_order: u32 = "rxOutOfOrder", "tcpi_rcv_ooopack", U32 at 224;
        /// Window that the peer announces, bytes (`tcpi_snd_wnd`).
        tx_window: u32 = "txWindow", "tcpi_snd_wnd", U32 at 228;
        /// Window that we announce, bytes (`tcpi_rcv_wnd`).
        rx_window: u32 = "rxWindow", "tcpi_rcv_wnd", U32 at 232;
        /// Times that the path was changed after trouble (`tcpi_rehash`).
        rehash: u32 = "rehash", "tcpi_rehash", U32 at 236;
        /// Retransmission time-outs since the start, SYNs included (`tcpi_total_rto`).
        total_rto: u16 = "totalRTO", "tcpi_total_rto", U16 at 240;
        /// Recoveries from them (`tcpi_total_rto_recoveries`).
        total_rto_recoveries: u16 = "totalRTORecoveries", "tcpi_total_rto_recoveries", U16 at 242;
        /// Time spent in them, ns (`tcpi_total_rto_time`, ms).
        total_rto_time: Duration = "totalRTOTime", "tcpi_total_rto_time", Millis at 244;
        /// Packets received with a congestion mark (`tcpi_received_ce`).
        received_ce: u32 = "receivedCE", "tcpi_received_ce", U32 at 248;
        /// Accurate ECN: bytes delivered as ECT(1) (`tcpi_delivered_e1_bytes`).
        delivered_e1_bytes: u32 = "deliveredE1Bytes", "tcpi_delivered_e1_bytes", U32 at 252;
        /// Accurate ECN: bytes delivered as ECT(0) (`tcpi_delivered_e0_bytes`).
        delivered_e0_bytes: u32 = "deliveredE0Bytes", "tcpi_delivered_e0_bytes", U32 at 256;
        /// Accurate ECN: bytes delivered with a congestion mark (`tcpi_delivered_ce_bytes`).
        delivered_ce_bytes: u32 = "deliveredCEBytes", "tcpi_delivered_ce_bytes", U32 at 260;
        /// Accurate ECN: bytes received as ECT(1) (`tcpi_received_e1_bytes`).
        received_e1_bytes: u32 = "receivedE1Bytes", "tcpi_received_e1_bytes", U32 at 264;
        /// Accurate ECN: bytes received as ECT(0) (`tcpi_received_e0_bytes`).
        received_e0_bytes: u32 = "receivedE0Bytes", "tcpi_received_e0_bytes", U32 at 268;
        /// Accurate ECN: bytes received with a congestion mark (`tcpi_received_ce_bytes`).
        received_ce_bytes: u32 = "receivedCEBytes", "tcpi_received_ce_bytes", U32 at 272;
        /// Accurate ECN: why it was given up, as bits (`tcpi_accecn_fail_mode`).
        acc_ecn_fail_mode: u16 = "accECNFailMode", "tcpi_accecn_fail_mode", U16 at 276;
        /// Accurate ECN: whether its option was seen (`tcpi_accecn_opt_seen`).
        acc_ecn_opt_seen: u16 = "accECNOptSeen", "tcpi_accecn_opt_seen", U16 at 278;
    }
    beside {
        /// Name of the congestion control (`TCP_CONGESTION`), the last known.
        cc_algorithm: String = "ccAlgorithm";
        /// vegas: whether it is at work (`tcpv_enabled`).
        cc_vegas_enabled: bool = "ccVegasEnabled";
        /// vegas: samples in this round trip (`tcpv_rttcnt`).
        cc_vegas_rtt_cnt: u32 = "ccVegasRTTCnt";
        /// vegas: round-trip time, ns (`tcpv_rtt`, µs).
        cc_vegas_rtt: Duration = "ccVegasRTT";
        /// vegas: smallest round-trip time, ns (`tcpv_minrtt`, µs).
        cc_vegas_rtt_min: Duration = "ccVegasRTTMin";
        /// bbr: bandwidth estimate, bytes per second (`bbr_bw_hi`, `bbr_bw_lo`).
        cc_bbr_bw: u64 = "ccBBRBw";
        /// bbr: smallest round-trip time in its window, ns (`bbr_min_rtt`, µs).
        cc_bbr_min_rtt: Duration = "ccBBRMinRTT";
        /// bbr: pacing gain in 1/256 (`bbr_pacing_gain`).
        cc_bbr_pacing_gain: u32 = "ccBBRPacingGain";
        /// bbr: congestion window gain in 1/256 (`bbr_cwnd_gain`).
        cc_bbr_c_window_gain: u32 = "ccBBRCWindowGain";
        /// dctcp: whether it is at work (`dctcp_enabled`).
        cc_dctcp_enabled: bool = "ccDCTCPEnabled";
        /// dctcp: whether the last packet bore a mark (`dctcp_ce_state`).
        cc_dctcp_ce_state: u16 = "ccDCTCPCEState";
        /// dctcp: share of marked bytes in 1/1024 (`dctcp_alpha`).
        cc_dctcp_alpha: u32 = "ccDCTCPAlpha";
        /// dctcp: bytes acknowledged with marks in this round trip (`dctcp_ab_ecn`).
        cc_dctcp_ab_ecn: u32 = "ccDCTCPABECN";
        /// dctcp: bytes acknowledged in this round trip (`dctcp_ab_tot`).
        cc_dctcp_ab_tot: u32 = "ccDCTCPABTOT";
    }
}

impl LinuxInfo {
    /// Decodes what `getsockopt(TCP_INFO)` returned: all of it, however long it is. Never fails;
    /// from too few bytes comes an info with nothing in it.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut info = Self::read(bytes);
        info.blank_meaningless_fields();
        // FACK left the kernel in 4.15; 200 bytes (4.18) is the first length that proves it gone.
        if bytes.len() >= 200 {
            info.fackets = None;
        }
        info
    }

    fn blank_meaningless_fields(&mut self) {
        if self.state == Some(State::Listen) {
            // tcp_get_info() returns early for a listener: these are filled, all else is the zeros
            // that it began with.
            *self = Self {
                state: self.state,
                un_acked: self.un_acked,
                sacked: self.sacked,
                reordering: self.reordering,
                tx_c_window: self.tx_c_window,
                pacing_rate: self.pacing_rate,
                max_pacing_rate: self.max_pacing_rate,
                present: self.present,
                ..Self::default()
            };
        }
        if self.rtt.is_none() {
            // tcp_init_sock() starts the deviation at a guess.
            self.rtt_var = None;
            // Of a socket that never was connected these are the machine's uptime.
            if matches!(self.state, Some(State::Close | State::SynSent)) {
                self.last_tx_at = None;
                self.last_rx_at = None;
                self.last_rx_ack_at = None;
            }
        }
    }

    /// Whether the peer takes nothing more now: its window is zero, or bytes wait although none is in
    /// flight. On a connection that is gone nothing is in flight any more.
    #[cfg(feature = "proxy")]
    pub(crate) fn has_closed_window(&self) -> bool {
        let is_held = self.state != Some(State::Close)
            && self.un_acked == Some(0)
            && self.not_sent_bytes.is_some_and(|bytes| bytes > 0);
        self.tx_window == Some(0) || is_held
    }

    /// What the Go package's `Warnings()` lists, under the same names; times in ns, and
    /// `outOfOrderPackets` where that package calls packets bytes.
    pub(super) fn warnings(&self) -> Vec<String> {
        let time = |value: Option<Duration>| value.map_or(0, crate::nanos::of);
        warnings([
            ("retransBytes", self.bytes_retrans.unwrap_or(0)),
            ("retransTotal", self.total_retrans.unwrap_or(0).into()),
            ("backoff", self.backoff.unwrap_or(0).into()),
            ("outOfOrderPackets", self.rx_out_of_order.unwrap_or(0).into()),
            ("txSendBufferLimited", time(self.tx_buffer_limited)),
            ("rxWindowLimited", time(self.rx_window_limited)),
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
            ato: self.ato,
            last_tx_at: self.last_tx_at,
            last_rx_at: self.last_rx_at,
            last_tx_ack_at: self.last_tx_ack_at,
            last_rx_ack_at: self.last_rx_ack_at,
            rx_window: self.rx_window.or(self.rx_space).map(u64::from),
            tx_ss_threshold: self.tx_ss_threshold.map(u64::from),
            rx_ss_threshold: self.rx_ss_threshold.map(u64::from),
            tx_c_window_bytes: None,
            tx_c_window_segs: self.tx_c_window.map(u64::from),
            retransmits: self.total_retrans.map(u64::from),
            sys_info_length,
            sys_info: super::SysInfo::Linux(Box::new(self)),
            sys_info_raw: None,
        }
    }
}
