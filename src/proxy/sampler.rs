//! Samples of an open pair: at intervals, and when something begins that holds it up.
//!
//! The pair's own task looks, and often only while bytes pass or wait: a quiet pair is looked at once a
//! minute.

use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::time::Sleep;

use super::account::Account;
use super::settings::Settings;
use crate::clock;
use crate::conn::Meter;
use crate::record::{Leg, SampleReason, SampledLeg};
use crate::relay::{Side, Turns, Waiting, Watch};
use crate::tcp_info::{LinuxInfo, Snapshot, TcpInfo};

/// Looks are no further apart than this while bytes pass or wait, however long the interval is.
const PACE: Duration = Duration::from_millis(250);

/// Bytes that wait for so long without any being acknowledged are a stall.
const STALL: Duration = Duration::from_secs(1);

/// Takes samples of one pair.
pub(super) struct Sampler<'p> {
    account: &'p mut Account,
    interval: Duration,
    /// Before this, only what begins is told.
    due: Instant,
    /// How long nothing is told of a quiet pair.
    quiet_interval: Duration,
    /// When something is told again though the pair is quiet.
    quiet_due: Instant,
    /// Of the next look.
    timer: Pin<Box<Sleep>>,
    /// Nothing passed or waited, and all that had passed was told: the next look may come late.
    is_quiet: bool,
    /// What had passed at the last look.
    passed: Passed,
    client: Watched,
    upstream: Watched,
}

/// Bytes read and written on the client's socket, and on the upstream's.
type Passed = [u64; 4];

/// What is known of one socket from the last look at it.
struct Watched {
    /// What the previous sample told of it.
    told: Map<String, Value>,
    has_zero_window: bool,
    /// How often the retransmission timer began to run out.
    timeouts: u16,
    /// Bytes wait to be acknowledged.
    is_waiting: bool,
    /// While they do: what was acknowledged, and since when it is no more.
    acked: Option<(u64, Instant)>,
    is_stalled: bool,
}

impl<'p> Sampler<'p> {
    /// For a pair whose first looks these have.
    pub(super) fn new(account: &'p mut Account, [client, upstream]: [&Meter; 2]) -> Self {
        let settings = &account.shared.settings;
        let interval = settings.sample_interval.max(Settings::SHORTEST_SAMPLE_INTERVAL);
        let quiet_interval = settings.quiet_sample_interval.max(interval);
        let now = Instant::now();
        let quiet_due = clock::after(now, quiet_interval);
        Self {
            account,
            interval,
            due: clock::after(now, interval),
            quiet_interval,
            quiet_due,
            timer: Box::pin(tokio::time::sleep_until(quiet_due.into())),
            is_quiet: true,
            passed: passed(client, upstream),
            client: Watched::from(client),
            upstream: Watched::from(upstream),
        }
    }

    fn wake_at(&mut self, at: Instant) {
        self.timer.as_mut().reset(at.into());
    }

    /// Tells what is to be told, and sets the time of the next look.
    fn look(&mut self, client: &Side<'_>, upstream: &Side<'_>, turns: &Turns) {
        let now = Instant::now();
        let raw = self.account.shared.settings.raw;
        let infos = [client, upstream].map(|side| look_at(side, raw));
        let [client_info, upstream_info] = &infos;
        let meters = [&client.state.meter, &upstream.state.meter];

        let of_client = self.client.see(client_info.as_ref(), now).into_iter();
        let of_upstream = self.upstream.see(upstream_info.as_ref(), now).into_iter();
        let linux = [client_info, upstream_info].map(linux);
        let waiting = turns.waiting_for(linux, now.into());
        let begun: Vec<_> = of_client
            .map(|reason| (reason, Leg::Client))
            .chain(of_upstream.map(|reason| (reason, Leg::Upstream)))
            .collect();
        for (reason, leg) in begun {
            self.tell(reason, Some(leg), meters, &infos, waiting, now);
        }
        let is_waiting = self.client.is_waiting || self.upstream.is_waiting;
        if now >= self.due && (is_waiting || self.account.has_news(meters)) {
            self.tell(SampleReason::Interval, None, meters, &infos, waiting, now);
            self.due = clock::after(now, self.interval);
        } else if now >= self.quiet_due {
            self.tell(SampleReason::Quiet, None, meters, &infos, waiting, now);
        }

        let passed = passed(meters[0], meters[1]);
        let is_moving = std::mem::replace(&mut self.passed, passed) != passed;
        self.is_quiet = false;
        if is_moving || is_waiting {
            self.wake_at(clock::after(now, self.interval.min(PACE)));
        } else if self.account.has_news(meters) {
            self.wake_at(self.due);
        } else {
            self.is_quiet = true;
            self.wake_at(self.quiet_due);
        }
    }

