//! The warnings of a pair.

use std::borrow::Cow;
use std::time::Duration;

use crate::conn::WINDOW_PROBE;
use crate::ingress::HttpExchange;
use crate::nanos;
use crate::plural::{counted, counted_were};
use crate::record::{
    Attempt, Delivered, Delivery, Leg, Phases, Report, Warning, WarningCode as Code,
};
use crate::tcp_info::{LinuxInfo, SysInfo, TcpInfo, TcpOption};

/// Waits in the accept queue below this are the kernel's clock grain, not a wait (CONFIG_HZ=100
/// counts in 10 ms).
const ACCEPT_QUEUE_GRAIN: Duration = Duration::from_millis(20);

/// A window that is too small is the limit for at least this share of the busy time: 28 to 90 of
/// 100 ms were counted on paths of 95 and 190 ms. BBR learns to stay just below it.
const WINDOW_HELD: f64 = 0.2;

/// A sender limited only by the path sends one window per round trip. One that sends less than this
/// share of it waits for a program that does not read.
const WINDOW_TURNED: f64 = 0.3;

/// Maximum size of headers: 40 bytes of IPv6, 20 of TCP, 40 of options.
const HEADERS: u64 = 100;

/// Only packets on loopback are larger than jumbo frames; there, half the peer's window limits
/// segments, not the path.
const LARGEST_FRAME: u64 = 9216;

/// Among this many data segments, a sender that uses ECN has marked some.
const ENOUGH_SEGMENTS: u32 = 10;

/// A smaller difference between wall clock and monotonic clock is not a clock step: a program may
/// be delayed between reading the two.
const CLOCK_GRAIN: Duration = Duration::from_millis(100);

/// Input for the warnings of a pair.
pub(crate) struct WarningInput<'r> {
    pub(crate) client: &'r Report,
    pub(crate) upstream: Option<&'r Report>,
    pub(crate) attempts: &'r [Attempt],
    pub(crate) phases: &'r Phases,
    /// The client's connection was accepted for this pair: no other one used it before.
    pub(crate) is_accepted: bool,
    /// The client's connection outlives the pair: its queue is not dropped.
    pub(crate) client_stays: bool,
    pub(crate) delivery: &'r Delivery,
    pub(crate) exchange: Option<&'r HttpExchange>,
    /// Longest waits for a closed window of the client and of the upstream.
    pub(crate) longest_closed: (Duration, Duration),
    /// Step of the wall clock since accept, ns.
    pub(crate) clock_step: i64,
}

/// The warnings of a pair so far, each once.
pub(crate) fn warnings(input: &WarningInput<'_>) -> Vec<Warning> {
    let mut list = WarningList::default();
    list.add_pair(input);

    list.leg = Some(Leg::Client);
    let wait = input.phases.accept_queue.filter(|&wait| wait >= ACCEPT_QUEUE_GRAIN);
    list.time(Code::AcceptQueue, wait, |ms| format!("the client waited {ms} ms to be accepted"));
    let at_open = input.client.opened_info.as_ref().filter(|_| input.is_accepted);
    let syn_acks = at_open.and_then(|info| info.retransmits);
    let text = |n| format!("{} retransmitted", counted(n, "SYN-ACK"));
    list.count(Code::SynRetransmits, syn_acks, "segments", text);
    let delivered = input.delivery.to_client.as_ref().filter(|_| !input.client_stays);
    list.add_leg(input.client, delivered, input.longest_closed.0);

    let delivered = input.delivery.to_upstream.as_ref();
    list.add_upstream(input.upstream, input.attempts, delivered, input.longest_closed.1);
    list.warnings
}

/// The warnings of a socket that we dialled, each once. `longest_closed` is the longest wait for
/// its peer's closed window.
#[cfg(feature = "stat")]
pub(crate) fn upstream_warnings(
    upstream: Option<&Report>,
    attempts: &[Attempt],
    longest_closed: Duration,
) -> Vec<Warning> {
    let mut list = WarningList::default();
    list.add_upstream(upstream, attempts, None, longest_closed);
    list.warnings
}

/// Input for the warnings of one socket.
#[derive(Default)]
pub(crate) struct SocketWarningInput<'i> {
    /// TCP information from before any data was sent: what it counts are SYNs. `None` if there is
    /// none.
    pub(crate) opened: Option<&'i TcpInfo>,
    /// TCP information of the established connection: the options in use.
    pub(crate) established: Option<&'i TcpInfo>,
    /// The latest TCP information.
    pub(crate) latest: Option<&'i TcpInfo>,
    /// Bytes still in the send queue when the socket was closed, if what became of them is unknown.
    pub(crate) queued: Option<u64>,
    /// The longest wait for the peer's closed window.
    pub(crate) longest_closed: Duration,
}

