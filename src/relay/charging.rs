//! What was waited for between two events of a pair, and what of it was the path's.
//!
//! A program that sends slowly and a path that carries slowly look alike from the receiving end. What is the
//! path's of a pause needs evidence: the last byte of what was asked left late, packets came out of order, or
//! the bytes come a round trip apart. What a late or lost packet can have cost is bounded.
//!
//! Bytes that are in hand, or in a socket and unsent, wait for the receiver when its window held the socket,
//! and for the path otherwise. Nothing tells unsent bytes while they last, but a look at the end of the wait
//! does: either there are some still, or the last of them went when the socket last sent data, whose age
//! the kernel keeps.

use std::time::Duration;

use super::charges::Cause;
use super::looks::{Looks, Peer, late};
use super::turns::Turns;
use crate::clock::{Moment, Nanos};
use crate::record::Direction;

/// Waits after which the end of one is worth a look.
pub(super) const LOOK_AFTER: Nanos = Nanos::of(Duration::from_millis(10));

/// The first times that a socket is blocked are each worth a look: the window is widest before a slow
/// reader's buffer has filled.
const FIRST_LOOKS: u8 = 64;

/// An answer that had more than this, or whose writing had to wait, may still be in the socket when the
/// relay has written its last byte.
const MAY_BE_QUEUED: u64 = 64 * 1024;

/// A read of at least so much takes what was queued, and opens the window for more: that the socket's last byte
/// has just come does not show that all of it has.
const HAS_QUEUED: usize = 16 * 1024;

/// Who is charged when the relay waits for the sender of a direction.
struct Starved {
    source: Peer,
    sender: Cause,
    path: Cause,
}

/// Who is charged when the receiver of a direction takes no more.
struct Blocked {
    sink: Peer,
    window: Cause,
    path: Cause,
}

fn starved(direction: Direction) -> Starved {
    match direction {
        Direction::ToUpstream => {
            Starved { source: Peer::Client, sender: Cause::ClientSends, path: Cause::FromClient }
        }
        Direction::ToClient => Starved {
            source: Peer::Upstream,
            sender: Cause::UpstreamSends,
            path: Cause::FromUpstream,
        },
    }
}

fn blocked(direction: Direction) -> Blocked {
    match direction {
        Direction::ToUpstream => {
            Blocked { sink: Peer::Upstream, window: Cause::UpstreamTakes, path: Cause::ToUpstream }
        }
        Direction::ToClient => {
            Blocked { sink: Peer::Client, window: Cause::ClientTakes, path: Cause::ToClient }
        }
    }
}

impl Turns {
    /// Charges the time until then to a cause.
    pub(super) fn charge(&mut self, cause: Cause, until: Moment) {
        self.charges[cause] += until.since(self.charged);
        self.charged = self.charged.max(until);
    }

    /// Charges the time to a cause, but for the last of it, in which the proxy stood still.
    pub(super) fn charge_and_stall(&mut self, cause: Cause, stalled: Nanos, now: Moment) {
        self.charge(cause, now.saturating_sub(stalled.get()));
        self.charge(Cause::Proxy, now);
    }

    pub(super) fn have_written(
        &mut self,
        direction: Direction,
        was_blocked: bool,
        looks: &impl Looks,
        now: Moment,
    ) {
        match was_blocked {
            true => self.charge_blocked(direction, looks, now),
            false => self.charge(Cause::Proxy, now),
        }
    }

    /// Bytes were in hand since the last event.
    pub(super) fn charge_blocked(&mut self, direction: Direction, looks: &impl Looks, now: Moment) {
        let stalled = self.stalled(now);
        self.unlooked_blocked += now.since(self.charged) - stalled;
        let Blocked { sink, path, .. } = blocked(direction);
        self.charge_and_stall(path, stalled, now);
        let is_worth_a_look = self.is_local(sink) || self.unlooked_blocked >= LOOK_AFTER || {
            let seen = self.seen.get_or_insert_default().of(sink);
            seen.first_looks = seen.first_looks.saturating_add(1);
            seen.first_looks <= FIRST_LOOKS
        };
        if is_worth_a_look {
            self.settle_blocked(direction, looks);
        }
    }