    fn tell(
        &mut self,
        reason: SampleReason,
        leg: Option<Leg>,
        [client, upstream]: [&Meter; 2],
        [client_info, upstream_info]: &[Option<TcpInfo>; 2],
        waiting: Option<Waiting>,
        now: Instant,
    ) {
        self.quiet_due = clock::after(now, self.quiet_interval);
        // What an open pair has to say must not fill the memory while nothing can be written.
        if self.account.shared.recorder.is_full() {
            return;
        }
        let client = self.client.sampled(client, client_info.as_ref(), now);
        let upstream = self.upstream.sampled(upstream, upstream_info.as_ref(), now);
        self.account.record_sample(reason, leg, client, upstream, waiting);
    }
}

impl Watch for Sampler<'_> {
    fn poll(
        &mut self,
        client: &Side<'_>,
        upstream: &Side<'_>,
        turns: &mut Turns,
        cx: &mut Context<'_>,
    ) {
        self.account.poll(client, upstream, turns, cx);
        if self.is_quiet && passed(&client.state.meter, &upstream.state.meter) != self.passed {
            self.is_quiet = false;
            self.wake_at(clock::after(Instant::now(), self.interval.min(PACE)));
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            self.look(client, upstream, turns);
        }
    }
}

impl From<&Meter> for Watched {
    fn from(meter: &Meter) -> Self {
        let opened = meter.opened_look.as_ref().map(|look| look.unpack().decode());
        let linux = opened.as_ref().and_then(|info| info.sys_info.linux());
        Self {
            told: Map::new(),
            has_zero_window: false,
            // SYNs have theirs.
            timeouts: linux.and_then(|linux| linux.total_rto_recoveries).unwrap_or(0),
            is_waiting: false,
            acked: None,
            is_stalled: false,
        }
    }
}

impl Watched {
    /// What has begun since the last look.
    fn see(&mut self, info: Option<&TcpInfo>, now: Instant) -> Vec<SampleReason> {
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

    /// What is different from what was told last.
    fn changes(&mut self, info: &TcpInfo) -> Map<String, Value> {
        let mut info = info.clone();
        info.sys_info.keep(|_| false);
        let mut fields = info.to_map();
        fields.remove("sysInfo");
        fields.remove("sysInfoLength");
        let told = std::mem::replace(&mut self.told, fields);
        let is_news = |(key, value): &(&String, &Value)| told.get(*key) != Some(value);
        let news = self.told.iter().filter(is_news);
        news.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

fn linux(info: &Option<TcpInfo>) -> Option<&LinuxInfo> {
    info.as_ref().and_then(|info| info.sys_info.linux())
}

fn passed(client: &Meter, upstream: &Meter) -> Passed {
    [client.rx.bytes, client.tx.bytes, upstream.rx.bytes, upstream.tx.bytes]
}

fn look_at(side: &Side<'_>, raw: bool) -> Option<TcpInfo> {
    let look = Snapshot::structure(side.stream).ok()?;
    let mut info = look.decode();
    info.sys_info_raw = raw.then(|| look.hex());
    Some(info)
}
