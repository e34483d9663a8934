//! One pair, from accept to record.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Shared;
use super::account::{Account, Finish};
use crate::conn::{Epoch, Meter};
use crate::dial::{Dialled, Failure, Limits};
use crate::fault::Fault;
use crate::ingress::Target;
use crate::record::{By, How, Outcome, Phase};
use crate::relay::{Leg, relay};

/// A pair that has its client.
pub(super) struct Session {
    account: Box<Account>,
    client: Box<Leg>,
    target: Target,
}

impl Session {
    /// Right after accept(2): the clocks, the first look, the pair's number. `local` is our address,
    /// where the listener has no other.
    pub(super) fn accepted(
        shared: Arc<Shared>,
        stream: TcpStream,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        listener: Arc<str>,
        target: Target,
    ) -> Self {
        let epoch = Epoch::now();
        let mut meter = Meter::new(epoch, epoch.start());
        meter.look_at_open(&stream);
        meter.local = local.or_else(|| stream.local_addr().ok()).map(canonical);
        meter.remote = Some(canonical(peer));
        let seq = shared.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let account = Box::new(Account::new(shared, seq, epoch, listener, &target));
        Self { account, client: Leg::boxed(stream, meter), target }
    }

    /// Dials, relays, records.
    pub(super) async fn run(self) {
        let Self { mut account, client, target } = self;
        let shared = Arc::clone(&account.shared);
        let reached = {
            let mut abandoned = pin!(abandoned(&shared, &client.stream));
            let limits = Limits {
                timeout: shared.settings.connect_timeout,
                is_loop: &|address| shared.is_own_listener(address),
            };
            reach(&shared, &mut account, &target, limits, abandoned.as_mut()).await
        };
        let upstream = match reached {
            Ok(upstream) => upstream,
            Err(Unreached { failure, parent }) => {
                // The client has nobody to talk to: a reset, not an end of stream, tells it so.
                let client = client.close(true);
                let parent = parent.map(|leg| leg.close(false));
                return account.record(&client, parent.as_ref(), Finish::Failed(failure));
            }
        };

        account.record_open(&client, &upstream);
        let relayed = relay(client, upstream, shared.settings.linger, &shared.stop).await;
        account.record(&relayed.client, Some(&relayed.upstream), Finish::Relayed(relayed.end));
    }
}

/// A target that was not reached.
struct Unreached {
    failure: Failure,
    /// The connection to the parent proxy that would not lead there.
    parent: Option<Box<Leg>>,
}

/// Dials, and asks a parent proxy to do its part.
async fn reach(
    shared: &Shared,
    account: &mut Account,
    target: &Target,
    limits: Limits<'_>,
    mut abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<Box<Leg>, Unreached> {
    let log = &mut account.dialled;
    let dialled = shared.dialler.dial(target, limits, log, abandoned.as_mut()).await;
    let Dialled { stream, tunnel } =
        dialled.map_err(|failure| Unreached { failure, parent: None })?;
    let mut leg = account.upstream_leg(stream);
    let Some(tunnel) = tunnel else { return Ok(leg) };
    let Leg { stream, state } = &mut *leg;
    let opening = tunnel.open(stream, &mut state.meter, &mut account.dialled, abandoned);
    // Boxed: few tasks do it.
    match Box::pin(opening).await {
        Ok(()) => Ok(leg),
        Err(failure) => Err(Unreached { failure, parent: Some(leg) }),
    }
}

/// Ready when there is nobody left to dial for: the client reset its connection, or the proxy must
/// stop. A client's end of stream is no reason: it may be all of its request.
async fn abandoned(shared: &Shared, client: &TcpStream) -> Failure {
    tokio::select! {
        _ = client.ready(Interest::ERROR) => Failure {
            phase: Phase::Connect,
            outcome: Outcome::Reset,
            by: By::Client,
            how: How::Reset,
            fault: client.take_error().ok().flatten().as_ref().map(Fault::from),
        },
        () = shared.stop.cancelled() => Failure {
            phase: Phase::Connect,
            outcome: Outcome::Shutdown,
            by: By::Proxy,
            how: How::Shutdown,
            fault: None,
        },
    }
}

/// A socket that takes both families shows IPv4 peers as `::ffff:a.b.c.d`.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        // A link-local address keeps its scope.
        IpAddr::V6(_) => address,
    }
}
