//! What is measured of connections while they are open.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::numbers;
use crate::load::held::PAIRS;
use crate::peers::Peer;

/// How long idle connections are watched.
const IDLE: Duration = Duration::from_secs(3);

pub(super) const IDLE_PAIRS: usize = 1000;

/// A load that holds connections until it is ended.
struct Load {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Load {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// The numbers on the next line that it says.
    fn numbers(&mut self) -> Vec<f64> {
        let mut line = String::new();
        assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "the load failed");
        numbers(&line)
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Ends its connections, and waits until `peer` has done what it does then.
    fn end(mut self, peer: &Peer) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        peer.wait_until_quiet();
    }
}

/// Memory, CPU and pipes of connections that were used once and then do nothing.
pub(super) fn idle(command: Command, peer: &Peer) -> Vec<f64> {
    let mut load = Load::start(command);
    load.numbers();
    let held = peer.resident_bytes();
    let began = peer.cpu_seconds();
    // Long enough for pipes that nobody needs to be closed.
    std::thread::sleep(IDLE);
    let cpu = (peer.cpu_seconds() - began) / IDLE.as_secs_f64();
    let pipes = peer.pipes();
    load.end(peer);
    vec![held / IDLE_PAIRS as f64 / 1024.0, cpu * 1e6 / IDLE_PAIRS as f64, pipes as f64]
}

/// CPU of one round trip with each of the numbers of open connections.
pub(super) fn pairs(command: Command, peer: &Peer) -> Vec<f64> {
    let mut load = Load::start(command);
    let cpu = PAIRS.map(|_| {
        load.numbers();
        peer.wait_until_quiet();
        let before = peer.cpu_seconds();
        load.go_on();
        let trips = load.numbers()[0];
        (peer.cpu_seconds() - before) * 1e6 / trips
    });
    load.end(peer);
    cpu.to_vec()
}

/// What the load says of a storm, and the CPU of each of its connections, its end included.
pub(super) fn storm(command: Command, count: usize, peer: &Peer) -> Vec<f64> {
    let before = peer.cpu_seconds();
    let mut load = Load::start(command);
    let mut figures = load.numbers();
    load.end(peer);
    figures.push((peer.cpu_seconds() - before) * 1e6 / count as f64);
    figures
}
