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

use super::attempt::{self, AttemptError, AttemptStart, DialConfig, OwnStream};
use super::candidates::{self, Candidate};
use super::log::{Attempt, AttemptEnd, DialLog};
use super::resolve;
use crate::clock::CompactDuration;
use crate::descriptors;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, Outcome, Phase};

/// RFC 8305 section 5, Connection Attempt Delay: the time before the next attempt may start.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Maximum number of concurrent attempts of one dial: each holds a descriptor.
const MOST_IN_FLIGHT: usize = 4;

/// How long an attempt may be silent before it is given up for another address, if there is no room
/// otherwise. Attempts begin 250 ms apart, so the oldest of four is this old when the fifth is due:
/// a good fifth address is reached after 1 s, and the 16th after 3.75 s. Otherwise silent addresses
/// would block the fifth until the deadline.
const SILENCE: Duration = ATTEMPT_DELAY.saturating_mul(4);

/// Descriptors for attempts beyond the first one of each dial, shared by all dials. (The first
/// one's descriptor is counted with the connection.) Dials that get none have one attempt at a
/// time.
#[derive(Debug)]
pub(super) struct ExtraAttempts(Semaphore);

impl ExtraAttempts {
    pub(super) fn new() -> Self {
        let most = descriptors::extra_attempts(descriptors::limit());
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))
    }
}

/// Configuration of a race.
pub(super) struct RaceConfig<'t> {
    pub(super) dial: DialConfig<'t>,
    pub(super) deadline: Instant,
    /// Checks an address before it is dialled.
    pub(super) check: &'t (dyn Fn(SocketAddr) -> Result<(), Fault> + Sync),
    pub(super) extra: &'t ExtraAttempts,
}

/// Connects to one of `addresses`, which must not be empty. When an attempt fails, the next begins
/// at once. Attempts that did not win are closed; all are in the log.
pub(super) async fn race(
    addresses: &[SocketAddr],
    config: RaceConfig<'_>,
    log: &mut DialLog,
    mut client_gone: Pin<&mut impl Future<Output = Failure>>,
) -> Result<OwnStream, Failure> {
    let RaceConfig { dial, deadline, check, extra } = config;
    let began = Instant::now();
    log.addresses = NonZeroU16::new(u16::try_from(addresses.len()).unwrap_or(u16::MAX));
    let mut candidates = candidates::select(addresses, check).into_iter().peekable();
    let mut race =
        Race { log, dial, began, extra, held: Vec::new(), running: Vec::new(), failure: None };
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
                AttemptState::Connected(stream) => return Ok(stream),
                AttemptState::Waiting => due = Instant::now() + ATTEMPT_DELAY,
                AttemptState::Failed => {}
            }
        }
        if race.running.is_empty() && candidates.peek().is_none() {
            return Err(race.into_failure());
        }
        let wake = match candidates.peek() {
            None => deadline,
            // Without room: until the oldest attempt may be given up, or other dials release
            // descriptors.
            Some(_) if due <= now => deadline.min(race.room_at(now + ATTEMPT_DELAY)),
            Some(_) => deadline.min(due),
        };
        // Biased: no timer is registered if an answer is there.
        tokio::select! {
            biased;
            won = poll_fn(|cx| race.poll(cx)) => match won {
                Some(stream) => return Ok(stream),
                None => due = Instant::now(),
            },
            failure = client_gone.as_mut() => {
                race.cancel_all();
                return Err(Failure { phase: Phase::Connect, ..failure });
            }
            () = tokio::time::sleep_until(wake.into()) => if Instant::now() >= deadline {
                race.time_out();
                return Err(race.into_failure());
            },
        }
    }
}

struct Race<'l> {
    log: &'l mut DialLog,
    dial: DialConfig<'l>,
    began: Instant,
    extra: &'l ExtraAttempts,
    /// One permit for each concurrent attempt beyond the first.
    held: Vec<SemaphorePermit<'l>>,
    /// The oldest first.
    running: Vec<RunningAttempt>,
    /// The most significant failure so far.
    failure: Option<Failure>,
}

/// An attempt in progress.
struct RunningAttempt {
    /// Index in the log.
    place: usize,
    began: Instant,
    own: OwnStream,
}

enum AttemptState {
    Connected(OwnStream),
    Waiting,
    Failed,
}

