//! One pair, from accept to record.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::account::Account;
use super::admission::{ClientPlace, Place};
use super::listener::Entry;
use super::loops;
use super::sampler::Sampler;
use super::{Settings, Shared};
use crate::access::{Asker, Owner};
use crate::caught::{Panicked, caught};
use crate::clock::{self, Moment};
use crate::conn::{Epoch, Meter};
use crate::dial::{self, Dialled, LeadsTo, Via, hops_so_far, say};
use crate::failure::Failure;
use crate::fault::Fault;
use crate::ingress::{
    Answer, Asked, Conditions, Dialogue, Editors, Endpoints, Refusal, Request, Target, Way,
    farewell, hear, hear_announced, original_destination,
};
use crate::judge::Finish;
use crate::observe::{ClientObserver, Sight, UpstreamObserver};
use crate::record::{By, How, Mode, Outcome, Phase};
use crate::relay::{
    Half, Halves, Leg, Observed, PeerEnd, Relayed, Terms, Turns, Watch, abort, relay,
};

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
            let (upstream, halves) = match reached.unwrap_or_else(|Panicked| Err(panicked().into()))
            {
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
                true => Finish::Failed(denied(Phase::Relay, loops::returned())),
                false => Finish::Relayed(end, account.story(turns, &client, &upstream)),
            };
            account.record(&client, Some(&upstream), finish);
        }
    }
}

/// A pair that got no upstream.
struct Unreached {
    refusal: Refusal,
    /// A connection that did not lead there: to a parent proxy, or one that broke at once.
    connected: Option<Box<Leg>>,
}

impl From<Refusal> for Unreached {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, connected: None }
    }
}

