//! TCP_INFO samples of a pair's sockets, and what they show of the network path.

use std::borrow::Cow;
use std::time::Duration;

use tokio::net::TcpStream;

use super::time_by_cause::{ChargesAt, Doubts};
use super::window::Window;
use crate::clock::{CompactDuration, CompactInstant};
use crate::tcp_info::{LinuxInfo, Snapshot, Socket, State};

/// Resolution of the ages in TCP_INFO. They count in kernel ticks, usually 4 ms and at most 10 ms:
/// two ticks of 4 ms, and the time that a program takes to wake.
const GRAIN: Duration = Duration::from_millis(10);

/// The most that a lost or reordered packet can have cost, in minimum round-trip times.
const REPAIR: f64 = 1.25;

/// When that cost is more than this share of a pause, it is uncertain whether it caused the pause.
const DOUBTFUL: f64 = 0.3;

/// Bursts that arrive about one round trip apart, within these bounds, are limited by the sender's
/// congestion window.
const ROUND_TRIP: std::ops::RangeInclusive<f64> = 0.8..=1.5;

/// Such a burst has at least the segments of an initial window (RFC 6928), or what our receive
/// window allows.
const FIRST_WINDOW: u64 = 10;

/// A sender that paces within its congestion window pauses for less than a round trip. While that
/// window still opens, all data so far is at most this many times the data of the last round trip;
/// a program that paces its own output has soon sent more.
const OPENING: u128 = 4;

/// From this round trip of a request or answer on, its growth tells who paces it.
const GROWTH_TELLS: u8 = 3;

/// A congestion window that opens doubles in each round trip, so that all data so far grows this many times more
/// than at an even pace: 7/3 instead of 3/2 in the third one, 15/7 instead of 4/3 in the fourth.
const OPENING_GROWTH: f64 = 1.25;

/// Round trips vary a little.
const SHORTEST_ROUND_TRIP: f64 = 0.9;

/// After reordering, a sender that pauses for less than this many round trips may be limited by its
/// congestion window.
const CAREFUL: f64 = 2.0;

/// A request whose retransmissions were all spurious, and that was last sent this much later than
/// it was written, may have been in transit all that time: the minimum retransmission timeout and a
/// long round trip.
const LONG_UNACKNOWLEDGED: CompactDuration = CompactDuration::new(Duration::from_millis(300));

/// One of the two peers of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Client,
    Upstream,
}

/// A source of TCP_INFO for both sockets of a pair.
pub(crate) trait InfoSource {
    /// TCP_INFO of the connection to a peer. `None` where the system has none.
    fn info(&self, peer: Peer) -> Option<Cow<'_, LinuxInfo>>;
}

/// Asks the sockets themselves.
pub(super) struct Sockets<'s> {
    pub(super) client: &'s TcpStream,
    pub(super) upstream: &'s TcpStream,
}

impl InfoSource for Sockets<'_> {
    fn info(&self, peer: Peer) -> Option<Cow<'_, LinuxInfo>> {
        let socket = match peer {
            Peer::Client => self.client,
            Peer::Upstream => self.upstream,
        };
        linux_info(socket).map(Cow::Owned)
    }
}

/// The current TCP_INFO of a connection. Other systems than Linux are not asked, because pairs ask
/// often.
pub(crate) fn linux_info(socket: &impl Socket) -> Option<LinuxInfo> {
    if cfg!(not(any(target_os = "linux", target_os = "android"))) {
        return None;
    }
    Snapshot::structure(socket).ok()?.linux()
}

/// Data segments in flight, without our own end of stream.
fn unacknowledged(info: &LinuxInfo) -> u32 {
    let has_ended = matches!(info.state, Some(State::FinWait1 | State::Closing | State::LastAck));
    info.un_acked.unwrap_or(0).saturating_sub(u32::from(has_ended))
}

/// How long after `written` the socket sent its last byte, by a sample taken at `now`. Zero below
/// the resolution of that figure.
pub(super) fn send_delay(
    info: &LinuxInfo,
    written: CompactInstant,
    now: CompactInstant,
) -> CompactDuration {
    let sent = info.last_tx_at.map(|age| now.saturating_sub(age));
    let late = sent.map(|sent| sent.since(written)).filter(|late| late.get() >= GRAIN);
    late.unwrap_or_default()
}

