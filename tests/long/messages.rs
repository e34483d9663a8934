//! Many messages of all sizes, at all paces, in both directions of several pairs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::counts::Seen;
use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::noise::{Noise, Sum, Summing};
use crate::harness::program::wait_until;

const PAIRS: u64 = 8;
/// In each direction of each pair: 100,000 in all.
const MESSAGES: u64 = 6250;
const LARGEST: u64 = 300 * 1024;

/// A pace lasts for so many messages or reads.
const PACE_LASTS: u64 = 50;

fn below(noise: &mut Noise, bound: u64) -> u64 {
    noise.number() % bound
}

/// 1 byte to 300 KiB, every power of two as likely as the others.
fn size(noise: &mut Noise) -> usize {
    let most = (2 << below(noise, 19)).min(LARGEST);
    usize::try_from(1 + below(noise, most)).unwrap()
}

/// Pauses that change their mind: none at all, short ones, long ones.
#[derive(Default)]
struct Pace {
    done: u64,
    longest_micros: u64,
}

impl Pace {
    fn pause(&mut self, noise: &mut Noise) {
        if self.done.is_multiple_of(PACE_LASTS) {
            self.longest_micros = noise.pick(&[0, 0, 200, 3000]);
        }
        self.done += 1;
        if self.longest_micros > 0 {
            thread::sleep(Duration::from_micros(below(noise, self.longest_micros)));
        }
    }
}

fn send_messages(mut stream: &TcpStream, seed: u64) -> Sum {
    let (mut noise, mut pace, mut summing) =
        (Noise::seeded(seed), Pace::default(), Summing::default());
    let mut message = vec![0; usize::try_from(LARGEST).unwrap()];
    for _ in 0..MESSAGES {
        let message = &mut message[..size(&mut noise)];
        noise.fill(message);
        stream.write_all(message).unwrap();
        summing.add(message);
        pace.pause(&mut noise);
    }
    stream.shutdown(Shutdown::Write).unwrap();
    summing.sum()
}

fn receive_pieces(mut stream: &TcpStream, seed: u64) -> Sum {
    let (mut noise, mut pace, mut summing) =
        (Noise::seeded(seed), Pace::default(), Summing::default());
    let mut piece = vec![0; usize::try_from(LARGEST).unwrap()];
    loop {
        let room = size(&mut noise).max(1024);
        match stream.read(&mut piece[..room]).unwrap() {
            0 => return summing.sum(),
            bytes => summing.add(&piece[..bytes]),
        }
        pace.pause(&mut noise);
    }
}

fn converse(ends: &Ends, seed: u64) -> Seen {
    let Ends { client, upstream } = ends;
    thread::scope(|scope| {
        let up = scope.spawn(move || send_messages(client, seed));
        let down = scope.spawn(move || send_messages(upstream, seed + 1));
        let got_up = scope.spawn(move || receive_pieces(upstream, seed + 2));
        let got_down = scope.spawn(move || receive_pieces(client, seed + 3));
        Seen {
            client: client.local_addr().unwrap(),
            to_upstream: (up.join().unwrap(), got_up.join().unwrap()),
            to_client: (down.join().unwrap(), got_down.join().unwrap()),
        }
    })
}

pub(crate) fn of_random_sizes_at_random_paces() -> String {
    let forwarding = Forwarding::new(&[]);
    let before = forwarding.proxy.descriptors();
    let pairs: Vec<Ends> = (0..PAIRS).map(|_| forwarding.pair()).collect();
    let began = Instant::now();
    let seen: Vec<Seen> = thread::scope(|scope| {
        let running: Vec<_> = (0..)
            .zip(&pairs)
            .map(|(number, ends)| scope.spawn(move || converse(ends, 4 * number)))
            .collect();
        running.into_iter().map(|pair| pair.join().unwrap()).collect()
    });
    drop(pairs);
    let took = began.elapsed();
    let records = forwarding.proxy.wait_for_records(seen.len());
    for pair in &seen {
        pair.assert_whole(&records);
    }
    wait_until("all descriptors are closed", || forwarding.proxy.descriptors() == before);
    let bytes: u64 =
        seen.iter().map(|pair| pair.to_upstream.1.bytes + pair.to_client.1.bytes).sum();
    format!(
        "{} messages over {PAIRS} pairs, {} MB in {:.1} s",
        2 * PAIRS * MESSAGES,
        bytes / 1_000_000,
        took.as_secs_f64()
    )
}