    /// Divides what was blocked since the last look.
    pub(super) fn settle_blocked(&mut self, direction: Direction, looks: &impl Looks) {
        let time = std::mem::take(&mut self.unlooked_blocked);
        let Blocked { sink, window, path } = blocked(direction);
        let held = match self.is_local(sink) {
            true => time,
            false => {
                let Some(info) = looks.at(sink) else { return };
                let seen = self.seen.get_or_insert_default().of(sink);
                Nanos::of(seen.window.held(time.get(), &info))
            }
        };
        self.charges.move_to(path, window, held);
    }

    /// How long the proxy stood still until now, when that ended the time since the last event.
    pub(super) fn stalled(&self, now: Moment) -> Nanos {
        let pulse = self.pulse.as_ref();
        Nanos::of(
            pulse.and_then(|pulse| pulse.stalled_until(self.charged, now)).unwrap_or_default(),
        )
    }

    /// The same of a wait for a peer that ended with a read of so many bytes: no longer than they have been
    /// there.
    pub(super) fn stalled_before(
        &self,
        bytes: usize,
        of: Peer,
        looks: &impl Looks,
        now: Moment,
    ) -> Nanos {
        let still = self.stalled(now);
        if still == Nanos::default() || bytes >= HAS_QUEUED {
            return still;
        }
        let has_been_there = looks.at(of).and_then(|info| info.last_rx_at);
        has_been_there.map_or(still, |there| Nanos::of(there).min(still))
    }

    /// Nobody spoke since the last event, but the source of `direction` does now.
    pub(super) fn pause(
        &mut self,
        direction: Direction,
        has_waited: bool,
        bytes: usize,
        looks: &impl Looks,
        now: Moment,
    ) {
        let [to_upstream, to_client] = self.in_hand;
        match (has_waited, to_upstream, to_client) {
            (_, true, _) => self.charge_blocked(Direction::ToUpstream, looks, now),
            (_, _, true) => self.charge_blocked(Direction::ToClient, looks, now),
            (true, ..) => self.starve(direction, bytes, looks, now),
            (false, ..) => self.charge(Cause::Proxy, now),
        }
    }

    /// The relay had nothing in hand and waited for the source since the last event.
    fn starve(&mut self, direction: Direction, bytes: usize, looks: &impl Looks, now: Moment) {
        let since = self.charged;
        let Starved { source, sender, path } = starved(direction);
        let Blocked { sink, path: path_to_sink, .. } = blocked(direction);
        let stalled = self.stalled_before(bytes, source, looks, now);
        let pause = now.since(since) - stalled;
        self.charge_and_stall(sender, stalled, now);
        self.unlooked += pause;
        if self.unlooked < LOOK_AFTER {
            return;
        }
        let unlooked = std::mem::take(&mut self.unlooked);
        let burst = std::mem::take(&mut self.burst);
        let unsent = match looks.at(sink) {
            Some(info) if info.not_sent_bytes.is_some_and(|bytes| bytes > 0) => unlooked,
            Some(info) => late(&info, since, now).min(pause),
            None => Nanos::default(),
        };
        if unsent > Nanos::default() {
            self.charges.move_to(sender, path_to_sink, unsent);
            self.unlooked_blocked += unsent;
            self.settle_blocked(direction, looks);
        }
        if self.is_local(source) {
            return;
        }
        let Some(info) = looks.at(source) else { return };
        let so_far = self.turn.as_ref().map_or(u64::MAX, |turn| match direction {
            Direction::ToUpstream => turn.request_bytes,
            Direction::ToClient => turn.answer_bytes,
        });
        let seen = self.seen.get_or_insert_default();
        let came = (burst, so_far);
        let found = seen.of(source).arrival(&info, pause - unsent, unlooked - unsent, came);
        self.charges.move_to(sender, path, found.late);
        *seen.doubts.of(path) += found.late_in_doubt;
        *seen.doubts.of(sender) += found.sender_in_doubt;
    }

