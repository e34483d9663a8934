//! Conversations: requests and their answers, timed at both ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::super::forwarding::Ends;
use super::lab::Pair;
use super::{Turns, ms};

/// One request and its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange {
    /// The client waits so long before its request.
    pub(super) pause: Duration,
    pub(super) request: usize,
    /// The upstream waits so long before its answer.
    pub(super) think: Duration,
    pub(super) answer: usize,
}

impl Exchange {
    /// Small, at once.
    pub(super) const INSTANT: Self = Self { pause: ms(0), request: 40, think: ms(0), answer: 200 };

    pub(super) const fn with_think(millis: u64) -> Self {
        Self { think: ms(millis), ..Self::INSTANT }
    }

    pub(super) const fn after_pause(self, millis: u64) -> Self {
        Self { pause: ms(millis), ..self }
    }
}

/// How long each part of it took.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    pub(super) pause: Duration,
    pub(super) request: Duration,
    /// As the client has it, from its request's last byte to the answer's first one.
    pub(super) wait: Duration,
    /// The upstream's part of it.
    pub(super) think: Duration,
    pub(super) answer: Duration,
}

/// A conversation that took place.
pub(super) struct Talk {
    pub(super) times: Vec<Times>,
    /// From the client's first step to connect to its first own moment.
    pub(super) set_up: Duration,
    pub(super) ended: Instant,
    /// From that first step to the last byte.
    pub(super) whole: Duration,
}

impl Talk {
    fn sum(&self, part: impl Fn(&Times) -> Duration) -> Duration {
        self.times.iter().map(part).sum()
    }

    pub(super) fn thought(&self) -> Duration {
        self.sum(|times| times.think)
    }

    pub(super) fn paused(&self) -> Duration {
        self.sum(|times| times.pause)
    }

    /// What requests, waits and answers took that no program took.
    pub(super) fn carried(&self) -> Duration {
        self.sum(|times| (times.request + times.wait + times.answer).saturating_sub(times.think))
    }

    pub(super) fn longest_wait(&self) -> Duration {
        self.times.iter().map(|times| times.wait).max().unwrap_or_default()
    }

    /// What the turns must look like: all answered.
    pub(super) fn turns(&self) -> Turns {
        Turns::answered(self.times.len() as u64, self.longest_wait())
    }
}

/// Lets the two ends have these exchanges.
pub(super) fn converse(pair: &Pair, exchanges: &[Exchange]) -> Talk {
    let Ends { client, upstream } = &pair.ends;
    let set_up = pair.began.elapsed();
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            exchanges.iter().map(|exchange| serve(upstream, exchange)).collect::<Vec<_>>()
        });
        let mut times: Vec<_> = exchanges.iter().map(|exchange| ask(client, exchange)).collect();
        let ended = Instant::now();
        for (times, think) in times.iter_mut().zip(server.join().unwrap()) {
            times.think = think;
        }
        Talk { times, set_up, ended, whole: ended - pair.began }
    })
}

/// How long the upstream took.
fn serve(mut upstream: &TcpStream, exchange: &Exchange) -> Duration {
    upstream.read_exact(&mut vec![0; exchange.request]).unwrap();
    let heard = Instant::now();
    thread::sleep(exchange.think);
    let thought = heard.elapsed();
    upstream.write_all(&vec![7; exchange.answer]).unwrap();
    thought
}

fn ask(mut client: &TcpStream, exchange: &Exchange) -> Times {
    let began = Instant::now();
    thread::sleep(exchange.pause);
    let pause = began.elapsed();
    client.write_all(&vec![7; exchange.request]).unwrap();
    let asked = began.elapsed();
    let mut answer = vec![0; exchange.answer];
    client.read_exact(&mut answer[..1]).unwrap();
    let first = began.elapsed();
    client.read_exact(&mut answer[1..]).unwrap();
    Times {
        pause,
        request: asked - pause,
        wait: first - asked,
        think: Duration::ZERO,
        answer: began.elapsed() - first,
    }
}
