//! Whom one direction waited for, as its half sees it.
//!
//! A half waits for its source, with nothing in hand (it is *starved*), or for its sink, with bytes in
//! hand (it is *blocked*). It is starved by the sender, but for
//!
//! - the time in which the sink's socket still had bytes that it had not sent, which counts as
//!   blocked. Nothing tells that while it lasts, but a look at the end of the wait does: either there
//!   are such bytes still, or the last of them went when the socket last sent data, whose age the
//!   kernel keeps;
//! - the time until the receiver last sent something, such as the request that the sender answers.
//!
//! When it is blocked, a look tells whether the receiver's window held the sink's socket: it is narrow, or
//! the kernel counted time in which nothing else held it; and nothing was missing of what the receiver got.
//! The kernel's count alone is too little: BBR learns the pace of a slow reader and keeps just below its
//! window, for most of the time.
//!
//! An exchange of a client of ours is seen in the same way: its one socket is source and sink at once, and whoever
//! polls it tells when it has to wait.
//!
//! A look is taken when 10 ms of waits have gone by since the last one, so a direction takes at most
//! 100 a second, and what was waited in between is charged by what it finds.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::pulse::Pulse;
use crate::clock::{Moment, Nanos};
use crate::tcp_info::{LinuxInfo, Snapshot, Socket, SysInfo};

/// Waits after which the end of one is worth a look.
const LOOK_AFTER: Nanos = Nanos::of(Duration::from_millis(10));

/// The first times that it is blocked are each worth a look: the window is widest before a slow
/// reader's buffer has filled.
const FIRST_LOOKS: u8 = 64;

/// A window is narrow when it is less than this share of the widest that the receiver has announced. A
/// program that reads what comes keeps it wide, however slow the path is: on one of 40 Mbit/s it was never
/// less. One that reads 10 MB/s of a fast path is found at less in 97 looks of 100 and more.
const CLOSED_TO: f64 = 0.5;

/// It is narrow as well when the congestion window would let more go, and the flight takes this share of
/// it: what BBR does at the pace of a slow reader over a path of 40 ms. Under Linux's own widening of the
/// window a path of 40 Mbit/s never fills more than two thirds of it.
const FILLED_TO: f64 = 0.75;

/// It also holds the socket for all of a time of which the kernel counted this share. BBR shapes the rest
/// of it by what it learned then. With all three, 69 to 96 of 100 ms that a slow reader over a path of
/// 40 ms took are found to be its, with processors to spare or without; of a slow path's none, and of
/// one that loses 2 % up to 4, before the window has opened.
const HELD_FOR: f64 = 0.5;

/// The waits of one direction. The times in which the proxy stood still are not in them.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    pulse: Option<Arc<Pulse>>,
    /// First read of payload, and the latest read or write.
    began: Option<Moment>,
    last: Option<Moment>,
    /// The half is waiting for its source.
    is_reading: bool,
    /// Waits that no look has been taken at yet.
    unlooked: Starved,
    unlooked_blocked: Nanos,
    /// All others. Boxed, because a direction that hardly waits takes no look.
    looked: Option<Box<Looked>>,
}

/// Waits that were looked at, and what the latest look found.
#[derive(Debug, Clone, Default)]
struct Looked {
    for_receiver: Duration,
    for_sender: Duration,
    /// Of the waits for the sender: those in which the source's socket got packets out of order, or
    /// marked for congestion.
    disturbed: Duration,
    /// What the source's socket had counted of these.
    marks: u64,
    /// Of the waits for the sender: those that the path took, because an answer follows its request.
    round_trip: Duration,
    blocked: Duration,
    /// Of it: what the receiver's window held.
    by_window: Duration,
    /// What the kernel had counted of that, and segments that were sent again.
    window_limited: Duration,
    sent_again: u32,
    /// The widest window that the sink's peer has announced, at any look.
    widest: u32,
    /// Looks taken at the first times that it was blocked.
    first_looks: u8,
}

/// Waits with nothing in hand and nothing unsent.
#[derive(Debug, Default)]
struct Starved {
    /// Until the receiver last sent something.
    for_receiver: Nanos,
    /// From there on.
    for_sender: Nanos,
}

