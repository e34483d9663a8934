//! The works, and what is measured of each.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::origin::{BULK, Service};
use crate::peers::Peer;

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
    pub(crate) const ALL: [Work; 6] =
        [Work::Download, Work::Upload, Work::Ping, Work::Ping32, Work::Crr, Work::Idle];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Download => "download",
            Work::Upload => "upload",
            Work::Ping => "ping",
            Work::Ping32 => "ping32",
            Work::Crr => "crr",
            Work::Idle => "idle",
        }
    }

    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Work::Download | Work::Upload => const { &[more("GB/s"), less("cpu-s/GB")] },
            Work::Ping | Work::Ping32 => {
                const { &[more("k/s"), less("p50 us"), less("p99 us"), less("cpu us each")] }
            }
            Work::Crr => const { &[more("k/s"), less("p99 us"), less("cpu us each")] },
            Work::Idle => const { &[less("KiB each"), less("cpu us/s each"), less("pipes")] },
        }
    }

    /// Does the work through `peer`; one value for each of [`figures`](Self::figures).
    pub(crate) fn measure(self, peer: &Peer) -> Vec<f64> {
        let gigabytes = BULK as f64 / 1e9;
        match self {
            Work::Download | Work::Upload => {
                let (kind, service) = match self {
                    Work::Download => ("download", Service::Source),
                    _ => ("upload", Service::Sink),
                };
                let (said, cpu) = with_cpu(peer, || load(kind, peer, service, 0.0, 1));
                vec![gigabytes / said[0], cpu / gigabytes]
            }
            Work::Ping | Work::Ping32 => {
                let parallel = if self == Work::Ping { 1 } else { 32 };
                let (said, cpu) =
                    with_cpu(peer, || load("ping", peer, Service::Echo, 1.0, parallel));
                let [count, seconds, p50, p99] = said[..] else { panic!("{said:?}") };
                vec![count / seconds / 1e3, p50, p99, cpu * 1e6 / count]
            }
            Work::Crr => {
                let (said, cpu) = with_cpu(peer, || load("crr", peer, Service::Echo, 1.5, 4));
                let [count, seconds, _, p99] = said[..] else { panic!("{said:?}") };
                vec![count / seconds / 1e3, p99, cpu * 1e6 / count]
            }
            Work::Idle => idle(peer),
        }
    }
}

/// The load's numbers and the proxy's CPU seconds meanwhile.
fn with_cpu(peer: &Peer, work: impl FnOnce() -> Vec<f64>) -> (Vec<f64>, f64) {
    let before = peer.cpu_seconds();
    let said = work();
    (said, peer.cpu_seconds() - before)
}

fn command(kind: &str, peer: &Peer, service: Service, seconds: f64, parallel: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--role", "load", kind, &peer.address(service).to_string()]);
    command.args([seconds.to_string(), parallel.to_string()]);
    command
}

fn load(kind: &str, peer: &Peer, service: Service, seconds: f64, parallel: usize) -> Vec<f64> {
    let output =
        command(kind, peer, service, seconds, parallel).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{kind} through {} failed", peer.name());
    numbers(&String::from_utf8(output.stdout).unwrap())
}

fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// How long idle connections are watched.
const IDLE: std::time::Duration = std::time::Duration::from_secs(3);

/// Memory, CPU and pipes of connections that were used once and then do nothing.
fn idle(peer: &Peer) -> Vec<f64> {
    const COUNT: usize = 1000;
    let mut child = command("idle", peer, Service::Echo, 0.0, COUNT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
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
    vec![held / COUNT as f64 / 1024.0, cpu * 1e6 / COUNT as f64, pipes as f64]
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