/// What the samples of a pair have shown.
#[derive(Debug, Default)]
pub(crate) struct PathEvidence {
    pub(super) client: SocketEvidence,
    pub(super) upstream: SocketEvidence,
    pub(crate) doubts: Doubts,
    /// The last time that the upstream sent data after a long pause in its answer.
    pub(super) late: Option<LateAnswer>,
    /// The charges at the time when the client's end of stream was read.
    pub(super) at_client_end: Option<Box<ChargesAt>>,
}

impl PathEvidence {
    pub(super) fn get_mut(&mut self, peer: Peer) -> &mut SocketEvidence {
        match peer {
            Peer::Client => &mut self.client,
            Peer::Upstream => &mut self.upstream,
        }
    }

    /// Another request begins.
    pub(super) fn forget_growth(&mut self) {
        (self.client.growth, self.upstream.growth) = Default::default();
    }
}

/// Data after a long pause in an answer.
#[derive(Debug)]
pub(super) struct LateAnswer {
    /// When its first byte arrived.
    pub(super) at: CompactInstant,
    /// What was charged to the upstream for the pause.
    pub(super) charged: CompactDuration,
    pub(super) bytes: u64,
}

/// How the data of the current request or answer grows from one round trip to the next.
#[derive(Debug, Default)]
pub(super) struct Growth {
    began: Option<CompactInstant>,
    /// When it was last measured, since it began, and how many bytes had arrived by then.
    measured: (CompactDuration, u64),
    round_trips: u8,
    /// Bytes of the last round trip that was measured, or of the current one if they are more.
    in_a_round_trip: u64,
    /// It grew in the last round trip as an opening congestion window makes it grow.
    is_opening: bool,
    /// Pauses charged to the sender that are the path's if this turns out to be so.
    in_doubt: CompactDuration,
}

impl Growth {
    /// Measures once in a round trip of `least`: `so_far` bytes have arrived. Fewer than before are of another
    /// answer.
    fn measure(&mut self, so_far: Option<u64>, least: Duration, now: CompactInstant) {
        let (_, before) = self.measured;
        let Some(so_far) = so_far.filter(|&so_far| so_far >= before) else {
            *self = Self::default();
            return;
        };
        let age = now.since(*self.began.get_or_insert(now));
        let (age_before, _) = self.measured;
        self.in_a_round_trip = self.in_a_round_trip.max(so_far - before);
        if (age - age_before).get() < least.mul_f64(SHORTEST_ROUND_TRIP) {
            return;
        }
        self.round_trips = self.round_trips.saturating_add(1);
        self.is_opening = self.round_trips >= GROWTH_TELLS && {
            let at_an_even_pace = age.get().div_duration_f64(age_before.get());
            so_far as f64 >= before as f64 * at_an_even_pace * OPENING_GROWTH
        };
        self.in_a_round_trip = so_far - before;
        self.measured = (age, so_far);
    }
}

/// What the samples of one socket have shown.
#[derive(Debug, Default)]
pub(super) struct SocketEvidence {
    /// The minimum round-trip time; `None` until a sample has one.
    pub(super) min_rtt: Option<CompactDuration>,
    pub(super) window: Window,
    pub(super) first_samples: u8,
    pub(super) growth: Growth,
    /// Counters of the last sample: reordered packets, retransmitted segments, and duplicates that
    /// the peer reported.
    out_of_order: u32,
    sent_again: u32,
    reported: u32,
}

/// The path's share of a pause of a sender.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) late: CompactDuration,
    pub(super) late_in_doubt: CompactDuration,
    /// Earlier pauses that were charged to the sender, with doubt, and were the path's.
    pub(super) late_before: CompactDuration,
    /// The uncertain part of the sender's share.
    pub(super) sender_in_doubt: CompactDuration,
}

/// The path's share of a wait for an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PathShare {
    pub(super) path: CompactDuration,
    /// The uncertain part of the upstream's share.
    pub(super) in_doubt: CompactDuration,
}

impl SocketEvidence {
    fn least_rtt(&mut self, info: &LinuxInfo) -> CompactDuration {
        if let Some(min_rtt) = info.min_rtt {
            self.min_rtt = Some(CompactDuration::new(min_rtt));
        }
        self.min_rtt.unwrap_or_default()
    }

    /// Takes a sample after which counting begins: what came before was for another pair.
    pub(super) fn begin_at(&mut self, info: &LinuxInfo) {
        self.out_of_order = info.rx_out_of_order.unwrap_or(0);
        self.sent_again = info.total_retrans.unwrap_or(0);
        self.reported = info.dsack_dups.unwrap_or(0);
        self.window.begin_at(info);
    }

