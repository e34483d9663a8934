//! One pair, from accept to record.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;

use super::account::Account;
use super::admission::Place;
use super::asking::known_target;
use super::entry::Entry;
use super::loops;
use super::reach::{Reached, Unreached, reach};
use super::sampler::Sampler;
use super::shared::{Shared, canonical};
use crate::access::Owner;
use crate::caught::{Panicked, caught};
use crate::conn::{Epoch, Meter};
use crate::failure::Failure;
use crate::ingress::{Refusal, farewell};
use crate::judge::Finish;
use crate::record::{By, How, Outcome, Phase};
use crate::relay::{Leg, Relayed, Terms, Watch, abort, relay};

/// A pair that has its client.
pub(super) struct Session {
    account: Box<Account>,
    client: Box<Leg>,
    /// Whose program the client is, where only the own user's may connect.
    owner: Option<Owner>,
}

/// What becomes of a connection that was accepted.
pub(super) enum Admitted {
    /// It is served.
    Session(Session),
    /// It is refused, and has a record.
    Refused(Session, Failure),
    /// It was refused, closed and counted.
    Counted,
}

impl Session {
    /// Right after accept(2): the clocks, the first look, the pair's number. `local` is our address,
    /// where the listener has no other.
    fn accepted(
        shared: Arc<Shared>,
        stream: TcpStream,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        entry: Arc<Entry>,
        place: Place,
    ) -> Self {
        let local = local.or_else(|| stream.local_addr().ok()).map(canonical);
        let peer = canonical(peer);
        // First of all: the client may close its connection at any moment.
        let owners = shared.owners.as_ref();
        let owner =
            owners.map(|owners| local.map_or(Owner::Unknown, |local| owners.of(peer, local)));
        let epoch = Epoch::now();
        let mut meter = Meter::new(epoch, epoch.start());
        meter.look_at_open(&stream);
        meter.local = local;
        meter.remote = Some(peer);
        let seq = shared.next_seq(&entry);
        let account = Box::new(Account::new(shared, seq, epoch, entry, place));
        Self { account, client: Leg::boxed(stream, meter), owner }
    }

    /// The same, if the client may connect, as far as its address tells.
    pub(super) fn admitted(
        shared: &Arc<Shared>,
        stream: TcpStream,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        entry: Arc<Entry>,
        place: Place,
    ) -> Admitted {
        match shared.admit(peer) {
            Ok(client_place) => {
                let mut session =
                    Self::accepted(Arc::clone(shared), stream, peer, local, entry, place);
                session.account.client_place = client_place;
                Admitted::Session(session)
            }
            Err(failure) => match Self::refused(shared, stream, peer, local, entry, &failure) {
                Some(session) => Admitted::Refused(session, failure),
                None => Admitted::Counted,
            },
        }
    }

    /// A connection that is refused for its client's address. It is closed at once and counted, unless it
    /// gets a record: then it is one to be refused. The kernel is not asked about it, and its program is
    /// not looked for.
    fn refused(
        shared: &Arc<Shared>,
        stream: TcpStream,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        entry: Arc<Entry>,
        failure: &Failure,
    ) -> Option<Self> {
        let seq = shared.next_seq(&entry);
        if !shared.has_record(Some(peer.ip()), failure) {
            entry.connections.refused.fetch_add(1, Ordering::Relaxed);
            abort(stream);
            return None;
        }
        let epoch = Epoch::now();
        let mut meter = Meter::new(epoch, epoch.start());
        meter.local = local.or_else(|| stream.local_addr().ok()).map(canonical);
        meter.remote = Some(canonical(peer));
        let client = Leg::boxed(stream, meter);
        let mut account = Box::new(Account::new(Arc::clone(shared), seq, epoch, entry, None));
        account.asked.mode = account.entry.way.mode();
        account.asked.target = known_target(&account.entry.way, &client).ok().flatten();
        Some(Self { account, client, owner: None })
    }

    /// Ends a connection that is refused for its client's address, and records it.
    pub(super) fn refuse(self, failure: Failure) {
        let Self { mut account, client, .. } = self;
        account.record(&client.abort(), None, Finish::Failed(failure));
    }

    /// Hears the request, dials, relays, records.
    ///
    /// An `async fn` would keep what it has moved out of itself.
    pub(super) fn run(self) -> impl Future<Output = ()> + Send {
        let Self { mut account, mut client, owner } = self;
        async move {
            // Boxed: what hearing and dialling need, a pair that is relayed must not keep.
            let reached = caught(Box::pin(reach(&mut account, &mut client, owner))).await;
            let reached = reached.unwrap_or_else(|Panicked| Err(panicked().into()));
            let Reached { upstream, halves } = match reached {
                Ok(reached) => reached,
                Err(unreached) => return Box::pin(refuse(account, client, unreached)).await,
            };
            account.record_open(&client, &upstream);
            let shared = Arc::clone(&account.shared);
            let Shared { settings, stop, .. } = &*shared;
            let patience = account.patience();
            let terms = Terms { linger: settings.linger, patience, stop };
            let mut sampler;
            let watch: &mut dyn Watch = if settings.events.sample {
                let meters = [&client.state.meter, &upstream.state.meter];
                sampler = Box::new(Sampler::new(&mut account, meters));
                &mut *sampler
            } else {
                &mut *account
            };
            let Relayed { end, client, upstream, turns } =
                relay(client, upstream, halves, terms, Some(watch)).await;
            let finish = match account.has_returned() {
                true => Finish::Failed(Failure::denied(Phase::Relay, loops::returned())),
                false => Finish::Relayed(end, account.story(turns, &client, &upstream)),
            };
            account.record(&client, Some(&upstream), finish);
        }
    }
}

/// Ends a pair that never got to relaying.
async fn refuse(mut account: Box<Account>, mut client: Box<Leg>, unreached: Unreached) {
    let Unreached { refusal: Refusal { failure, reply }, connected } = unreached;
    let is_unwanted =
        failure.phase == Phase::Accept && matches!(failure.how, How::Denied | How::Limit);
    if is_unwanted {
        let address = account.asked.announced_source().or(client.state.meter.remote);
        if !account.shared.has_record(address.map(|address| address.ip()), &failure) {
            client.abort();
            account.leave_unrecorded();
            return;
        }
    }
    if let Some(reply) = &reply {
        farewell(&mut client, reply, &account.shared.stop).await;
    }
    // Who is not spoken to has nobody to talk to: a reset, not an end of stream, tells it so.
    let with_reset = reply.is_none() || client.state.gone;
    let client = client.close(with_reset);
    let connected = connected.map(|leg| leg.close(false));
    account.record(&client, connected.as_ref(), Finish::Failed(failure));
}

/// Before the upstream was reached.
fn panicked() -> Refusal {
    let (outcome, how) = (Outcome::Error, How::Error);
    let fault = Some(Panicked::fault());
    let failure = Failure { phase: Phase::Request, outcome, by: By::Proxy, how, fault };
    Refusal { failure, reply: None }
}
