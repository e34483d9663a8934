//! Long paths, paths that lose requests or acknowledgements, and slow look-ups.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::super::dns::{self, Answer};
use super::super::forwarding::Ends;
use super::super::lossy_path::{Fate, Path, Rule, Segment, passes};
use super::super::namespace::Namespace;
use super::super::network::{Network, Way};
use super::lab::{Lab, Pair, path, proxy_in, record};
use super::talk::{Exchange, Talk, converse};
use super::{Case, Cause, Imposed, Who, cause, ms};

pub(super) const CAUSES: &[Cause] = &[
    cause("every 3rd request lost, RTT 4 ms", || lost_requests(3, ms(4), 0)).quiet(),
    cause("every 3rd request lost, RTT 20 ms", || lost_requests(3, ms(20), 0)).quiet(),
    cause("every 5th request lost, RTT 4 ms", || lost_requests(5, ms(4), 0)).quiet(),
    cause("every 5th request lost, RTT 20 ms", || lost_requests(5, ms(20), 0)).quiet(),
    cause("every 5th request lost, think 30 ms, RTT 4 ms", || lost_requests(5, ms(4), 30)).quiet(),
    cause("every 5th request lost, think 300 ms, RTT 4 ms", || lost_requests(5, ms(4), 300))
        .quiet(),
    cause("ACK lost, think 600 ms", ack_lost).quiet(),
    cause("far instant server, RTT 20 ms, 1 exchange", || far_server(ms(20), 1)).quiet(),
    cause("far instant server, RTT 20 ms, 15 exchanges", || far_server(ms(20), 15)).quiet(),
    cause("far instant server, RTT 100 ms, 1 exchange", || far_server(ms(100), 1)).quiet(),
    cause("far instant server, RTT 100 ms, 15 exchanges", || far_server(ms(100), 15)).quiet(),
    cause("slow start, 0.2 MB, RTT 200 ms, bbr", || slow_start(200_000, "bbr")).quiet(),
    cause("slow start, 0.2 MB, RTT 200 ms, cubic", || slow_start(200_000, "cubic")).quiet(),
    cause("slow start, 0.5 MB, RTT 200 ms, cubic", || slow_start(500_000, "cubic")).quiet(),
    cause("slow start, 2 MB, RTT 200 ms, bbr", || slow_start(2_000_000, "bbr")),
    cause("slow start, 2 MB, RTT 200 ms, cubic", || slow_start(2_000_000, "cubic")),
    cause("queued upload of 1 MB", queued_upload),
    cause("slow look-up, 1 s", || slow_look_up(ms(1000))).idle(),
    cause("slow look-up, 5 s", || slow_look_up(ms(5000))).idle(),
    cause("small buffer of the client, RTT 95 ms, cubic", || {
        small_buffer_of_client(ms(95), 400_000, "cubic")
    })
    .quiet(),
    cause("small buffer of the client, RTT 600 ms, cubic", || {
        small_buffer_of_client(ms(600), 300_000, "cubic")
    })
    .quiet(),
    cause("small buffer of the client, RTT 95 ms, bbr", || {
        small_buffer_of_client(ms(95), 400_000, "bbr")
    })
    .quiet(),
    cause("small buffer of the client, RTT 600 ms, bbr", || {
        small_buffer_of_client(ms(600), 300_000, "bbr")
    })
    .quiet(),
    cause("small buffer of the upstream, RTT 95 ms, cubic", || {
        small_buffer_of_upstream(ms(95), 400_000, "cubic")
    })
    .quiet(),
    cause("small buffer of the upstream, RTT 600 ms, cubic", || {
        small_buffer_of_upstream(ms(600), 300_000, "cubic")
    })
    .quiet(),
];

/// What an upstream path was that took all but the upstream's own time.
fn network_upstream(names: &'static [&'static str], talk: &Talk) -> Imposed {
    Imposed::on(names)
        .time(Who::NetworkUpstream, talk.carried()..=talk.carried() + talk.set_up)
        .time(Who::Upstream, talk.thought())
        // The last third of the set-up: the proxy is connected, the upstream does not know it yet.
        .time(Who::Idle, talk.paused()..=talk.paused() + talk.set_up / 3)
        .whole(talk.whole)
        .turns(talk.turns())
}

