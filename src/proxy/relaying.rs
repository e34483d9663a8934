//! Relays the exchanges of a pair to its record, and ends pairs that are never relayed.

use std::future::Future;
use std::sync::Arc;

use super::connect::ConnectError;
use super::connection_log::ConnectionLog;
use super::loops;
use super::sampler::Sampler;
use super::shared::Shared;
use crate::catch_panic::CaughtPanic;
use crate::failure::Failure;
use crate::ingress::{HttpExchange, Refusal, send_error_and_drain};
use crate::judge::PairEnd;
use crate::record::{By, How, Outcome, Phase};
use crate::relay::{
    Halves, Leg, LegState, Monitor, PeerEnd, RelayEnd, RelayLimits, RelayOutcome, Relayed,
    RestingPair, TurnTracker, relay,
};

/// The result of relaying an exchange.
pub(super) enum Relaying {
    /// It is over, and the client's connection stays open.
    AtRest(PairAtRest),
    /// The pair has ended, perhaps by the client.
    Ended(Option<Box<PeerEnd>>),
}

/// A pair between two exchanges.
pub(super) struct PairAtRest {
    pub(super) conn_log: Box<ConnectionLog>,
    pub(super) resting: Box<RestingPair>,
}

/// Relays a pair, and writes its record; or returns the pair when an exchange is over and the client's
/// connection stays open. `later` is that exchange unless it is the pair's first.
#[expect(clippy::manual_async_fn, reason = "it would keep its arguments twice")]
pub(super) fn relay_exchange(
    mut conn_log: Box<ConnectionLog>,
    client: Box<Leg>,
    upstream: Box<Leg>,
    halves: Box<Halves>,
    later: Option<Arc<HttpExchange>>,
) -> impl Future<Output = Relaying> + Send {
    async move {
        let shared = Arc::clone(&conn_log.shared);
        let Shared { settings, stop, draining, .. } = &*shared;
        let timeouts = conn_log.timeouts();
        let draining = conn_log.request_info.exchange.is_some().then_some(draining);
        let limits = RelayLimits { linger: &settings.linger, timeouts, stop, draining };
        let mut sampler = None;
        let monitor: &mut dyn Monitor = if settings.events.sample {
            let meters = [&client.state.meter, &upstream.state.meter];
            &mut **sampler.insert(Box::new(Sampler::new(&mut conn_log, meters)))
        } else {
            &mut *conn_log
        };
        let relayed = relay(client, upstream, halves, limits, Some(monitor)).await;
        let samples = sampler.map(|sampler| sampler.into_state());
        conn_log.sampler = samples;
        if let (Some(first), Some(later)) = (&conn_log.request_info.exchange, later) {
            first.absorb(&later);
        }
        let RelayOutcome { end, client, upstream, turns, dropped } = match relayed {
            Relayed::AtRest(resting) => return Relaying::AtRest(PairAtRest { conn_log, resting }),
            Relayed::Ended(outcome) => *outcome,
        };
        if let Some(exchange) = &conn_log.request_info.exchange {
            exchange.count_discarded(dropped);
        }
        record_relayed(&mut conn_log, end, &client, &upstream, turns);
        Relaying::Ended(client.ended)
    }
}

/// Writes the record of a pair that was relayed.
pub(super) fn record_relayed(
    conn_log: &mut ConnectionLog,
    end: RelayEnd,
    client: &LegState,
    upstream: &LegState,
    turns: TurnTracker,
) {
    let finish = match conn_log.has_returned() {
        true => PairEnd::Failed(Failure::denied(Phase::Relay, loops::returned())),
        false => PairEnd::Relayed(end, conn_log.breakdown(turns, client, upstream)),
    };
    conn_log.record(client, Some(upstream), finish);
}

/// Ends a pair that was never relayed.
pub(super) async fn refuse(
    mut conn_log: Box<ConnectionLog>,
    mut client: Box<Leg>,
    error: Box<ConnectError>,
) {
    let ConnectError { refusal: Refusal { failure, reply }, connected } = *error;
    let is_unwanted =
        failure.phase == Phase::Accept && matches!(failure.how, How::Denied | How::Limit);
    if is_unwanted {
        let address = conn_log.request_info.announced_source().or(client.state.meter.remote);
        if !conn_log.shared.has_record(address.map(|address| address.ip()), &failure) {
            client.abort();
            conn_log.skip_record();
            return;
        }
    }
    if let Some(reply) = &reply {
        send_error_and_drain(&mut client, reply, &conn_log.shared.stop).await;
    }
    // Without a reply, the client gets a reset instead of an end of stream.
    let with_reset = reply.is_none() || client.state.is_broken;
    let client = client.close(with_reset);
    let connected = connected.map(|leg| leg.close(false));
    conn_log.record(&client, connected.as_ref(), PairEnd::Failed(failure));
}

/// The refusal after a panic before relaying.
pub(super) fn panicked() -> Refusal {
    let (outcome, how) = (Outcome::Error, How::Error);
    let fault = Some(CaughtPanic::fault());
    let failure = Failure { phase: Phase::Request, outcome, by: By::Proxy, how, fault };
    Refusal { failure, reply: None }
}
