//! The works, and what is measured of each.

mod held;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::limits;
use crate::load::held::PAIRS;
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
    /// HTTP requests to a plain-HTTP proxy, 100 over each connection
    HttpKept,
    /// The same with a connection for each request; 4 at a time
    HttpOnce,
    /// Connections that do nothing
    Idle,
    /// 64-byte messages to and fro over 1, 100, 1000 and 9000 open connections in turn
    Pairs,
    /// 10,000 connections at once, each with one round trip, held until all are up
    Storm,
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

pub(crate) const fn less(name: &'static str) -> Figure {
    Figure { name, more_is_better: false }
}

impl Work {
    pub(crate) const ALL: [Work; 12] = [
        Work::Download,
        Work::Upload,
        Work::Ping,
        Work::Ping32,
        Work::Crr,
        Work::CrrConnect,
        Work::CrrSocks5,
        Work::HttpKept,
        Work::HttpOnce,
        Work::Idle,
        Work::Pairs,
        Work::Storm,
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
            Work::HttpKept => "http-kept",
            Work::HttpOnce => "http-once",
            Work::Idle => "idle",
            Work::Pairs => "pairs",
            Work::Storm => "storm",
        }
    }

    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Work::Download | Work::Upload => const { &[more("GB/s"), less("cpu-s/GB")] },
            Work::Ping
            | Work::Ping32
            | Work::Crr
            | Work::CrrConnect
            | Work::CrrSocks5
            | Work::HttpKept
            | Work::HttpOnce => {
                const { &[more("k/s"), less("p50 us"), less("p99 us"), less("cpu us each")] }
            }
            Work::Idle => const { &[less("KiB each"), less("cpu us/s each"), less("pipes")] },
            Work::Pairs => {
                const {
                    &[
                        less("cpu us each, 1 open"),
                        less("cpu us each, 100 open"),
                        less("cpu us each, 1000 open"),
                        less("cpu us each, 9000 open"),
                    ]
                }
            }
            Work::Storm => {
                const { &[less("failed"), less("s"), less("p99 ms"), less("cpu us each")] }
            }
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
            Work::HttpKept | Work::HttpOnce => Entry::Http,
            Work::Pairs | Work::Storm => Entry::Forward(Service::EchoMany),
        }
    }

    /// Whether `peer` has what the work needs.
    pub(crate) fn is_for(self, peer: &Peer) -> bool {
        let is_own_cost = matches!(self, Work::Idle | Work::Pairs);
        peer.address(self.entry()).is_some() && (!is_own_cost || peer.has_processes())
    }

    /// How many connections it has open at once, at most.
    pub(crate) fn connections(self) -> usize {
        match self {
            Work::Idle => held::IDLE_PAIRS,
            Work::Pairs => PAIRS[PAIRS.len() - 1],
            Work::Storm => limits::most_pairs(),
            _ => 32,
        }
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
            Work::Ping | Work::HttpKept => latencies(1.0, 1),
            Work::Ping32 => latencies(1.0, 32),
            Work::Crr | Work::CrrConnect | Work::CrrSocks5 | Work::HttpOnce => latencies(1.5, 4),
            Work::Idle => held::idle(self.command(peer, origin, 0.0, held::IDLE_PAIRS), peer),
            Work::Pairs => held::pairs(self.command(peer, origin, 1.0, 1), peer),
            Work::Storm => {
                let count = self.connections();
                held::storm(self.command(peer, origin, 0.0, count), count, peer)
            }
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
            Entry::Http => origin.address(Service::Http),
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
    numbers(&said)
}

fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// Every value of every figure, by work, proxy and figure.
#[derive(Debug, Default)]
pub(crate) struct Measured(BTreeMap<(Work, String, Figure), Vec<f64>>);

impl Measured {
    pub(crate) fn add(&mut self, work: Work, peer: &Peer, figures: &[Figure], values: &[f64]) {
        for (&figure, &value) in figures.iter().zip(values) {
            self.0.entry((work, peer.name().to_owned(), figure)).or_default().push(value);
        }
    }

    /// The values in the order of the rounds.
    pub(crate) fn get(&self, work: Work, name: &str, figure: Figure) -> &[f64] {
        self.0.get(&(work, name.to_owned(), figure)).map_or(&[], Vec::as_slice)
    }
}
