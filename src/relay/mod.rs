//! Moving bytes both ways, and every way in which that can end.
//!
//! A pair is one task. Its two directions are independent halves in it: an end of stream in one
//! never ends the other. A reset crosses after what came before it has been handed over.
//!
//! ```text
//!   client ──rx──▶ half to_upstream ──tx──▶ upstream
//!   client ◀─tx─── half to_client  ◀──rx─── upstream
//! ```

mod error_watch;
mod half;
mod leg;
mod send_queue;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use error_watch::{ErrorWatch, error_on};
use half::Half;
pub(crate) use leg::{Leg, LegState, PeerEnd};

/// How relaying came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The peers ended it, by ends of stream or by a broken connection.
    ByPeers,
    /// The proxy was told to stop.
    ByStop,
}

/// What is left of a pair when both sockets are closed.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) over: Over,
    pub(crate) client: LegState,
    pub(crate) upstream: LegState,
}

/// Relays until both directions have ended, then waits until what was sent has arrived, at most
/// `linger`, and closes both sockets. `stop` cuts everything short: both sides are reset, because
/// an end of stream would tell them that all has been said.
pub(crate) async fn relay(
    mut client: Leg,
    mut upstream: Leg,
    linger: Duration,
    stop: &CancellationToken,
) -> Relayed {
    let over = tokio::select! {
        biased;
        () = both_halves(&mut client, &mut upstream) => Over::ByPeers,
        () = stop.cancelled() => Over::ByStop,
    };
    if over == Over::ByPeers {
        let deadline = Instant::now() + linger;
        let emptied = async {
            tokio::join!(
                send_queue::emptied(&client, deadline),
                send_queue::emptied(&upstream, deadline)
            )
        };
        tokio::select! {
            _ = emptied => {}
            () = stop.cancelled() => {}
        }
    }
    let broken = over == Over::ByStop || client.state.gone || upstream.state.gone;
    Relayed { over, client: client.close(broken), upstream: upstream.close(broken) }
}

async fn both_halves(client: &mut Leg, upstream: &mut Leg) {
    let (mut client, mut upstream) = (client.side(), upstream.side());
    let (mut to_upstream, mut to_client) = (Half::default(), Half::default());
    let (client_error, upstream_error) =
        (pin!(error_on(client.stream)), pin!(error_on(upstream.stream)));
    let mut client_error = ErrorWatch::new(client_error);
    let mut upstream_error = ErrorWatch::new(upstream_error);
    poll_fn(|cx| {
        let _ = to_upstream.poll(&mut client, &mut upstream, cx);
        let _ = to_client.poll(&mut upstream, &mut client, cx);
        // A peer whose end of stream was read long ago may still reset the connection, and no half
        // waits for anything in which that would show.
        if to_upstream.is_done() && !to_client.is_done() {
            client_error.poll(&mut client, cx);
        }
        if to_client.is_done() && !to_upstream.is_done() {
            upstream_error.poll(&mut upstream, cx);
        }
        // Nothing more can be delivered to a broken side. The half that comes from it goes on
        // until it has handed over all that arrived before.
        if client.state.gone {
            to_client.give_up();
        }
        if upstream.state.gone {
            to_upstream.give_up();
        }
        if to_upstream.is_done() && to_client.is_done() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
