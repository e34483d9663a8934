//! Readers that stop reading, and then reset.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use serde_json::Value;

use super::super::forwarding::Ends;
use super::super::network::{Network, Way};
use super::super::peers::reset;
use super::lab::{Lab, Pair, path};
use super::{Case, Cause, Imposed, Who, cause, ms};

pub(super) const CAUSES: &[Cause] = &[
    cause("stuck client resets, loopback, bbr", || stuck_client(None, "bbr")).quiet(),
    cause("stuck client resets, loopback, cubic", || stuck_client(None, "cubic")).quiet(),
    cause("stuck client resets, loopback, reno", || stuck_client(None, "reno")).quiet(),
    cause("stuck client resets, 10 ms, bbr", || stuck_client(TEN, "bbr")).quiet(),
    cause("stuck client resets, 10 ms, cubic", || stuck_client(TEN, "cubic")).quiet(),
    cause("stuck client resets, 10 ms, reno", || stuck_client(TEN, "reno")).quiet(),
    cause("stuck upstream resets, loopback, bbr", || stuck_upstream(None, "bbr")).quiet(),
    cause("stuck upstream resets, loopback, cubic", || stuck_upstream(None, "cubic")).quiet(),
    cause("stuck upstream resets, loopback, reno", || stuck_upstream(None, "reno")).quiet(),
    cause("stuck upstream resets, 10 ms, bbr", || stuck_upstream(TEN, "bbr")).quiet(),
    cause("stuck upstream resets, 10 ms, cubic", || stuck_upstream(TEN, "cubic")).quiet(),
    cause("stuck upstream resets, 10 ms, reno", || stuck_upstream(TEN, "reno")).quiet(),
];

const TEN: Option<Duration> = Some(ms(10));

const STUCK: Duration = ms(1500);

fn lab(way: Way, round_trip: Option<Duration>, congestion: &str) -> Lab {
    match round_trip {
        None => Lab::on_loopback(congestion),
        Some(round_trip) => {
            let network = Network::with(way, path(round_trip));
            network.control(way, congestion);
            Lab::over(network, &[])
        }
    }
}

/// Writes without end, until the other side breaks it off.
fn write_on(mut stream: &TcpStream) {
    let piece = vec![7; 256 * 1024];
    while stream.write_all(&piece).is_ok() {}
}

/// Waits until no more arrives for a reader that does not read: when its last byte came.
fn fills_up(reader: &TcpStream) -> Instant {
    const STILL: Duration = ms(400);
    let (mut last, mut at) = (0, Instant::now());
    while at.elapsed() < STILL {
        let unread = ioctl_fionread(reader).unwrap();
        if unread != last {
            (last, at) = (unread, Instant::now());
        }
        thread::sleep(ms(1));
    }
    assert!(last > 0, "nothing arrived");
    at
}

/// The time until the reader was full, and that in which it was stuck.
fn sticks(reader: TcpStream, writer: &TcpStream, began: Instant) -> (Duration, Duration) {
    thread::scope(|scope| {
        scope.spawn(|| write_on(writer));
        let full = fills_up(&reader);
        thread::sleep((full + STUCK).saturating_duration_since(Instant::now()));
        let stuck = full.elapsed();
        reset(reader);
        (full - began, stuck)
    })
}

/// The one to whom the proxy sent with this congestion control.
fn case(record: Value, imposed: Imposed, to: &str, congestion: &str) -> Case {
    let algorithm = &record[to]["openedInfo"]["sysInfo"]["ccAlgorithm"];
    let imposed = imposed.provided(algorithm == congestion, format!("{algorithm} is {congestion}"));
    Case { record, imposed }
}

fn stuck_client(round_trip: Option<Duration>, congestion: &str) -> Case {
    let lab = lab(Way::ToClient, round_trip, congestion);
    let Pair { ends: Ends { client, upstream }, .. } = lab.pair();
    (&client).write_all(b"all of it").unwrap();
    let (filling, stuck) = sticks(client, &upstream, Instant::now());
    let imposed = Imposed::on(&["client"])
        .whole(filling + stuck)
        // Until the writer has begun.
        .time(Who::Idle, ms(0)..=filling)
        .time(Who::Client, stuck..=stuck + filling)
        .time(Who::NetworkClient, ms(0)..=round_trip.map_or(ms(0), |_| filling));
    case(lab.record(), imposed, "client", congestion)
}

fn stuck_upstream(round_trip: Option<Duration>, congestion: &str) -> Case {
    let lab = lab(Way::ToUpstream, round_trip, congestion);
    let Pair { ends: Ends { client, upstream }, began } = lab.pair();
    let (filling, stuck) = sticks(upstream, &client, began);
    let imposed = Imposed::on(&["upstream"])
        .whole(filling + stuck)
        // Until the writer has begun.
        .time(Who::Idle, ms(0)..=filling)
        .time(Who::Upstream, stuck..=stuck + filling)
        .time(Who::NetworkUpstream, ms(0)..=round_trip.map_or(ms(0), |_| filling));
    case(lab.record(), imposed, "upstream", congestion)
}
