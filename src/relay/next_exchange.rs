//! Continues the accounting of a pair with its next exchange, where a protocol shows its beginning.

use super::ContentKind;
use super::evidence::Sockets;
use super::leg::Leg;
use super::turns::{ReadEvent, TurnTracker};
use crate::clock::CompactInstant;
use crate::record::Direction;
use crate::tcp_info::LinuxInfo;

impl TurnTracker {
    /// The client's socket was used by another pair until this sample.
    pub(crate) fn begin_client_at(&mut self, info: &LinuxInfo) {
        self.evidence.get_or_insert_default().client.begin_at(info);
    }

    /// The next request begins, before anything of it is written: `bytes` of it were read, the
    /// first ones at `since`, all until `now`.
    pub(crate) fn begin_next_request(
        &mut self,
        (client, upstream): (&Leg, &Leg),
        bytes: usize,
        since: CompactInstant,
        now: CompactInstant,
    ) {
        let sockets = Sockets { client: &client.stream, upstream: &upstream.stream };
        let mut read = |bytes, at: CompactInstant| {
            self.is_reading[Direction::ToUpstream as usize] = at > self.charged;
            // Without an earlier byte of the client it cannot be the same request.
            let event = ReadEvent {
                bytes,
                content_kind: ContentKind::Payload,
                client_last: None,
                client_has_ended: false,
            };
            self.on_client_read(event, &sockets, at.max(self.charged));
        };
        // A request that came during the previous exchange begins after that.
        read(bytes, since);
        read(0, now);
        self.has_pending[Direction::ToUpstream as usize] = true;
    }
}
