//! One pair, from accept to record.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Shared;
use super::account::{Account, Finish};
use crate::conn::{Epoch, Meter};
use crate::dial::{Failure, Limits};
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
        let dialled = {
            let mut abandoned = pin!(abandoned(&shared, &client.stream));
            let limits = Limits {
                timeout: shared.settings.connect_timeout,
                is_loop: &|address| shared.is_own_listener(address),
            };
            shared.dialler.dial(&target, limits, &mut account.dialled, abandoned.as_mut()).await
        };
        let stream = match dialled {
            Ok(stream) => stream,
            Err(failure) => {
                // The client has nobody to talk to: a reset, not an end of stream, tells it so.
                let client = client.close(true);
                return account.record(&client, None, Finish::Failed(failure));
            }
        };

        let upstream = account.upstream_leg(stream);
        account.record_open(&client, &upstream);
        let relayed = relay(client, upstream, shared.settings.linger, &shared.stop).await;
        account.record(&relayed.client, Some(&relayed.upstream), Finish::Relayed(relayed.end));
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