/// The warnings of a socket that nobody else is known of, each once.
#[cfg(feature = "watch")]
pub(crate) fn socket_warnings(input: &SocketWarningInput<'_>) -> Vec<Warning> {
    let mut list = WarningList::default();
    let syns = input.opened.and_then(|info| info.retransmits);
    let text = |n| format!("{} retransmitted", counted(n, "SYN"));
    list.count(Code::SynRetransmits, syns, "segments", text);
    list.add_socket(input);
    list.warnings
}

#[derive(Default)]
struct WarningList {
    warnings: Vec<Warning>,
    /// The leg of the next warnings.
    leg: Option<Leg>,
}

impl WarningList {
    /// Adds a warning, unless the value is zero or unknown.
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

    /// Adds a warning about a time; the text gets ms.
    fn time(&mut self, code: Code, time: Option<Duration>, text: impl FnOnce(u128) -> String) {
        let millis = time.map_or(0, |time| time.as_millis());
        self.count(code, time.map(nanos::of), "ns", |_| text(millis));
    }

    fn add_pair(&mut self, input: &WarningInput<'_>) {
        let step = Duration::from_nanos(input.clock_step.unsigned_abs());
        let direction = if input.clock_step < 0 { "back" } else { "ahead" };
        self.time(Code::ClockStep, Some(step).filter(|&step| step >= CLOCK_GRAIN), |ms| {
            format!("the wall clock jumped {ms} ms {direction}: it was set, or the machine slept")
        });
        let Some(exchange) = input.exchange else { return };
        self.leg = Some(Leg::Client);
        let text = |n| format!("{} after the request discarded", counted_were(n, "byte"));
        self.count(Code::BytesAfterRequest, Some(exchange.discarded()), "bytes", text);
        self.leg = Some(Leg::Upstream);
        let text = |n| format!("{} after the response discarded", counted_were(n, "byte"));
        self.count(Code::BytesAfterResponse, Some(exchange.discarded_of_upstream()), "bytes", text);
        let bad = u64::from(exchange.has_bad_response());
        self.count(Code::ResponseNotHttp, Some(bad), "responses", |_| {
            "no response that can be forwarded came; the client got a 502".to_owned()
        });
    }

    fn add_upstream(
        &mut self,
        upstream: Option<&Report>,
        attempts: &[Attempt],
        delivered: Option<&Delivered>,
        closed: Duration,
    ) {
        self.leg = Some(Leg::Upstream);
        let syns = attempts.iter().filter_map(|attempt| attempt.syn_retransmits).sum();
        let text = |n| format!("{} retransmitted", counted(n, "SYN"));
        self.count(Code::SynRetransmits, Some(syns), "segments", text);
        if let Some(upstream) = upstream {
            self.add_leg(upstream, delivered, closed);
        }
    }

    fn add_leg(&mut self, leg: &Report, delivered: Option<&Delivered>, closed: Duration) {
        let opened = leg.opened_info.as_ref();
        self.add_socket(&SocketWarningInput {
            opened,
            established: opened,
            latest: leg.closed_info.as_ref().or(opened),
            queued: delivered.and_then(Delivered::still_queued),
            longest_closed: closed,
        });
    }

