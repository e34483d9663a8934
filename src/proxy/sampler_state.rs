//! What the samples of a pair build on: the state of its sockets at the last check.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::conn::Meter;
use crate::record::{SampleReason, SampledLeg, changes, sampled_keys};
use crate::tcp_info::TcpInfo;

/// Bytes that wait this long without any acknowledgement are a stall.
const STALL: Duration = Duration::from_secs(1);

/// What the samples of a pair build on. It outlasts the exchanges of a pair that has several.
pub(super) struct SamplerState {
    /// When the next interval sample is due; earlier samples need a reason.
    pub(super) due: Instant,
    /// When the next sample of an idle pair is due.
    pub(super) quiet_due: Instant,
    pub(super) client: SampledSocket,
    pub(super) upstream: SampledSocket,
}

/// The state of one socket at the last check.
pub(super) struct SampledSocket {
    /// The fields in the previous sample.
    last_written: Map<String, Value>,
    has_zero_window: bool,
    /// How often a retransmission timeout episode began.
    timeouts: u16,
    /// Bytes wait to be acknowledged.
    pub(super) is_waiting: bool,
    /// While they wait: bytes acknowledged, and since when that has not changed.
    acked: Option<(u64, Instant)>,
    is_stalled: bool,
}

impl SamplerState {
    /// When the next sample is due of a pair that waits for nothing. `has_new_data`: bytes have
    /// passed since the last one.
    pub(super) fn next_due(&self, has_new_data: bool) -> Instant {
        if has_new_data { self.due } else { self.quiet_due }
    }
}

impl From<&Meter> for SampledSocket {
    fn from(meter: &Meter) -> Self {
        let opened = meter.open_snapshot.as_ref().map(|snapshot| snapshot.unpack().decode());
        let linux = opened.as_ref().and_then(|info| info.sys_info.linux());
        Self {
            last_written: Map::new(),
            has_zero_window: false,
            // Timeouts of SYNs are not counted.
            timeouts: linux.and_then(|linux| linux.total_rto_recoveries).unwrap_or(0),
            is_waiting: false,
            acked: None,
            is_stalled: false,
        }
    }
}

impl SampledSocket {
    /// What has begun since the last check.
    pub(super) fn detect(&mut self, info: Option<&TcpInfo>, now: Instant) -> Vec<SampleReason> {
        let mut begun = Vec::new();
        let Some(linux) = info.and_then(|info| info.sys_info.linux()) else {
            self.is_waiting = false;
            return begun;
        };

        let has_zero_window = linux.tx_window == Some(0);
        if has_zero_window && !self.has_zero_window {
            begun.push(SampleReason::ZeroWindow);
        }
        self.has_zero_window = has_zero_window;

        let timeouts = linux.total_rto_recoveries.unwrap_or(0);
        if timeouts > self.timeouts {
            begun.push(SampleReason::RetransmissionTimeout);
        }
        self.timeouts = timeouts;

        let is_some = |count: Option<u32>| count.is_some_and(|count| count > 0);
        self.is_waiting = is_some(linux.un_acked) || is_some(linux.not_sent_bytes);
        let acked = linux.bytes_acked.filter(|_| self.is_waiting);
        match (self.acked, acked) {
            (Some((before, since)), Some(acked)) if before == acked => {
                if now.duration_since(since) > STALL && !self.is_stalled {
                    self.is_stalled = true;
                    begun.push(SampleReason::Stall);
                }
            }
            (_, acked) => {
                self.acked = acked.map(|acked| (acked, now));
                self.is_stalled = false;
            }
        }
        begun
    }

    pub(super) fn sampled(
        &mut self,
        meter: &Meter,
        info: Option<&TcpInfo>,
        now: Instant,
    ) -> SampledLeg {
        SampledLeg {
            rx_bytes: meter.rx.bytes,
            tx_bytes: meter.tx.bytes,
            write_blocked: meter.write_blocked.as_ref().map(|blocked| blocked.total(now.into())),
            info: info.map(|info| self.changes(info)),
        }
    }

    /// The fields that differ from the previous sample.
    fn changes(&mut self, info: &TcpInfo) -> Map<String, Value> {
        let keys = sampled_keys(info);
        let news = changes(&self.last_written, &keys);
        self.last_written = keys;
        news
    }
}
