//! Who was slow: the time of one direction, charged to five.
//!
//! ```text
//!   sender ──path──▶ [ socket · relay · socket ] ──path──▶ receiver
//! ```
//!
//! The relay knows its waits ([`Waited`]) and what they were for; all that is left of the time, it was
//! at work or stood still. A wait is charged
//!
//! - for the sender: to the sender. A program that sends slowly and a path that carries slowly look
//!   alike from here, so it may be the path; but only packets out of order or congestion marks,
//!   counted during the very wait, are evidence for that;
//! - for the receiver to send something: to the receiver;
//! - with bytes that are not sent: to the receiver for the time in which its window held the sending
//!   socket, and to the path for the rest. On loopback there is no path: all of it is the receiver's.
//!
//! An exchange of a client of ours (`conniver stat`) has a single socket, and the upstream at its other end
//! takes the request as well as it sends the answer. What was waited for the answer is the path's as long as
//! a request and its answer need at least, which is the smallest round-trip time; what is left is ours.
//!
//! The kernel's timers only divide that time. They count as busy whatever is in flight: a sender of
//! 4 KiB every 30 ms over a path of 40 ms is busy all the time, and nobody but it is slow.

use std::time::Duration;

use crate::record::{Basis, Direction, Evidence, LimitedBy, Report, Verdict, VerdictTime};
use crate::relay::Waited;

/// Below this there is too little to tell: the kernel's timers count in steps of 4 ms, or 10 ms
/// where it is built so, and as much goes by when a busy machine wakes somebody. A short exchange without
/// pauses stays below it.
const ENOUGH: Duration = Duration::from_millis(50);

/// Nobody is named who did not take this share of the time. One side that was made slow took 0.6 at least
/// in every experiment, and nearly always more than 0.9.
const SHARE: f64 = 0.5;

/// A sender is not named when more than this share of the waits for it saw packets out of order: the
/// others may come of it as well, because loss makes a sender careful for many round trips. A path of
/// 40 ms from a sender under Cubic showed 0.1 to 0.16 when one packet in 1,000 was lost, as when one in
/// 100 was.
const DISTURBED: f64 = 0.05;

/// A path is not named when the receiver's window held us for more than this share of what was blocked:
/// slow readers are found to for 0.69 and more, paths that are slow or lose for 0.04 at most, but up to 0.35
/// where the reader got no processor for a while.
const WINDOW: f64 = 0.3;

/// Who is charged with a direction's waits, and with the time in which nothing was waited for.
#[derive(Debug, Clone, Copy)]
struct Roles {
    sender: LimitedBy,
    sender_path: LimitedBy,
    receiver: LimitedBy,
    receiver_path: LimitedBy,
    ourselves: LimitedBy,
}

impl Roles {
    /// A relayed pair has a path on both sides of the proxy.
    fn of_pair(direction: Direction) -> Self {
        let (client, upstream) = (LimitedBy::Client, LimitedBy::Upstream);
        let (client_path, upstream_path) = (LimitedBy::NetworkClient, LimitedBy::NetworkUpstream);
        let (sender, sender_path, receiver, receiver_path) = match direction {
            Direction::ToUpstream => (client, client_path, upstream, upstream_path),
            Direction::ToClient => (upstream, upstream_path, client, client_path),
        };
        Self { sender, sender_path, receiver, receiver_path, ourselves: LimitedBy::Proxy }
    }

    /// The exchange of a client of ours has one path alone, and the upstream at its end both takes the
    /// request and sends the answer.
    #[cfg(feature = "stat")]
    const OF_AN_EXCHANGE: Self = Self {
        sender: LimitedBy::Upstream,
        sender_path: LimitedBy::NetworkUpstream,
        receiver: LimitedBy::Upstream,
        receiver_path: LimitedBy::NetworkUpstream,
        ourselves: LimitedBy::Client,
    };
}

/// One direction and the figures of its two sockets.
#[derive(Debug, Clone)]
struct Flow {
    direction: Direction,
    roles: Roles,
    waited: Waited,
    /// The sending socket's peer is on this machine, and no path leads to it.
    to_loopback: bool,
    busy_time: Duration,
    rx_window_limited: Duration,
    tx_buffer_limited: Option<Duration>,
    retransmits: Option<u64>,
    rx_out_of_order: Option<u32>,
    received_ce: Option<u32>,
}

