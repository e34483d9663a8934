//! What arrived, from a leg's counters and the latest look at it.

use crate::record::{Delivered, Report};
use crate::tcp_info::State;

/// Which side of a connection a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It was accepted: our SYN is not counted as acknowledged.
    Passively,
    /// It connected: our SYN counts as one acknowledged byte.
    Actively,
}

impl Delivered {
    /// From a leg's latest look. `purged`: our reset threw away what was still queued then.
    pub(crate) fn of(leg: &Report, opened: Opened, purged: bool) -> Self {
        let written = leg.tx_bytes;
        let closed = leg.closed_info.as_ref();
        // tcp_ack() counts our FIN too once it is acknowledged; as it is the last of all, no more
        // than what was written can be payload.
        let acked = closed
            .and_then(|info| info.sys_info.linux()?.bytes_acked)
            .map(|bytes| bytes.saturating_sub(u64::from(opened == Opened::Actively)).min(written));
        let over = purged || closed.is_some_and(|info| info.state == Some(State::Close));
        let undelivered = acked.map(|acked| written - acked).filter(|&rest| rest == 0 || over);
        Self { written, acked, undelivered }
    }

    /// Bytes still in the send queue at the last look, where that is why `undelivered` is null.
    pub(crate) fn still_queued(&self) -> Option<u64> {
        match self.undelivered {
            Some(_) => None,
            None => self.acked.map(|acked| self.written - acked),
        }
    }
}
