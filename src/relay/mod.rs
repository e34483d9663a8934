//! Relays bytes in both directions until the pair ends.
//!
//! A pair is one task. Its two directions are independent halves: an end of stream in one never
//! ends the other. A reset is forwarded after all data that came before it.
//!
//! ```text
//!   client ──rx──▶ half to_upstream ──tx──▶ upstream
//!   client ◀─tx─── half to_client  ◀──rx─── upstream
//! ```

mod attribution;
mod edit;
mod error_watch;
mod evidence;
#[cfg(feature = "stat")]
mod exchange;
mod finish;
mod half;
mod leg;
mod monitor;
mod next_exchange;
mod observe;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_pipe.rs")]
mod pipe;
mod quantiles;
mod send_queue;
mod stall_detector;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_state_changes.rs")]
mod state_changes;
mod time_by_cause;
mod timeouts;
mod transfer;
mod turn_totals;
mod turns;
mod waiting;
mod window;
mod window_watch;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::catch_panic::catch_panic;
use crate::clock;
use crate::record::Direction;
use crate::tcp_info::send_queue;
pub(crate) use edit::{ContentKind, Edit, EditOutput, Next};
use error_watch::ErrorWatch;
#[cfg(feature = "stat")]
pub(crate) use evidence::{InfoSource, Peer, linux_info};
#[cfg(feature = "stat")]
pub(crate) use exchange::ExchangeTracker;
pub(crate) use finish::TimeBreakdown;
pub(crate) use half::{Half, HeldBytes};
pub(crate) use leg::{Leg, LegState, PeerEnd, ProgressAtFin, Side, abort};
pub(crate) use monitor::Monitor;
pub(crate) use observe::{Observe, ObservingEditor};
#[cfg(feature = "metrics")]
pub(crate) use pipe::open as open_pipes;
pub(crate) use send_queue::wait_until_received;
pub(crate) use stall_detector::StallDetector;
pub(crate) use time_by_cause::Cause;
#[cfg(test)]
pub(crate) use time_by_cause::{Charges, Doubts};
pub(crate) use timeouts::PairTimeouts;
use transfer::Transfer;
pub(crate) use turn_totals::{FinishedTurn, TimeSum};
pub(crate) use turns::TurnTracker;
#[cfg(feature = "stat")]
pub(crate) use turns::WriteEvent;
pub(crate) use waiting::CurrentWait;
use window_watch::WindowWatch;

/// How long a client may keep its connection open after it has received everything and our end of
/// stream (RFC 9112 section 9.6).
const GRACE: Duration = Duration::from_secs(1);

/// How relaying came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    /// The peers ended it, by ends of stream or a broken connection; or the proxy did, when the
    /// client had received everything.
    ByPeers,
    /// The proxy was told to stop.
    ByStop,
    /// No byte moved for too long.
    Idle,
    /// The maximum lifetime was reached.
    Expired,
    /// Internal error: the task panicked.
    Panicked,
    /// The client's connection went on to another upstream.
    Switched,
}

/// The two directions of a pair, and the accounting of its turns. Boxed where they are moved, as
/// legs are.
#[derive(Debug)]
pub(crate) struct Halves {
    pub(crate) to_upstream: Half,
    pub(crate) to_client: Half,
    pub(crate) turns: TurnTracker,
}

/// Time limits of relaying.
#[derive(Debug)]
pub(crate) struct RelayLimits<'p> {
    /// Time to deliver the rest after a connection broke or both streams have ended.
    pub(crate) linger: &'p Duration,
    /// When it expires, both sides are reset: an end of stream would say that the data is complete.
    pub(crate) timeouts: Option<Box<PairTimeouts>>,
    /// When it is cancelled, both sides are reset.
    pub(crate) stop: &'p CancellationToken,
    /// When it is cancelled, a client that waits for nothing gets its end of stream. Only for
    /// protocols whose exchanges the editors know.
    pub(crate) draining: Option<&'p CancellationToken>,
}

/// How relaying went.
#[derive(Debug)]
pub(crate) enum Relayed {
    /// The pair has ended.
    Ended(Box<RelayOutcome>),
    /// An exchange is over, and the client's connection is open for the next one.
    AtRest(Box<RestingPair>),
}

/// The state of a pair after both sockets were closed.
#[derive(Debug)]
pub(crate) struct RelayOutcome {
    pub(crate) end: RelayEnd,
    pub(crate) client: LegState,
    pub(crate) upstream: LegState,
    pub(crate) turns: TurnTracker,
    /// Bytes of a next exchange that were dropped.
    pub(crate) dropped: u64,
}

/// A pair between two exchanges: the client has begun the next one, or the upstream has left.
#[derive(Debug)]
pub(crate) struct RestingPair {
    pub(crate) client: Box<Leg>,
    pub(crate) upstream: Box<Leg>,
    pub(crate) turns: TurnTracker,
    /// What the client has sent of the next exchange.
    pub(crate) held: Option<Box<HeldBytes>>,
    /// The connection to the upstream can carry no other exchange.
    pub(crate) has_upstream_left: bool,
}

