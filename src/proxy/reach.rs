//! From a client to its upstream: the connection, and how relaying begins.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use super::account::Account;
use super::asking::{asker, request};
use super::client_end::{abandoned, has_ended};
use super::loops;
use super::settings::Settings;
use super::shared::Shared;
use crate::access::Owner;
use crate::clock::Moment;
use crate::conn::Meter;
use crate::dial::{self, Dialled, LeadsTo, Via, hops_so_far, say};
use crate::failure::Failure;
use crate::ingress::{Asked, Editors, Endpoints, Refusal};
use crate::observe::{ClientObserver, Sight, UpstreamObserver};
use crate::record::{By, Mode, Phase};
use crate::relay::{Half, Halves, Leg, Observed, Turns};
use crate::target::Target;

/// A pair that has its upstream.
pub(super) struct Reached {
    pub(super) upstream: Box<Leg>,
    pub(super) halves: Box<Halves>,
}

/// A pair that got no upstream.
pub(super) struct Unreached {
    pub(super) refusal: Refusal,
    /// A connection that did not lead there: to a parent proxy, or one that broke at once.
    pub(super) connected: Option<Box<Leg>>,
}

impl From<Refusal> for Unreached {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, connected: None }
    }
}

/// A connection that leads to the upstream.
struct Connected<'s> {
    leg: Box<Leg>,
    /// The parent proxy that it leads to, which takes the client's own request.
    parent: Option<&'s Via>,
}

/// There is no such connection.
struct Unconnected {
    failure: Failure,
    /// One that did not lead there.
    leg: Option<Box<Leg>>,
}

impl From<Failure> for Unconnected {
    fn from(failure: Failure) -> Self {
        Self { failure, leg: None }
    }
}

/// The upstream that the client asks for, and how relaying begins.
pub(super) async fn reach(
    account: &mut Account,
    client: &mut Leg,
    owner: Option<Owner>,
) -> Result<Reached, Unreached> {
    let shared = Arc::clone(&account.shared);
    let mut request = request(account, client, owner).await?;
    let asker = asker(account, client);
    let target = &request.target;
    let hops = client.state.meter.remote.map_or(0, |from| hops_so_far(&client.stream, from));
    let refused = shared.settings.access.refuse_target(asker, target);
    let mut client_ended = None;
    let connected = match refused.or_else(|| shared.loops.refuse_hop(hops)) {
        Some(fault) => Err(Failure::denied(Phase::Request, fault).into()),
        None => {
            let mut abandoned = pin!(abandoned(&shared.stop, &client.stream, &mut client_ended));
            let limits = dial::Limits {
                timeout: shared.settings.connect_timeout,
                hops: Some(hops),
                client: account
                    .asked
                    .announced_source()
                    .or(client.state.meter.remote)
                    .map(|address| address.ip()),
                refuse: &|address| shared.refuse_address(asker, target, address),
                refuse_name: &|| shared.settings.access.refuse_unresolved(asker, target),
                refuse_parent: &|address| shared.refuse_loop(address),
            };
            let connected = connect(&shared, account, target, limits, abandoned.as_mut()).await;
            account.count_by_target(target);
            connected
        }
    };
    // Dialling may have failed before anybody looked.
    if let Err(Unconnected { failure, .. }) = &connected
        && failure.by != By::Client
        && client_ended.is_none()
        && has_ended(&client.stream).await
    {
        client_ended = Some(Moment::now());
    }
    if let Some(at) = client_ended {
        client.state.meter.rx.ended.get_or_insert(at);
    }
    let introduced = match connected {
        Ok(Connected { leg: mut upstream, parent }) => {
            match introduce(account, client, &mut upstream).await {
                Ok(()) => Ok(Connected { leg: upstream, parent }),
                Err(failure) => Err(Unconnected { failure, leg: Some(upstream) }),
            }
        }
        Err(unconnected) => Err(unconnected),
    };
    let unreached = |Unconnected { failure, leg: connected }| {
        let failure = match account.has_returned() {
            true => Failure::denied(failure.phase, loops::returned()),
            false => failure,
        };
        let gone = failure.by == By::Client;
        let reply = if gone { None } else { request.answer.refused(target, &failure) };
        Unreached { refusal: Refusal { failure, reply }, connected }
    };
    let Connected { leg: mut upstream, parent } = introduced.map_err(unreached)?;

    if let (Some(parent), Some(exchange)) = (parent, &account.asked.exchange) {
        request.turn_to_parent(exchange, parent.authorization().as_deref());
    }
    upstream.state.meter.own_tx += request.authored as u64;
    let granted = request.answer.granted(upstream.state.meter.local);
    client.state.meter.own_tx += granted.len() as u64;
    let editors = request.editors.unwrap_or_else(|| observers(account, &request.first));
    let is_local = [&client.state.meter, &upstream.state.meter].map(Meter::is_local);
    let mut turns = Turns::new(Some(Arc::clone(&shared.pulse)), Moment::now(), is_local);
    if account.heeds_turns() {
        turns.tell_each();
    }
    if !request.first.is_empty() {
        turns.begin_with(editors.to_upstream.speech());
    }
    let mut halves = Box::new(Halves {
        to_upstream: Half::beginning_with(request.first),
        to_client: Half::beginning_with(granted),
        turns,
    });
    halves.to_upstream.edit_by(editors.to_upstream);
    halves.to_client.edit_by(editors.to_client);
    Ok(Reached { upstream, halves })
}

