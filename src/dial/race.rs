//! Connecting to one of several addresses by RFC 8305: attempts start one after the other, and the
//! first to connect wins.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::attempt::{self, AttemptError, Begun, Dialling, OwnStream};
use super::candidates::{self, Candidate};
use super::log::{Attempt, DialLog, End};
use super::resolve;
use crate::clock::Nanos;
use crate::descriptors;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, Outcome, Phase};

/// RFC 8305 section 5, Connection Attempt Delay: how long an attempt has the field to itself.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Attempts of one dial that are under way at most: each holds a descriptor.
const MOST_IN_FLIGHT: usize = 4;

/// How long an attempt may be silent before it makes room for another address, where there is no
/// room otherwise. Attempts begin 250 ms apart, so the oldest of four is as old as this when the
/// fifth is due: a good fifth address is reached after 1 s, and the 16th after 3.75 s. If the fifth
/// waited until an attempt ended by itself, silent addresses would keep it out until the deadline.
const SILENCE: Duration = ATTEMPT_DELAY.saturating_mul(4);

/// The descriptors for attempts beside the first one of each dial, which all dials share. (The
/// first one's is the connection's own.) Dials that get none of them have one attempt under way.
#[derive(Debug)]
pub(super) struct ExtraAttempts(Semaphore);

impl ExtraAttempts {
    pub(super) fn new() -> Self {
        let most = descriptors::extra_attempts(descriptors::limit());
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))
    }
}

/// Whom a race is for, and what it may do.
pub(super) struct Terms<'t> {
    pub(super) how: Dialling<'t>,
    pub(super) deadline: Instant,
    /// Why an address may not be dialled.
    pub(super) refuse: &'t (dyn Fn(SocketAddr) -> Option<Fault> + Sync),
    pub(super) extra: &'t ExtraAttempts,
}

/// Connects to one of `addresses`, of which there is at least one. An attempt that fails lets the
/// next begin at once. Those that did not win are closed; all are in the log.
pub(super) async fn race(
    addresses: &[SocketAddr],
    terms: Terms<'_>,
    log: &mut DialLog,
    mut abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<OwnStream, Failure> {
    let Terms { how, deadline, refuse, extra } = terms;
    let began = Instant::now();
    log.addresses = NonZeroU16::new(u16::try_from(addresses.len()).unwrap_or(u16::MAX));
    let mut candidates = candidates::select(addresses, refuse).into_iter().peekable();
    let mut race =
        Race { log, how, began, extra, held: Vec::new(), running: Vec::new(), failure: None };
    // When the next attempt may begin.
    let mut due = began;
    loop {
        let now = Instant::now();
        while due <= now
            && let Some(candidate) = candidates.peek()
        {
            if candidate.refused.is_none() && !race.make_room(now) {
                break;
            }
            let Some(candidate) = candidates.next() else { break };
            match race.start(candidate) {
                Started::Connected(stream) => return Ok(stream),
                Started::Waiting => due = Instant::now() + ATTEMPT_DELAY,
                Started::Failed => {}
            }
        }
        if race.running.is_empty() && candidates.peek().is_none() {
            return Err(race.lost());
        }
        let wake = match candidates.peek() {
            None => deadline,
            // Without room: until the oldest attempt has been silent for long enough, or others
            // give descriptors back.
            Some(_) if due <= now => deadline.min(race.room_at(now + ATTEMPT_DELAY)),
            Some(_) => deadline.min(due),
        };
        // In this order: nothing is registered with the timer when an answer is there.
        tokio::select! {
            biased;
            won = poll_fn(|cx| race.poll(cx)) => match won {
                Some(stream) => return Ok(stream),
                None => due = Instant::now(),
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
    extra: &'l ExtraAttempts,
    /// One for each attempt under way but the first.
    held: Vec<SemaphorePermit<'l>>,
    /// The oldest comes first.
    running: Vec<Running>,
    /// Of the attempts that failed, the one that tells most.
    failure: Option<Failure>,
}

/// An attempt under way.
struct Running {
    /// Its place in the log.
    place: usize,
    began: Instant,
    own: OwnStream,
}

enum Started {
    Connected(OwnStream),
    Waiting,
    Failed,
}

impl Race<'_> {
    /// Whether another attempt may begin; if need be, the oldest one is given up for it.
    fn make_room(&mut self, now: Instant) -> bool {
        self.held.truncate(self.running.len().saturating_sub(1));
        if self.running.is_empty() {
            return true;
        }
        if self.running.len() < MOST_IN_FLIGHT
            && let Ok(permit) = self.extra.0.try_acquire()
        {
            self.held.push(permit);
            return true;
        }
        let may_go = self.running.first().is_some_and(|oldest| now >= oldest.began + SILENCE);
        if may_go {
            let Running { place, own, .. } = self.running.remove(0);
            let text = "no answer yet; abandoned in favor of the next address";
            self.silent(place, &own.stream, text);
        }
        may_go
    }

    /// When the oldest attempt may be given up for another one; at most `latest`.
    fn room_at(&self, latest: Instant) -> Instant {
        self.running.first().map_or(latest, |oldest| latest.min(oldest.began + SILENCE))
    }

    fn start(&mut self, candidate: Candidate) -> Started {
        let Candidate { address, refused } = candidate;
        let place = self.log.attempts.len();
        let began = Instant::now();
        self.log.attempts.push(Attempt {
            address,
            started_after: match place {
                0 => Nanos::default(),
                _ => (began - self.began).into(),
            },
            duration: Nanos::default(),
            end: End::Cancelled { syn_retransmits: None },
        });
        let begun = match refused {
            Some(fault) => Begun::Failed(AttemptError {
                failure: Failure::denied(Phase::Connect, fault),
                syn_retransmits: None,
            }),
            None => attempt::begin(address, self.how),
        };
        match begun {
            Begun::Connected(stream) => {
                self.won(place);
                Started::Connected(stream)
            }
            Begun::Waiting(stream) => {
                self.running.push(Running { place, began, own: stream });
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
            let Running { place, own, .. } = self.running.remove(index);
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
        for Running { place, own, .. } in std::mem::take(&mut self.running) {
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
        for Running { place, own, .. } in std::mem::take(&mut self.running) {
            self.silent(place, &own.stream, "the connection attempt timed out");
        }
    }

    /// The attempt is over without an answer.
    fn silent(&mut self, place: usize, stream: &TcpStream, text: &'static str) {
        let failure = Failure::timed_out(Phase::Connect, "CONNECT_TIMEOUT", text);
        let syn_retransmits = attempt::syn_retransmits(stream);
        self.failed(place, AttemptError { failure, syn_retransmits });
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
