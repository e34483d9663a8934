//! What `TCP_CC_INFO` returns, by the name that `TCP_CONGESTION` gave.

use super::LinuxInfo;
use super::read::*;

impl LinuxInfo {
    /// Adds the congestion control's name and data. `bytes` is what `getsockopt(TCP_CC_INFO)`
    /// returned; shorter than the algorithm's structure, it adds nothing.
    pub fn with_congestion(mut self, name: Option<&str>, bytes: &[u8]) -> Self {
        match name {
            // These all answer with struct tcpvegas_info.
            Some("vegas" | "veno" | "yeah" | "illinois" | "nv") if bytes.len() >= 16 => {
                self.cc_vegas_enabled = U32::read(bytes, 0).map(|v| v != 0);
                self.cc_vegas_rtt_cnt = U32::read(bytes, 4);
                self.cc_vegas_rtt = VegasMicros::read(bytes, 8);
                self.cc_vegas_rtt_min = VegasMicros::read(bytes, 12);
            }
            Some("dctcp") if bytes.len() >= 16 => {
                self.cc_dctcp_enabled = U16::read(bytes, 0).map(|v| v != 0);
                self.cc_dctcp_ce_state = U16::read(bytes, 2);
                self.cc_dctcp_alpha = U32::read(bytes, 4);
                self.cc_dctcp_ab_ecn = U32::read(bytes, 8);
                self.cc_dctcp_ab_tot = U32::read(bytes, 12);
            }
            Some("bbr") if bytes.len() >= 20 => {
                self.cc_bbr_bw = BbrBandwidth::read(bytes, 0);
                self.cc_bbr_min_rtt = MinMicros::read(bytes, 8);
                self.cc_bbr_pacing_gain = U32::read(bytes, 12);
                self.cc_bbr_c_window_gain = U32::read(bytes, 16);
            }
            _ => {}
        }
        self.cc_algorithm = name.map(str::to_owned);
        self
    }
}

/// Whether an algorithm has data that `TCP_CC_INFO` can be asked for.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn has_data(name: &str) -> bool {
    matches!(name, "vegas" | "veno" | "yeah" | "illinois" | "nv" | "dctcp" | "bbr")
}
