//! Clients that take for ever to ask for something: they end in time, and slow nobody else down.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use conniver::record::{By, How, Outcome, Phase, Record};

use crate::harness::peers::exchange;
use crate::harness::program::{PATIENCE, Proxy, wait_until};
use crate::role::{Role, cpu_time};

const SLOW: usize = 5000;

/// Half of them ask for a tunnel, a sixth each is silent, in SOCKS, and announces somebody.
const KINDS: [Kind; 6] =
    [Kind::Http, Kind::Silent, Kind::Http, Kind::Socks, Kind::Http, Kind::Announcing];

/// From one byte of a slow client to its next.
const DRIP: Duration = Duration::from_secs(1);

/// Clients whose turn it is together: they drip one after the other, not all at once.
const TURNS: u32 = 100;

/// Longer than it takes to connect all of them and to measure the others.
const REQUEST_TIMEOUT: &str = "20s";

const ROUNDS: usize = 3;

/// How long the others are measured.
const WINDOW: Duration = Duration::from_secs(5);

/// Others that connect again and again.
const CONNECTING: usize = 3;

/// Round trips on each of their connections.
const ROUND_TRIPS: usize = 5;

const MESSAGE: [u8; 64] = [7; 64];

const ANNOUNCEMENT: &str = "PROXY UNKNOWN\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Http,
    Silent,
    Socks,
    Announcing,
}

impl Kind {
    /// What it says at once, and what it says byte by byte.
    fn says(self) -> (&'static str, &'static str) {
        const HEAD: &str =
            "CONNECT example.com:80 HTTP/1.1\r\nX: for all that is slow and never comes to its end";
        match self {
            Self::Http => (ANNOUNCEMENT, HEAD),
            Self::Silent => (ANNOUNCEMENT, ""),
            // 200 ways to authenticate, of which it names one.
            Self::Socks => ("PROXY UNKNOWN\r\n\x05\x64\0", ""),
            Self::Announcing => ("PROXY TCP4 192.", "0.2.1 192.0.2.2"),
        }
    }

    /// How the proxy ends it.
    fn end(self) -> &'static str {
        match self {
            Self::Http => "408",
            Self::Silent | Self::Socks => "end",
            // Who announces somebody gets no answer.
            Self::Announcing => "reset",
        }
    }
}

struct Slow {
    stream: TcpStream,
    drips: &'static [u8],
    heard: Vec<u8>,
    end: Option<&'static str>,
}

impl Slow {
    fn new(proxy: SocketAddr, kind: Kind) -> Self {
        let mut stream = TcpStream::connect(proxy).unwrap();
        let (first, drips) = kind.says();
        stream.write_all(first.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, drips: drips.as_bytes(), heard: Vec::new(), end: None }
    }

    /// Says the next byte, unless the proxy has ended it.
    fn turn(&mut self) {
        if self.end.is_some() {
            return;
        }
        let mut piece = [0; 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => {
                self.end =
                    Some(if self.heard.starts_with(b"HTTP/1.1 408 ") { "408" } else { "end" })
            }
            Ok(bytes) => self.heard.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.end = Some("reset"),
        }
        if self.heard.is_empty()
            && let Some((byte, rest)) = self.drips.split_first()
            // When it is ended, the next look tells how.
            && self.stream.write(&[*byte]).is_ok()
        {
            self.drips = rest;
        }
    }
}

/// The role: connects all of them, says so, and drips until the proxy has ended the last one.
pub(crate) fn drip(proxy: SocketAddr, say: impl Fn(&str)) {
    let mut slow: Vec<Slow> =
        (0..SLOW).map(|number| Slow::new(proxy, KINDS[number % KINDS.len()])).collect();
    say("all are connected");
    let turns = usize::try_from(TURNS).unwrap();
    while slow.iter().any(|slow| slow.end.is_none()) {
        for turn in 0..turns {
            slow.iter_mut().skip(turn).step_by(turns).for_each(Slow::turn);
            thread::sleep(DRIP / TURNS);
        }
    }
    for (slow, kind) in slow.iter().zip(KINDS.iter().cycle()) {
        assert_eq!(slow.end, Some(kind.end()), "{kind:?}: {:?}", slow.heard);
    }
    say("all were ended as they should");
}

/// What the others got done in a window.
struct Others {
    connections: usize,
    /// Of 64 bytes, on one connection that stays.
    round_trips: Vec<Duration>,
}

impl Others {
    fn percentile(&self, percent: usize) -> Duration {
        self.round_trips[self.round_trips.len() * percent / 100]
    }
}

