//! Samples of an open pair: at intervals, and when a stall begins.
//!
//! The pair's own task takes the samples, often only while bytes pass or wait: an idle pair is
//! sampled once a minute.

use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::connection_log::ConnectionLog;
use super::sampler_state::{SampledSocket, SamplerState};
use super::settings::Settings;
use crate::clock;
use crate::conn::Meter;
use crate::record::{Leg, SampleReason};
use crate::relay::{CurrentWait, Monitor, Side, TurnTracker};
use crate::tcp_info::{LinuxInfo, Snapshot, TcpInfo};

/// Longest time between two checks while bytes pass or wait, however long the interval is.
const PACE: Duration = Duration::from_millis(250);

/// Takes samples of one pair.
pub(super) struct Sampler<'p> {
    conn_log: &'p mut ConnectionLog,
    interval: Duration,
    /// Interval of samples of an idle pair.
    quiet_interval: Duration,
    /// Timer of the next check.
    timer: Pin<Box<Sleep>>,
    /// Nothing passed or waited, and all bytes were reported: the next check may come late.
    is_quiet: bool,
    /// Byte counts at the last check.
    passed: ByteCounts,
    state: Box<SamplerState>,
}

/// Bytes read and written on the client's socket, and on the upstream's.
type ByteCounts = [u64; 4];

impl<'p> Sampler<'p> {
    /// For a pair with these meters, which have the snapshots from its opening.
    pub(super) fn new(conn_log: &'p mut ConnectionLog, [client, upstream]: [&Meter; 2]) -> Self {
        let settings = &conn_log.shared.settings;
        let interval = settings.sample_interval.max(Settings::SHORTEST_SAMPLE_INTERVAL);
        let quiet_interval = settings.quiet_sample_interval.max(interval);
        let now = Instant::now();
        let state = conn_log.sampler.take().unwrap_or_else(|| {
            Box::new(SamplerState {
                due: clock::after(now, interval),
                quiet_due: clock::after(now, quiet_interval),
                client: SampledSocket::from(client),
                upstream: SampledSocket::from(upstream),
            })
        });
        Self {
            conn_log,
            interval,
            quiet_interval,
            timer: Box::pin(tokio::time::sleep_until(state.quiet_due.into())),
            is_quiet: true,
            passed: passed(client, upstream),
            state,
        }
    }

    /// What the samples of the pair's next exchange build on.
    pub(super) fn into_state(self) -> Box<SamplerState> {
        self.state
    }

    fn wake_at(&mut self, at: Instant) {
        self.timer.as_mut().reset(at.into());
    }

    /// Writes the samples that are due, and sets the time of the next check. The client's socket is
    /// `None` while another pair uses it.
    fn sample(
        &mut self,
        meters: [&Meter; 2],
        client: Option<&TcpStream>,
        upstream: &TcpStream,
        turns: &TurnTracker,
    ) {
        let now = Instant::now();
        let raw = self.conn_log.shared.settings.raw;
        let infos = [client, Some(upstream)].map(|stream| snapshot(stream?, raw));
        let [client_info, upstream_info] = &infos;

        let of_client = self.state.client.detect(client_info.as_ref(), now).into_iter();
        let of_upstream = self.state.upstream.detect(upstream_info.as_ref(), now).into_iter();
        let linux = [client_info, upstream_info].map(linux);
        let waiting = turns.waiting_for(linux, now.into());
        let begun: Vec<_> = of_client
            .map(|reason| (reason, Leg::Client))
            .chain(of_upstream.map(|reason| (reason, Leg::Upstream)))
            .collect();
        for (reason, leg) in begun {
            self.write_sample(reason, Some(leg), meters, &infos, waiting, now);
        }
        let is_waiting = self.state.client.is_waiting || self.state.upstream.is_waiting;
        if now >= self.state.due && (is_waiting || self.conn_log.has_new_data(meters)) {
            self.write_sample(SampleReason::Interval, None, meters, &infos, waiting, now);
            self.state.due = clock::after(now, self.interval);
        } else if now >= self.state.quiet_due {
            self.write_sample(SampleReason::Quiet, None, meters, &infos, waiting, now);
        }

        let passed = passed(meters[0], meters[1]);
        let is_moving = std::mem::replace(&mut self.passed, passed) != passed;
        self.is_quiet = false;
        if is_moving || is_waiting {
            self.wake_at(clock::after(now, self.interval.min(PACE)));
        } else {
            let has_new_data = self.conn_log.has_new_data(meters);
            self.is_quiet = !has_new_data;
            self.wake_at(self.state.next_due(has_new_data));
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
        self.state.quiet_due = clock::after(now, self.quiet_interval);
        // Lines of open pairs must not fill the memory while nothing can be written.
        if self.conn_log.shared.recorder.is_full() {
            return;
        }
        let client = self.state.client.sampled(client, client_info.as_ref(), now);
        let upstream = self.state.upstream.sampled(upstream, upstream_info.as_ref(), now);
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
            let meters = [&client.state.meter, &upstream.state.meter];
            self.sample(meters, Some(client.stream), upstream.stream, turns);
        }
    }
}

/// Writes the samples that are due of a pair that waits, whose client's socket is used by another.
pub(super) fn sample_waiting(
    conn_log: &mut ConnectionLog,
    meters: [&Meter; 2],
    upstream: &TcpStream,
    turns: &TurnTracker,
) {
    let mut sampler = Sampler::new(conn_log, meters);
    sampler.sample(meters, None, upstream, turns);
    let state = sampler.into_state();
    conn_log.sampler = Some(state);
}

fn linux(info: &Option<TcpInfo>) -> Option<&LinuxInfo> {
    info.as_ref().and_then(|info| info.sys_info.linux())
}

fn passed(client: &Meter, upstream: &Meter) -> ByteCounts {
    [client.rx.bytes, client.tx.bytes, upstream.rx.bytes, upstream.tx.bytes]
}

fn snapshot(stream: &TcpStream, raw: bool) -> Option<TcpInfo> {
    let snapshot = Snapshot::structure(stream).ok()?;
    let mut info = snapshot.decode();
    info.sys_info_raw = raw.then(|| snapshot.hex());
    Some(info)
}