impl Race<'_> {
    /// Whether another attempt may begin; gives up the oldest one if necessary.
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
            let RunningAttempt { place, own, .. } = self.running.remove(0);
            let text = "no answer yet; abandoned in favor of the next address";
            self.time_out_attempt(place, &own.stream, text);
        }
        may_go
    }

    /// When the oldest attempt may be given up; at most `latest`.
    fn room_at(&self, latest: Instant) -> Instant {
        self.running.first().map_or(latest, |oldest| latest.min(oldest.began + SILENCE))
    }

    fn start(&mut self, candidate: Candidate) -> AttemptState {
        let Candidate { address, refused } = candidate;
        let place = self.log.attempts.len();
        let began = Instant::now();
        self.log.attempts.push(Attempt {
            address,
            started_after: match place {
                0 => CompactDuration::default(),
                _ => (began - self.began).into(),
            },
            duration: CompactDuration::default(),
            end: AttemptEnd::Cancelled { syn_retransmits: None },
        });
        let begun = match refused {
            Some(fault) => AttemptStart::Failed(AttemptError {
                failure: Failure::denied(Phase::Connect, fault),
                syn_retransmits: None,
            }),
            None => attempt::start(address, self.dial),
        };
        match begun {
            AttemptStart::Connected(stream) => {
                self.log_winner(place);
                AttemptState::Connected(stream)
            }
            AttemptStart::Waiting(stream) => {
                self.running.push(RunningAttempt { place, began, own: stream });
                AttemptState::Waiting
            }
            AttemptStart::Failed(error) => {
                self.log_failure(place, error);
                AttemptState::Failed
            }
        }
    }

    /// Ready with the stream of the winner, or with `None` when attempts failed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<OwnStream>> {
        let mut one_failed = false;
        let mut index = 0;
        while let Some(running) = self.running.get(index) {
            let Poll::Ready(ready) = running.own.stream.poll_write_ready(cx) else {
                index += 1;
                continue;
            };
            let outcome = attempt::outcome(&running.own.stream, ready);
            let RunningAttempt { place, own, .. } = self.running.remove(index);
            match outcome {
                Ok(()) => {
                    self.log_winner(place);
                    return Poll::Ready(Some(own));
                }
                Err(error) => self.log_failure(place, error),
            }
            one_failed = true;
        }
        if one_failed { Poll::Ready(None) } else { Poll::Pending }
    }

    fn log_winner(&mut self, place: usize) {
        let now = Instant::now();
        self.log_end(place, AttemptEnd::Connected, now);
        self.cancel_others(now);
    }

    fn log_failure(&mut self, place: usize, error: AttemptError) {
        self.log_end(place, AttemptEnd::from(&error), Instant::now());
        let failure = error.failure;
        if self.failure.as_ref().is_none_or(|known| rank(&failure) < rank(known)) {
            self.failure = Some(failure);
        }
    }

    /// Cancels the other attempts.
    fn cancel_others(&mut self, now: Instant) {
        for RunningAttempt { place, own, .. } in std::mem::take(&mut self.running) {
            let syn_retransmits = attempt::syn_retransmits(&own.stream);
            self.log_end(place, AttemptEnd::Cancelled { syn_retransmits }, now);
        }
    }

    /// Cancels all attempts. An upstream that has accepted meanwhile gets a reset: an end of stream
    /// would look like a complete connection.
    fn cancel_all(&mut self) {
        for RunningAttempt { own, .. } in &self.running {
            // If it fails, there is no connection to reset.
            let _ = SockRef::from(&own.stream).set_linger(Some(Duration::ZERO));
        }
        self.cancel_others(Instant::now());
    }

    fn time_out(&mut self) {
        for RunningAttempt { place, own, .. } in std::mem::take(&mut self.running) {
            self.time_out_attempt(place, &own.stream, "the connection attempt timed out");
        }
    }

    /// Ends an attempt without an answer.
    fn time_out_attempt(&mut self, place: usize, stream: &TcpStream, text: &'static str) {
        let failure = Failure::timed_out(Phase::Connect, "CONNECT_TIMEOUT", text);
        let syn_retransmits = attempt::syn_retransmits(stream);
        self.log_failure(place, AttemptError { failure, syn_retransmits });
    }

    fn log_end(&mut self, place: usize, end: AttemptEnd, now: Instant) {
        let lasted = now - self.began;
        self.log.connect = Some(lasted.into());
        if let Some(attempt) = self.log.attempts.get_mut(place) {
            attempt.duration = lasted.saturating_sub(attempt.started_after.get()).into();
            attempt.end = end;
        }
    }

    fn into_failure(self) -> Failure {
        self.failure.unwrap_or_else(|| resolve::failed(resolve::no_address()))
    }
}

/// Significance of a failure; the lowest rank is reported, and among equals the first: a rule of
/// ours, an answer of the upstream, its silence, and last local causes (no route for a family).
fn rank(failure: &Failure) -> u8 {
    match (failure.outcome, failure.by) {
        (Outcome::Denied, _) => 0,
        (_, By::Upstream) => 1,
        (Outcome::Timeout, _) => 2,
        _ => 3,
    }
}