/// Relays until both directions have ended, then waits until what was sent is acknowledged, and
/// closes both sockets; or until an exchange is over and the next one begins.
///
/// Not an `async fn`, which would store its arguments twice: this future is most of the memory of
/// an idle pair.
pub(crate) fn relay<'p>(
    mut client: Box<Leg>,
    mut upstream: Box<Leg>,
    mut halves: Box<Halves>,
    limits: RelayLimits<'p>,
    mut monitor: Option<&'p mut dyn Monitor>,
) -> impl Future<Output = Relayed> + Send {
    let RelayLimits { linger, mut timeouts, stop, draining } = limits;
    async move {
        let mut dropped = 0;
        let end = {
            let relaying = PairRelay {
                client: client.side(),
                upstream: upstream.side(),
                halves: &mut halves,
                client_error: ErrorWatch::default(),
                upstream_error: ErrorWatch::default(),
                windows: WindowWatch::default(),
                linger,
                deadline: Deadline::default(),
                grace: Deadline::default(),
                dropped: &mut dropped,
                draining: draining.map(|draining| Box::pin(draining.cancelled())),
                timeouts: &mut timeouts,
                monitor: &mut monitor,
            };
            let mut ended = pin!(relaying.run());
            let mut stopped = pin!(stop.cancelled());
            let either = poll_fn(|cx| match ended.as_mut().poll(cx) {
                Poll::Pending => stopped.as_mut().poll(cx).map(|()| Err(RelayEnd::ByStop)),
                end => end,
            });
            catch_panic(either).await.unwrap_or(Err(RelayEnd::Panicked))
        };
        let end = match end {
            Ok(RunEnd::Ended) => RelayEnd::ByPeers,
            Err(end) => end,
            Ok(RunEnd::AtRest) => {
                let Halves { mut to_upstream, to_client, turns } = *halves;
                let (held, has_upstream_left) = (to_upstream.take_held(), to_client.is_done());
                let resting = RestingPair { client, upstream, turns, held, has_upstream_left };
                return Relayed::AtRest(Box::new(resting));
            }
        };
        // A reset may have come while neither half was reading or writing.
        for leg in [&mut *client, &mut *upstream] {
            if !leg.state.is_broken {
                leg.side().take_error();
            }
        }
        let broken = end != RelayEnd::ByPeers || client.state.is_broken || upstream.state.is_broken;
        // A client that has received everything and our end of stream gets no reset on top.
        let is_finishing = halves.to_client.is_finishing();
        let reset_client = if is_finishing { client.state.is_broken } else { broken };
        let reset_upstream = if is_finishing { end != RelayEnd::ByPeers } else { broken };
        dropped += halves.to_upstream.drop_held();
        client.state.meter.own_rx += dropped;
        let Halves { turns, .. } = *halves;
        let (client, upstream) = (client.close(reset_client), upstream.close(reset_upstream));
        Relayed::Ended(Box::new(RelayOutcome { end, client, upstream, turns, dropped }))
    }
}

/// How running both halves ended, unless something ended the pair before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunEnd {
    /// Both are done.
    Ended,
    /// An exchange is over: the next one begins, or the upstream has left.
    AtRest,
}

/// A pair that is being relayed.
struct PairRelay<'r, 'p> {
    client: Side<'r>,
    upstream: Side<'r>,
    halves: &'r mut Halves,
    client_error: ErrorWatch<'r>,
    upstream_error: ErrorWatch<'r>,
    windows: WindowWatch,
    linger: &'p Duration,
    /// When all that was sent must be acknowledged.
    deadline: Deadline,
    /// When a client that has received everything must have ended its connection.
    grace: Deadline,
    /// Bytes of a next exchange that were dropped.
    dropped: &'r mut u64,
    draining: Option<Pin<Box<WaitForCancellationFuture<'p>>>>,
    timeouts: &'r mut Option<Box<PairTimeouts>>,
    monitor: &'r mut Option<&'p mut dyn Monitor>,
}