/// The upstream that the client asks for, and how relaying begins.
async fn reach(
    account: &mut Account,
    client: &mut Leg,
    owner: Option<Owner>,
) -> Result<(Box<Leg>, Box<Halves>), Unreached> {
    let shared = Arc::clone(&account.shared);
    let mut request = request(account, client, owner).await?;
    let asker = asker(account, client);
    let target = &request.target;
    let hops = client.state.meter.remote.map_or(0, |from| hops_so_far(&client.stream, from));
    let refused = shared.settings.access.refuse_target(asker, target);
    let mut client_ended = None;
    let connected = match refused.or_else(|| shared.refuse_hop(hops)) {
        Some(fault) => Err((denied(Phase::Request, fault), None)),
        None => {
            let mut abandoned = pin!(abandoned(&shared, &client.stream, &mut client_ended));
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
    if let Err((failure, _)) = &connected
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
        Ok((mut upstream, parent)) => match introduce(account, client, &mut upstream).await {
            Ok(()) => Ok((upstream, parent)),
            Err(failure) => Err((failure, Some(upstream))),
        },
        Err(unconnected) => Err(unconnected),
    };
    let (mut upstream, parent) = introduced.map_err(|(failure, connected)| {
        let failure = match account.has_returned() {
            true => denied(failure.phase, loops::returned()),
            false => failure,
        };
        let gone = failure.by == By::Client;
        let reply = if gone { None } else { request.answer.refused(target, &failure) };
        Unreached { refusal: Refusal { failure, reply }, connected }
    })?;

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
    Ok((upstream, halves))
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

/// What the client asks for.
async fn request(
    account: &mut Account,
    client: &mut Leg,
    owner: Option<Owner>,
) -> Result<Request, Refusal> {
    let shared = Arc::clone(&account.shared);
    let access = &shared.settings.access;
    let way = &account.entry.way;
    let asked = &mut account.asked;
    let mode = way.mode();
    asked.mode = mode;
    let no_reply = |failure| Refusal { failure, reply: None };
    let target = known_target(way, client).map_err(no_reply)?;
    asked.target.clone_from(&target);
    let meter = &client.state.meter;
    account.process = shared.processes.as_ref().and_then(|processes| {
        // What the client's socket is connected to: REDIRECT alone changes that on the way.
        let diverted = target.as_ref().and_then(Target::literal);
        let peer = if mode == Some(Mode::Redirect) { diverted } else { meter.local };
        processes.ask(meter.remote?, peer?)
    });
    let refused = shared.refuse_owner(owner, meter.remote).await;
    if let Some(fault) = refused.or_else(|| refuse_direct(&shared, asked, client)) {
        return Err(no_reply(denied(Phase::Accept, fault)));
    }
    let accept_proxy = shared.settings.accept_proxy;
    // Who speaks for others says first for whom.
    let mut admit = |client: Option<SocketAddr>| {
        let place = client.map(|client| shared.admission.take_of(client.ip())).transpose();
        account.client_place = place.map_err(|fault| no_reply(limited(fault)))?.flatten();
        Ok(())
    };
    if let (Some(target), false) = (&target, accept_proxy) {
        return Ok(Request::tunnel(target.clone(), Answer::Silent, Vec::new()));
    }
    let (opened, limit) = (client.state.meter.opened.into(), shared.settings.request_timeout);
    let deadline = clock::deadline(opened, limit);
    let remote = client.state.meter.remote;
    let mut dialogue = Dialogue::new(client, Conditions { deadline, stop: &shared.stop });
    let hearing = async {
        if accept_proxy {
            asked.announced = hear_announced(&mut dialogue).await?;
            admit(asked.announced_source().or(remote))?;
        }
        match target {
            Some(target) => Ok(Request::tunnel(target, Answer::Silent, dialogue.take_rest())),
            None => hear(dialogue, access.users.as_ref(), asked).await,
        }
    };
    let heard = hearing.await;
    account.request_ended();
    if let Err(refusal) = &heard
        && refusal.is_wrong_password()
        && let Some(guesser) = account.asked.announced_source().or(remote)
    {
        let delay = shared.guesses.count(guesser.ip(), Instant::now());
        if !delay.is_zero() {
            // Who has gone waits for nothing. Its end of stream is still to be read.
            let mut ended = None;
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                _ = abandoned(&shared, &client.stream, &mut ended) => {}
            }
        }
    }
    heard
}

/// Dials, and asks a parent proxy for a tunnel, unless it takes the client's own request: then it is
/// told which. A failure comes with the connection to the parent that would not lead to the target.
async fn connect<'s>(
    shared: &'s Shared,
    account: &mut Account,
    target: &Target,
    limits: dial::Limits<'_>,
    mut abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<(Box<Leg>, Option<&'s Via>), (Failure, Option<Box<Leg>>)> {
    // Whoever is told of the client is the target.
    let Settings { http_via, tunnel_via, send_proxy, .. } = &shared.settings;
    let is_http = account.asked.exchange.is_some();
    let via = if is_http { http_via } else { tunnel_via };
    let in_http = is_http && send_proxy.is_none();
    let log = &mut account.dialled;
    let dialling =
        shared.dialler.dial(target, via.as_ref(), in_http, limits, log, abandoned.as_mut());
    let dialled = dialling.await;
    let Dialled { stream, leads_to } = dialled.map_err(|failure| (failure, None))?;
    let mut leg = account.upstream_leg(stream);
    let tunnel = match leads_to {
        LeadsTo::Target => return Ok((leg, None)),
        LeadsTo::Parent(via) => return Ok((leg, Some(via))),
        LeadsTo::Tunnel(tunnel) => tunnel,
    };
    let Leg { stream, state } = &mut *leg;
    let opening = tunnel.open(stream, &mut state.meter, &mut account.dialled, abandoned);
    match opening.await {
        Ok(()) => Ok((leg, None)),
        Err(failure) => Err((failure, Some(leg))),
    }
}

/// The target, where the client need not name it.
fn known_target(way: &Way, client: &Leg) -> Result<Option<Target>, Failure> {
    let address = match way {
        Way::Forward(target) => return Ok(Some(target.clone())),
        Way::Proxy => return Ok(None),
        Way::Redirect => original_destination(&client.stream),
        Way::Tproxy => client.stream.local_addr(),
    };
    match address {
        Ok(address) => Ok(Some(canonical(address).into())),
        Err(error) => Err(Failure {
            phase: Phase::Accept,
            outcome: Outcome::Error,
            by: By::Proxy,
            how: How::Error,
            fault: Some((&error).into()),
        }),
    }
}

/// Why a connection that should have been diverted here is not served: it was sent here.
fn refuse_direct(shared: &Shared, asked: &Asked, client: &Leg) -> Option<Fault> {
    let (Some(mode @ (Mode::Redirect | Mode::Tproxy)), Some(target)) = (asked.mode, &asked.target)
    else {
        return None;
    };
    let target = target.literal()?;
    // What TPROXY diverts keeps its target's address.
    if mode == Mode::Redirect && client.state.meter.local == Some(target) {
        let text = "the connection was sent to the listener, nothing diverted it";
        return Some(Fault { code: "LOOP".into(), text: text.into() });
    }
    shared.refuse_loop(target)
}

/// Who wants to reach the target.
fn asker(account: &Account, client: &Leg) -> Asker {
    let Asked { mode, target, .. } = &account.asked;
    let meter = &client.state.meter;
    let asker = match mode {
        Some(Mode::Forward) => return Asker::Operator,
        Some(Mode::Redirect | Mode::Tproxy) => {
            Asker::diverted(meter.remote, target.as_ref().and_then(Target::literal))
        }
        _ => Asker::client(meter.remote, meter.local),
    };
    account.asked.announced_source().map_or(asker, |source| asker.speaking_for(source))
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

impl Shared {
    /// The number of a new connection, which is counted by that.
    fn next_seq(&self, entry: &Entry) -> u64 {
        entry.connections.opened.fetch_add(1, Ordering::Relaxed);
        self.seq.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The place of a new connection among its client's, if those are counted. Why it is refused, as far
    /// as its address tells.
    fn admit(&self, peer: SocketAddr) -> Result<Option<Box<ClientPlace>>, Failure> {
        if let Some(fault) = self.settings.access.refuse_client(Some(peer)) {
            return Err(denied(Phase::Accept, fault));
        }
        if self.settings.accept_proxy {
            return Ok(None);
        }
        self.admission.take_of(canonical(peer).ip()).map_err(limited)
    }

    /// Whether a connection that is refused gets a record of its own.
    fn has_record(&self, client: Option<IpAddr>, failure: &Failure) -> bool {
        let code = failure.fault.as_ref().map_or("EIO", |fault| &*fault.code);
        self.refusals.has_record(client, code)
    }
}

fn denied(phase: Phase, fault: Fault) -> Failure {
    Failure { phase, outcome: Outcome::Denied, by: By::Proxy, how: How::Denied, fault: Some(fault) }
}

/// Before the upstream was reached.
fn panicked() -> Refusal {
    let (outcome, how) = (Outcome::Error, How::Error);
    let fault = Some(Panicked::fault());
    let failure = Failure { phase: Phase::Request, outcome, by: By::Proxy, how, fault };
    Refusal { failure, reply: None }
}

fn limited(fault: Fault) -> Failure {
    let (outcome, how) = (Outcome::Limit, How::Limit);
    Failure { phase: Phase::Accept, outcome, by: By::Proxy, how, fault: Some(fault) }
}

/// Ready when there is nobody left to dial for: the client reset its connection, or the proxy must
/// stop. A client's end of stream is no reason, because it may be all of its request; when that was
/// seen is noted in `ended`.
async fn abandoned(shared: &Shared, client: &TcpStream, ended: &mut Option<Moment>) -> Failure {
    let ending = async {
        end_of_stream(client).await;
        *ended = Some(Moment::now());
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        _ = client.ready(Interest::ERROR) => {
            let error = client.take_error().ok().flatten();
            let end = error.as_ref().map(PeerEnd::broken);
            Failure {
                phase: Phase::Connect,
                outcome: Outcome::Reset,
                by: By::Client,
                how: end.as_ref().map_or(How::Reset, |end| end.how),
                fault: end.and_then(|end| end.fault),
            }
        }
        () = shared.stop.cancelled() => Failure {
            phase: Phase::Connect,
            outcome: Outcome::Shutdown,
            by: By::Proxy,
            how: How::Shutdown,
            fault: None,
        },
        never = ending => match never {},
    }
}

/// Waits for the peer's end of stream, which is not read.
#[cfg(any(target_os = "linux", target_os = "android"))]
async fn end_of_stream(stream: &TcpStream) {
    // Beside urgent data, which nobody has asked to be told of, this is ready for the end alone.
    _ = stream.ready(Interest::PRIORITY).await;
}

/// The same, unless bytes come before it: they are not read either, and hide it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
async fn end_of_stream(stream: &TcpStream) {
    let ready = stream.ready(Interest::READABLE).await;
    if !ready.is_ok_and(|ready| ready.is_read_closed()) {
        std::future::pending().await
    }
}

/// Whether the peer's end of stream has come, as far as it can be seen without reading.
async fn has_ended(stream: &TcpStream) -> bool {
    tokio::select! {
        biased;
        () = end_of_stream(stream) => true,
        () = std::future::ready(()) => false,
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
