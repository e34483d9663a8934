//! Charges the time between two events of a pair to a cause, and separates the share of the network
//! path.
//!
//! A slow sender and a slow path look alike from the receiving end. A pause is charged to the path
//! only with evidence: the last byte of the request left late, packets arrived out of order, or the
//! data arrives one round trip apart. The cost of a late or lost packet is bounded.
//!
//! Pending bytes, and unsent bytes in a socket, wait for the receiver when its window was the
//! limit, and for the path otherwise. Unsent bytes raise no event, but TCP_INFO at the end of the
//! wait shows them: either some are left, or the last of them was sent when the socket last sent
//! data, whose age the kernel keeps.

use std::time::Duration;

use super::evidence::{InfoSource, Peer, send_delay};
use super::time_by_cause::Cause;
use super::turns::TurnTracker;
use crate::clock::{CompactDuration, CompactInstant};
use crate::record::Direction;

/// After this much waiting, the end of the next wait is worth a TCP_INFO call.
pub(super) const SAMPLE_AFTER: CompactDuration = CompactDuration::new(Duration::from_millis(10));

/// The first times that a socket is blocked are always sampled: the window is widest before a slow
/// reader's buffer has filled.
const FIRST_SAMPLES: u8 = 64;

/// An answer larger than this, or one whose writing had to wait, may still be in the socket after
/// the relay has written its last byte.
const MAY_BE_QUEUED: u64 = 64 * 1024;

/// A read of at least this size takes queued data and opens the window for more. The age of the
/// last byte received then does not show when the others arrived.
const HAS_QUEUED: usize = 16 * 1024;

/// The causes to charge when the relay waits for the sender of a direction.
struct StarvedCauses {
    source: Peer,
    sender: Cause,
    path: Cause,
}

/// The causes to charge when the receiver of a direction accepts no more.
struct BlockedCauses {
    sink: Peer,
    window: Cause,
    path: Cause,
}

fn starved_causes(direction: Direction) -> StarvedCauses {
    match direction {
        Direction::ToUpstream => StarvedCauses {
            source: Peer::Client,
            sender: Cause::ClientSends,
            path: Cause::FromClient,
        },
        Direction::ToClient => StarvedCauses {
            source: Peer::Upstream,
            sender: Cause::UpstreamSends,
            path: Cause::FromUpstream,
        },
    }
}

fn blocked_causes(direction: Direction) -> BlockedCauses {
    match direction {
        Direction::ToUpstream => BlockedCauses {
            sink: Peer::Upstream,
            window: Cause::UpstreamTakes,
            path: Cause::ToUpstream,
        },
        Direction::ToClient => {
            BlockedCauses { sink: Peer::Client, window: Cause::ClientTakes, path: Cause::ToClient }
        }
    }
}

impl TurnTracker {
    /// Charges the time since the last event to a cause.
    pub(super) fn charge(&mut self, cause: Cause, until: CompactInstant) {
        self.charges[cause] += until.since(self.charged);
        self.charged = self.charged.max(until);
    }

    /// Charges the time since the last event to a cause, except for its last part, in which the
    /// proxy was stalled.
    pub(super) fn charge_before_stall(
        &mut self,
        cause: Cause,
        stalled: CompactDuration,
        now: CompactInstant,
    ) {
        self.charge(cause, now.saturating_sub(stalled.get()));
        self.charge(Cause::Proxy, now);
    }

    pub(super) fn charge_write(
        &mut self,
        direction: Direction,
        was_blocked: bool,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        match was_blocked {
            true => self.charge_blocked(direction, sockets, now),
            false => self.charge(Cause::Proxy, now),
        }
    }

    /// Charges the time since the last event, in which bytes were pending for the receiver.
    pub(super) fn charge_blocked(
        &mut self,
        direction: Direction,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        let stalled = self.stall_time(now);
        self.unsampled_blocked += now.since(self.charged) - stalled;
        let BlockedCauses { sink, path, .. } = blocked_causes(direction);
        self.charge_before_stall(path, stalled, now);
        let is_worth_sampling = self.is_local(sink) || self.unsampled_blocked >= SAMPLE_AFTER || {
            let evidence = self.evidence.get_or_insert_default().get_mut(sink);
            evidence.first_samples = evidence.first_samples.saturating_add(1);
            evidence.first_samples <= FIRST_SAMPLES
        };
        if is_worth_sampling {
            self.settle_blocked(direction, sockets);
        }
    }

