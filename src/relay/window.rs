//! Whether the receiver's window limited a socket that had data to send.
//!
//! A sample of TCP_INFO shows it: the window is narrow, or the kernel counted time limited by it;
//! and no packet is missing at the receiver. The kernel's count alone is too low: BBR learns the
//! pace of a slow reader and stays just below its window most of the time.

use std::time::Duration;

use crate::tcp_info::LinuxInfo;

/// A window is narrow below this share of the widest that the receiver has announced. A program
/// that reads all its data keeps the window wide, however slow the path is: at 40 Mbit/s it was
/// never below this share. For a program that reads 10 MB/s from a fast path, at least 97 of 100
/// samples are below it.
const CLOSED_TO: f64 = 0.5;

/// It is also narrow when the congestion window would allow more and the data in flight fills this
/// share of it, which is how BBR behaves with a slow reader over a path of 40 ms. With Linux's
/// automatic tuning, a path of 40 Mbit/s never fills more than two thirds of the window.
const FILLED_TO: f64 = 0.75;

/// When the kernel counted this share of a blocked period as limited by the window, the whole
/// period is charged to it: BBR paced the rest by what it had learned. With all three rules, 69 to
/// 96 of every 100 ms that a slow reader took over a path of 40 ms are charged to it, on idle and
/// busy machines. Of a slow path none is charged to the reader, and of a path that loses 2 % at
/// most 4 ms, before the window has opened.
const HELD_FOR: f64 = 0.5;

/// What earlier samples of a sending socket have shown of its peer's window.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Counters of the last sample: time limited by the window, and retransmitted segments.
    limited: Duration,
    sent_again: u32,
    /// The widest window announced in any sample.
    widest: u32,
}

impl Window {
    /// The part of `blocked`, the time for which the socket was blocked since the last sample, in
    /// which the window was the limit.
    pub(super) fn limited_part(&mut self, blocked: Duration, sink: &LinuxInfo) -> Duration {
        let counted = sink.rx_window_limited.unwrap_or_default();
        let before = std::mem::replace(&mut self.limited, counted);
        let limited = counted.saturating_sub(before).min(blocked);
        let is_held = self.is_narrow(sink) || limited >= blocked.mul_f64(HELD_FOR);
        let sent_again = sink.total_retrans.unwrap_or_default();
        let has_lost = sent_again > std::mem::replace(&mut self.sent_again, sent_again);
        let has_hole = sink.sacked.is_none_or(|sacked| sacked > 0);
        match (has_hole, has_lost) {
            // Data after a missing packet waits in the receiver's buffer, whoever reads.
            (true, _) => Duration::ZERO,
            // And for a short time after the packet has arrived: the window proves nothing.
            (false, true) => limited,
            (false, false) if is_held => blocked,
            (false, false) => limited,
        }
    }

    /// Takes a sample after which counting begins: what came before was for another purpose.
    pub(super) fn begin_at(&mut self, sink: &LinuxInfo) {
        self.limited = sink.rx_window_limited.unwrap_or_default();
        self.sent_again = sink.total_retrans.unwrap_or_default();
    }

    /// Time limited by the window since the last sample, as the kernel counts it.
    pub(super) fn newly_limited(&mut self, sink: &LinuxInfo) -> Duration {
        let counted = sink.rx_window_limited.unwrap_or_default();
        counted.saturating_sub(std::mem::replace(&mut self.limited, counted))
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

    /// The part of 100 ms blocked that is charged to the receiver, after a sample with a window of
    /// 400 kB.
    fn by_window(sink: &LinuxInfo) -> Duration {
        Window { widest: 400_000, ..Window::default() }.limited_part(ms(100), sink)
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
        let mut window = Window { widest: 400_000, ..Window::default() };
        let mut sink = sink(400, 200, 250);
        sink.rx_window_limited = Some(ms(12));
        let held = [window.limited_part(ms(100), &sink), window.limited_part(ms(100), &sink)];
        assert_eq!(held, [ms(12), ms(0)]);
    }
}