/// Where a direction's time went, as far as its half knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waited {
    /// From the first payload byte to the last.
    pub(crate) active: Duration,
    /// For the sender, and nothing was wrong on the way.
    pub(crate) for_sender: Duration,
    /// For the sender, with packets out of order or marked for congestion.
    pub(crate) disturbed: Duration,
    /// For the sender's answer while it and the request were on the path. Only `stat` knows which bytes
    /// are these.
    pub(crate) round_trip: Duration,
    /// For the receiver to send something.
    pub(crate) for_receiver: Duration,
    /// With bytes in hand, or in the sending socket and unsent.
    pub(crate) blocked: Duration,
    /// Of it: held by the receiver's window.
    pub(crate) by_window: Duration,
}

impl Waits {
    pub(super) fn heed(&mut self, pulse: &Arc<Pulse>) {
        self.pulse = Some(Arc::clone(pulse));
    }

    /// Of an exchange whose request is about to be sent.
    #[cfg(feature = "stat")]
    pub(crate) fn of_an_exchange(pulse: &Arc<Pulse>, now: Moment) -> Self {
        let pulse = Some(Arc::clone(pulse));
        Self { pulse, began: Some(now), last: Some(now), ..Self::default() }
    }

    /// The source is waited for, and was not before.
    #[cfg(feature = "stat")]
    pub(crate) fn waiting_since(&mut self, now: Moment) {
        if !std::mem::replace(&mut self.is_reading, true) {
            self.last = Some(now);
        }
    }

    /// The answer has begun: of what was waited for the sender until now, a round-trip time is what a
    /// request and its answer need on the path.
    #[cfg(feature = "stat")]
    pub(crate) fn answered(&mut self, socket: &impl Socket) {
        let round_trip = figures(socket).and_then(|linux| linux.min_rtt).unwrap_or_default();
        let Waited { for_sender, .. } = self.waited();
        self.looked.get_or_insert_default().round_trip = round_trip.min(for_sender);
    }

    /// The half waits, for its source or its sink.
    pub(super) fn waiting(&mut self, is_reading: bool) {
        self.is_reading |= is_reading;
    }

    /// Bytes have come from the source; the receiver has last sent some at `receiver_sent`.
    pub(crate) fn have_read(
        &mut self,
        source: &impl Socket,
        sink: &impl Socket,
        receiver_sent: Option<Moment>,
        now: Moment,
    ) {
        if let Some(pulse) = &self.pulse {
            pulse.pair_moved();
        }
        let since = self.last.replace(now);
        let has_waited = std::mem::take(&mut self.is_reading);
        self.began.get_or_insert(now);
        if let (true, Some(since)) = (has_waited, since) {
            self.starved(source, sink, receiver_sent, since..now);
        }
    }

    /// Bytes have gone to the sink, after they had to wait since `blocked`.
    pub(crate) fn have_written(
        &mut self,
        sink: &impl Socket,
        blocked: Option<Moment>,
        now: Moment,
    ) {
        if self.began.is_none() {
            return;
        }
        self.last = Some(now);
        let Some(since) = blocked else { return };
        self.unlooked_blocked += self.moving(since, now);
        let looked = self.looked.get_or_insert_default();
        if self.unlooked_blocked >= LOOK_AFTER || looked.first_looks < FIRST_LOOKS {
            looked.first_looks = looked.first_looks.saturating_add(1);
            let blocked = std::mem::take(&mut self.unlooked_blocked);
            looked.settle_blocked(blocked.get(), figures(sink).as_deref());
        }
    }

