//! Moving bytes both ways, and every way in which that can end.
//!
//! A pair is one task. Its two directions are independent halves in it: an end of stream in one
//! never ends the other. A reset crosses after what came before it has been handed over.
//!
//! ```text
//!   client ──rx──▶ half to_upstream ──tx──▶ upstream
//!   client ◀─tx─── half to_client  ◀──rx─── upstream
//! ```

mod bounds;
mod charges;
mod charging;
mod edit;
mod error_watch;
#[cfg(feature = "stat")]
mod exchange;
mod finish;
mod half;
mod leg;
mod looks;
mod observe;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_pipe.rs")]
mod pipe;
mod pulse;
mod quantiles;
mod send_queue;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_state_changes.rs")]
mod state_changes;
mod tally;
mod turns;
mod waiting;
mod watch;
mod way;
mod window;
mod window_watch;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::caught::caught;
use crate::clock;
use crate::record::Direction;
use crate::tcp_info::send_queue;
pub(crate) use bounds::Patience;
pub(crate) use charges::Cause;
#[cfg(test)]
pub(crate) use charges::Charges;
pub(crate) use edit::{Edit, Edited, Speech, Then};
use error_watch::ErrorWatch;
#[cfg(feature = "stat")]
pub(crate) use exchange::Exchange;
pub(crate) use finish::Story;
pub(crate) use half::Half;
pub(crate) use leg::{Leg, LegState, PassedBefore, PeerEnd, Side, abort};
#[cfg(test)]
pub(crate) use looks::Doubts;
#[cfg(feature = "stat")]
pub(crate) use looks::{Looks, Peer, figures};
pub(crate) use observe::{Observe, Observed};
#[cfg(feature = "metrics")]
pub(crate) use pipe::open as open_pipes;
pub(crate) use pulse::Pulse;
pub(crate) use tally::{Spent, Told};
pub(crate) use turns::Turns;
#[cfg(feature = "stat")]
pub(crate) use turns::Written;
pub(crate) use waiting::Waiting;
pub(crate) use watch::Watch;
use way::Way;
use window_watch::WindowWatch;

/// How long a client may keep its connection that has all that it was to get, and our end of stream
/// (RFC 9112 section 9.6).
const GRACE: Duration = Duration::from_secs(1);

/// How relaying came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    /// The peers ended it, by ends of stream or by a broken connection; or the proxy did, when the
    /// client had all that it was to get.
    ByPeers,
    /// The proxy was told to stop.
    ByStop,
    /// No byte moved for too long.
    Idle,
    /// It lasted as long as a pair may.
    Expired,
    /// A defect of ours.
    Panicked,
}

/// The two directions of a pair, and its story. Boxed where they are passed on, as legs are.
#[derive(Debug)]
pub(crate) struct Halves {
    pub(crate) to_upstream: Half,
    pub(crate) to_client: Half,
    pub(crate) turns: Turns,
}

/// What relaying is held to.
#[derive(Debug)]
pub(crate) struct Terms<'p> {
    /// From the moment when a connection broke or both streams have ended, what is left may take so
    /// long.
    pub(crate) linger: Duration,
    /// Its end cuts everything short: both sides are reset, because an end of stream would tell them
    /// that all has been said.
    pub(crate) patience: Option<Box<Patience>>,
    /// So does this.
    pub(crate) stop: &'p CancellationToken,
}

/// What is left of a pair when both sockets are closed.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) end: RelayEnd,
    pub(crate) client: LegState,
    pub(crate) upstream: LegState,
    pub(crate) turns: Turns,
}

/// Relays until both directions have ended, then waits until what was sent has arrived, and closes
/// both sockets. `halves` say how each direction begins, `watch` looks on.
///
/// An `async fn` would keep its arguments twice, and this is what an idle pair consists of.
pub(crate) fn relay<'p>(
    mut client: Box<Leg>,
    mut upstream: Box<Leg>,
    mut halves: Box<Halves>,
    terms: Terms<'p>,
    mut watch: Option<&'p mut dyn Watch>,
) -> impl Future<Output = Relayed> + Send {
    let Terms { linger, mut patience, stop } = terms;
    async move {
        let end = {
            let relaying = Relaying {
                client: client.side(),
                upstream: upstream.side(),
                halves: &mut halves,
                client_error: ErrorWatch::default(),
                upstream_error: ErrorWatch::default(),
                windows: WindowWatch::default(),
                linger,
                deadline: Deadline::default(),
                grace: Deadline::default(),
                patience: &mut patience,
                watch: &mut watch,
            };
            let mut ended = pin!(relaying.run());
            let mut stopped = pin!(stop.cancelled());
            let either = poll_fn(|cx| match ended.as_mut().poll(cx) {
                Poll::Pending => stopped.as_mut().poll(cx).map(|()| RelayEnd::ByStop),
                end => end,
            });
            caught(either).await.unwrap_or(RelayEnd::Panicked)
        };
        // A reset that came while nobody read or wrote any more.
        for leg in [&mut *client, &mut *upstream] {
            if !leg.state.gone {
                leg.side().take_error();
            }
        }
        let broken = end != RelayEnd::ByPeers || client.state.gone || upstream.state.gone;
        // Who has all that it was to get, and our end of stream behind it, gets no reset on top.
        let is_finishing = halves.to_client.is_finishing();
        let reset_client = if is_finishing { client.state.gone } else { broken };
        let reset_upstream = if is_finishing { end != RelayEnd::ByPeers } else { broken };
        let Halves { turns, .. } = *halves;
        let (client, upstream) = (client.close(reset_client), upstream.close(reset_upstream));
        Relayed { end, client, upstream, turns }
    }
}

