//! Who is waited for now.
//!
//! What a moment is for can be told for certain only when it is over; this is what it looks like before.

use std::time::Duration;

use super::charging::LOOK_AFTER;
use super::looks::Peer;
use super::turns::{Phase, SILENCE, Turns};
use crate::clock::{Moment, Nanos};
use crate::record::Awaited;
use crate::tcp_info::LinuxInfo;

/// A delayed acknowledgement takes 200 ms at most, and the longest paths no more than twice as much.
const ACKNOWLEDGEMENT_TAKES: Nanos = Nanos::of(Duration::from_millis(600));

/// Who is waited for, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) who: Awaited,
    /// When a byte moved last.
    pub(crate) since: Moment,
}

impl Turns {
    /// Who is waited for now, as far as it can be told. `infos` are of the client's socket and the upstream's.
    pub(crate) fn waiting_for(
        &self,
        [client, upstream]: [Option<&LinuxInfo>; 2],
        now: Moment,
    ) -> Option<Waiting> {
        let since = self.charged;
        let lasts = now.since(since);
        let [to_upstream, to_client] = self.in_hand;
        let who = match self.phase {
            Phase::Request if to_upstream => self.taker(Peer::Upstream, upstream),
            _ if to_client => self.taker(Peer::Client, client),
            Phase::Request if self.is_one_way() => Awaited::Idle,
            Phase::Request if self.tally.as_ref().is_some_and(|tally| tally.is_mixed()) => {
                return None;
            }
            Phase::Request if is_stuck(upstream, lasts) => self.taker(Peer::Upstream, upstream),
            Phase::Request => Awaited::Upstream,
            _ if is_stuck(client, lasts) => self.taker(Peer::Client, client),
            Phase::Answer if lasts >= SILENCE => Awaited::Idle,
            // The answer may go on.
            Phase::Answer | Phase::Silence => return None,
        };
        Some(Waiting { who, since })
    }

    /// Who keeps this peer from taking more: itself, if its window is full, and the path otherwise.
    fn taker(&self, peer: Peer, info: Option<&LinuxInfo>) -> Awaited {
        let is_full = info.is_none_or(|info| {
            let segment = u64::from(info.tx_mss.unwrap_or(0));
            let in_flight = u64::from(info.un_acked.unwrap_or(0)) * segment;
            info.tx_window.is_some_and(|window| u64::from(window) < in_flight + segment)
        });
        match (peer, self.is_local(peer) || is_full) {
            (Peer::Client, true) => Awaited::Client,
            (Peer::Client, false) => Awaited::NetworkClient,
            (Peer::Upstream, true) => Awaited::Upstream,
            (Peer::Upstream, false) => Awaited::NetworkUpstream,
        }
    }

    /// The client alone speaks, when it has something to say.
    fn is_one_way(&self) -> bool {
        !self.has_answered && self.turn.as_ref().is_some_and(|turn| turn.has_paused)
    }
}

/// Whether bytes that were written so long ago are still in the socket, or on the path.
fn is_stuck(info: Option<&LinuxInfo>, lasts: Nanos) -> bool {
    let is_some = |count: Option<u32>| count.is_some_and(|count| count > 0);
    info.is_some_and(|info| {
        is_some(info.not_sent_bytes) && lasts >= LOOK_AFTER
            || is_some(info.un_acked) && lasts >= ACKNOWLEDGEMENT_TAKES
    })
}
