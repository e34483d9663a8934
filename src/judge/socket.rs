//! Statements about one socket by the kernel's counters alone: which side opened the connection, which
//! ends of stream there were, what was delivered.
//!
//! SYN and FIN have sequence numbers. `bytes_acked` counts our SYN on the side that connected and our
//! FIN; so does the send queue, until they are acknowledged. `bytes_sent` and `bytes_retrans` count
//! payload alone. The difference is the number of SYNs and FINs that were sent.

use crate::record::{Delivered, How, Origin, SocketEnding};
use crate::tcp_info::{LinuxInfo, State, TcpOption};

/// Send queue, segments in flight and bytes not sent of a socket that has nothing to send.
const IDLE: (u32, Option<u32>, Option<u32>) = (0, Some(0), Some(0));

/// The counters of a socket at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters<'i> {
    pub(crate) linux: &'i LinuxInfo,
    /// Bytes written and not acknowledged, with our FIN.
    pub(crate) send_queue: u32,
}

/// What is known of a socket besides its latest counters.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SocketState {
    /// Which side opened it.
    pub(crate) origin: Option<Origin>,
    /// Its state in the last dump that showed it.
    pub(crate) dumped: Option<State>,
    /// Its program aborted the connection after that dump, which has cleared its counters.
    pub(crate) is_aborted: bool,
}

impl Counters<'_> {
    /// Whether the program aborted the connection, or connecting failed: `tcp_disconnect()` clears
    /// all counters, also of the SYN.
    pub(crate) fn is_cleared(&self) -> bool {
        self.linux.segs_out == Some(0)
    }

    /// Whether the connection was ever established.
    pub(crate) fn is_established(&self) -> bool {
        let LinuxInfo { rtt, bytes_acked, bytes_received, segs_in, .. } = *self.linux;
        let some = |count: Option<u64>| count.is_some_and(|count| count > 0);
        // A refusal is one segment.
        rtt.is_some() || some(bytes_acked) || some(bytes_received) || segs_in > Some(1)
    }

    /// Which side opened the connection, as far as the counters show.
    pub(crate) fn origin(&self) -> Option<Origin> {
        if !self.is_established() || self.linux.state == Some(State::SynSent) {
            // An accepted connection has its socket when it is established.
            return Some(Origin::Connected);
        }
        let is_open = matches!(self.linux.state, Some(State::Established | State::CloseWait));
        // The queue is read before the counters, which may change in between.
        if is_open && (self.send_queue, self.linux.un_acked, self.linux.not_sent_bytes) != IDLE {
            return None;
        }
        match self.syns_and_fins()? {
            0 => Some(Origin::Accepted),
            1 if is_open => Some(Origin::Connected),
            2 => Some(Origin::Connected),
            // A SYN or a FIN.
            _ => None,
        }
    }

    /// How many SYNs and FINs of ours were sent: at most one of each. `None` where the kernel does
    /// not count payload (before Linux 4.19), or has counted something else as well.
    fn syns_and_fins(&self) -> Option<u64> {
        let LinuxInfo { bytes_acked, bytes_sent, bytes_retrans, not_sent_bytes, .. } = *self.linux;
        let payload = bytes_sent?.checked_sub(bytes_retrans?)?;
        let all = bytes_acked?.checked_add(self.send_queue.into())?;
        let count = all.checked_sub(payload)?.checked_sub(not_sent_bytes?.into())?;
        (count <= 2).then_some(count)
    }

    /// Whether our FIN was sent.
    fn fin_sent(&self, origin: Option<Origin>) -> Option<bool> {
        match self.linux.state? {
            State::SynSent | State::Established | State::CloseWait => Some(false),
            State::FinWait2 => Some(true),
            _ if !self.is_established() => Some(false),
            _ => Some(self.syns_and_fins()? > syns(origin?)),
        }
    }

    /// Bytes of payload that the program wrote.
    pub(crate) fn written(&self, origin: Option<Origin>) -> u64 {
        let all = self.linux.bytes_acked.unwrap_or(0).saturating_add(self.send_queue.into());
        let is_ending = matches!(
            self.linux.state,
            Some(State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck)
        );
        let beside = match self.syns_and_fins() {
            // A FIN that waits behind what was not sent yet.
            Some(sent) => sent + u64::from(is_ending && self.fin_sent(origin) == Some(false)),
            None => origin.map_or(0, syns) + u64::from(is_ending),
        };
        all.saturating_sub(beside)
    }

    /// Bytes of payload received.
    pub(crate) fn received(&self, state: SocketState) -> u64 {
        let fin = self.fin_received(state.dumped) == Some(true);
        self.linux.bytes_received.unwrap_or(0).saturating_sub(fin.into())
    }

    /// Whether the peer's FIN has come; `dumped` is the state in the last dump.
    fn fin_received(&self, dumped: Option<State>) -> Option<bool> {
        let shows_it = |state| matches!(state, State::CloseWait | State::LastAck | State::Closing);
        if [dumped, self.linux.state].into_iter().flatten().any(shows_it) {
            return Some(true);
        }
        match (self.linux.bytes_received?, self.linux.data_segs_in) {
            (0, _) => Some(false),
            // A byte that no data segment brought.
            (1, Some(0)) => Some(true),
            _ => None,
        }
    }

    /// What was delivered of the bytes written.
    pub(crate) fn delivered(&self, state: SocketState) -> Delivered {
        let written = self.written(state.origin);
        let syns = state.origin.map_or(0, syns);
        let acked = self.linux.bytes_acked.map(|bytes| bytes.saturating_sub(syns).min(written));
        let is_over = self.linux.state == Some(State::Close);
        let undelivered = acked.map(|acked| written - acked).filter(|&rest| rest == 0 || is_over);
        Delivered { written, acked, undelivered }
    }

    /// How the connection ended; these are its last counters.
    pub(crate) fn ending(&self, state: SocketState) -> SocketEnding {
        let is_over = self.linux.state == Some(State::Close);
        let fin_sent = self.fin_sent(state.origin);
        // What came after the last dump is not known.
        let fin_sent = fin_sent.filter(|&sent| sent || is_over || state.is_aborted);
        let fin_received = self.fin_received(state.dumped).filter(|&came| came || is_over);
        SocketEnding { state: state.dumped, fin_sent, fin_received, how: self.how(state, fin_sent) }
    }

    fn how(&self, state: SocketState, fin_sent: Option<bool>) -> Option<How> {
        let is_over = self.linux.state == Some(State::Close);
        if !self.is_established() {
            return (is_over && self.linux.segs_in == Some(1)).then_some(How::Refused);
        }
        if state.is_aborted {
            return Some(How::Reset);
        }
        let is_trying = self.linux.retransmits != Some(0) || self.linux.probes != Some(0);
        match fin_sent? {
            true if self.send_queue == 0 => Some(How::Fin),
            false if is_over && !is_trying => Some(How::Reset),
            _ => None,
        }
    }

    /// Segments that were really lost (RFC 2883). `opened` is from before any data was sent.
    pub(crate) fn lost(&self, opened: Option<&LinuxInfo>) -> Option<u64> {
        // Without SACK, duplicates are not reported.
        let has_sack = self.linux.tx_options.as_ref()?.contains(&TcpOption::Sack);
        let syns = opened.and_then(|info| info.total_retrans).unwrap_or(0);
        let resent = self.linux.total_retrans?.saturating_sub(syns);
        has_sack.then_some(resent.saturating_sub(self.linux.dsack_dups?).into())
    }
}