impl<'r, 'p: 'r> PairRelay<'r, 'p> {
    #[expect(clippy::manual_async_fn, reason = "it would keep the struct twice")]
    fn run(mut self) -> impl Future<Output = Result<RunEnd, RelayEnd>> + Send {
        async move {
            let end = poll_fn(|cx| self.poll(cx)).await?;
            if end == RunEnd::AtRest {
                return Ok(end);
            }
            let deadline = self.deadline.instant(*self.linger);
            // Boxed, so that idle pairs reserve no space for it.
            Box::pin(send_queue::wait_until_acked(self.client, self.upstream, deadline)).await;
            Ok(end)
        }
    }

    /// Runs both halves until they are done, or until something ends the pair before that.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<RunEnd, RelayEnd>> {
        let Self { client, upstream, .. } = self;
        let Halves { to_upstream, to_client, turns } = &mut *self.halves;
        let direction = Direction::ToUpstream;
        to_upstream.poll(&mut Transfer { direction, source: client, sink: upstream, turns }, cx);
        let direction = Direction::ToClient;
        to_client.poll(&mut Transfer { direction, source: upstream, sink: client, turns }, cx);
        // While no half reads from a peer (its end of stream was read, or the other side accepts no
        // more), no half would see its reset.
        if !to_upstream.is_reading() {
            self.client_error.poll(client, cx);
        }
        if !to_client.is_reading() {
            self.upstream_error.poll(upstream, cx);
        }
        // Nothing more can be delivered to a broken side. The half that reads from it goes on until
        // it has written all that arrived before.
        if client.state.is_broken {
            to_client.give_up();
        }
        if upstream.state.is_broken {
            match to_client.is_finishing() {
                // Closing with unread input would reset the client, and it would lose its answer.
                true => to_upstream.discard_rest(),
                false => to_upstream.give_up(),
            }
        }
        if to_client.is_at_rest() && !client.state.is_broken {
            if to_upstream.is_holding() {
                return Poll::Ready(Ok(RunEnd::AtRest));
            }
            let is_draining = |draining: &mut Pin<Box<WaitForCancellationFuture<'p>>>| {
                draining.as_mut().poll(cx).is_ready()
            };
            if client.state.ended.is_some() || self.draining.as_mut().is_some_and(is_draining) {
                // There is no next exchange.
                self.draining = None;
                to_client.finish();
                cx.waker().wake_by_ref();
            } else if to_client.is_done() {
                return Poll::Ready(Ok(RunEnd::AtRest));
            }
        }
        if to_client.is_finishing() {
            *self.dropped += to_upstream.drop_held();
        }
        let broken = client.state.is_broken || upstream.state.is_broken;
        let mut done = to_upstream.is_done() && to_client.is_done();
        if broken && !done && self.deadline.poll(*self.linger, cx).is_ready() {
            to_upstream.give_up();
            to_client.give_up();
            done = true;
        }
        if !done && to_client.is_finishing() && self.grace.poll(GRACE, cx).is_ready() {
            // A client that reads slowly may not have reached our end of stream yet.
            if send_queue(client.stream).is_none_or(|queued| queued == 0) {
                to_upstream.give_up();
                to_client.give_up();
                done = true;
            } else {
                self.grace = Deadline::default();
                cx.waker().wake_by_ref();
            }
        }
        if done {
            return Poll::Ready(Ok(RunEnd::Ended));
        }
        self.windows.poll(client, upstream, cx);
        if let Some(monitor) = self.monitor {
            monitor.poll(client, upstream, turns, cx);
        }
        match self.timeouts {
            Some(timeouts) => timeouts.poll(client, upstream, cx).map(Err),
            None => Poll::Pending,
        }
    }
}

/// A deadline that is set when it is first polled.
#[derive(Default)]
struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    fn poll(&mut self, timeout: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let sleep =
            || Box::pin(tokio::time::sleep_until(clock::after(Instant::now(), timeout).into()));
        self.0.get_or_insert_with(sleep).as_mut().poll(cx)
    }

    fn instant(&self, timeout: Duration) -> Instant {
        match &self.0 {
            Some(sleep) => sleep.deadline().into_std(),
            None => clock::after(Instant::now(), timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use tokio::net::TcpStream;

    use super::*;
    use crate::clock::{CompactInstant, Epoch};
    use crate::conn::Meter;

    #[derive(Debug)]
    struct Panics;

    impl Edit for Panics {
        fn edit<'b>(&mut self, _: &'b [u8]) -> EditOutput<'b> {
            panic!("on purpose, in the middle of relaying");
        }
    }

    /// A connected leg, and its peer.
    pub(super) async fn leg() -> (Box<Leg>, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let peer = listener.accept().unwrap().0;
        (Leg::boxed(stream, Meter::new(Epoch::now(), CompactInstant::now())), peer)
    }

    #[tokio::test]
    async fn a_panic_ends_the_pair_with_a_reset_to_both_sides_and_keeps_its_counters() {
        let ((client, mut client_peer), (upstream, mut upstream_peer)) = (leg().await, leg().await);
        let turns = TurnTracker::new(None, CompactInstant::now(), [true; 2]);
        let (to_upstream, to_client) = Default::default();
        let mut halves = Box::new(Halves { to_upstream, to_client, turns });
        halves.to_upstream.set_editor(Box::new(Panics));
        client_peer.write_all(b"boom").unwrap();
        let stop = CancellationToken::new();
        let linger = Duration::from_secs(10);
        let limits = RelayLimits { linger: &linger, timeouts: None, stop: &stop, draining: None };
        let relayed = relay(client, upstream, halves, limits, None).await;
        let Relayed::Ended(relayed) = relayed else { panic!() };
        assert_eq!(relayed.end, RelayEnd::Panicked);
        assert_eq!(relayed.client.meter.rx.bytes, 4);
        for peer in [&mut client_peer, &mut upstream_peer] {
            let error = peer.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
}