    /// Divides the time that was blocked since the last sample between window and path.
    pub(super) fn settle_blocked(&mut self, direction: Direction, sockets: &impl InfoSource) {
        let time = std::mem::take(&mut self.unsampled_blocked);
        let BlockedCauses { sink, window, path } = blocked_causes(direction);
        let held = match self.is_local(sink) {
            true => time,
            false => {
                let Some(info) = sockets.info(sink) else { return };
                let evidence = self.evidence.get_or_insert_default().get_mut(sink);
                CompactDuration::new(evidence.window.limited_part(time.get(), &info))
            }
        };
        self.charges.move_to(path, window, held);
    }

    /// How long the proxy was stalled at the end of the time since the last event.
    pub(super) fn stall_time(&self, now: CompactInstant) -> CompactDuration {
        let stall_detector = self.stall_detector.as_ref();
        CompactDuration::new(
            stall_detector
                .and_then(|stall_detector| stall_detector.stall_before(self.charged, now))
                .unwrap_or_default(),
        )
    }

    /// Like [`stall_time`](Self::stall_time), for a wait that ended with a read of `bytes`: at most
    /// the time for which they had been in the receive queue.
    pub(super) fn stall_before_read(
        &self,
        bytes: usize,
        of: Peer,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) -> CompactDuration {
        let still = self.stall_time(now);
        if still == CompactDuration::default() || bytes >= HAS_QUEUED {
            return still;
        }
        let has_been_there = sockets.info(of).and_then(|info| info.last_rx_at);
        has_been_there.map_or(still, |there| CompactDuration::new(there).min(still))
    }

    /// Charges a pause that the source of `direction` has ended.
    pub(super) fn charge_pause(
        &mut self,
        direction: Direction,
        has_waited: bool,
        bytes: usize,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        let [to_upstream, to_client] = self.has_pending;
        match (has_waited, to_upstream, to_client) {
            (_, true, _) => self.charge_blocked(Direction::ToUpstream, sockets, now),
            (_, _, true) => self.charge_blocked(Direction::ToClient, sockets, now),
            (true, ..) => self.charge_starved(direction, bytes, sockets, now),
            (false, ..) => self.charge(Cause::Proxy, now),
        }
    }

    /// Charges a pause in which nothing was pending and the relay waited for the source.
    fn charge_starved(
        &mut self,
        direction: Direction,
        bytes: usize,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) {
        let since = self.charged;
        let StarvedCauses { source, sender, path } = starved_causes(direction);
        let BlockedCauses { sink, path: path_to_sink, .. } = blocked_causes(direction);
        let stalled = self.stall_before_read(bytes, source, sockets, now);
        let pause = now.since(since) - stalled;
        self.charge_before_stall(sender, stalled, now);
        self.unsampled += pause;
        if self.unsampled < SAMPLE_AFTER {
            return;
        }
        let unsampled = std::mem::take(&mut self.unsampled);
        let burst = std::mem::take(&mut self.burst);
        let unsent = match sockets.info(sink) {
            Some(info) if info.not_sent_bytes.is_some_and(|bytes| bytes > 0) => unsampled,
            Some(info) => send_delay(&info, since, now).min(pause),
            None => CompactDuration::default(),
        };
        if unsent > CompactDuration::default() {
            self.charges.move_to(sender, path_to_sink, unsent);
            self.unsampled_blocked += unsent;
            self.settle_blocked(direction, sockets);
        }
        if self.is_local(source) {
            return;
        }
        let Some(info) = sockets.info(source) else { return };
        let so_far = self.turn.as_ref().map(|turn| match direction {
            Direction::ToUpstream => turn.request_bytes,
            Direction::ToClient => turn.answer_bytes,
        });
        let evidence = self.evidence.get_or_insert_default();
        let came = (burst, so_far);
        let found = evidence.get_mut(source).judge_pause(
            &info,
            pause - unsent,
            unsampled - unsent,
            came,
            now,
        );
        self.charges.move_to(sender, path, found.late + found.late_before);
        *evidence.doubts.get_mut(sender) -= found.late_before;
        *evidence.doubts.get_mut(path) += found.late_in_doubt;
        *evidence.doubts.get_mut(sender) += found.sender_in_doubt;
    }

