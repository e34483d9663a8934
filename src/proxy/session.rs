//! One pair, from accept to record.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;

use super::admission::Place;
use super::client_request::known_target;
use super::connect::{ConnectedPair, connect_upstream};
use super::connection_log::ConnectionLog;
use super::entry::Entry;
use super::kept_client::serve_further;
use super::relaying::{Relaying, panicked, refuse, relay_exchange};
use super::shared::{Shared, canonical};
use crate::access::Owner;
use crate::catch_panic::{CaughtPanic, catch_panic};
use crate::conn::{Epoch, Meter};
use crate::failure::Failure;
use crate::judge::PairEnd;
use crate::relay::{Leg, abort};

/// A pair with an accepted client.
pub(super) struct Session {
    conn_log: Box<ConnectionLog>,
    client: Box<Leg>,
    /// Owner of the client's program, if only programs of the own user may connect. Boxed, because the
    /// task of the pair keeps its space.
    owner: Option<Box<Owner>>,
}

/// The result of accepting a connection.
pub(super) enum AcceptResult {
    /// It is served.
    Session(Session),
    /// It is refused and gets a record.
    Refused(Session, Failure),
    /// It was refused, closed and counted.
    Counted,
}

impl Session {
    /// Starts a session right after accept(2): reads the clocks, takes the first snapshot, assigns
    /// the number. `local` is our address, if the listener has only one.
    fn new(
        shared: Arc<Shared>,
        stream: TcpStream,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        entry: Arc<Entry>,
        place: Place,
    ) -> Self {
        let local = local.or_else(|| stream.local_addr().ok()).map(canonical);
        let peer = canonical(peer);
        // This comes first: the client may close its connection at any time.
        let owners = shared.owners.as_ref();
        let owner = owners.map(|owners| {
            Box::new(local.map_or(Owner::Unknown, |local| owners.owner_of(peer, local)))
        });
        let epoch = Epoch::now();
        let mut meter = Meter::new(epoch, epoch.start());
        meter.snapshot_open(&stream);
        meter.local = local;
        meter.remote = Some(peer);
        let seq = shared.next_seq(&entry);
        let conn_log = Box::new(ConnectionLog::new(shared, seq, epoch, entry, place));
        Self { conn_log, client: Leg::boxed(stream, meter), owner }
    }

    /// Starts a session, if the client's address may connect.
    pub(super) fn accept(
        shared: &Arc<Shared>,
        stream: TcpStream,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        entry: Arc<Entry>,
        place: Place,
    ) -> AcceptResult {
        match shared.admit(peer) {
            Ok(client_place) => {
                let mut session = Self::new(Arc::clone(shared), stream, peer, local, entry, place);
                session.conn_log.client_place = client_place;
                AcceptResult::Session(session)
            }
            Err(failure) => match Self::new_refused(shared, stream, peer, local, entry, &failure) {
                Some(session) => AcceptResult::Refused(session, failure),
                None => AcceptResult::Counted,
            },
        }
    }

    /// A connection whose client's address is refused. Without a record, it is closed at once and
    /// counted. With one, the session is returned, without TCP information and without a look-up of
    /// the program.
    fn new_refused(
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
        let mut conn_log =
            Box::new(ConnectionLog::new(Arc::clone(shared), seq, epoch, entry, None));
        conn_log.request_info.mode = conn_log.entry.kind.mode();
        conn_log.request_info.target = known_target(&conn_log.entry.kind, &client).ok().flatten();
        Some(Self { conn_log, client, owner: None })
    }

    /// Closes a connection whose client's address is refused, and writes its record.
    pub(super) fn refuse(self, failure: Failure) {
        let Self { mut conn_log, client, .. } = self;
        conn_log.record(&client.abort(), None, PairEnd::Failed(failure));
    }

    /// Reads the request, dials, relays, and writes the record.
    ///
    /// Not an `async fn`, which would keep space for what is moved out of it.
    pub(super) fn run(self) -> impl Future<Output = ()> + Send {
        let Self { mut conn_log, mut client, owner } = self;
        async move {
            // Boxed, so that relaying does not keep the space that reading the request and dialling
            // need.
            let connected_pair = catch_panic(Box::pin(connect_upstream(
                &mut conn_log,
                &mut client,
                owner.map(|owner| *owner),
            )))
            .await;
            let connected_pair =
                connected_pair.unwrap_or_else(|CaughtPanic| Err(panicked().into()));
            let ConnectedPair { upstream, halves, is_parent } = match connected_pair {
                Ok(connected_pair) => connected_pair,
                Err(error) => return Box::pin(refuse(conn_log, client, error)).await,
            };
            conn_log.record_open(&client, &upstream);
            let relaying = relay_exchange(conn_log, client, upstream, halves, None).await;
            if let Relaying::AtRest(rest) = relaying {
                Box::pin(serve_further(rest, is_parent)).await;
            }
        }
    }
}