/// Who sees what passes a tunnel, beginning with what came behind the request for it.
fn observers(account: &mut Account, first: &[u8]) -> Editors {
    let sight = Arc::new(Sight::default());
    account.sight = Some(Arc::clone(&sight));
    Editors {
        to_upstream: Observed::by(ClientObserver::new(Arc::clone(&sight)), first),
        to_client: Observed::by(UpstreamObserver::new(sight), &[]),
    }
}

/// Dials, and asks a parent proxy for a tunnel, unless it takes the client's own request: then it is
/// told which. A failure comes with the connection to the parent that would not lead to the target.
async fn connect<'s>(
    shared: &'s Shared,
    account: &mut Account,
    target: &Target,
    limits: dial::Limits<'_>,
    mut abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<Connected<'s>, Unconnected> {
    // Whoever is told of the client is the target.
    let Settings { http_via, tunnel_via, send_proxy, .. } = &shared.settings;
    let is_http = account.asked.exchange.is_some();
    let via = if is_http { http_via } else { tunnel_via };
    let in_http = is_http && send_proxy.is_none();
    let log = &mut account.dialled;
    let dialling =
        shared.dialler.dial(target, via.as_ref(), in_http, limits, log, abandoned.as_mut());
    let Dialled { stream, leads_to } = dialling.await?;
    let mut leg = account.upstream_leg(stream);
    let tunnel = match leads_to {
        LeadsTo::Target => return Ok(Connected { leg, parent: None }),
        LeadsTo::Parent(via) => return Ok(Connected { leg, parent: Some(via) }),
        LeadsTo::Tunnel(tunnel) => tunnel,
    };
    let Leg { stream, state } = &mut *leg;
    let opening = tunnel.open(stream, &mut state.meter, &mut account.dialled, abandoned);
    match opening.await {
        Ok(()) => Ok(Connected { leg, parent: None }),
        Err(failure) => Err(Unconnected { failure, leg: Some(leg) }),
    }
}

/// Tells the upstream of the client, before all that the client says.
async fn introduce(account: &Account, client: &Leg, upstream: &mut Leg) -> Result<(), Failure> {
    let Some(version) = account.shared.settings.send_proxy else { return Ok(()) };
    let Asked { mode, target, announced, .. } = &account.asked;
    let meter = &client.state.meter;
    let destination = match mode {
        Some(Mode::Redirect | Mode::Tproxy) => target.as_ref().and_then(Target::literal),
        _ => meter.local,
    };
    let own = || Some(Endpoints::new(meter.remote?, destination?));
    let Leg { stream, state } = upstream;
    let announced = announced.as_deref().copied();
    say(stream, &mut state.meter, &version.header(announced.or_else(own))).await?;
    state.meter.payload_begins();
    Ok(())
}