    /// Whether packets were reordered since the last sample.
    pub(super) fn has_new_reordering(&mut self, info: &LinuxInfo) -> bool {
        let count = info.rx_out_of_order.unwrap_or(0);
        count > std::mem::replace(&mut self.out_of_order, count)
    }

    /// Judges a pause of the sender that has ended, the last of the pauses since the last sample,
    /// which took `unsampled` together. Before it, `burst` bytes had arrived since the previous
    /// pause, and `so_far` bytes of the request or answer, if it is one.
    pub(super) fn judge_pause(
        &mut self,
        info: &LinuxInfo,
        pause: CompactDuration,
        unsampled: CompactDuration,
        (burst, so_far): (u32, Option<u64>),
        now: CompactInstant,
    ) -> Arrival {
        let least = self.least_rtt(info).get();
        self.growth.measure(so_far, least, now);
        if self.has_new_reordering(info) {
            let late = CompactDuration::new(least.mul_f64(REPAIR)).min(pause);
            let is_doubtful = late.get() > pause.get().mul_f64(DOUBTFUL);
            let late_in_doubt = if is_doubtful { late } else { CompactDuration::default() };
            return Arrival {
                late,
                late_in_doubt,
                ..self.after_reordering(least, pause, unsampled - late)
            };
        }
        let round_trips = pause.get().div_duration_f64(least.max(Duration::from_nanos(1)));
        let mss = u64::from(info.rx_mss.unwrap_or(0));
        let window = u64::from(info.rx_window.unwrap_or(u32::MAX));
        let first_window = window.min(FIRST_WINDOW * mss);
        let comes_in_bursts = ROUND_TRIP.contains(&round_trips) && u64::from(burst) >= first_window;
        let may_be_opening = round_trips < *ROUND_TRIP.start() && {
            let at_this_rate = u128::from(burst) * least.as_nanos() / pause.get().as_nanos().max(1);
            // A window that is spread over a part of the round trip leaves a gap behind it.
            let in_a_round_trip = at_this_rate.max(self.growth.in_a_round_trip.into());
            so_far.is_some_and(|so_far| u128::from(so_far) <= OPENING * in_a_round_trip)
                && in_a_round_trip as f64 >= first_window as f64 * SHORTEST_ROUND_TRIP
        };
        if self.growth.is_opening && (comes_in_bursts || may_be_opening) {
            let late_before = std::mem::take(&mut self.growth.in_doubt);
            return Arrival { late: unsampled, late_before, ..Arrival::default() };
        }
        if comes_in_bursts {
            return Arrival { late: pause, ..Arrival::default() };
        }
        if may_be_opening {
            self.growth.in_doubt += unsampled;
            return Arrival { sender_in_doubt: unsampled, ..Arrival::default() };
        }
        self.after_reordering(least, pause, unsampled)
    }

    /// Judges the sender's share of the time after reordering.
    fn after_reordering(
        &self,
        least: Duration,
        pause: CompactDuration,
        left: CompactDuration,
    ) -> Arrival {
        let is_doubtful = self.out_of_order > 0 && pause.get() < least.mul_f64(CAREFUL);
        let sender_in_doubt = if is_doubtful { left } else { CompactDuration::default() };
        Arrival { sender_in_doubt, ..Arrival::default() }
    }

    /// Judges a wait for an answer, ended or not. The last byte of the request was sent `late`
    /// after it was written.
    pub(super) fn judge_wait(
        &mut self,
        info: &LinuxInfo,
        wait: CompactDuration,
        late: CompactDuration,
    ) -> PathShare {
        let least = self.least_rtt(info);
        let sent_again = info.total_retrans.unwrap_or(0);
        let again = sent_again.saturating_sub(std::mem::replace(&mut self.sent_again, sent_again));
        let reported = info.dsack_dups.unwrap_or(0);
        let needless = reported.saturating_sub(std::mem::replace(&mut self.reported, reported));
        let held = CompactDuration::new(self.window.newly_limited(info)).min(late);
        if unacknowledged(info) > 0 {
            // The request has not arrived.
            let path = if info.tx_window == Some(0) { least } else { wait };
            return PathShare { path, in_doubt: CompactDuration::default() };
        }
        if again > 0 && needless >= again {
            // The original had arrived; only an acknowledgement was lost.
            let in_doubt =
                if late > LONG_UNACKNOWLEDGED { late } else { CompactDuration::default() };
            return PathShare { path: least, in_doubt };
        }
        PathShare { path: (late - held + least).min(wait), in_doubt: CompactDuration::default() }
    }
}