/// Of all that carries a request, each n-th packet is lost.
fn lost_requests(every: usize, round_trip: Duration, think: u64) -> Case {
    let mut number = 0;
    let loses: Rule = Box::new(move |packet| {
        if Segment::parse(packet).is_none_or(|segment| segment.payload == 0) {
            return Fate::Passes;
        }
        number += 1;
        if number % every == 0 { Fate::IsLost } else { Fate::Passes }
    });
    let lab = Lab::with_rules(Way::ToUpstream, path(round_trip), [loses, passes()]);
    let pair = lab.pair();
    let exchanges = if every == 3 { 15 } else { 20 };
    let talk = converse(&pair, &vec![Exchange::with_think(think); exchanges]);
    drop(pair);
    let network = lab.network();
    let lost = network.mishaps.lost.load(Ordering::Relaxed);
    let again = network.proxy.retransmitted();
    let expected = (exchanges / every) as u64;
    let names: &[&str] = if think > 100 { &["upstream"] } else { &["network-upstream"] };
    let imposed = network_upstream(names, &talk)
        .provided(lost >= expected, "requests were lost")
        .provided(again.abs_diff(lost) <= 1, "each was sent again");
    Case { record: lab.record(), imposed }
}

/// The first acknowledgement of each request is lost, and the server thinks long.
fn ack_lost() -> Case {
    let is_due = Arc::new(AtomicBool::new(false));
    let (mut newest, sees) = (None, Arc::clone(&is_due));
    let request: Rule = Box::new(move |packet| {
        if let Some(segment) = Segment::parse(packet)
            && segment.payload > 0
            && newest.is_none_or(|newest: u32| segment.sequence.wrapping_sub(newest) as i32 > 0)
        {
            newest = Some(segment.sequence);
            sees.store(true, Ordering::Relaxed);
        }
        Fate::Passes
    });
    let ack: Rule = Box::new(move |packet| {
        let is_ack = Segment::parse(packet).is_some_and(|segment| segment.is_pure_ack);
        if is_ack && is_due.swap(false, Ordering::Relaxed) { Fate::IsLost } else { Fate::Passes }
    });
    let lab = Lab::with_rules(Way::ToUpstream, path(ms(4)), [request, ack]);
    let pair = lab.pair();
    let talk = converse(&pair, &[Exchange::with_think(600); 3]);
    drop(pair);
    let network = lab.network();
    let imposed = network_upstream(&["upstream"], &talk)
        .provided(network.mishaps.lost.load(Ordering::Relaxed) == 3, "three ACKs were lost")
        .provided(network.proxy.retransmitted() >= 3, "three requests were sent again");
    Case { record: lab.record(), imposed }
}

/// One exchange on a path of 20 ms is too short to tell.
fn far_server(round_trip: Duration, exchanges: usize) -> Case {
    let lab = Lab::far(Way::ToUpstream, round_trip);
    let pair = lab.pair();
    let talk = converse(&pair, &vec![Exchange::INSTANT; exchanges]);
    drop(pair);
    let names: &[&str] = match talk.carried() + talk.set_up {
        short if short < ms(90) => &["network-upstream", "none"],
        _ => &["network-upstream"],
    };
    let imposed = network_upstream(names, &talk)
        .provided(talk.longest_wait() >= round_trip, "the server is far away");
    Case { record: lab.record(), imposed }
}

fn slow_start(answer: usize, congestion: &str) -> Case {
    let round_trip = ms(200);
    let network = Network::with(Way::FromUpstream, path(round_trip));
    network.control(Way::FromUpstream, congestion);
    let lab = Lab::over(network, &[]);
    let pair = lab.pair();
    let talk = converse(&pair, &[Exchange { answer, ..Exchange::INSTANT }]);
    drop(pair);
    let bursts = talk.times[0].answer;
    let imposed = network_upstream(&["network-upstream"], &talk)
        .provided(bursts >= round_trip, "the answer came in several round trips");
    Case { record: lab.record(), imposed }
}

/// The proxy takes the upload at once; its path carries 1 MB/s.
fn queued_upload() -> Case {
    let slow = Path { rate: Some(1_000_000), ..path(ms(20)) };
    let lab = Lab::over(Network::with(Way::ToUpstream, slow), &[]);
    let pair = lab.pair();
    let talk = converse(&pair, &[Exchange { request: 1_000_000, ..Exchange::INSTANT }]);
    drop(pair);
    // Where the request's end lies between the two is the queue's affair.
    let mut imposed = network_upstream(&["network-upstream"], &talk)
        .provided(talk.carried() > ms(900), "the upload took its time");
    imposed.turns.wait_max = Some((ms(0)..=talk.carried()).into());
    Case { record: lab.record(), imposed }
}