    fn starved(
        &mut self,
        source: &impl Socket,
        sink: &impl Socket,
        receiver_sent: Option<Moment>,
        Range { start: since, end: now }: Range<Moment>,
    ) {
        let mut unlooked = now.since(since);
        unlooked += self.unlooked.for_sender;
        unlooked += self.unlooked.for_receiver;
        let look = if unlooked >= LOOK_AFTER { Look::at(source, sink) } else { None };

        let unsent_until = match &look {
            Some(look) if look.is_unsent => now,
            Some(look) => look.sent_last.map_or(since, |age| now.saturating_sub(age)),
            None => since,
        };
        let unsent_until = unsent_until.clamp(since, now);
        let asked = receiver_sent.unwrap_or(since).clamp(unsent_until, now);
        self.unlooked_blocked += self.moving(since, unsent_until);
        self.unlooked.for_receiver += self.moving(unsent_until, asked);
        self.unlooked.for_sender += self.moving(asked, now);

        let Some(look) = look else { return };
        let Starved { for_receiver, for_sender } = std::mem::take(&mut self.unlooked);
        let (for_receiver, for_sender) = (for_receiver.get(), for_sender.get());
        let mut blocked = std::mem::take(&mut self.unlooked_blocked).get();
        let looked = self.looked.get_or_insert_default();
        if look.is_unsent {
            blocked += for_receiver + for_sender;
        } else {
            looked.for_receiver += for_receiver;
            looked.for_sender += for_sender;
            if look.marks > looked.marks {
                looked.disturbed += for_sender;
            }
        }
        looked.marks = look.marks;
        looked.settle_blocked(blocked, Some(&look.sink));
    }

    /// The time between, without that in which the proxy stood still.
    fn moving(&self, from: Moment, to: Moment) -> Nanos {
        let between = to.since(from);
        match self.pulse.as_ref().and_then(|pulse| pulse.stood_still(from, to)) {
            Some(still) => between.get().saturating_sub(still).into(),
            None => between,
        }
    }

    pub(crate) fn waited(&self) -> Waited {
        let active = self.began.zip(self.last).map(|(began, last)| last.saturating_since(began));
        let looked = self.looked.as_deref().cloned().unwrap_or_default();
        let for_sender = looked.for_sender + self.unlooked.for_sender.get();
        Waited {
            active: active.unwrap_or_default(),
            for_sender: for_sender.saturating_sub(looked.disturbed + looked.round_trip),
            disturbed: looked.disturbed,
            round_trip: looked.round_trip,
            for_receiver: looked.for_receiver + self.unlooked.for_receiver.get(),
            blocked: looked.blocked + self.unlooked_blocked.get(),
            by_window: looked.by_window,
        }
    }
}

impl Looked {
    /// Charges what was blocked since the last look.
    fn settle_blocked(&mut self, blocked: Duration, sink: Option<&LinuxInfo>) {
        self.blocked += blocked;
        let Some(sink) = sink else { return };
        let counted = sink.rx_window_limited.unwrap_or_default();
        let before = std::mem::replace(&mut self.window_limited, counted);
        let limited = counted.saturating_sub(before).min(blocked);
        let is_held = self.is_narrow(sink) || limited >= blocked.mul_f64(HELD_FOR);
        let sent_again = sink.total_retrans.unwrap_or_default();
        let has_lost = sent_again > std::mem::replace(&mut self.sent_again, sent_again);
        let has_hole = sink.sacked.is_none_or(|sacked| sacked > 0);
        self.by_window += match (has_hole, has_lost) {
            // What came after a hole waits in the receiver's buffer, whoever reads.
            (true, _) => Duration::ZERO,
            // And for a moment longer when the hole has been filled: the window proves nothing.
            (false, true) => limited,
            (false, false) if is_held => blocked,
            (false, false) => limited,
        };
    }

    fn is_narrow(&mut self, sink: &LinuxInfo) -> bool {
        let Some(window) = sink.tx_window else { return false };
        self.widest = self.widest.max(window);
        let window = f64::from(window);
        let bytes = |segments: Option<u32>| {
            segments.zip(sink.tx_mss).map_or(0.0, |(count, mss)| f64::from(count) * f64::from(mss))
        };
        let is_closing = window < f64::from(self.widest) * CLOSED_TO;
        let is_filled = bytes(sink.un_acked) >= window * FILLED_TO;
        is_closing || (is_filled && bytes(sink.tx_c_window) > window)
    }
}

