//! Who is waited for now.
//!
//! What a period is spent on is known for certain only when it is over; this is the estimate before
//! that.

use std::time::Duration;

use super::attribution::SAMPLE_AFTER;
use super::evidence::Peer;
use super::turns::{Phase, SILENCE, TurnTracker};
use crate::clock::{CompactDuration, CompactInstant};
use crate::record::Awaited;
use crate::tcp_info::LinuxInfo;

/// A delayed acknowledgement takes at most 200 ms, and the longest paths at most twice as much.
const ACKNOWLEDGEMENT_TAKES: CompactDuration = CompactDuration::new(Duration::from_millis(600));

/// Who is waited for, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CurrentWait {
    pub(crate) who: Awaited,
    /// When a byte moved last.
    pub(crate) since: CompactInstant,
}

impl TurnTracker {
    /// Who is waited for now, as far as that can be told. The infos are those of the client's and
    /// the upstream's socket.
    pub(crate) fn waiting_for(
        &self,
        [client, upstream]: [Option<&LinuxInfo>; 2],
        now: CompactInstant,
    ) -> Option<CurrentWait> {
        let since = self.charged;
        let lasts = now.since(since);
        let [to_upstream, to_client] = self.has_pending;
        let who = match self.phase {
            Phase::Request if to_upstream => self.receiver_or_path(Peer::Upstream, upstream),
            _ if to_client => self.receiver_or_path(Peer::Client, client),
            Phase::Request if self.is_one_way() => Awaited::Idle,
            Phase::Request if self.tally.as_ref().is_some_and(|tally| tally.is_mixed()) => {
                return None;
            }
            Phase::Request if is_stuck(upstream, lasts) => {
                self.receiver_or_path(Peer::Upstream, upstream)
            }
            Phase::Request => Awaited::Upstream,
            _ if is_stuck(client, lasts) => self.receiver_or_path(Peer::Client, client),
            Phase::Answer if lasts >= SILENCE => Awaited::Idle,
            // The answer may go on.
            Phase::Answer | Phase::Silence => return None,
        };
        Some(CurrentWait { who, since })
    }

    /// Who keeps this peer from accepting more: the peer itself if its window is full, the path
    /// otherwise.
    fn receiver_or_path(&self, peer: Peer, info: Option<&LinuxInfo>) -> Awaited {
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

    /// Whether only the client sends data, at its own pace.
    fn is_one_way(&self) -> bool {
        !self.has_answered && self.turn.as_ref().is_some_and(|turn| turn.has_paused)
    }
}

/// Whether bytes that were written this long ago are still in the socket or in transit.
fn is_stuck(info: Option<&LinuxInfo>, lasts: CompactDuration) -> bool {
    let is_some = |count: Option<u32>| count.is_some_and(|count| count > 0);
    info.is_some_and(|info| {
        is_some(info.not_sent_bytes) && lasts >= SAMPLE_AFTER
            || is_some(info.un_acked) && lasts >= ACKNOWLEDGEMENT_TAKES
    })
}