fn tunnel(proxy: SocketAddr, origin: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    write!(stream, "{ANNOUNCEMENT}CONNECT {origin} HTTP/1.1\r\n\r\n").unwrap();
    let mut granted = [0; 39];
    stream.read_exact(&mut granted).unwrap();
    assert!(granted.starts_with(b"HTTP/1.1 200 "));
    stream
}

fn others(proxy: SocketAddr, origin: &str) -> Others {
    let until = Instant::now() + WINDOW;
    let connect = || {
        let mut made = 0;
        while Instant::now() < until {
            let mut stream = tunnel(proxy, origin);
            for _ in 0..ROUND_TRIPS {
                assert_eq!(exchange(&mut stream, &MESSAGE), MESSAGE);
            }
            made += 1;
        }
        made
    };
    let stay = || {
        let (mut stream, mut round_trips) = (tunnel(proxy, origin), Vec::new());
        while Instant::now() < until {
            let began = Instant::now();
            assert_eq!(exchange(&mut stream, &MESSAGE), MESSAGE);
            round_trips.push(began.elapsed());
        }
        round_trips.sort_unstable();
        round_trips
    };
    thread::scope(|scope| {
        let connecting: Vec<_> = (0..CONNECTING).map(|_| scope.spawn(connect)).collect();
        let staying = scope.spawn(stay);
        Others {
            connections: connecting.into_iter().map(|thread| thread.join().unwrap()).sum(),
            round_trips: staying.join().unwrap(),
        }
    })
}

/// Resident memory, bytes.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The record of a slow one says that the proxy had waited long enough.
fn assert_is_of_a_slow_one(record: &Record) {
    assert_eq!(record.outcome, Some(Outcome::Timeout));
    let ending = record.ending.as_ref().unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Request, By::Proxy, How::Timeout)
    );
    assert_eq!(ending.error_code.as_deref(), Some("REQUEST_TIMEOUT"));
    assert_eq!((&record.target, &record.upstream), (&None, &None));
    assert!(record.client.rx_bytes > 0);
}

pub(crate) fn five_thousand_slow_clients() -> String {
    let origin = Role::start(&["origin"]);
    let args = ["--accept-proxy", "--request-timeout", REQUEST_TIMEOUT];
    let proxy = Proxy::serving(&args);
    let (address, before) = (proxy.address(), proxy.descriptors());
    let nothing_is_left = || {
        wait_until("all descriptors are closed", || proxy.descriptors() == before);
    };
    // Whatever is made once is there.
    others(address, &origin.said);
    let mut made = 0;
    let (mut without, mut with, mut used) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(others(address, &origin.said));
        nothing_is_left();
        let small = memory(proxy.pid());
        let mut slow = Role::start(&["slow", &address.to_string()]);
        wait_until("all are accepted", || proxy.descriptors() >= before + SLOW);
        let cpu = cpu_time(proxy.pid());
        with.push(others(address, &origin.said));
        used.push((memory(proxy.pid()).saturating_sub(small), cpu_time(proxy.pid()) - cpu));
        assert_eq!(slow.hear(), "all were ended as they should");
        made += SLOW;
        slow.end();
        nothing_is_left();
    }
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    let records = left.records();
    let mut outcomes = BTreeMap::<String, usize>::new();
    for record in &records {
        *outcomes.entry(format!("{:?}", record.outcome.unwrap())).or_default() += 1;
        match record.outcome {
            Some(Outcome::Ok) => {}
            _ => assert_is_of_a_slow_one(record),
        }
    }
    assert_eq!(outcomes["Timeout"], made, "{outcomes:?}");
    origin.end();

    let mut ratios = Vec::new();
    for ((without, with), (memory, cpu)) in without.iter().zip(&with).zip(&used) {
        let each = memory / SLOW as u64;
        assert!(each < 24 * 1024, "{each} bytes for each slow client");
        ratios.push(with.connections as f64 / without.connections as f64);
        println!(
            "connections {} without, {} with; round trip {:?} and {:?} (p50), {:?} and {:?} (p99); \
             {each} bytes for each slow client; {cpu:.1?} of the proxy's CPU in {WINDOW:?}",
            without.connections,
            with.connections,
            without.percentile(50),
            with.percentile(50),
            without.percentile(99),
            with.percentile(99),
        );
    }
    ratios.sort_by(f64::total_cmp);
    let p50 = |others: &[Others]| {
        let mut all: Vec<_> = others.iter().map(|others| others.percentile(50)).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    format!(
        "{made} slow clients ended in time; beside them the others made {:.2} of their connections, \
         round trips took {:.2} of their time",
        ratios[ratios.len() / 2],
        p50(&with).as_secs_f64() / p50(&without).as_secs_f64(),
    )
}
