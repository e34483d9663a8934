//! Idle and lifetime limits of a pair.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::RelayEnd;
use super::leg::Side;
use crate::clock::after;
use crate::tcp_info::send_queue;

/// The timer of a pair with limits. Moving bytes does not touch it: when it fires, it checks how
/// long nothing has moved, and is set again.
#[derive(Debug)]
pub(crate) struct PairTimeouts {
    idle: Option<Duration>,
    until: Option<Instant>,
    began: Instant,
    /// What the two send queues held when it last fired.
    queued: [u64; 2],
    timer: Pin<Box<Sleep>>,
}

impl PairTimeouts {
    /// Ends a pair that begins now when no byte has moved for `idle` in either direction, and at
    /// `until` in any case. `None` without limits; boxed, because most pairs have none.
    pub(crate) fn new(idle: Option<Duration>, until: Option<Instant>) -> Option<Box<Self>> {
        let began = Instant::now();
        let first = next(idle, until, began)?;
        let timer = Box::pin(tokio::time::sleep_until(first.into()));
        Some(Box::new(Self { idle, until, began, queued: [0; 2], timer }))
    }

    /// Ready when the pair must end.
    pub(super) fn poll(
        &mut self,
        client: &Side<'_>,
        upstream: &Side<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<RelayEnd> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if self.until.is_some_and(|until| until <= now) {
                return Poll::Ready(RelayEnd::Expired);
            }
            let moved = self.last_moved([client, upstream], now);
            match next(self.idle, self.until, moved) {
                Some(next) if next > now => self.timer.as_mut().reset(next.into()),
                _ => return Poll::Ready(RelayEnd::Idle),
            }
        }
    }

    /// When a byte last moved. A slow peer may still take what was written long ago: then it is now.
    fn last_moved(&mut self, sides: [&Side<'_>; 2], now: Instant) -> Instant {
        let queued = sides.map(|side| send_queue(side.stream).unwrap_or(0));
        let drains = queued.iter().zip(self.queued).any(|(now, before)| *now > 0 && *now != before);
        self.queued = queued;
        if drains {
            return now;
        }
        let flows = sides.into_iter().flat_map(|side| {
            let meter = &side.state.meter;
            [meter.rx.last, meter.tx.last]
        });
        flows.flatten().max().map_or(self.began, |last| self.began.max(last.into()))
    }
}

/// When to check next, if the last byte moved at `moved`.
fn next(idle: Option<Duration>, until: Option<Instant>, moved: Instant) -> Option<Instant> {
    idle.map(|idle| after(moved, idle)).into_iter().chain(until).min()
}

// Windows does not tell what a peer has yet to take.
#[cfg(all(test, unix))]
mod tests {
    use std::io::Read;

    use socket2::SockRef;

    use super::super::tests::leg;
    use super::*;

    #[tokio::test]
    async fn a_peer_that_still_takes_what_was_written_is_not_idle() {
        let ((mut client, mut peer), (mut upstream, _upstream_peer)) = (leg().await, leg().await);
        // More than the peer's buffer takes.
        while SockRef::from(&client.stream).send(&[0; 65_536]).is_ok() {}
        let idle = Duration::from_secs(3600);
        let mut timeouts = PairTimeouts::new(Some(idle), None).unwrap();
        let (client, upstream) = (client.side(), upstream.side());
        let later = Instant::now() + idle;
        let mut moved = || timeouts.last_moved([&client, &upstream], later);
        assert_eq!(moved(), later, "there is something, and nothing is known of before");
        assert!(moved() < later, "it is still the same");
        let before = send_queue(client.stream);
        let mut some = vec![0; 1 << 20];
        while send_queue(client.stream) == before {
            assert!(peer.read(&mut some).unwrap() > 0);
        }
        assert_eq!(moved(), later, "it has become less");
    }
}