    /// The relay had the request written and waited for the upstream since the last event. Returns what of
    /// it the path took.
    pub(super) fn wait(
        &mut self,
        has_waited: bool,
        bytes: usize,
        written: Moment,
        looks: &impl Looks,
        now: Moment,
    ) -> Nanos {
        if !has_waited {
            self.charge(Cause::Proxy, now);
            return Nanos::default();
        }
        let stalled = self.stalled_before(bytes, Peer::Upstream, looks, now);
        let wait = now.since(self.charged) - stalled;
        self.charge_and_stall(Cause::UpstreamThinks, stalled, now);
        let path = self.path_of_wait(wait, written, looks, now).min(wait);
        self.charges.move_to(Cause::UpstreamThinks, Cause::RequestOnPath, path);
        path
    }

    /// Of a wait for an answer: what request and answer took on the path.
    pub(super) fn path_of_wait(
        &mut self,
        wait: Nanos,
        written: Moment,
        looks: &impl Looks,
        now: Moment,
    ) -> Nanos {
        let least = self.min_rtt(Peer::Upstream, looks);
        let is_worth_a_look = wait >= LOOK_AFTER && wait.get() >= least.get().mul_f64(1.5);
        if self.is_local(Peer::Upstream) || !is_worth_a_look {
            return least;
        }
        let Some(info) = looks.at(Peer::Upstream) else { return least };
        let seen = self.seen.get_or_insert_default();
        let found = seen.upstream.request(&info, wait, late(&info, written, now));
        *seen.doubts.of(Cause::UpstreamThinks) += found.in_doubt;
        found.path
    }

    /// The answer's end, which is the turn's, and the silence behind it.
    pub(super) fn rest(&mut self, looks: &impl Looks, now: Moment) {
        if self.in_hand[Direction::ToClient as usize] {
            self.charge_blocked(Direction::ToClient, looks, now);
            return self.end_turn();
        }
        if self.may_be_queued()
            && let Some(info) = looks.at(Peer::Client)
        {
            let queued = late(&info, self.charged, now);
            self.charge_queued(queued, looks);
        }
        self.end_turn();
        let on_path = self.min_rtt(Peer::Client, looks);
        let seen = self.charged.saturating_add(on_path.get()).min(now);
        self.charge(Cause::AnswerOnPath, seen);
        self.charge(Cause::Idle, now);
    }

    /// Whether the answer may have been in the client's socket after its last byte was written.
    pub(super) fn may_be_queued(&self) -> bool {
        let turn = self.turn.as_ref();
        turn.is_some_and(|turn| turn.is_slowly_taken || turn.answer_bytes > MAY_BE_QUEUED)
    }

    /// The answer was in the client's socket for so long.
    pub(super) fn charge_queued(&mut self, queued: Nanos, looks: &impl Looks) {
        if queued > Nanos::default() {
            let until = self.charged.saturating_add(queued.get());
            self.charge(blocked(Direction::ToClient).path, until);
            self.unlooked_blocked += queued;
            self.settle_blocked(Direction::ToClient, looks);
        }
    }

    pub(super) fn is_local(&self, peer: Peer) -> bool {
        self.is_local[peer as usize]
    }

    /// The smallest round-trip time that a look has shown, of which the first is taken here; none on this
    /// machine.
    pub(super) fn min_rtt(&mut self, peer: Peer, looks: &impl Looks) -> Nanos {
        if self.is_local(peer) {
            return Nanos::default();
        }
        let seen = self.seen.get_or_insert_default().of(peer);
        if seen.min_rtt.is_none() {
            seen.min_rtt = looks.at(peer).and_then(|info| info.min_rtt).map(Nanos::of);
        }
        seen.min_rtt.unwrap_or_default()
    }
}
