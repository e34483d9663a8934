//! The works, and what is measured of each.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::origin::{BULK, Origin, Service};
use crate::peers::{Entry, Peer};

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Work {
    /// One connection, upstream to client
    Download,
    /// One connection, client to upstream
    Upload,
    /// 64-byte messages to and fro over one connection
    Ping,
    /// The same over 32 connections
    Ping32,
    /// Connect, one round trip, close; 4 at a time
    Crr,
    /// The same, where the client asks for its target by HTTP CONNECT
    CrrConnect,
    /// The same by SOCKS 5
    CrrSocks5,
    /// Connections that do nothing
    Idle,
}

/// A figure's name and unit, and whether more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) more_is_better: bool,
}

const fn more(name: &'static str) -> Figure {
    Figure { name, more_is_better: true }
}

const fn less(name: &'static str) -> Figure {
    Figure { name, more_is_better: false }
}

impl Work {
    pub(crate) const ALL: [Work; 8] = [
        Work::Download,
        Work::Upload,
        Work::Ping,
        Work::Ping32,
        Work::Crr,
        Work::CrrConnect,
        Work::CrrSocks5,
        Work::Idle,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Download => "download",
            Work::Upload => "upload",
            Work::Ping => "ping",
            Work::Ping32 => "ping32",
            Work::Crr => "crr",
            Work::CrrConnect => "crr-connect",
            Work::CrrSocks5 => "crr-socks5",
            Work::Idle => "idle",
        }
    }

    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Work::Download | Work::Upload => const { &[more("GB/s"), less("cpu-s/GB")] },
            Work::Ping | Work::Ping32 => {
                const { &[more("k/s"), less("p50 us"), less("p99 us"), less("cpu us each")] }
            }
            Work::Crr | Work::CrrConnect | Work::CrrSocks5 => {
                const { &[more("k/s"), less("p50 us"), less("p99 us"), less("cpu us each")] }
            }
            Work::Idle => const { &[less("KiB each"), less("cpu us/s each"), less("pipes")] },
        }
    }

    /// By which way the client comes to which service.
    fn entry(self) -> Entry {
        match self {
            Work::Download => Entry::Forward(Service::Source),
            Work::Upload => Entry::Forward(Service::Sink),
            Work::Ping | Work::Ping32 | Work::Crr | Work::Idle => Entry::Forward(Service::Echo),
            Work::CrrConnect => Entry::Connect,
            Work::CrrSocks5 => Entry::Socks5,
        }
    }

    /// Whether `peer` has what the work needs.
    pub(crate) fn is_for(self, peer: &Peer) -> bool {
        peer.address(self.entry()).is_some() && (self != Work::Idle || peer.has_processes())
    }

    /// Does the work through `peer`; one value for each of [`figures`](Self::figures).
    pub(crate) fn measure(self, peer: &Peer, origin: &Origin) -> Vec<f64> {
        let gigabytes = BULK as f64 / 1e9;
        let loaded = |seconds, parallel| {
            let before = peer.cpu_seconds();
            let said = load(self.command(peer, origin, seconds, parallel));
            (said, peer.cpu_seconds() - before)
        };
        let latencies = |seconds, parallel| {
            let (said, cpu) = loaded(seconds, parallel);
            let [count, seconds, p50, p99] = said[..] else { panic!("{said:?}") };
            vec![count / seconds / 1e3, p50, p99, cpu * 1e6 / count]
        };
        match self {
            Work::Download | Work::Upload => {
                let (said, cpu) = loaded(0.0, 1);
                vec![gigabytes / said[0], cpu / gigabytes]
            }
            Work::Ping => latencies(1.0, 1),
            Work::Ping32 => latencies(1.0, 32),
            Work::Crr | Work::CrrConnect | Work::CrrSocks5 => latencies(1.5, 4),
            Work::Idle => idle(self.command(peer, origin, 0.0, IDLE_PAIRS), peer),
        }
    }

    fn command(self, peer: &Peer, origin: &Origin, seconds: f64, parallel: usize) -> Command {
        let kind = match self {
            Work::Ping32 => "ping",
            work => work.name(),
        };
        let address = peer.address(self.entry()).expect("the peer does this work");
        let target = match self.entry() {
            Entry::Forward(service) => origin.address(service),
            Entry::Connect | Entry::Socks5 => origin.address(Service::Echo),
        };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--role", "load", kind, &address.to_string(), &target.to_string()]);
        command.args([seconds.to_string(), parallel.to_string()]);
        command
    }
}

/// The numbers that the load says.
fn load(mut command: Command) -> Vec<f64> {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?} failed");
    let said = String::from_utf8(output.stdout).unwrap();
    said.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// How long idle connections are watched.
const IDLE: std::time::Duration = std::time::Duration::from_secs(3);

const IDLE_PAIRS: usize = 1000;

/// Memory, CPU and pipes of connections that were used once and then do nothing.
fn idle(mut command: Command, peer: &Peer) -> Vec<f64> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let held = peer.resident_bytes();
    let began = peer.cpu_seconds();
    // Long enough for pipes that nobody needs to be closed.
    std::thread::sleep(IDLE);
    let cpu = (peer.cpu_seconds() - began) / IDLE.as_secs_f64();
    let pipes = peer.pipes();
    drop(child.stdin.take());
    child.wait().unwrap();
    vec![held / IDLE_PAIRS as f64 / 1024.0, cpu * 1e6 / IDLE_PAIRS as f64, pipes as f64]
}

/// Every value of every figure, by work, proxy and figure.
#[derive(Debug, Default)]
pub(crate) struct Measured(BTreeMap<(Work, String, Figure), Vec<f64>>);

impl Measured {
    pub(crate) fn add(&mut self, work: Work, peer: &Peer, values: Vec<f64>) {
        for (&figure, value) in work.figures().iter().zip(values) {
            self.0.entry((work, peer.name().to_owned(), figure)).or_default().push(value);
        }
    }

    /// The values in the order of the rounds.
    pub(crate) fn get(&self, work: Work, name: &str, figure: Figure) -> &[f64] {
        self.0.get(&(work, name.to_owned(), figure)).map_or(&[], Vec::as_slice)
    }
}
