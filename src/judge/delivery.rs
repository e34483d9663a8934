//! Delivery, by a leg's counters and its latest TCP information.

use crate::record::{Delivered, Report};
use crate::tcp_info::State;

/// How a socket was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenKind {
    /// It was accepted: our SYN is not counted as acknowledged.
    Passive,
    /// It connected: our SYN counts as one acknowledged byte.
    Active,
}

impl Delivered {
    /// By a leg's latest TCP information. `purged`: our reset dropped what was still queued.
    pub(crate) fn from_leg(leg: &Report, opened: OpenKind, purged: bool) -> Self {
        let written = leg.tx_bytes;
        let closed = leg.closed_info.as_ref();
        // tcp_ack() counts our FIN too once it is acknowledged; as it is the last of all, no more
        // than what was written can be payload. What other pairs wrote came before.
        let others = u64::from(opened == OpenKind::Active) + leg.others.tx_bytes;
        let acked = closed
            .and_then(|info| info.sys_info.linux()?.bytes_acked)
            .map(|bytes| bytes.saturating_sub(others).min(written));
        let over = purged || closed.is_some_and(|info| info.state == Some(State::Close));
        let undelivered = acked.map(|acked| written - acked).filter(|&rest| rest == 0 || over);
        Self { written, acked, undelivered }
    }

    /// Bytes still in the send queue at the last snapshot, if that is why `undelivered` is null.
    pub(crate) fn still_queued(&self) -> Option<u64> {
        match self.undelivered {
            Some(_) => None,
            None => self.acked.map(|acked| self.written - acked),
        }
    }
}
