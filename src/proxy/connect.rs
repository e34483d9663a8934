//! Connects a client to its upstream and prepares relaying.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use super::client_gone::{client_gone, has_ended};
use super::client_request::{read_client_request, request_origin};
use super::connection_log::ConnectionLog;
use super::loops;
use super::settings::Settings;
use super::shared::Shared;
use crate::access::Owner;
use crate::clock::CompactInstant;
use crate::conn::Meter;
use crate::dial::{self, DialledStream, RemoteEnd, Via, hops_so_far, write_to_peer};
use crate::failure::Failure;
use crate::ingress::{Editors, Endpoints, Refusal, Request, RequestInfo};
use crate::observe::{ClientObserver, Observations, UpstreamObserver};
use crate::record::{By, Mode, Outcome, Phase};
use crate::relay::{Half, Halves, Leg, ObservingEditor, TurnTracker};
use crate::target::Target;

/// A pair with a connected upstream.
pub(super) struct ConnectedPair {
    pub(super) upstream: Box<Leg>,
    pub(super) halves: Box<Halves>,
    /// The upstream is a parent proxy that takes the client's own requests.
    pub(super) is_parent: bool,
}

/// Why a pair has no upstream. Boxed in results: the task of a pair keeps their space while it relays.
pub(super) struct ConnectError {
    pub(super) refusal: Refusal,
    /// A connection that did not reach the target: to a parent proxy, or one that broke at once.
    pub(super) connected: Option<Box<Leg>>,
}

impl From<Refusal> for Box<ConnectError> {
    fn from(refusal: Refusal) -> Self {
        Self::new(ConnectError { refusal, connected: None })
    }
}

/// A connection to the upstream.
struct UpstreamConnection<'s> {
    leg: Box<Leg>,
    /// The parent proxy at its other end, if it takes the client's own request.
    parent: Option<&'s Via>,
}

/// Why dialling failed.
struct DialError {
    failure: Failure,
    /// A connection that did not reach the target.
    leg: Option<Box<Leg>>,
}

impl From<Failure> for DialError {
    fn from(failure: Failure) -> Self {
        Self { failure, leg: None }
    }
}

/// Reads the client's request, connects to the target and prepares relaying.
pub(super) async fn connect_upstream(
    conn_log: &mut ConnectionLog,
    client: &mut Leg,
    owner: Option<Owner>,
) -> Result<ConnectedPair, Box<ConnectError>> {
    let request = read_client_request(conn_log, client, owner).await?;
    connect_request(conn_log, client, request).await
}

/// Connects to the target of a request that was read, and prepares relaying.
pub(super) async fn connect_request(
    conn_log: &mut ConnectionLog,
    client: &mut Leg,
    mut request: Request,
) -> Result<ConnectedPair, Box<ConnectError>> {
    let shared = Arc::clone(&conn_log.shared);
    let request_origin = request_origin(conn_log, client);
    let target = &request.target;
    let hops = client.state.meter.remote.map_or(0, |from| hops_so_far(&client.stream, from));
    let mut client_ended = None;
    let allowed = shared.settings.access.check_target(request_origin, target);
    let connected = match allowed.and_then(|()| shared.loops.check_hops(hops)) {
        Err(fault) => Err(Failure::denied(Phase::Request, fault).into()),
        Ok(()) => {
            let mut client_gone =
                pin!(client_gone(&shared.stop, &client.stream, &mut client_ended));
            let limits = dial::Limits {
                timeout: shared.settings.connect_timeout,
                hops: Some(hops),
                client: conn_log
                    .request_info
                    .announced_source()
                    .or(client.state.meter.remote)
                    .map(|address| address.ip()),
                check_address: &|address| shared.check_address(request_origin, target, address),
                check_name: &|| shared.settings.access.check_unresolved(request_origin, target),
                check_parent: &|address| shared.check_loop(address),
            };
            let connected =
                dial_upstream(&shared, conn_log, target, limits, client_gone.as_mut()).await;
            conn_log.count_by_target(target);
            connected
        }
    };
    // Dialling may have failed before the end of stream was noticed.
    if let Err(DialError { failure, .. }) = &connected
        && failure.by != By::Client
        && client_ended.is_none()
        && has_ended(&client.stream).await
    {
        client_ended = Some(CompactInstant::now());
    }
    if let Some(at) = client_ended {
        client.state.meter.rx.ended.get_or_insert(at);
    }
    let with_header = match connected {
        Ok(UpstreamConnection { leg: mut upstream, parent }) => {
            match send_proxy_header(conn_log, client, &mut upstream).await {
                Ok(()) => Ok(UpstreamConnection { leg: upstream, parent }),
                Err(failure) => Err(DialError { failure, leg: Some(upstream) }),
            }
        }
        Err(error) => Err(error),
    };
    let to_error = |DialError { failure, leg: connected }| {
        let failure = match conn_log.has_returned() {
            true => Failure::denied(failure.phase, loops::returned()),
            false => failure,
        };
        let gone = failure.by == By::Client;
        // What a rule refuses was never asked of the parent.
        let via = conn_log
            .dial_log
            .via()
            .filter(|_| failure.outcome != Outcome::Denied || failure.by != By::Proxy);
        let reply = match gone {
            true => None,
            false => request.reply_format.failure_reply(target, via.as_deref(), &failure),
        };
        Box::new(ConnectError { refusal: Refusal { failure, reply }, connected })
    };
    let UpstreamConnection { leg: mut upstream, parent } = with_header.map_err(to_error)?;

    if let (Some(parent), Some(exchange)) = (parent, &conn_log.request_info.exchange) {
        request.rewrite_for_parent(exchange, parent.authorization().as_deref());
    }
    upstream.state.meter.own_tx += request.authored as u64;
    let granted = request.reply_format.success(upstream.state.meter.local);
    client.state.meter.own_tx += granted.len() as u64;
    let is_parent = parent.is_some();
    let editors = request.editors.unwrap_or_else(|| observers(conn_log, &request.first));
    let is_local = [&client.state.meter, &upstream.state.meter].map(Meter::is_local);
    let mut turns =
        TurnTracker::new(Some(Arc::clone(&shared.stall_detector)), CompactInstant::now(), is_local);
    if conn_log.wants_turns() {
        turns.keep_finished();
    }
    if conn_log.previous.is_some()
        && let Some(opened) = &client.state.meter.open_snapshot
        && let Some(info) = opened.unpack().linux()
    {
        turns.begin_client_at(&info);
    }
    if !request.first.is_empty() {
        turns.begin_with_request(editors.to_upstream.content_kind());
    }
    let halves = halves([request.first, granted], editors, request.held, turns);
    Ok(ConnectedPair { upstream, halves, is_parent })
}

