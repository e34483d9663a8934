//! Much through one pair, and much through many.

use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use crate::counts::Seen;
use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::noise::{Noise, receive, send};
use crate::harness::program::wait_until;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Sends so much each way at once, and ends.
fn through(ends: &Ends, seed: u64, to_upstream: u64, to_client: u64) -> Seen {
    let Ends { client, upstream } = ends;
    let sending = |end, seed, bytes| {
        move || {
            let sum = send(end, &mut Noise::seeded(seed), bytes);
            end.shutdown(Shutdown::Write).unwrap();
            sum
        }
    };
    thread::scope(|scope| {
        let up = scope.spawn(sending(client, 2 * seed, to_upstream));
        let down = scope.spawn(sending(upstream, 2 * seed + 1, to_client));
        let (got_up, got_down) =
            (scope.spawn(|| receive(upstream)), scope.spawn(|| receive(client)));
        Seen {
            client: client.local_addr().unwrap(),
            to_upstream: (up.join().unwrap(), got_up.join().unwrap()),
            to_client: (down.join().unwrap(), got_down.join().unwrap()),
        }
    })
}

/// So many pairs at once, each with its number; they must arrive whole and leave nothing.
fn all_through(count: u64, bytes: impl Fn(u64) -> (u64, u64) + Sync) -> String {
    let forwarding = Forwarding::new(&[]);
    let before = forwarding.proxy.descriptors();
    let pairs: Vec<Ends> = (0..count).map(|_| forwarding.pair()).collect();
    let began = Instant::now();
    let seen: Vec<Seen> = thread::scope(|scope| {
        let numbered = (0..).zip(pairs);
        let running = numbered.map(|(number, ends)| {
            let (up, down) = bytes(number);
            scope.spawn(move || through(&ends, number, up, down))
        });
        let running: Vec<_> = running.collect();
        running.into_iter().map(|pair| pair.join().unwrap()).collect()
    });
    let took = began.elapsed();
    let records = forwarding.proxy.wait_for_records(seen.len());
    for pair in &seen {
        pair.assert_whole(&records);
    }
    wait_until("all descriptors are closed", || forwarding.proxy.descriptors() == before);
    let total = seen.iter().map(|pair| pair.to_upstream.1.bytes + pair.to_client.1.bytes).sum();
    figures(total, took, forwarding.proxy.pid())
}

fn figures(bytes: u64, took: Duration, proxy: u32) -> String {
    let (megabytes, seconds) = (bytes / 1_000_000, took.as_secs_f64());
    let rate = u128::from(megabytes) * 1000 / took.as_millis().max(1);
    let cpu = crate::role::cpu_time(proxy).as_secs_f64();
    format!("{megabytes} MB in {seconds:.1} s ({rate} MB/s), {cpu:.2} s of the proxy's CPU")
}

pub(crate) fn ten_gibibytes_each_way_through_one_pair() -> String {
    all_through(1, |_| (10 * GIB, 10 * GIB))
}

pub(crate) fn sixty_four_pairs_of_100_mib_at_once() -> String {
    all_through(64, |number| if number % 2 == 0 { (100 * MIB, 0) } else { (0, 100 * MIB) })
}