    /// Charges a wait for the upstream, with the request written. Returns the share of the path.
    pub(super) fn charge_wait(
        &mut self,
        has_waited: bool,
        bytes: usize,
        written: CompactInstant,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) -> CompactDuration {
        if !has_waited {
            self.charge(Cause::Proxy, now);
            return CompactDuration::default();
        }
        let stalled = self.stall_before_read(bytes, Peer::Upstream, sockets, now);
        let wait = now.since(self.charged) - stalled;
        self.charge_before_stall(Cause::UpstreamThinks, stalled, now);
        let path = self.path_of_wait(wait, written, sockets, now).min(wait);
        self.charges.move_to(Cause::UpstreamThinks, Cause::RequestOnPath, path);
        path
    }

    /// The part of a wait for an answer in which the request or the answer was in transit.
    pub(super) fn path_of_wait(
        &mut self,
        wait: CompactDuration,
        written: CompactInstant,
        sockets: &impl InfoSource,
        now: CompactInstant,
    ) -> CompactDuration {
        let least = self.min_rtt(Peer::Upstream, sockets);
        let is_worth_sampling = wait >= SAMPLE_AFTER && wait.get() >= least.get().mul_f64(1.5);
        if self.is_local(Peer::Upstream) || !is_worth_sampling {
            return least;
        }
        let Some(info) = sockets.info(Peer::Upstream) else { return least };
        let evidence = self.evidence.get_or_insert_default();
        let found = evidence.upstream.judge_wait(&info, wait, send_delay(&info, written, now));
        *evidence.doubts.get_mut(Cause::UpstreamThinks) += found.in_doubt;
        found.path
    }

    /// Ends the answer, and with it the turn, and charges the silence after it.
    pub(super) fn end_answer(&mut self, sockets: &impl InfoSource, now: CompactInstant) {
        if self.has_pending[Direction::ToClient as usize] {
            self.charge_blocked(Direction::ToClient, sockets, now);
            return self.end_turn();
        }
        if self.may_be_queued()
            && let Some(info) = sockets.info(Peer::Client)
        {
            let queued = send_delay(&info, self.charged, now);
            self.charge_queued(queued, sockets);
        }
        self.end_turn();
        let on_path = self.min_rtt(Peer::Client, sockets);
        let arrived = self.charged.saturating_add(on_path.get()).min(now);
        self.charge(Cause::AnswerOnPath, arrived);
        self.charge(Cause::Idle, now);
    }

    /// Whether the answer may have stayed in the client's socket after its last byte was written.
    pub(super) fn may_be_queued(&self) -> bool {
        let turn = self.turn.as_ref();
        turn.is_some_and(|turn| turn.is_slowly_taken || turn.answer_bytes > MAY_BE_QUEUED)
    }

    /// Charges the time for which the answer stayed in the client's socket.
    pub(super) fn charge_queued(&mut self, queued: CompactDuration, sockets: &impl InfoSource) {
        if queued > CompactDuration::default() {
            let until = self.charged.saturating_add(queued.get());
            self.charge(blocked_causes(Direction::ToClient).path, until);
            self.unsampled_blocked += queued;
            self.settle_blocked(Direction::ToClient, sockets);
        }
    }

    pub(super) fn is_local(&self, peer: Peer) -> bool {
        self.is_local[peer as usize]
    }

    /// The smallest round-trip time seen so far; takes a sample if there is none yet. Zero for a
    /// peer on this machine.
    pub(super) fn min_rtt(&mut self, peer: Peer, sockets: &impl InfoSource) -> CompactDuration {
        if self.is_local(peer) {
            return CompactDuration::default();
        }
        let evidence = self.evidence.get_or_insert_default().get_mut(peer);
        if evidence.min_rtt.is_none() {
            evidence.min_rtt =
                sockets.info(peer).and_then(|info| info.min_rtt).map(CompactDuration::new);
        }
        evidence.min_rtt.unwrap_or_default()
    }
}