    fn add_socket(&mut self, socket: &SocketWarningInput<'_>) {
        let &SocketWarningInput { opened, latest, .. } = socket;
        // SYNs have a warning of their own.
        let since_open = |now: Option<u64>, then: Option<u64>| {
            now.map(|now| now.saturating_sub(then.unwrap_or(0)))
        };
        let retransmits =
            since_open(latest.and_then(|i| i.retransmits), opened.and_then(|i| i.retransmits));
        let text = |n| format!("{} retransmitted", counted(n, "segment"));
        self.count(Code::Retransmits, retransmits, "segments", text);
        let text =
            |n| format!("{} not acknowledged when the socket was closed", counted_were(n, "byte"));
        self.count(Code::QueueNotEmptied, socket.queued, "bytes", text);

        // Windows reports only timestamps, which it does not use by default.
        let tells_options = |info: &&TcpInfo| !matches!(info.sys_info, SysInfo::Windows(_));
        let established = socket.established.filter(tells_options);
        if let Some(options) = established.and_then(|info| info.tx_options.as_deref()) {
            self.add_missing_options(options);
        }
        let Some(linux) = latest.and_then(|info| info.sys_info.linux()) else { return };
        let at_open = opened.and_then(|info| info.sys_info.linux());
        let timeouts = |info: &LinuxInfo| info.total_rto.map(u64::from);
        let timeouts = since_open(timeouts(linux), at_open.and_then(timeouts));
        let text = |n| format!("the retransmission timer expired {}", counted(n, "time"));
        self.count(Code::RetransmissionTimeouts, timeouts, "timeouts", text);
        let out_of_order = |info: &LinuxInfo| info.rx_out_of_order.map(u64::from);
        let out_of_order = since_open(out_of_order(linux), at_open.and_then(out_of_order));
        let text = |n| format!("{} arrived out of order", counted(n, "packet"));
        self.count(Code::OutOfOrder, out_of_order, "packets", text);
        match held_by_window(&since(linux, at_open), socket.longest_closed) {
            Some(WindowLimit::ClosedWindow(time)) => self.time(Code::ZeroWindow, Some(time), |ms| {
                format!("the peer's receive window was closed for {ms} ms without a break")
            }),
            Some(WindowLimit::SmallWindow(time)) => self.time(Code::WindowLimited, Some(time), |ms| {
                format!(
                    "the peer's receive window, never closed but too small for the path, limited \
                     sending for {ms} ms"
                )
            }),
            None => {}
        }
        self.add_path(linux);
    }

    /// Warnings about missing options that every system uses by default, unless something on the
    /// path removes them.
    fn add_missing_options(&mut self, options: &[TcpOption]) {
        let scales = options.iter().any(|option| matches!(option, TcpOption::WindowScale(_)));
        let of = [
            (Code::NoWindowScaling, scales, "window scaling: windows are limited to 64 KiB"),
            (
                Code::NoSack,
                options.contains(&TcpOption::Sack),
                "selective acknowledgements: recovery from loss is slow",
            ),
            (
                Code::NoTimestamps,
                options.contains(&TcpOption::Timestamps),
                "timestamps: retransmissions give no RTT samples",
            ),
        ];
        for (code, is_there, what) in of {
            let missing = Some(u64::from(!is_there));
            self.count(code, missing, "options", |_| format!("the connection has no {what}"));
        }
    }

    /// Warnings about the effect of the path on segments and ECN marks.
    fn add_path(&mut self, linux: &LinuxInfo) {
        if let (Some(mss), Some(mtu)) = (linux.tx_mss.map(u64::from), linux.pmtu.map(u64::from)) {
            let is_small = mtu <= LARGEST_FRAME && mss + HEADERS < mtu;
            self.count(Code::SmallMss, is_small.then_some(mss), "bytes", |mss| {
                format!("segments have at most {mss} bytes, although the path MTU is {mtu}")
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
            format!("ECN was negotiated, but none of {n} data segments arrived ECN-capable")
        });
    }
}

/// How the peer's window limited a sender.
#[derive(Debug, PartialEq, Eq)]
enum WindowLimit {
    /// It was closed for this long at a stretch.
    ClosedWindow(Duration),
    /// It was never closed, but limited the sender for this long.
    SmallWindow(Duration),
}

/// The figures since a socket was opened, or since a further pair of its connection began.
fn since<'l>(latest: &'l LinuxInfo, at_open: Option<&LinuxInfo>) -> Cow<'l, LinuxInfo> {
    let limited = at_open.and_then(|info| info.rx_window_limited).unwrap_or_default();
    let Some(at_open) = at_open.filter(|_| !limited.is_zero()) else {
        return Cow::Borrowed(latest);
    };
    let mut since = latest.clone();
    let less = |now: Option<Duration>, then: Option<Duration>| {
        now.map(|now| now.saturating_sub(then.unwrap_or_default()))
    };
    since.rx_window_limited = less(latest.rx_window_limited, at_open.rx_window_limited);
    since.busy_time = less(latest.busy_time, at_open.busy_time);
    let acked = at_open.bytes_acked.unwrap_or(0);
    since.bytes_acked = latest.bytes_acked.map(|bytes| bytes.saturating_sub(acked));
    Cow::Owned(since)
}