/// How many SYNs of ours are among the acknowledged bytes.
fn syns(origin: Origin) -> u64 {
    match origin {
        Origin::Connected => 1,
        Origin::Accepted => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that wrote ten bytes, all acknowledged, and received a hundred.
    fn counters(state: State, bytes_acked: u64) -> LinuxInfo {
        let mut linux = LinuxInfo::default();
        linux.state = Some(state);
        (linux.bytes_acked, linux.bytes_sent, linux.bytes_retrans) =
            (Some(bytes_acked), Some(30), Some(20));
        (linux.bytes_received, linux.data_segs_in) = (Some(100), Some(1));
        (linux.not_sent_bytes, linux.segs_in, linux.segs_out) = (Some(0), Some(9), Some(9));
        linux.un_acked = Some(0);
        (linux.retransmits, linux.probes) = (Some(0), Some(0));
        linux
    }

    fn of(linux: &LinuxInfo, send_queue: u32) -> Counters<'_> {
        Counters { linux, send_queue }
    }

    fn state(origin: Origin) -> SocketState {
        SocketState { origin: Some(origin), ..SocketState::default() }
    }

    #[test]
    fn the_side_that_connected_has_its_syn_acknowledged() {
        use State::*;
        for (state, acked, origin) in [
            (Established, 10, Some(Origin::Accepted)),
            (Established, 11, Some(Origin::Connected)),
            (CloseWait, 11, Some(Origin::Connected)),
            (Close, 10, Some(Origin::Accepted)),
            (Close, 11, None),
            (Close, 12, Some(Origin::Connected)),
            (Established, 17, None),
        ] {
            assert_eq!(of(&counters(state, acked), 0).origin(), origin, "{state:?} {acked}");
        }
        // Four bytes were not sent yet.
        let mut linux = counters(Established, 11);
        linux.not_sent_bytes = Some(4);
        assert_eq!(of(&linux, 4).origin(), None);
        assert_eq!(of(&linux, 4).written(Some(Origin::Connected)), 14);
        // Of the four, one is the FIN.
        linux.state = Some(FinWait1);
        assert_eq!(of(&linux, 4).written(Some(Origin::Connected)), 13);
    }

    #[test]
    fn an_end_that_was_acknowledged_is_told_from_a_reset() {
        let ended = counters(State::Close, 12);
        let ending = of(&ended, 0).ending(state(Origin::Connected));
        assert_eq!((ending.fin_sent, ending.how), (Some(true), Some(How::Fin)));
        // A SYN or a FIN was acknowledged besides; either way ten bytes were written.
        let one = counters(State::Close, 11);
        assert_eq!([of(&ended, 0).written(None), of(&one, 0).written(None)], [10, 10]);

        // The FIN is not acknowledged.
        let unacked = counters(State::Close, 11);
        let ending = of(&unacked, 1).ending(state(Origin::Connected));
        assert_eq!((ending.fin_sent, ending.how), (Some(true), None));
        assert_eq!(of(&unacked, 1).delivered(state(Origin::Connected)).undelivered, Some(0));

        let mut broken = counters(State::Close, 5);
        let ending = of(&broken, 6).ending(state(Origin::Connected));
        assert_eq!((ending.fin_sent, ending.how), (Some(false), Some(How::Reset)));
        let delivered = of(&broken, 6).delivered(state(Origin::Connected));
        assert_eq!((delivered.written, delivered.acked), (10, Some(4)));
        assert_eq!(delivered.undelivered, Some(6));
        // It may have been given up.
        broken.retransmits = Some(3);
        assert_eq!(of(&broken, 6).ending(state(Origin::Connected)).how, None);
    }

    #[test]
    fn a_refusal_is_one_segment() {
        let mut linux = LinuxInfo::default();
        linux.state = Some(State::Close);
        (linux.segs_in, linux.segs_out, linux.bytes_acked) = (Some(1), Some(1), Some(0));
        (linux.bytes_sent, linux.bytes_retrans) = (Some(0), Some(0));
        (linux.bytes_received, linux.not_sent_bytes) = (Some(0), Some(0));
        assert_eq!(of(&linux, 1).origin(), Some(Origin::Connected));
        assert_eq!(of(&linux, 1).ending(state(Origin::Connected)).how, Some(How::Refused));
        assert_eq!(of(&linux, 1).written(Some(Origin::Connected)), 0);
        linux.segs_in = Some(0);
        assert_eq!(of(&linux, 1).ending(state(Origin::Connected)).how, None);
    }

    #[test]
    fn the_peers_end_is_a_received_byte_where_it_is_known() {
        let mut linux = counters(State::Close, 12);
        let seen = |dumped| SocketState { dumped, ..state(Origin::Connected) };
        assert_eq!(of(&linux, 0).received(seen(Some(State::Established))), 100);
        assert_eq!(of(&linux, 0).received(seen(Some(State::CloseWait))), 99);
        assert_eq!(of(&linux, 0).ending(seen(None)).fin_received, None);
        (linux.bytes_received, linux.data_segs_in) = (Some(1), Some(0));
        assert_eq!(of(&linux, 0).received(seen(None)), 0);
        linux.bytes_received = Some(0);
        assert_eq!(of(&linux, 0).ending(seen(None)).fin_received, Some(false));
    }

    #[test]
    fn what_came_after_the_last_dump_is_unknown() {
        let linux = counters(State::Established, 11);
        let ending = of(&linux, 0).ending(state(Origin::Connected));
        assert_eq!((ending.fin_sent, ending.fin_received, ending.how), (None, None, None));
        let aborted = SocketState { is_aborted: true, ..state(Origin::Connected) };
        let ending = of(&linux, 0).ending(aborted);
        assert_eq!((ending.fin_sent, ending.how), (Some(false), Some(How::Reset)));
    }
}
