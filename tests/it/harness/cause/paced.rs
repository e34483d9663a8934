//! A server that sends bursts with pauses between them, over a path on which packets are late or lost.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::forwarding::Ends;
use super::super::lossy_path::{Fate, Rule, Segment, passes};
use super::super::network::Way;
use super::super::noise::Noise;
use super::lab::{Lab, Pair, path};
use super::{Case, Cause, Imposed, Who, cause, ms};

pub(super) const CAUSES: &[Cause] = &[
    cause("reordering, 2 % late by 2 to 4 ms, RTT 2 ms", || reordered(50, ms(2))).quiet(),
    cause("reordering, 10 % late by 2 to 4 ms, RTT 2 ms", || reordered(10, ms(2))).quiet(),
    cause("reordering, 20 % late by 2 to 4 ms, RTT 2 ms", || reordered(5, ms(2))).quiet(),
    cause("reordering, 2 % late by 2 to 4 ms, RTT 20 ms", || reordered(50, ms(20))).quiet(),
    cause("reordering, 10 % late by 2 to 4 ms, RTT 20 ms", || reordered(10, ms(20))).quiet(),
    cause("reordering, 20 % late by 2 to 4 ms, RTT 20 ms", || reordered(5, ms(20))).quiet(),
    cause("loss of 0.2 % from a paced sender", || lossy(500)).quiet(),
    cause("loss of 1 % from a paced sender", || lossy(100)).quiet(),
    cause("loss of 3 % from a paced sender", || lossy(33)).quiet(),
];

/// Some 12 segments, and 540 in all.
const BURST: usize = 17_000;
const BURSTS: usize = 45;

/// So long that the repair of a hole is a small part of it.
fn pause(round_trip: Duration) -> Duration {
    ms(50).max(round_trip * 5)
}

/// Of so many packets with payload each time, one has this fate, each as likely as the others.
fn one_of(block: u64, mut fate: impl FnMut(&mut Noise) -> Fate + Send + 'static) -> Rule {
    static ROUND: AtomicU64 = AtomicU64::new(0);
    let mut noise = Noise::seeded(ROUND.fetch_add(1, Ordering::Relaxed));
    let (mut number, mut chosen) = (0, noise.number() % block);
    Box::new(move |packet| {
        if Segment::parse(packet).is_none_or(|segment| segment.payload == 0) {
            return Fate::Passes;
        }
        let is_chosen = number == chosen;
        number += 1;
        if number == block {
            (number, chosen) = (0, noise.number() % block);
        }
        if is_chosen { fate(&mut noise) } else { Fate::Passes }
    })
}

/// When each burst was sent, and when the whole of it had arrived.
struct Bursts {
    asked: Instant,
    sent: Vec<Instant>,
    arrived: Vec<Instant>,
}

impl Bursts {
    /// From the request to the last byte.
    fn whole(&self) -> Duration {
        self.arrived[BURSTS - 1] - self.asked
    }

    /// The time in which something was under way: the path's part of it.
    fn under_way(&self) -> Duration {
        let mut sum = self.sent[0] - self.asked;
        let mut until = self.asked;
        for (sent, arrived) in self.sent.iter().zip(&self.arrived) {
            sum += arrived.saturating_duration_since(until.max(*sent));
            until = until.max(*arrived);
        }
        sum
    }
}

fn send(mut upstream: &TcpStream, pause: Duration) -> Vec<Instant> {
    upstream.read_exact(&mut [0]).unwrap();
    let burst = vec![7; BURST];
    let mut sent = Vec::new();
    for number in 0..BURSTS {
        if number > 0 {
            thread::sleep(pause);
        }
        sent.push(Instant::now());
        upstream.write_all(&burst).unwrap();
    }
    upstream.shutdown(Shutdown::Write).unwrap();
    sent
}

fn receive(mut client: &TcpStream) -> Vec<Instant> {
    let mut burst = vec![0; BURST];
    (0..BURSTS)
        .map(|_| {
            client.read_exact(&mut burst).unwrap();
            Instant::now()
        })
        .collect()
}

/// Sends all bursts; they, what the path did to them, and the set-up's time.
fn bursts(lab: &Lab, pause: Duration) -> (Bursts, Duration) {
    let Pair { ends: Ends { client, upstream }, began } = lab.pair();
    let set_up = began.elapsed();
    let bursts = thread::scope(|scope| {
        let server = scope.spawn(|| send(&upstream, pause));
        let asked = Instant::now();
        (&client).write_all(b"?").unwrap();
        let arrived = receive(&client);
        Bursts { asked, sent: server.join().unwrap(), arrived }
    });
    (bursts, set_up)
}

/// The path can have cost nothing, and at most `cost`.
fn judge(lab: &Lab, bursts: &Bursts, set_up: Duration, cost: Duration) -> Case {
    let whole = bursts.whole();
    let imposed = Imposed::on(&["upstream"])
        .time(Who::Upstream, whole.saturating_sub(cost)..=whole)
        .time(Who::NetworkUpstream, ms(0)..=cost + set_up)
        // The proxy is connected, the upstream does not know it yet.
        .time(Who::Idle, ms(0)..=set_up / 3);
    Case { record: lab.record(), imposed }
}

fn reordered(block: u64, round_trip: Duration) -> Case {
    let late =
        one_of(block, |noise| Fate::IsLate(Duration::from_micros(noise.number() % 2000 + 2000)));
    let lab = Lab::with_rules(Way::FromUpstream, path(round_trip), [late, passes()]);
    let (bursts, set_up) = bursts(&lab, pause(round_trip));
    // A hole cannot be told from a late packet: its repair takes a round trip, and its signal a quarter.
    let repairs = round_trip * 5 / 4 * u32::try_from(BURSTS).unwrap();
    let mut case = judge(&lab, &bursts, set_up, bursts.under_way().max(repairs));
    let late = lab.network().mishaps.late.load(Ordering::Relaxed);
    let expected = 540 / block;
    case.imposed =
        case.imposed.provided(late.abs_diff(expected) <= expected / 5 + 1, "packets were late");
    case
}

fn lossy(block: u64) -> Case {
    let round_trip = ms(20);
    let lost = one_of(block, |_| Fate::IsLost);
    let lab = Lab::with_rules(Way::FromUpstream, path(round_trip), [lost, passes()]);
    let (bursts, set_up) = bursts(&lab, pause(round_trip));
    let mut case = judge(&lab, &bursts, set_up, bursts.under_way());
    let network = lab.network();
    let lost = network.mishaps.lost.load(Ordering::Relaxed);
    let again = network.upstream.retransmitted();
    let expected = 540 / block;
    case.imposed = case
        .imposed
        .provided(lost.abs_diff(expected) <= expected / 3 + 1, "packets were lost")
        .provided(again >= lost, "they were sent again");
    case
}
