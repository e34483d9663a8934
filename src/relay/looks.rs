//! Looks at the sockets of a pair, and what they show of the path.

use std::time::Duration;

use tokio::net::TcpStream;

use super::charges::{Cause, ChargedThen};
use super::window::Window;
use crate::clock::{Moment, Nanos};
use crate::tcp_info::{LinuxInfo, Snapshot, Socket, State};

/// The kernel counts ages in its ticks: 4 ms long as a rule, 10 at most where it has few processors to serve.
/// Two of 4 ms, and what a program takes to wake.
const GRAIN: Duration = Duration::from_millis(10);

/// What a packet that was lost or came out of order can have cost, in smallest round-trip times.
const REPAIR: f64 = 1.25;

/// When that is more than this share of a pause, the pause may have had it for its reason or not.
const DOUBTFUL: f64 = 0.3;

/// Bursts that come a round trip apart, give or take so much of it, are what the sender's congestion window
/// lets through.
const ROUND_TRIP: std::ops::RangeInclusive<f64> = 0.8..=1.5;

/// Such a burst has at least as many segments as a first one (RFC 6928), or what our window lets through.
const FIRST_WINDOW: u64 = 10;

/// A sender that paces what its congestion window lets through pauses for less than a round trip. As long as that
/// window opens, so many times what came in the last round trip is all that has come; a program that paces what
/// it sends has soon sent more.
const OPENING: u128 = 4;

/// After packets out of order, a sender that pauses for less than so many round trips may be held by its
/// congestion window.
const CAREFUL: f64 = 2.0;

/// A request whose retransmissions were all needless, and that was sent last so much later than it was
/// written, may have been on the path for all of that time: the smallest retransmission time-out and a round
/// trip that is not short.
const LONG_UNACKNOWLEDGED: Nanos = Nanos::of(Duration::from_millis(300));

/// One of the two peers of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Client,
    Upstream,
}

/// Whoever looks at the sockets of a pair.
pub(crate) trait Looks {
    /// What the kernel knows of the connection to a peer. `None` where the system does not tell.
    fn at(&self, peer: Peer) -> Option<Box<LinuxInfo>>;
}

/// Looks at the sockets themselves.
pub(super) struct Sockets<'s> {
    pub(super) client: &'s TcpStream,
    pub(super) upstream: &'s TcpStream,
}

impl Looks for Sockets<'_> {
    fn at(&self, peer: Peer) -> Option<Box<LinuxInfo>> {
        figures(match peer {
            Peer::Client => self.client,
            Peer::Upstream => self.upstream,
        })
    }
}

/// What the kernel knows of a connection now. Systems that do not tell are not asked: pairs look often.
pub(crate) fn figures(socket: &impl Socket) -> Option<Box<LinuxInfo>> {
    if cfg!(not(any(target_os = "linux", target_os = "android"))) {
        return None;
    }
    Snapshot::structure(socket).ok()?.linux()
}

/// Segments of data in flight, without our own end of stream.
fn unacknowledged(info: &LinuxInfo) -> u32 {
    let has_ended = matches!(info.state, Some(State::FinWait1 | State::Closing | State::LastAck));
    info.un_acked.unwrap_or(0).saturating_sub(u32::from(has_ended))
}

/// How long after `written` the socket sent its last byte of data, as a look at `now` shows; no more than the
/// grain of that figure is nothing.
pub(super) fn late(info: &LinuxInfo, written: Moment, now: Moment) -> Nanos {
    let sent = info.last_tx_at.map(|age| now.saturating_sub(age));
    let late = sent.map(|sent| sent.since(written)).filter(|late| late.get() >= GRAIN);
    late.unwrap_or_default()
}

/// What the looks at a pair have shown.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(super) client: SeenOf,
    pub(super) upstream: SeenOf,
    pub(crate) doubts: Doubts,
    /// The last time that the upstream spoke after a long pause in its answer.
    pub(super) late: Option<Late>,
    /// How things stood when the client's end of stream was read.
    pub(super) at_client_end: Option<Box<ChargedThen>>,
}

impl Seen {
    pub(super) fn of(&mut self, peer: Peer) -> &mut SeenOf {
        match peer {
            Peer::Client => &mut self.client,
            Peer::Upstream => &mut self.upstream,
        }
    }
}

/// What came after a long pause in an answer.
#[derive(Debug)]
pub(super) struct Late {
    /// When it began.
    pub(super) at: Moment,
    /// What was charged to the upstream for the pause.
    pub(super) charged: Nanos,
    pub(super) bytes: u64,
}

/// Of the time that is charged to some causes: what may be another one's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubts {
    pub(crate) client: Nanos,
    pub(crate) from_client: Nanos,
    pub(crate) upstream: Nanos,
    pub(crate) from_upstream: Nanos,
}

impl Doubts {
    pub(super) fn of(&mut self, cause: Cause) -> &mut Nanos {
        match cause {
            Cause::ClientSends => &mut self.client,
            Cause::FromClient => &mut self.from_client,
            Cause::FromUpstream => &mut self.from_upstream,
            _ => &mut self.upstream,
        }
    }
}

