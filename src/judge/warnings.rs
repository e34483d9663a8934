//! What deserves a look in a pair.

use std::time::Duration;

use crate::counted::{counted, counted_were};
use crate::ingress::Exchange;
use crate::nanos;
use crate::record::{
    Attempt, Delivered, Delivery, Leg, Phases, Report, Warning, WarningCode as Code,
};
use crate::tcp_info::{LinuxInfo, SysInfo, TcpInfo, TcpOption};

/// Waits in the accept queue below this are the kernel's clock grain, not a wait (CONFIG_HZ=100
/// counts in 10 ms).
const ACCEPT_QUEUE_GRAIN: Duration = Duration::from_millis(20);

/// What a sender waits at least before it probes a closed window (Linux: TCP_RTO_MIN). Windows that
/// have no room for shorter are any fast transfer's.
const WINDOW_PROBE: Duration = Duration::from_millis(200);

/// What a packet holds at most beside its segment: 40 bytes of IPv6, 20 of TCP, 40 of options.
const HEADERS: u64 = 100;

/// Larger than jumbo frames are loopback's packets alone, where half the peer's window bounds the
/// segments, not the path.
const LARGEST_FRAME: u64 = 9216;

/// Of so many data segments a sender that uses ECN has marked some.
const ENOUGH_SEGMENTS: u32 = 10;

/// A wall clock that has moved by less against the monotonic one was not set: a program may have to
/// wait between reading the two.
const CLOCK_GRAIN: Duration = Duration::from_millis(100);

/// What is known of a pair.
pub(crate) struct Known<'r> {
    pub(crate) client: &'r Report,
    pub(crate) upstream: Option<&'r Report>,
    pub(crate) attempts: &'r [Attempt],
    pub(crate) phases: &'r Phases,
    pub(crate) delivery: &'r Delivery,
    pub(crate) exchange: Option<&'r Exchange>,
    /// The longest waits for the client's and for the upstream's socket to take bytes.
    pub(crate) longest_blocked: (Duration, Duration),
    /// How far the wall clock was set since accept, ns.
    pub(crate) clock_step: i64,
}

/// The warnings of a pair so far, each once.
pub(crate) fn warnings(known: &Known<'_>) -> Vec<Warning> {
    let mut found = Found::default();
    found.of_the_pair(known);

    found.leg = Some(Leg::Client);
    let wait = known.phases.accept_queue.filter(|&wait| wait >= ACCEPT_QUEUE_GRAIN);
    found.time(Code::AcceptQueue, wait, |ms| format!("the client waited {ms} ms to be accepted"));
    let syn_acks = known.client.opened_info.as_ref().and_then(|info| info.retransmits);
    let text = |n| format!("{} sent again", counted(n, "SYN-ACK"));
    found.count(Code::SynRetransmits, syn_acks, "segments", text);
    found.of_leg(known.client, known.delivery.to_client.as_ref(), known.longest_blocked.0);

    let delivered = known.delivery.to_upstream.as_ref();
    found.of_upstream(known.upstream, known.attempts, delivered, known.longest_blocked.1);
    found.warnings
}

/// The warnings of a wrapped socket that we dialled, each once. `longest_blocked` is the longest wait for it
/// to take bytes.
#[cfg(feature = "stat")]
pub(crate) fn of_upstream(
    upstream: Option<&Report>,
    attempts: &[Attempt],
    longest_blocked: Duration,
) -> Vec<Warning> {
    let mut found = Found::default();
    found.of_upstream(upstream, attempts, None, longest_blocked);
    found.warnings
}

#[derive(Default)]
struct Found {
    warnings: Vec<Warning>,
    /// What the next ones are about.
    leg: Option<Leg>,
}

impl Found {
    /// Notes it, unless there is nothing to note.
    fn count(
        &mut self,
        code: Code,
        value: Option<u64>,
        unit: &str,
        text: impl FnOnce(u64) -> String,
    ) {
        if let Some(value) = value.filter(|&value| value > 0) {
            let (leg, unit) = (self.leg, unit.to_owned());
            self.warnings.push(Warning { code, leg, value, unit, text: text(value) });
        }
    }

    /// The same for a time; the text tells ms.
    fn time(&mut self, code: Code, time: Option<Duration>, text: impl FnOnce(u128) -> String) {
        let millis = time.map_or(0, |time| time.as_millis());
        self.count(code, time.map(nanos::of), "ns", |_| text(millis));
    }

    fn of_the_pair(&mut self, known: &Known<'_>) {
        let step = Duration::from_nanos(known.clock_step.unsigned_abs());
        let direction = if known.clock_step < 0 { "back" } else { "ahead" };
        self.time(Code::ClockStep, Some(step).filter(|&step| step >= CLOCK_GRAIN), |ms| {
            format!("the wall clock went {ms} ms {direction}: it was set, or the machine slept")
        });
        let Some(exchange) = known.exchange else { return };
        self.leg = Some(Leg::Client);
        let text = |n| format!("{} discarded that came after the request", counted_were(n, "byte"));
        self.count(Code::BytesAfterRequest, Some(exchange.discarded()), "bytes", text);
        self.leg = Some(Leg::Upstream);
        let text =
            |n| format!("{} discarded that came after the response", counted_were(n, "byte"));
        self.count(Code::BytesAfterResponse, Some(exchange.discarded_of_upstream()), "bytes", text);
        let bad = u64::from(exchange.has_bad_response());
        self.count(Code::ResponseNotHttp, Some(bad), "responses", |_| {
            "the response is no HTTP/1 that can be read in one way only; the client got a 502"
                .to_owned()
        });
    }