/// What the kernel says of both sockets at the end of a wait for the source.
struct Look {
    /// The sink's socket has bytes that it has not sent.
    is_unsent: bool,
    /// How long ago it last sent data.
    sent_last: Option<Duration>,
    /// Packets out of order, and marked for congestion, that the source's socket has got so far.
    marks: u64,
    sink: Box<LinuxInfo>,
}

impl Look {
    fn at(source: &impl Socket, sink: &impl Socket) -> Option<Self> {
        let (source, sink) = (figures(source)?, figures(sink)?);
        let marks = [source.rx_out_of_order, source.received_ce];
        Some(Self {
            is_unsent: sink.not_sent_bytes? > 0,
            sent_last: sink.last_tx_at,
            marks: marks.into_iter().flatten().map(u64::from).sum(),
            sink,
        })
    }
}

fn figures(socket: &impl Socket) -> Option<Box<LinuxInfo>> {
    match Snapshot::structure(socket).ok()?.decode().sys_info {
        SysInfo::Linux(info) => Some(info),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A sending socket: the peer's window, the flight and the congestion window, in kB.
    fn sink(window: u32, flight: u32, congestion_window: u32) -> LinuxInfo {
        let mut sink = LinuxInfo::default();
        (sink.tx_mss, sink.tx_window) = (Some(1000), Some(window * 1000));
        (sink.un_acked, sink.tx_c_window) = (Some(flight), Some(congestion_window));
        (sink.sacked, sink.rx_window_limited) = (Some(0), Some(ms(0)));
        sink
    }

    /// What is the receiver's of 100 ms that were blocked, after a look at a window of 400 kB.
    fn by_window(sink: &LinuxInfo) -> Duration {
        let mut looked = Looked { widest: 400_000, ..Looked::default() };
        looked.settle_blocked(ms(100), Some(sink));
        assert_eq!(looked.blocked, ms(100));
        looked.by_window
    }

    #[test]
    fn a_window_that_is_wide_holds_nothing() {
        assert_eq!(by_window(&sink(400, 200, 250)), ms(0));
        assert_eq!(by_window(&sink(400, 250, 500)), ms(0), "there is room in it");
        assert_eq!(by_window(&sink(400, 350, 350)), ms(0), "the path takes no more");
    }

    #[test]
    fn a_window_that_has_closed_to_less_than_half_holds() {
        assert_eq!(by_window(&sink(199, 50, 50)), ms(100));
        assert_eq!(by_window(&sink(0, 0, 10)), ms(100));
    }

    #[test]
    fn a_window_that_is_full_although_the_path_would_take_more_holds() {
        assert_eq!(by_window(&sink(250, 190, 300)), ms(100));
    }

    #[test]
    fn what_the_kernel_counted_is_the_windows_and_much_of_the_time_stands_for_all_of_it() {
        let mut sink = sink(400, 200, 250);
        sink.rx_window_limited = Some(ms(12));
        assert_eq!(by_window(&sink), ms(12));
        sink.rx_window_limited = Some(ms(50));
        assert_eq!(by_window(&sink), ms(100));
    }

    #[test]
    fn behind_a_hole_nothing_is_the_windows() {
        let mut sink = sink(100, 90, 300);
        (sink.sacked, sink.rx_window_limited) = (Some(1), Some(ms(80)));
        assert_eq!(by_window(&sink), ms(0));
    }

    #[test]
    fn where_segments_were_sent_again_the_window_is_believed_for_what_the_kernel_counted() {
        let mut sink = sink(100, 90, 300);
        (sink.total_retrans, sink.rx_window_limited) = (Some(3), Some(ms(40)));
        assert_eq!(by_window(&sink), ms(40));
    }

    #[test]
    fn what_the_kernel_counted_before_the_last_look_is_no_news() {
        let mut looked = Looked { widest: 400_000, ..Looked::default() };
        for _ in 0..2 {
            let mut sink = sink(400, 200, 250);
            sink.rx_window_limited = Some(ms(12));
            looked.settle_blocked(ms(100), Some(&sink));
        }
        assert_eq!((looked.blocked, looked.by_window), (ms(200), ms(12)));
    }
}