/// A pair whose halves are at work.
struct Relaying<'r, 'p> {
    client: Side<'r>,
    upstream: Side<'r>,
    halves: &'r mut Halves,
    client_error: ErrorWatch<'r>,
    upstream_error: ErrorWatch<'r>,
    windows: WindowWatch,
    linger: Duration,
    /// When all that was sent must have arrived.
    deadline: Deadline,
    /// When a client that has all that it was to get must have ended its connection.
    grace: Deadline,
    patience: &'r mut Option<Box<Patience>>,
    watch: &'r mut Option<&'p mut dyn Watch>,
}

impl<'r, 'p: 'r> Relaying<'r, 'p> {
    #[expect(clippy::manual_async_fn, reason = "it would keep the struct twice")]
    fn run(mut self) -> impl Future<Output = RelayEnd> + Send {
        async move {
            if let Err(end) = poll_fn(|cx| self.poll(cx)).await {
                return end;
            }
            let deadline = self.deadline.instant(self.linger);
            // Boxed: idle pairs need no room for it.
            Box::pin(send_queue::emptied(self.client, self.upstream, deadline)).await;
            RelayEnd::ByPeers
        }
    }

    /// Runs both halves until they are done, or until something ends the pair before that.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RelayEnd>> {
        let Self { client, upstream, .. } = self;
        let Halves { to_upstream, to_client, turns } = &mut *self.halves;
        let direction = Direction::ToUpstream;
        to_upstream.poll(&mut Way { direction, source: client, sink: upstream, turns }, cx);
        let direction = Direction::ToClient;
        to_client.poll(&mut Way { direction, source: upstream, sink: client, turns }, cx);
        // While nobody reads from a peer, because its end of stream was read long ago or because
        // the other side takes no more, nothing that a half waits for shows its reset.
        if !to_upstream.is_reading() {
            self.client_error.poll(client, cx);
        }
        if !to_client.is_reading() {
            self.upstream_error.poll(upstream, cx);
        }
        // Nothing more can be delivered to a broken side. The half that comes from it goes on
        // until it has handed over all that arrived before.
        if client.state.gone {
            to_client.give_up();
        }
        if upstream.state.gone {
            match to_client.is_finishing() {
                // To close with unread input would reset the client, and it would lose its answer.
                true => to_upstream.discard_rest(),
                false => to_upstream.give_up(),
            }
        }
        let broken = client.state.gone || upstream.state.gone;
        let mut done = to_upstream.is_done() && to_client.is_done();
        if broken && !done && self.deadline.poll(self.linger, cx).is_ready() {
            to_upstream.give_up();
            to_client.give_up();
            done = true;
        }
        if !done && to_client.is_finishing() && self.grace.poll(GRACE, cx).is_ready() {
            // A client that reads slowly has our end of stream still before it.
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
            return Poll::Ready(Ok(()));
        }
        self.windows.poll(client, upstream, cx);
        if let Some(watch) = self.watch {
            watch.poll(client, upstream, turns, cx);
        }
        match self.patience {
            Some(patience) => patience.poll(client, upstream, cx).map(Err),
            None => Poll::Pending,
        }
    }
}

/// The end of patience, set when it is first asked for.
#[derive(Default)]
struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    fn poll(&mut self, patience: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let sleep =
            || Box::pin(tokio::time::sleep_until(clock::after(Instant::now(), patience).into()));
        self.0.get_or_insert_with(sleep).as_mut().poll(cx)
    }

    fn instant(&self, patience: Duration) -> Instant {
        match &self.0 {
            Some(sleep) => sleep.deadline().into_std(),
            None => clock::after(Instant::now(), patience),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use tokio::net::TcpStream;

    use super::*;
    use crate::clock::{Epoch, Moment};
    use crate::conn::Meter;

    #[derive(Debug)]
    struct Panics;

    impl Edit for Panics {
        fn edit<'b>(&mut self, _: &'b [u8]) -> Edited<'b> {
            panic!("on purpose, in the middle of relaying");
        }
    }

    /// A connected leg, and its peer.
    pub(super) async fn leg() -> (Box<Leg>, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let peer = listener.accept().unwrap().0;
        (Leg::boxed(stream, Meter::new(Epoch::now(), Moment::now())), peer)
    }

    #[tokio::test]
    async fn a_panic_ends_the_pair_with_a_reset_to_both_sides_and_keeps_its_counters() {
        let ((client, mut client_peer), (upstream, mut upstream_peer)) = (leg().await, leg().await);
        let turns = Turns::new(None, Moment::now(), [true; 2]);
        let (to_upstream, to_client) = Default::default();
        let mut halves = Box::new(Halves { to_upstream, to_client, turns });
        halves.to_upstream.edit_by(Box::new(Panics));
        client_peer.write_all(b"boom").unwrap();
        let stop = CancellationToken::new();
        let linger = Duration::from_secs(10);
        let terms = Terms { linger, patience: None, stop: &stop };
        let relayed = relay(client, upstream, halves, terms, None).await;
        assert_eq!(relayed.end, RelayEnd::Panicked);
        assert_eq!(relayed.client.meter.rx.bytes, 4);
        for peer in [&mut client_peer, &mut upstream_peer] {
            let error = peer.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
}
