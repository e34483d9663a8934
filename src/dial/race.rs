//! Connecting to one of several addresses by RFC 8305: attempts start one after the other, and the
//! first to connect wins.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::attempt::{self, AttemptError, Begun, Dialling, OwnStream};
use super::log::{Attempt, DialLog, End};
use super::{Failure, denied, resolve, timed_out};
use crate::clock::Nanos;
use crate::fault::Fault;
use crate::record::{By, Outcome, Phase};

/// RFC 8305 section 5, Connection Attempt Delay: how long an attempt has the field to itself.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to one of `addresses`, of which there is at least one. An attempt that fails lets the
/// next begin at once. Those that did not win are closed; all are in the log.
pub(super) async fn race(
    addresses: &[SocketAddr],
    how: Dialling<'_>,
    deadline: Instant,
    refuse: &(dyn Fn(SocketAddr) -> Option<Fault> + Sync),
    log: &mut DialLog,
    mut abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<OwnStream, Failure> {
    let mut race = Race { log, how, began: Instant::now(), running: Vec::new(), failure: None };
    let mut addresses = addresses.iter();
    loop {
        for &address in addresses.by_ref() {
            match race.start(address, refuse) {
                Started::Connected(stream) => return Ok(stream),
                Started::Waiting => break,
                Started::Failed => {}
            }
        }
        if race.running.is_empty() {
            return Err(race.lost());
        }
        let wake = match addresses.len() {
            0 => deadline,
            _ => deadline.min(Instant::now() + ATTEMPT_DELAY),
        };
        // In this order: nothing is registered with the timer when an answer is there.
        tokio::select! {
            biased;
            won = poll_fn(|cx| race.poll(cx)) => if let Some(stream) = won {
                return Ok(stream);
            },
            failure = abandoned.as_mut() => {
                race.abandon();
                return Err(Failure { phase: Phase::Connect, ..failure });
            }
            () = tokio::time::sleep_until(wake.into()) => if Instant::now() >= deadline {
                race.time_out();
                return Err(race.lost());
            },
        }
    }
}

struct Race<'l> {
    log: &'l mut DialLog,
    how: Dialling<'l>,
    began: Instant,
    running: Vec<Running>,
    /// Of the attempts that failed, the one that tells most.
    failure: Option<Failure>,
}

/// An attempt under way.
struct Running {
    /// Its place in the log.
    place: usize,
    own: OwnStream,
}

enum Started {
    Connected(OwnStream),
    Waiting,
    Failed,
}

impl Race<'_> {
    fn start(
        &mut self,
        address: SocketAddr,
        refuse: &dyn Fn(SocketAddr) -> Option<Fault>,
    ) -> Started {
        let place = self.log.attempts.len();
        self.log.attempts.push(Attempt {
            address,
            started_after: match place {
                0 => Nanos::default(),
                _ => self.began.elapsed().into(),
            },
            duration: Nanos::default(),
            end: End::Cancelled { syn_retransmits: None },
        });
        let begun = match refuse(address) {
            Some(fault) => {
                Begun::Failed(AttemptError { failure: denied(fault), syn_retransmits: None })
            }
            None => attempt::begin(address, self.how),
        };
        match begun {
            Begun::Connected(stream) => {
                self.won(place);
                Started::Connected(stream)
            }
            Begun::Waiting(stream) => {
                self.running.push(Running { place, own: stream });
                Started::Waiting
            }
            Begun::Failed(error) => {
                self.failed(place, error);
                Started::Failed
            }
        }
    }

    /// Ready with the stream that won, or with `None` when attempts failed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<OwnStream>> {
        let mut one_failed = false;
        let mut index = 0;
        while let Some(running) = self.running.get(index) {
            let Poll::Ready(ready) = running.own.stream.poll_write_ready(cx) else {
                index += 1;
                continue;
            };
            let outcome = attempt::outcome(&running.own.stream, ready);
            let Running { place, own } = self.running.remove(index);
            match outcome {
                Ok(()) => {
                    self.won(place);
                    return Poll::Ready(Some(own));
                }
                Err(error) => self.failed(place, error),
            }
            one_failed = true;
        }
        if one_failed { Poll::Ready(None) } else { Poll::Pending }
    }

    fn won(&mut self, place: usize) {
        let now = Instant::now();
        self.ended(place, End::Connected, now);
        self.cancel_others(now);
    }

    fn failed(&mut self, place: usize, error: AttemptError) {
        self.ended(place, End::from(&error), Instant::now());
        let failure = error.failure;
        if self.failure.as_ref().is_none_or(|known| rank(&failure) < rank(known)) {
            self.failure = Some(failure);
        }
    }

    /// Gives up what is still under way.
    fn cancel_others(&mut self, now: Instant) {
        for Running { place, own } in std::mem::take(&mut self.running) {
            let syn_retransmits = attempt::syn_retransmits(&own.stream);
            self.ended(place, End::Cancelled { syn_retransmits }, now);
        }
    }

    /// Nobody waits any more. An upstream that has accepted meanwhile is told so by a reset: an end
    /// of stream would say that all was said.
    fn abandon(&mut self) {
        for Running { own, .. } in &self.running {
            // If it fails, there is no connection to reset.
            let _ = SockRef::from(&own.stream).set_linger(Some(Duration::ZERO));
        }
        self.cancel_others(Instant::now());
    }

    fn time_out(&mut self) {
        for Running { place, own } in std::mem::take(&mut self.running) {
            let text = "the upstream did not answer in time";
            let failure = timed_out(Phase::Connect, "CONNECT_TIMEOUT", text);
            let syn_retransmits = attempt::syn_retransmits(&own.stream);
            self.failed(place, AttemptError { failure, syn_retransmits });
        }
    }

    fn ended(&mut self, place: usize, end: End, now: Instant) {
        let lasted = now - self.began;
        self.log.connect = Some(lasted.into());
        if let Some(attempt) = self.log.attempts.get_mut(place) {
            attempt.duration = lasted.saturating_sub(attempt.started_after.get()).into();
            attempt.end = end;
        }
    }

    fn lost(self) -> Failure {
        self.failure.unwrap_or_else(|| resolve::failed(resolve::no_address()))
    }
}

/// Of several failures, the pair's is the one that says most of the upstream, and of equals the
/// first: our own rule, the upstream's answer, its silence, and last what lies before it (a family
/// that this machine has no route for).
fn rank(failure: &Failure) -> u8 {
    match (failure.outcome, failure.by) {
        (Outcome::Denied, _) => 0,
        (_, By::Upstream) => 1,
        (Outcome::Timeout, _) => 2,
        _ => 3,
    }
}
