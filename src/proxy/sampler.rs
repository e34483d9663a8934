//! Samples of an open pair: at intervals, and when a stall begins.
//!
//! The pair's own task takes the samples, often only while bytes pass or wait: an idle pair is
//! sampled once a minute.

use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::time::Sleep;

use super::connection_log::ConnectionLog;
use super::settings::Settings;
use crate::clock;
use crate::conn::Meter;
use crate::record::{Leg, SampleReason, SampledLeg};
use crate::relay::{CurrentWait, Monitor, Side, TurnTracker};
use crate::tcp_info::{LinuxInfo, Snapshot, TcpInfo};

/// Longest time between two checks while bytes pass or wait, however long the interval is.
const PACE: Duration = Duration::from_millis(250);

/// Bytes that wait this long without any acknowledgement are a stall.
const STALL: Duration = Duration::from_secs(1);

/// Takes samples of one pair.
pub(super) struct Sampler<'p> {
    conn_log: &'p mut ConnectionLog,
    interval: Duration,
    /// When the next interval sample is due; earlier samples need a reason.
    due: Instant,
    /// Interval of samples of an idle pair.
    quiet_interval: Duration,
    /// When the next sample of an idle pair is due.
    quiet_due: Instant,
    /// Timer of the next check.
    timer: Pin<Box<Sleep>>,
    /// Nothing passed or waited, and all bytes were reported: the next check may come late.
    is_quiet: bool,
    /// Byte counts at the last check.
    passed: ByteCounts,
    client: SampledSocket,
    upstream: SampledSocket,
}

/// Bytes read and written on the client's socket, and on the upstream's.
type ByteCounts = [u64; 4];

/// The state of one socket at the last check.
struct SampledSocket {
    /// The fields in the previous sample.
    last_written: Map<String, Value>,
    has_zero_window: bool,
    /// How often a retransmission timeout episode began.
    timeouts: u16,
    /// Bytes wait to be acknowledged.
    is_waiting: bool,
    /// While they wait: bytes acknowledged, and since when that has not changed.
    acked: Option<(u64, Instant)>,
    is_stalled: bool,
}

impl<'p> Sampler<'p> {
    /// For a pair with these meters, which have the snapshots from its opening.
    pub(super) fn new(conn_log: &'p mut ConnectionLog, [client, upstream]: [&Meter; 2]) -> Self {
        let settings = &conn_log.shared.settings;
        let interval = settings.sample_interval.max(Settings::SHORTEST_SAMPLE_INTERVAL);
        let quiet_interval = settings.quiet_sample_interval.max(interval);
        let now = Instant::now();
        let quiet_due = clock::after(now, quiet_interval);
        Self {
            conn_log,
            interval,
            due: clock::after(now, interval),
            quiet_interval,
            quiet_due,
            timer: Box::pin(tokio::time::sleep_until(quiet_due.into())),
            is_quiet: true,
            passed: passed(client, upstream),
            client: SampledSocket::from(client),
            upstream: SampledSocket::from(upstream),
        }
    }

    fn wake_at(&mut self, at: Instant) {
        self.timer.as_mut().reset(at.into());
    }

    /// Writes the samples that are due, and sets the time of the next check.
    fn sample(&mut self, client: &Side<'_>, upstream: &Side<'_>, turns: &TurnTracker) {
        let now = Instant::now();
        let raw = self.conn_log.shared.settings.raw;
        let infos = [client, upstream].map(|side| snapshot(side, raw));
        let [client_info, upstream_info] = &infos;
        let meters = [&client.state.meter, &upstream.state.meter];

        let of_client = self.client.detect(client_info.as_ref(), now).into_iter();
        let of_upstream = self.upstream.detect(upstream_info.as_ref(), now).into_iter();
        let linux = [client_info, upstream_info].map(linux);
        let waiting = turns.waiting_for(linux, now.into());
        let begun: Vec<_> = of_client
            .map(|reason| (reason, Leg::Client))
            .chain(of_upstream.map(|reason| (reason, Leg::Upstream)))
            .collect();
        for (reason, leg) in begun {
            self.write_sample(reason, Some(leg), meters, &infos, waiting, now);
        }
        let is_waiting = self.client.is_waiting || self.upstream.is_waiting;
        if now >= self.due && (is_waiting || self.conn_log.has_new_data(meters)) {
            self.write_sample(SampleReason::Interval, None, meters, &infos, waiting, now);
            self.due = clock::after(now, self.interval);
        } else if now >= self.quiet_due {
            self.write_sample(SampleReason::Quiet, None, meters, &infos, waiting, now);
        }

        let passed = passed(meters[0], meters[1]);
        let is_moving = std::mem::replace(&mut self.passed, passed) != passed;
        self.is_quiet = false;
        if is_moving || is_waiting {
            self.wake_at(clock::after(now, self.interval.min(PACE)));
        } else if self.conn_log.has_new_data(meters) {
            self.wake_at(self.due);
        } else {
            self.is_quiet = true;
            self.wake_at(self.quiet_due);
        }
    }

