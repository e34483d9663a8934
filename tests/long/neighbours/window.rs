//! A span of time in which quiet clients ask at a fixed rate, and how long they waited.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// From one probe to the next.
const INTERVAL: Duration = Duration::from_millis(20);

/// Longest time for one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// After so many failed probes a client stops: they take their time.
const FAILURES: usize = 2;

const MESSAGE: [u8; 64] = [7; 64];

/// What one client measured in one window.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Window {
    /// Sorted. Those of failed probes are there too, as long as they took.
    latencies: Vec<Duration>,
    /// Of the probes that succeeded.
    pub(super) clients: Vec<SocketAddr>,
    pub(super) failures: Vec<String>,
}

impl Window {
    /// Percentile by the nearest rank.
    pub(super) fn p(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100);
        self.latencies[rank.max(1) - 1]
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| self.p(percent));
        let (probes, failures) = (self.latencies.len(), self.failures.len());
        write!(
            f,
            "{probes} probes, p50 {p50:.2?}, p90 {p90:.2?}, p99 {p99:.2?}, max {max:.2?}, \
             {failures} failed"
        )
    }
}

/// One request of a quiet client; its own address.
pub(super) type Probe<'p> = &'p (dyn Fn() -> io::Result<SocketAddr> + Sync);

/// Has each probe asked at a fixed rate, on a thread of its own, while `work` is done.
///
/// What a probe waits for is counted from the moment at which it was due, when the one before it held
/// it up: a proxy that stands still for a second counts in as many probes as would have been made.
pub(super) fn measure(probes: &[Probe<'_>], work: impl FnOnce()) -> Vec<Window> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            probes.iter().map(|&probe| scope.spawn(|| measure_one(probe, &done))).collect();
        work();
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn measure_one(probe: Probe<'_>, done: &AtomicBool) -> Window {
    let mut window = Window::default();
    let mut due = Instant::now();
    for number in 1.. {
        let mut began = due;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
            // That this thread was woken late is not the proxy's doing.
            began = Instant::now();
        }
        if done.load(Ordering::Relaxed) && !window.latencies.is_empty() {
            break;
        }
        match probe() {
            Ok(client) => window.clients.push(client),
            Err(error) => {
                // How the system says that a time-out of a socket has passed.
                let is_late =
                    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                let what =
                    if is_late { format!("no answer in {ANSWER:?}") } else { error.to_string() };
                window.failures.push(format!("probe {number}: {what}"));
            }
        }
        window.latencies.push(began.elapsed());
        if window.failures.len() == FAILURES {
            break;
        }
        due += INTERVAL;
    }
    // Those that were due before the end and could not be made waited at least until now.
    let end = Instant::now();
    while due < end && window.failures.len() < FAILURES {
        window.latencies.push(end - due);
        due += INTERVAL;
    }
    window.latencies.sort_unstable();
    window
}

fn connect(proxy: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&proxy, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One message there and back.
fn round_trip(mut stream: TcpStream) -> io::Result<SocketAddr> {
    stream.write_all(&MESSAGE)?;
    let mut answer = [0; MESSAGE.len()];
    stream.read_exact(&mut answer)?;
    if answer != MESSAGE {
        return Err(io::Error::other("another answer than the echo"));
    }
    stream.local_addr()
}

/// A connection that is forwarded to an echo, and one round trip.
pub(super) fn forwarded(proxy: SocketAddr) -> io::Result<SocketAddr> {
    round_trip(connect(proxy)?)
}

/// A tunnel to an echo, and one round trip.
pub(super) fn tunnelled(proxy: SocketAddr, target: &str) -> io::Result<SocketAddr> {
    let mut stream = connect(proxy)?;
    write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    if !head.starts_with(b"HTTP/1.1 200 ") {
        let head = String::from_utf8_lossy(&head);
        return Err(io::Error::other(format!("{target}: {}", head.lines().next().unwrap())));
    }
    round_trip(stream)
}

/// One request for the metrics, as a scraper makes it.
pub(super) fn scraped(metrics: SocketAddr) -> io::Result<SocketAddr> {
    let mut stream = connect(metrics)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        let answer = String::from_utf8_lossy(&answer);
        return Err(io::Error::other(format!("metrics: {:?}", answer.lines().next())));
    }
    stream.local_addr()
}