/// The verdict on a pair that has ended, from the waits of its directions, to upstream and to
/// client. `None` where the kernel lacks the figures.
pub(crate) fn of(waited: [Waited; 2], client: &Report, upstream: &Report) -> Option<Verdict> {
    let payload = [upstream, client].map(Report::payload_sent);
    let [to_upstream, to_client] = waited;
    Some(match payload {
        [0, 0] => Verdict {
            limited_by: LimitedBy::None,
            share: None,
            direction: None,
            active: Duration::ZERO,
            time: VerdictTime::default(),
            basis: None,
            evidence: Evidence::default(),
        },
        [up, down] if up > down => {
            judge(&Flow::of(Direction::ToUpstream, to_upstream, client, upstream)?)
        }
        _ => judge(&Flow::of(Direction::ToClient, to_client, upstream, client)?),
    })
}

/// The verdict on the exchange of a client of ours, from the waits at its socket. `direction` is the one that
/// carried most. `None` where the kernel lacks the figures.
#[cfg(feature = "stat")]
pub(crate) fn of_exchange(waited: Waited, direction: Direction, leg: &Report) -> Option<Verdict> {
    let flow = Flow::of(direction, waited, leg, leg)?;
    Some(judge(&Flow { roles: Roles::OF_AN_EXCHANGE, ..flow }))
}

impl Flow {
    fn of(direction: Direction, waited: Waited, source: &Report, sink: &Report) -> Option<Self> {
        let at_close = sink.closed_info.as_ref()?;
        let linux = at_close.sys_info.linux()?;
        // Right before our own end of stream, whose acknowledgement the timers would count.
        let (busy_time, rx_window_limited, tx_buffer_limited) = match &sink.eof_info {
            Some(eof) => (eof.busy_time, eof.rx_window_limited, eof.tx_buffer_limited),
            None => (linux.busy_time, linux.rx_window_limited, linux.tx_buffer_limited),
        };
        let source = source.closed_info.as_ref().and_then(|info| info.sys_info.linux());
        Some(Self {
            direction,
            roles: Roles::of_pair(direction),
            waited,
            to_loopback: is_loopback(sink),
            busy_time: busy_time?,
            rx_window_limited: rx_window_limited?,
            tx_buffer_limited,
            retransmits: at_close.retransmits,
            rx_out_of_order: source.and_then(|source| source.rx_out_of_order),
            received_ce: source.and_then(|source| source.received_ce),
        })
    }
}

/// Whether both ends are on this machine: packets from an address to itself take the loopback device.
fn is_loopback(leg: &Report) -> bool {
    let remote = leg.remote_addr.map(|address| address.ip());
    remote.is_some_and(|remote| {
        remote.is_loopback() || leg.local_addr.is_some_and(|local| local.ip() == remote)
    })
}

/// Time that somebody is charged with, the figures which show that, and whether they leave a doubt.
struct Charge {
    who: LimitedBy,
    time: Duration,
    basis: Option<Basis>,
    is_doubtful: bool,
}

