//! One pair, from accept to record.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Shared;
use super::account::{Account, Finish};
use crate::conn::{Epoch, Meter};
use crate::dial::{Failure, Tried, dial};
use crate::fault::Fault;
use crate::ingress::Target;
use crate::record::{By, How, Outcome, Phase};
use crate::relay::{Leg, relay};

/// A pair that has its client.
pub(super) struct Session {
    account: Account,
    client: Leg,
    target: Target,
}

impl Session {
    /// Right after accept(2): the clocks, the first look, the pair's number.
    pub(super) fn accepted(
        shared: Arc<Shared>,
        stream: TcpStream,
        peer: SocketAddr,
        listener: Arc<str>,
        target: Target,
    ) -> Self {
        let epoch = Epoch::now();
        let mut meter = Meter::new(epoch, epoch.start());
        meter.look_at_open(&stream);
        meter.local = stream.local_addr().ok().map(canonical);
        meter.remote = Some(canonical(peer));
        let seq = shared.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let account = Account::new(shared, seq, epoch, listener, &target);
        Self { account, client: Leg::new(stream, meter), target }
    }

    /// Dials, relays, records.
    pub(super) async fn run(self) {
        let Self { mut account, client, target } = self;
        let shared = Arc::clone(&account.shared);
        let mut tried = Tried::default();
        let dialled = {
            let mut abandoned = pin!(abandoned(&shared, &client.stream));
            dial(&target, shared.settings.connect_timeout, &mut tried, abandoned.as_mut()).await
        };
        account.tried = tried;
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
        account.record(&relayed.client, Some(&relayed.upstream), Finish::Relayed(relayed.over));
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
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