/// What the looks at one socket have shown.
#[derive(Debug, Default)]
pub(super) struct SeenOf {
    /// The smallest round-trip time; `None` until a look shows one.
    pub(super) min_rtt: Option<Nanos>,
    pub(super) window: Window,
    pub(super) first_looks: u8,
    /// Packets that had come out of order, segments sent again, and duplicates that the peer reported.
    out_of_order: u32,
    sent_again: u32,
    reported: u32,
}

/// What of a pause for a sender the path took.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) late: Nanos,
    pub(super) late_in_doubt: Nanos,
    /// Of what is left for the sender.
    pub(super) sender_in_doubt: Nanos,
}

/// What of a wait for an answer the path took.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OnPath {
    pub(super) path: Nanos,
    /// Of what is left for the upstream.
    pub(super) in_doubt: Nanos,
}

impl SeenOf {
    fn least_rtt(&mut self, info: &LinuxInfo) -> Nanos {
        if let Some(min_rtt) = info.min_rtt {
            self.min_rtt = Some(Nanos::of(min_rtt));
        }
        self.min_rtt.unwrap_or_default()
    }

    /// Whether packets have come out of order since the last look.
    pub(super) fn is_disturbed(&mut self, info: &LinuxInfo) -> bool {
        let count = info.rx_out_of_order.unwrap_or(0);
        count > std::mem::replace(&mut self.out_of_order, count)
    }

    /// A pause for the sender has ended; it is the last of all that were not looked at, `unlooked`. Before it,
    /// `burst` bytes had come since the pause before, and `so_far` in the request or answer.
    pub(super) fn arrival(
        &mut self,
        info: &LinuxInfo,
        pause: Nanos,
        unlooked: Nanos,
        (burst, so_far): (u32, u64),
    ) -> Arrival {
        let least = self.least_rtt(info).get();
        if self.is_disturbed(info) {
            let late = Nanos::of(least.mul_f64(REPAIR)).min(pause);
            let is_doubtful = late.get() > pause.get().mul_f64(DOUBTFUL);
            let late_in_doubt = if is_doubtful { late } else { Nanos::default() };
            return Arrival {
                late,
                late_in_doubt,
                ..self.carefully(least, pause, unlooked - late)
            };
        }
        let round_trips = pause.get().div_duration_f64(least.max(Duration::from_nanos(1)));
        let mss = u64::from(info.rx_mss.unwrap_or(0));
        let window = u64::from(info.rx_window.unwrap_or(u32::MAX));
        let first_window = window.min(FIRST_WINDOW * mss);
        if ROUND_TRIP.contains(&round_trips) && u64::from(burst) >= first_window {
            return Arrival { late: pause, ..Arrival::default() };
        }
        if round_trips < *ROUND_TRIP.start() {
            let in_a_round_trip =
                u128::from(burst) * least.as_nanos() / pause.get().as_nanos().max(1);
            let is_opening = u128::from(so_far) <= OPENING * in_a_round_trip;
            if is_opening && in_a_round_trip >= u128::from(first_window) {
                return Arrival { sender_in_doubt: unlooked, ..Arrival::default() };
            }
        }
        self.carefully(least, pause, unlooked)
    }

    /// What is left of the time for the sender, after packets out of order.
    fn carefully(&self, least: Duration, pause: Nanos, left: Nanos) -> Arrival {
        let is_doubtful = self.out_of_order > 0 && pause.get() < least.mul_f64(CAREFUL);
        let sender_in_doubt = if is_doubtful { left } else { Nanos::default() };
        Arrival { sender_in_doubt, ..Arrival::default() }
    }

    /// A wait for an answer has ended, or lasts. The last byte of the request was sent `late` after it was
    /// written.
    pub(super) fn request(&mut self, info: &LinuxInfo, wait: Nanos, late: Nanos) -> OnPath {
        let least = self.least_rtt(info);
        let sent_again = info.total_retrans.unwrap_or(0);
        let again = sent_again.saturating_sub(std::mem::replace(&mut self.sent_again, sent_again));
        let reported = info.dsack_dups.unwrap_or(0);
        let needless = reported.saturating_sub(std::mem::replace(&mut self.reported, reported));
        let held = Nanos::of(self.window.newly_limited(info)).min(late);
        if unacknowledged(info) > 0 {
            // The request has not arrived.
            let path = if info.tx_window == Some(0) { least } else { wait };
            return OnPath { path, in_doubt: Nanos::default() };
        }
        if again > 0 && needless >= again {
            // It had arrived at first; what was lost is an acknowledgement.
            let in_doubt = if late > LONG_UNACKNOWLEDGED { late } else { Nanos::default() };
            return OnPath { path: least, in_doubt };
        }
        OnPath { path: (late - held + least).min(wait), in_doubt: Nanos::default() }
    }
}