/// The halves of a pair: with the first bytes to write in each direction, and those held back that
/// the client has sent for a next request.
pub(super) fn halves(
    [to_upstream, to_client]: [Vec<u8>; 2],
    editors: Editors,
    held: Vec<u8>,
    turns: TurnTracker,
) -> Box<Halves> {
    let mut halves = Box::new(Halves {
        to_upstream: Half::with_pending(to_upstream),
        to_client: Half::with_pending(to_client),
        turns,
    });
    halves.to_upstream.set_held(held, CompactInstant::now());
    halves.to_upstream.set_editor(editors.to_upstream);
    halves.to_client.set_editor(editors.to_client);
    halves
}

/// Observers of a tunnel, which first see the bytes after its request.
fn observers(conn_log: &mut ConnectionLog, first: &[u8]) -> Editors {
    let observations = Arc::new(Observations::default());
    conn_log.observations = Some(Arc::clone(&observations));
    Editors {
        to_upstream: ObservingEditor::boxed(ClientObserver::new(Arc::clone(&observations)), first),
        to_client: ObservingEditor::boxed(UpstreamObserver::new(observations), &[]),
    }
}

/// Dials the target or its parent proxy, and opens a tunnel through a parent that does not take the
/// client's own request. A failure of the tunnel comes with the connection to the parent.
async fn dial_upstream<'s>(
    shared: &'s Shared,
    conn_log: &mut ConnectionLog,
    target: &Target,
    limits: dial::Limits<'_>,
    mut client_gone: Pin<&mut impl Future<Output = Failure>>,
) -> Result<UpstreamConnection<'s>, DialError> {
    // The PROXY protocol header is for the target, so the request needs a tunnel.
    let Settings { http_via, tunnel_via, forward_via, send_proxy, .. } = &shared.settings;
    let RequestInfo { mode, exchange, is_own_forward, .. } = &conn_log.request_info;
    let is_http = exchange.is_some();
    let via = match mode {
        Some(Mode::Forward) => forward_via,
        _ if is_http => http_via,
        _ => tunnel_via,
    };
    // A request that names our own listener means nothing to a parent.
    let in_http = is_http && send_proxy.is_none() && !is_own_forward;
    let log = &mut conn_log.dial_log;
    let dialling =
        shared.dialler.dial(target, via.as_ref(), in_http, limits, log, client_gone.as_mut());
    let DialledStream { stream, remote_end } = dialling.await?;
    let mut leg = conn_log.upstream_leg(stream);
    let tunnel = match remote_end {
        RemoteEnd::Target => return Ok(UpstreamConnection { leg, parent: None }),
        RemoteEnd::Parent(via) => return Ok(UpstreamConnection { leg, parent: Some(via) }),
        RemoteEnd::Tunnel(tunnel) => tunnel,
    };
    let Leg { stream, state } = &mut *leg;
    let opening = tunnel.open(stream, &mut state.meter, &mut conn_log.dial_log, client_gone);
    match opening.await {
        Ok(()) => Ok(UpstreamConnection { leg, parent: None }),
        Err(failure) => Err(DialError { failure, leg: Some(leg) }),
    }
}

/// Sends the upstream a PROXY protocol header, before all of the client's bytes.
async fn send_proxy_header(
    conn_log: &ConnectionLog,
    client: &Leg,
    upstream: &mut Leg,
) -> Result<(), Failure> {
    let Some(version) = conn_log.shared.settings.send_proxy else { return Ok(()) };
    let RequestInfo { mode, target, announced, .. } = &conn_log.request_info;
    let meter = &client.state.meter;
    let destination = match mode {
        Some(Mode::Redirect | Mode::Tproxy) => target.as_ref().and_then(Target::literal),
        _ => meter.local,
    };
    let own = || Some(Endpoints::new(meter.remote?, destination?));
    let Leg { stream, state } = upstream;
    let announced = announced.as_deref().copied();
    write_to_peer(stream, &mut state.meter, &version.header(announced.or_else(own))).await?;
    state.meter.payload_begins();
    Ok(())
}
