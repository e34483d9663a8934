//! Many connections that are open at once. What is measured of them is measured by the parent, so
//! the two take turns: a line of output says what is reached, a line of input that it may go on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{MESSAGE, connect, quantile, round_trip};

/// Of how many open connections one round trip is measured.
pub(crate) const PAIRS: [usize; 4] = [1, 100, 1000, 9000];

/// The threads that open a storm's connections.
const THREADS: usize = 4;

/// A connection of a storm without an answer has failed after this time.
const STORM_TIMEOUT: Duration = Duration::from_secs(30);

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

fn wait_for_end() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Opens connections, shows that each is up, says so, and holds them until its input ends.
pub(super) fn idle(address: SocketAddr, count: usize) {
    let mut held: Vec<TcpStream> = (0..count).map(|_| connect(address)).collect();
    held.iter_mut().for_each(round_trip);
    say(&count.to_string());
    wait_for_end();
}

/// With each of the numbers of open connections: says that they are up and, when it is told to,
/// does one round trip after another, each over the next connection; says how many.
pub(super) fn pairs(address: SocketAddr, lasts: Duration) {
    let mut held: Vec<TcpStream> = Vec::new();
    for count in PAIRS {
        while held.len() < count {
            held.push(connect(address));
            held.last_mut().into_iter().for_each(round_trip);
        }
        say(&count.to_string());
        std::io::stdin().read_line(&mut String::new()).unwrap();
        let until = Instant::now() + lasts;
        let mut trips = 0;
        while Instant::now() < until {
            round_trip(&mut held[trips % count]);
            trips += 1;
        }
        say(&trips.to_string());
    }
    wait_for_end();
}

/// Opens all connections as fast as it can, each with a round trip of its own, and holds them until
/// its input ends; says how many failed, seconds until the last had its answer, and the 99th
/// percentile in ms from connecting to the answer.
pub(super) fn storm(address: SocketAddr, count: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    let began = Instant::now();
    let opening: Vec<_> = (0..count).map(|_| runtime.spawn(open(address))).collect();
    let opened: Vec<_> =
        opening.into_iter().filter_map(|opening| runtime.block_on(opening).unwrap()).collect();
    let seconds = began.elapsed().as_secs_f64();
    let mut nanos: Vec<u64> = opened.iter().map(|(_, nanos)| *nanos).collect();
    nanos.sort_unstable();
    say(&format!("{} {seconds} {}", count - opened.len(), quantile(&nanos, 0.99) / 1e6));
    wait_for_end();
}

/// One connection of a storm and the nanoseconds until its answer; `None` if it failed.
async fn open(address: SocketAddr) -> Option<(tokio::net::TcpStream, u64)> {
    let began = Instant::now();
    let opened = tokio::time::timeout(STORM_TIMEOUT, async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let mut message = [7; MESSAGE];
        stream.write_all(&message).await?;
        stream.read_exact(&mut message).await?;
        std::io::Result::Ok(stream)
    });
    let stream = opened.await.ok()?.ok()?;
    Some((stream, began.elapsed().as_nanos() as u64))
}
