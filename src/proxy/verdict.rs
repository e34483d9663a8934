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

/// One direction and the figures of its two sockets.
#[derive(Debug, Clone)]
struct Flow {
    direction: Direction,
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
pub(super) fn of(waited: [Waited; 2], client: &Report, upstream: &Report) -> Option<Verdict> {
    let payload = [upstream, client].map(Report::tx_payload);
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

fn judge(flow: &Flow) -> Verdict {
    let Waited { active, for_sender, disturbed, for_receiver, blocked, by_window } = flow.waited;
    let of_receiver = if flow.to_loopback { blocked } else { by_window };
    let waited = for_sender + disturbed + for_receiver + blocked;

    let (sender, receiver) = (for_sender, for_receiver + of_receiver);
    let (sender_path, receiver_path) = (disturbed, blocked - of_receiver);
    let proxy = active.saturating_sub(waited);
    let time = match flow.direction {
        Direction::ToUpstream => VerdictTime {
            client: sender,
            network_client: sender_path,
            upstream: receiver,
            network_upstream: receiver_path,
            proxy,
        },
        Direction::ToClient => VerdictTime {
            upstream: sender,
            network_upstream: sender_path,
            client: receiver,
            network_client: receiver_path,
            proxy,
        },
    };
    let (sender_is, receiver_is, sender_path_is, receiver_path_is) = match flow.direction {
        Direction::ToUpstream => (
            LimitedBy::Client,
            LimitedBy::Upstream,
            LimitedBy::NetworkClient,
            LimitedBy::NetworkUpstream,
        ),
        Direction::ToClient => (
            LimitedBy::Upstream,
            LimitedBy::Client,
            LimitedBy::NetworkUpstream,
            LimitedBy::NetworkClient,
        ),
    };
    let sender_is_doubtful = disturbed > (for_sender + disturbed).mul_f64(DISTURBED);
    let path_is_doubtful = of_receiver > blocked.mul_f64(WINDOW);
    let receiver_basis = if of_receiver > for_receiver { Basis::Sender } else { Basis::Receiver };
    let candidates = [
        (sender_is, sender, Some(Basis::Receiver), sender_is_doubtful),
        (sender_path_is, sender_path, Some(Basis::Receiver), false),
        (receiver_is, receiver, Some(receiver_basis), false),
        (receiver_path_is, receiver_path, Some(Basis::Sender), path_is_doubtful),
        (LimitedBy::Proxy, proxy, None, false),
    ];
    let named = candidates.into_iter().max_by_key(|(_, time, ..)| *time);
    let named = named.and_then(|(who, time, basis, is_doubtful)| {
        let share = time.div_duration_f64(active);
        (active >= ENOUGH && share >= SHARE && !is_doubtful).then_some((who, share, basis))
    });
    Verdict {
        limited_by: named.map_or(LimitedBy::None, |(who, ..)| who),
        share: named.map(|(_, share, _)| share),
        direction: Some(flow.direction),
        active,
        time,
        basis: named.and_then(|(.., basis)| basis),
        evidence: Evidence {
            starved: for_sender + disturbed + for_receiver,
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
        Flow { direction: Direction::ToUpstream, ..flow.clone() }
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