    fn of_upstream(
        &mut self,
        upstream: Option<&Report>,
        attempts: &[Attempt],
        delivered: Option<&Delivered>,
        blocked: Duration,
    ) {
        self.leg = Some(Leg::Upstream);
        let syns = attempts.iter().filter_map(|attempt| attempt.syn_retransmits).sum();
        let text = |n| format!("{} sent again", counted(n, "SYN"));
        self.count(Code::SynRetransmits, Some(syns), "segments", text);
        if let Some(upstream) = upstream {
            self.of_leg(upstream, delivered, blocked);
        }
    }

    fn of_leg(&mut self, leg: &Report, delivered: Option<&Delivered>, blocked: Duration) {
        let opened = leg.opened_info.as_ref();
        let latest = leg.closed_info.as_ref().or(opened);
        // SYNs are warned of by themselves.
        let since_open = |now: Option<u64>, then: Option<u64>| {
            now.map(|now| now.saturating_sub(then.unwrap_or(0)))
        };
        let retransmits =
            since_open(latest.and_then(|i| i.retransmits), opened.and_then(|i| i.retransmits));
        let text = |n| format!("{} sent again", counted(n, "segment"));
        self.count(Code::Retransmits, retransmits, "segments", text);
        let queued = delivered.and_then(Delivered::still_queued);
        let text =
            |n| format!("{} not acknowledged when the socket was closed", counted_were(n, "byte"));
        self.count(Code::QueueNotEmptied, queued, "bytes", text);

        // Windows tells of timestamps alone, which it does not use unless it was told to.
        let tells_options = |info: &&TcpInfo| !matches!(info.sys_info, SysInfo::Windows(_));
        let opened_with = opened.filter(tells_options);
        if let Some(options) = opened_with.and_then(|info| info.tx_options.as_deref()) {
            self.missing(options);
        }
        let Some(linux) = latest.and_then(|info| info.sys_info.linux()) else { return };
        let at_open = opened.and_then(|info| info.sys_info.linux());
        let timeouts = |info: &LinuxInfo| info.total_rto.map(u64::from);
        let timeouts = since_open(timeouts(linux), at_open.and_then(timeouts));
        let text = |n| format!("the retransmission timer ran out {}", counted(n, "time"));
        self.count(Code::RetransmissionTimeouts, timeouts, "timeouts", text);
        let out_of_order = linux.rx_out_of_order.map(u64::from);
        let text = |n| format!("{} came out of order", counted(n, "packet"));
        self.count(Code::OutOfOrder, out_of_order, "packets", text);
        let full = linux.rx_window_limited.map(|full| full.min(blocked));
        let text = |ms| format!("the peer's receive window had no room for {ms} ms on end");
        self.time(Code::ZeroWindow, full.filter(|&full| full >= WINDOW_PROBE), text);
        self.of_path(linux);
    }

    /// Options that every system uses unless it was told not to, or something on the path
    /// removed them.
    fn missing(&mut self, options: &[TcpOption]) {
        let scales = options.iter().any(|option| matches!(option, TcpOption::WindowScale(_)));
        let of = [
            (Code::NoWindowScaling, scales, "window scaling: no window exceeds 64 KiB"),
            (
                Code::NoSack,
                options.contains(&TcpOption::Sack),
                "selective acknowledgements: losses are repaired slowly",
            ),
            (
                Code::NoTimestamps,
                options.contains(&TcpOption::Timestamps),
                "timestamps: retransmissions give no round-trip time",
            ),
        ];
        for (code, is_there, what) in of {
            let missing = Some(u64::from(!is_there));
            self.count(code, missing, "options", |_| format!("the connection has no {what}"));
        }
    }

    /// What something on the path does to segments and marks.
    fn of_path(&mut self, linux: &LinuxInfo) {
        if let (Some(mss), Some(mtu)) = (linux.tx_mss.map(u64::from), linux.pmtu.map(u64::from)) {
            let is_small = mtu <= LARGEST_FRAME && mss + HEADERS < mtu;
            self.count(Code::SmallMss, is_small.then_some(mss), "bytes", |mss| {
                format!("segments have {mss} bytes at most, on a path that takes packets of {mtu}")
            });
        }
        let options = linux.tx_options.as_deref().unwrap_or_default();
        let marked = [linux.received_e0_bytes, linux.received_e1_bytes, linux.received_ce];
        let is_marked = options.contains(&TcpOption::EcnSeen)
            || marked.iter().flatten().any(|&marked| marked > 0);
        let segments = linux.data_segs_in.filter(|&segments| {
            options.contains(&TcpOption::Ecn) && !is_marked && segments >= ENOUGH_SEGMENTS
        });
        self.count(Code::EcnBleached, segments.map(u64::from), "segments", |n| {
            format!("ECN was agreed on, but none of {n} data segments came marked as capable of it")
        });
    }
}