    fn write_sample(
        &mut self,
        reason: SampleReason,
        leg: Option<Leg>,
        [client, upstream]: [&Meter; 2],
        [client_info, upstream_info]: &[Option<TcpInfo>; 2],
        waiting: Option<CurrentWait>,
        now: Instant,
    ) {
        self.quiet_due = clock::after(now, self.quiet_interval);
        // Lines of open pairs must not fill the memory while nothing can be written.
        if self.conn_log.shared.recorder.is_full() {
            return;
        }
        let client = self.client.sampled(client, client_info.as_ref(), now);
        let upstream = self.upstream.sampled(upstream, upstream_info.as_ref(), now);
        self.conn_log.record_sample(reason, leg, client, upstream, waiting);
    }
}

impl Monitor for Sampler<'_> {
    fn poll(
        &mut self,
        client: &Side<'_>,
        upstream: &Side<'_>,
        turns: &mut TurnTracker,
        cx: &mut Context<'_>,
    ) {
        self.conn_log.poll(client, upstream, turns, cx);
        if self.is_quiet && passed(&client.state.meter, &upstream.state.meter) != self.passed {
            self.is_quiet = false;
            self.wake_at(clock::after(Instant::now(), self.interval.min(PACE)));
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            self.sample(client, upstream, turns);
        }
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
    fn detect(&mut self, info: Option<&TcpInfo>, now: Instant) -> Vec<SampleReason> {
        let mut begun = Vec::new();
        let Some(linux) = info.and_then(|info| info.sys_info.linux()) else { return begun };

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

    fn sampled(&mut self, meter: &Meter, info: Option<&TcpInfo>, now: Instant) -> SampledLeg {
        SampledLeg {
            rx_bytes: meter.rx.bytes,
            tx_bytes: meter.tx.bytes,
            write_blocked: meter.write_blocked.as_ref().map(|blocked| blocked.total(now.into())),
            info: info.map(|info| self.changes(info)),
        }
    }

    /// The fields that differ from the previous sample.
    fn changes(&mut self, info: &TcpInfo) -> Map<String, Value> {
        let mut info = info.clone();
        info.sys_info.retain_fields(|_| false);
        let mut fields = info.to_map();
        fields.remove("sysInfo");
        fields.remove("sysInfoLength");
        let last_written = std::mem::replace(&mut self.last_written, fields);
        let is_news = |(key, value): &(&String, &Value)| last_written.get(*key) != Some(value);
        let news = self.last_written.iter().filter(is_news);
        news.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

fn linux(info: &Option<TcpInfo>) -> Option<&LinuxInfo> {
    info.as_ref().and_then(|info| info.sys_info.linux())
}

fn passed(client: &Meter, upstream: &Meter) -> ByteCounts {
    [client.rx.bytes, client.tx.bytes, upstream.rx.bytes, upstream.tx.bytes]
}

fn snapshot(side: &Side<'_>, raw: bool) -> Option<TcpInfo> {
    let snapshot = Snapshot::structure(side.stream).ok()?;
    let mut info = snapshot.decode();
    info.sys_info_raw = raw.then(|| snapshot.hex());
    Some(info)
}