fn slow_look_up(delay: Duration) -> Case {
    let namespace = Namespace::new();
    dns::serve(&namespace, Answer::Address(std::net::Ipv4Addr::LOCALHOST), delay);
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let proxy =
        proxy_in(&namespace, format!("slow.test:{}", listener.local_addr().unwrap().port()));
    let began = std::time::Instant::now();
    let client = namespace.enter(|| proxy.connect());
    let (upstream, _) = listener.accept().unwrap();
    let looked_up = began.elapsed();
    let pair = Pair { ends: Ends { client, upstream }, began };
    let talk = converse(&pair, &[Exchange::INSTANT]);
    drop(pair);
    let imposed = Imposed::on(&["resolver"])
        .time(Who::Resolver, delay..=looked_up)
        .time(Who::Idle, talk.paused())
        .whole(talk.whole)
        .turns(talk.turns())
        .provided(looked_up >= delay, "the look-up was slow");
    Case { record: record(&proxy), imposed }
}

/// What `setsockopt` doubles; half of it is a window.
const SMALL_BUFFER: usize = 32 * 1024;

/// A reader that got no processor for a while does have no window.
fn warnings(smallest: &AtomicU16) -> (&'static [&'static str], &'static [&'static str]) {
    let was_zero = smallest.load(Ordering::Relaxed) == 0;
    (&["windowLimited"], if was_zero { &[] } else { &["zeroWindow"] })
}

/// Until the window holds the sender, its own congestion window does.
const SLOW_START: u32 = 3;

/// Notes the smallest window that goes by.
fn watches_windows(smallest: &Arc<AtomicU16>) -> Rule {
    let smallest = Arc::clone(smallest);
    Box::new(move |packet| {
        if let Some(segment) = Segment::parse(packet).filter(|segment| segment.is_pure_ack) {
            smallest.fetch_min(segment.window, Ordering::Relaxed);
        }
        Fate::Passes
    })
}

/// BBR paces what the window lets through, so the window seldom holds it: nobody need be named.
fn names(who: &'static [&'static str; 2], congestion: &str) -> &'static [&'static str] {
    if congestion == "bbr" { who } else { &who[..1] }
}

fn small_buffer_of_client(round_trip: Duration, answer: usize, congestion: &str) -> Case {
    let smallest = Arc::new(AtomicU16::new(u16::MAX));
    let rules = [passes(), watches_windows(&smallest)];
    let network = Network::with_rules(Way::ToClient, path(round_trip), rules);
    network.control(Way::ToClient, congestion);
    let lab = Lab::over(network, &[]);
    let pair = lab.pair_with_receive_buffer(Some(SMALL_BUFFER));
    let talk = converse(&pair, &[Exchange { answer, ..Exchange::INSTANT }]);
    // The last bytes are acknowledged.
    thread::sleep(round_trip);
    drop(pair);
    let answer = talk.times[0].answer;
    let path = if congestion == "bbr" { answer } else { round_trip * SLOW_START };
    let mut imposed = Imposed::on(names(&["client", "none"], congestion))
        .time(Who::Client, answer.saturating_sub(path)..=answer + round_trip)
        .time(Who::NetworkClient, ms(0)..=path)
        .time(Who::Idle, ms(0)..=round_trip)
        .provided(answer > round_trip * 5, "the window held the sender");
    imposed.turns.count = Some(1..=1);
    imposed.warnings = warnings(&smallest);
    Case { record: lab.record(), imposed }
}

fn small_buffer_of_upstream(round_trip: Duration, request: usize, congestion: &str) -> Case {
    let smallest = Arc::new(AtomicU16::new(u16::MAX));
    let rules = [passes(), watches_windows(&smallest)];
    let network = Network::with_rules(Way::ToUpstream, path(round_trip), rules);
    network.control(Way::ToUpstream, congestion);
    let lab = Lab::over(network, &[]);
    SockRef::from(&lab.forwarding.listener).set_recv_buffer_size(SMALL_BUFFER).unwrap();
    let pair = lab.pair();
    let talk = converse(&pair, &[Exchange { request, ..Exchange::INSTANT }]);
    drop(pair);
    let carried = talk.carried();
    let path = round_trip * SLOW_START + talk.set_up;
    let mut imposed = Imposed::on(&["upstream"])
        .time(Who::Upstream, carried.saturating_sub(path)..=carried)
        .time(Who::NetworkUpstream, ms(0)..=path + round_trip)
        .time(Who::Idle, ms(0)..=talk.set_up / 3)
        .provided(carried > round_trip * 5, "the window held the sender");
    imposed.turns.count = Some(1..=1);
    imposed.warnings = warnings(&smallest);
    Case { record: lab.record(), imposed }
}