/// How the window limited the sender, by the latest sample and the longest wait with a closed
/// window.
fn held_by_window(linux: &LinuxInfo, closed: Duration) -> Option<WindowLimit> {
    // The kernel counts both cases; without its count, the window was not the limit.
    let held = linux.rx_window_limited.filter(|&held| held >= WINDOW_PROBE)?;
    let is_closed = linux.has_closed_window();
    if is_closed || !closed.is_zero() {
        // Window probes are not counted as data sent.
        let present = linux.last_tx_at.filter(|_| is_closed).unwrap_or_default();
        let closed = held.min(closed.max(present));
        return (closed >= WINDOW_PROBE).then_some(WindowLimit::ClosedWindow(closed));
    }
    let (busy, round_trip) = (linux.busy_time?.as_secs_f64(), linux.min_rtt?.as_secs_f64());
    let (acked, window) = (linux.bytes_acked? as f64, f64::from(linux.tx_window?));
    let is_turned = acked * round_trip >= window * busy * WINDOW_TURNED;
    // A window that automatic tuning only opened late is wide in the end.
    let congestion_window = f64::from(linux.tx_c_window?) * f64::from(linux.tx_mss?);
    let is_small = window <= congestion_window;
    let is_limited = held.as_secs_f64() >= busy * WINDOW_HELD && is_turned && is_small;
    is_limited.then_some(WindowLimit::SmallWindow(held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp_info::State;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A sender that the window has held for 3 of 4 s; 1 MB has gone, over this round trip.
    fn sender(window: u32, round_trip: Duration) -> LinuxInfo {
        let mut linux = LinuxInfo::default();
        linux.state = Some(State::Established);
        (linux.rx_window_limited, linux.busy_time) = (Some(ms(3000)), Some(ms(4000)));
        (linux.un_acked, linux.not_sent_bytes) = (Some(0), Some(0));
        (linux.bytes_acked, linux.tx_window) = (Some(1_000_000), Some(window));
        linux.min_rtt = Some(round_trip);
        (linux.tx_c_window, linux.tx_mss) = (Some(60), Some(1000));
        linux
    }

    #[test]
    fn a_small_window_on_a_long_path_is_no_closed_one() {
        // 29 kB each 100 ms would have been 1.2 MB.
        let small = sender(29_000, ms(100));
        assert_eq!(held_by_window(&small, ms(0)), Some(WindowLimit::SmallWindow(ms(3000))));
    }

    #[test]
    fn a_window_that_has_become_wide_is_not_small() {
        let mut wide = sender(61_000, ms(100));
        wide.bytes_acked = Some(9_000_000);
        assert_eq!(held_by_window(&wide, ms(0)), None);
    }

    #[test]
    fn a_slow_reader_nearby_has_no_window_that_the_path_finds_small() {
        assert_eq!(held_by_window(&sender(29_000, ms(1)), ms(0)), None);
    }

    #[test]
    fn what_the_kernel_does_not_count_is_not_the_windows() {
        let mut linux = sender(29_000, ms(100));
        linux.rx_window_limited = Some(ms(199));
        assert_eq!(held_by_window(&linux, ms(0)), None);
        linux.rx_window_limited = Some(ms(799));
        assert_eq!(held_by_window(&linux, ms(0)), None, "a small share of the time");
        assert_eq!(held_by_window(&linux, ms(5000)), Some(WindowLimit::ClosedWindow(ms(799))));
    }

    #[test]
    fn a_window_that_was_found_closed_is_told_with_its_longest_time() {
        let mut linux = sender(29_000, ms(100));
        assert_eq!(held_by_window(&linux, ms(700)), Some(WindowLimit::ClosedWindow(ms(700))));
        (linux.tx_window, linux.last_tx_at) = (Some(0), Some(ms(900)));
        for closed in [ms(0), ms(700)] {
            assert_eq!(held_by_window(&linux, closed), Some(WindowLimit::ClosedWindow(ms(900))));
        }
        linux.last_tx_at = Some(ms(10));
        assert_eq!(held_by_window(&linux, ms(0)), None, "a moment is any fast transfer's");
    }

    #[test]
    fn bytes_that_wait_with_none_in_flight_tell_of_a_closed_window_while_it_is_open() {
        let mut linux = sender(500, ms(100));
        (linux.not_sent_bytes, linux.last_tx_at) = (Some(1), Some(ms(400)));
        assert_eq!(held_by_window(&linux, ms(0)), Some(WindowLimit::ClosedWindow(ms(400))));
        linux.un_acked = Some(1);
        assert!(!linux.has_closed_window());
        // A reset has thrown away what was in flight.
        (linux.un_acked, linux.state) = (Some(0), Some(State::Close));
        assert!(!linux.has_closed_window());
    }
}