fn judge(flow: &Flow) -> Verdict {
    let Waited { active, for_sender, disturbed, round_trip, for_receiver, blocked, by_window } =
        flow.waited;
    let of_receiver = if flow.to_loopback { blocked } else { by_window };
    let of_path = if flow.to_loopback { Duration::ZERO } else { round_trip };
    let starved = for_sender + disturbed + round_trip + for_receiver;
    let rest = active.saturating_sub(starved + blocked);

    let sender_is_doubtful = disturbed > (for_sender + disturbed).mul_f64(DISTURBED);
    let path_is_doubtful = of_receiver > blocked.mul_f64(WINDOW);
    let (sends, receives) = (Some(Basis::Sender), Some(Basis::Receiver));
    let Roles { sender, sender_path, receiver, receiver_path, ourselves } = flow.roles;
    let charges = [
        (sender, for_sender + round_trip - of_path, receives, sender_is_doubtful),
        (sender_path, disturbed, receives, false),
        (sender_path, of_path, sends, false),
        (receiver, for_receiver, receives, false),
        (receiver, of_receiver, sends, false),
        (receiver_path, blocked - of_receiver, sends, path_is_doubtful),
        (ourselves, rest, None, false),
    ]
    .map(|(who, time, basis, is_doubtful)| Charge { who, time, basis, is_doubtful });
    let of = |who| charges.iter().filter(move |charge| charge.who == who);
    let time_of = |who| -> Duration { of(who).map(|charge| charge.time).sum() };

    let heaviest = charges.iter().map(|charge| charge.who).max_by_key(|&who| time_of(who));
    let named = heaviest.and_then(|who| {
        let share = time_of(who).div_duration_f64(active);
        let main = of(who).max_by_key(|charge| charge.time)?;
        let is_clear = active >= ENOUGH && share >= SHARE && !main.is_doubtful;
        is_clear.then_some((who, share, main.basis))
    });
    Verdict {
        limited_by: named.map_or(LimitedBy::None, |(who, ..)| who),
        share: named.map(|(_, share, _)| share),
        direction: Some(flow.direction),
        active,
        time: VerdictTime {
            client: time_of(LimitedBy::Client),
            upstream: time_of(LimitedBy::Upstream),
            network_client: time_of(LimitedBy::NetworkClient),
            network_upstream: time_of(LimitedBy::NetworkUpstream),
            proxy: time_of(LimitedBy::Proxy),
        },
        basis: named.and_then(|(.., basis)| basis),
        evidence: Evidence {
            starved,
            starved_by_receiver: for_receiver,
            starved_out_of_order: disturbed,
            blocked,
            blocked_by_window: by_window,
            busy_time: flow.busy_time,
            rx_window_limited: flow.rx_window_limited,
            tx_buffer_limited: flow.tx_buffer_limited,
            retransmits: flow.retransmits,
            rx_out_of_order: flow.rx_out_of_order,
            received_ce: flow.received_ce,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A download of 1 s in which nothing was waited for.
    fn download() -> Flow {
        Flow {
            direction: Direction::ToClient,
            roles: Roles::of_pair(Direction::ToClient),
            waited: Waited { active: ms(1000), ..Waited::default() },
            to_loopback: false,
            busy_time: ms(1000),
            rx_window_limited: ms(0),
            tx_buffer_limited: Some(ms(0)),
            retransmits: Some(0),
            rx_out_of_order: Some(0),
            received_ce: Some(0),
        }
    }

    fn named(flow: &Flow) -> (LimitedBy, Option<Basis>) {
        let verdict = judge(flow);
        assert_eq!(verdict.share.is_none(), verdict.limited_by == LimitedBy::None);
        (verdict.limited_by, verdict.basis)
    }

    fn mirrored(flow: &Flow) -> Flow {
        let direction = Direction::ToUpstream;
        Flow { direction, roles: Roles::of_pair(direction), ..flow.clone() }
    }

    #[test]
    fn waits_for_the_sender_are_the_senders() {
        let mut flow = download();
        flow.waited.for_sender = ms(700);
        assert_eq!(named(&flow), (LimitedBy::Upstream, Some(Basis::Receiver)));
        assert_eq!(named(&mirrored(&flow)), (LimitedBy::Client, Some(Basis::Receiver)));
    }

    #[test]
    fn waits_for_a_request_are_the_receivers() {
        let mut flow = download();
        flow.waited.for_receiver = ms(700);
        assert_eq!(named(&flow), (LimitedBy::Client, Some(Basis::Receiver)));
        assert_eq!(named(&mirrored(&flow)), (LimitedBy::Upstream, Some(Basis::Receiver)));
    }

    #[test]
    fn what_is_blocked_by_the_window_is_the_receivers_and_the_rest_the_paths() {
        let mut flow = download();
        flow.waited.blocked = ms(900);
        assert_eq!(named(&flow), (LimitedBy::NetworkClient, Some(Basis::Sender)));
        assert_eq!(named(&mirrored(&flow)), (LimitedBy::NetworkUpstream, Some(Basis::Sender)));
        flow.waited.by_window = ms(800);
        assert_eq!(named(&flow), (LimitedBy::Client, Some(Basis::Sender)));
        assert_eq!(judge(&flow).time.network_client, ms(100));
        flow.waited.by_window = ms(350);
        assert_eq!(named(&flow), (LimitedBy::None, None));
    }

    #[test]
    fn a_busy_socket_alone_proves_nothing() {
        let mut flow = download();
        flow.waited.for_sender = ms(990);
        flow.rx_window_limited = ms(900);
        assert_eq!(named(&flow).0, LimitedBy::Upstream);
    }

    #[test]
    fn loopback_has_no_path() {
        let mut flow = download();
        flow.to_loopback = true;
        flow.waited.blocked = ms(900);
        assert_eq!(named(&flow), (LimitedBy::Client, Some(Basis::Sender)));
    }

    #[test]
    fn the_path_from_the_sender_needs_evidence_and_evidence_forbids_to_name_the_sender() {
        let mut flow = download();
        (flow.waited.for_sender, flow.waited.disturbed) = (ms(200), ms(700));
        assert_eq!(named(&flow), (LimitedBy::NetworkUpstream, Some(Basis::Receiver)));
        (flow.waited.for_sender, flow.waited.disturbed) = (ms(700), ms(200));
        assert_eq!(named(&flow), (LimitedBy::None, None));
        (flow.waited.for_sender, flow.waited.disturbed) = (ms(880), ms(20));
        assert_eq!(named(&flow), (LimitedBy::Upstream, Some(Basis::Receiver)));
    }

    #[test]
    fn what_is_left_of_the_time_is_the_proxys() {
        let mut flow = download();
        flow.waited.for_sender = ms(300);
        assert_eq!(named(&flow), (LimitedBy::Proxy, None));
        assert_eq!(judge(&flow).time.proxy, ms(700));
    }

    #[test]
    fn nobody_is_named_for_less_than_half_or_in_too_short_a_time() {
        let mut flow = download();
        (flow.waited.for_sender, flow.waited.for_receiver) = (ms(400), ms(400));
        assert_eq!(named(&flow), (LimitedBy::None, None));
        flow.waited = Waited { active: ms(40), for_sender: ms(40), ..Waited::default() };
        assert_eq!(named(&flow), (LimitedBy::None, None));
    }

    /// An upload of our own of 1 s in which nothing was waited for.
    #[cfg(feature = "stat")]
    fn upload() -> Flow {
        Flow { direction: Direction::ToUpstream, roles: Roles::OF_AN_EXCHANGE, ..download() }
    }

    #[test]
    #[cfg(feature = "stat")]
    fn in_an_exchange_of_our_own_waits_for_the_answer_and_the_window_are_the_upstreams() {
        let mut flow = upload();
        (flow.waited.for_sender, flow.waited.blocked) = (ms(300), ms(600));
        flow.waited.by_window = ms(500);
        assert_eq!(named(&flow), (LimitedBy::Upstream, Some(Basis::Sender)));
        assert_eq!(judge(&flow).time.upstream, ms(800));
        assert_eq!(judge(&flow).time.network_upstream, ms(100));
        flow.waited = Waited { active: ms(1000), for_sender: ms(900), ..Waited::default() };
        assert_eq!(named(&flow), (LimitedBy::Upstream, Some(Basis::Receiver)));
    }

    #[test]
    #[cfg(feature = "stat")]
    fn in_an_exchange_of_our_own_the_round_trip_and_what_is_unsent_are_the_paths() {
        let mut flow = upload();
        flow.waited.blocked = ms(900);
        assert_eq!(named(&flow), (LimitedBy::NetworkUpstream, Some(Basis::Sender)));
        flow.waited = Waited { active: ms(1000), round_trip: ms(800), ..Waited::default() };
        assert_eq!(named(&flow), (LimitedBy::NetworkUpstream, Some(Basis::Sender)));
        flow.to_loopback = true;
        assert_eq!(named(&flow).0, LimitedBy::Upstream, "loopback has no path");
    }

    #[test]
    #[cfg(feature = "stat")]
    fn in_an_exchange_of_our_own_what_is_left_of_the_time_is_ours() {
        assert_eq!(named(&upload()), (LimitedBy::Client, None));
    }

    #[test]
    fn the_five_times_make_up_the_active_one() {
        for times in [[0, 0, 0, 0], [100, 200, 50, 300], [250, 250, 250, 250]] {
            let [for_sender, disturbed, for_receiver, blocked] = times.map(ms);
            let mut flow = download();
            let waited = Waited { for_sender, disturbed, for_receiver, blocked, ..flow.waited };
            flow.waited = waited;
            flow.waited.by_window = blocked / 3;
            let VerdictTime { client, upstream, network_client, network_upstream, proxy } =
                judge(&flow).time;
            assert_eq!(client + upstream + network_client + network_upstream + proxy, ms(1000));
        }
    }
}
