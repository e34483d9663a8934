//! Reads a client's request and checks whether the client may make it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::client_gone::client_gone;
use super::connection_log::ConnectionLog;
use super::shared::{Shared, canonical};
use crate::access::{Owner, RequestOrigin};
use crate::clock;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::ingress::{
    Dialogue, DialogueLimits, ListenerKind, Refusal, ReplyFormat, Request, RequestInfo,
    original_destination, read_proxy_header, read_request,
};
use crate::record::{By, How, Mode, Outcome, Phase};
use crate::relay::Leg;
use crate::target::Target;

/// Reads the client's request, or takes the target from the listener or the kernel.
pub(super) async fn read_client_request(
    conn_log: &mut ConnectionLog,
    client: &mut Leg,
    owner: Option<Owner>,
) -> Result<Request, Refusal> {
    let shared = Arc::clone(&conn_log.shared);
    let access = &shared.settings.access;
    let kind = &conn_log.entry.kind;
    let request_info = &mut conn_log.request_info;
    let mode = kind.mode();
    request_info.mode = mode;
    let no_reply = |failure| Refusal { failure, reply: None };
    let target = known_target(kind, client).map_err(no_reply)?;
    request_info.target.clone_from(&target);
    let meter = &client.state.meter;
    conn_log.process = shared.processes.as_ref().and_then(|processes| {
        // The peer that the client's socket shows: only REDIRECT changes it on the way.
        let diverted = target.as_ref().and_then(Target::literal);
        let peer = if mode == Some(Mode::Redirect) { diverted } else { meter.local };
        processes.ask(meter.remote?, peer?)
    });
    let allowed = shared.check_owner(owner, meter.remote).await;
    allowed
        .and_then(|()| check_diverted(&shared, request_info, client))
        .map_err(|fault| no_reply(Failure::denied(Phase::Accept, fault)))?;
    let accept_proxy = shared.settings.accept_proxy;
    // A client that forwards for others announces first for whom.
    let mut admit = |client: Option<SocketAddr>| {
        let place = client.map(|client| shared.admission.take_for_client(client.ip())).transpose();
        conn_log.client_place =
            place.map_err(|fault| no_reply(Failure::limited(Phase::Accept, fault)))?.flatten();
        Ok(())
    };
    if let (Some(target), false) = (&target, accept_proxy) {
        return Ok(Request::tunnel(target.clone(), ReplyFormat::Silent, Vec::new()));
    }
    let (opened, limit) = (client.state.meter.opened.into(), shared.settings.request_timeout);
    let deadline = clock::deadline(opened, limit);
    let remote = client.state.meter.remote;
    let limits = DialogueLimits { deadline, stop: &shared.stop, draining: &shared.draining };
    let mut dialogue = Dialogue::new(client, limits);
    let reading = async {
        if accept_proxy {
            request_info.announced = read_proxy_header(&mut dialogue).await?;
            admit(request_info.announced_source().or(remote))?;
        }
        match target {
            Some(target) => Ok(Request::tunnel(target, ReplyFormat::Silent, dialogue.take_rest())),
            None => read_request(dialogue, access.users.as_ref(), request_info).await,
        }
    };
    let mut request = reading.await;
    if let Ok(request) = &mut request {
        follow_own_forward(&shared, request, request_info);
    }
    conn_log.request_ended();
    delay_guess(conn_log, client, request.as_ref().err()).await;
    request
}

/// Takes a request for one of our own forwarding listeners as one for its target.
pub(super) fn follow_own_forward(shared: &Shared, request: &mut Request, info: &mut RequestInfo) {
    if let Some(target) = shared.own_forward(&request.target) {
        request.target = target.clone();
        info.target = Some(target.clone());
        info.is_own_forward = true;
    }
}

/// Delays the reply to a wrong password.
pub(super) async fn delay_guess(conn_log: &ConnectionLog, client: &Leg, refusal: Option<&Refusal>) {
    let shared = &conn_log.shared;
    if let Some(refusal) = refusal
        && refusal.is_wrong_password()
        && let Some(guesser) =
            conn_log.request_info.announced_source().or(client.state.meter.remote)
    {
        let delay = shared.guesses.count(guesser.ip(), Instant::now());
        if !delay.is_zero() {
            // A client that has gone need not wait. Its end of stream is read later.
            let mut ended = None;
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                _ = client_gone(&shared.stop, &client.stream, &mut ended) => {}
            }
        }
    }
}

/// The target, where the client does not name it.
pub(super) fn known_target(kind: &ListenerKind, client: &Leg) -> Result<Option<Target>, Failure> {
    let address = match kind {
        ListenerKind::Forward(target) => return Ok(Some(target.clone())),
        ListenerKind::Proxy => return Ok(None),
        ListenerKind::Redirect => original_destination(&client.stream),
        ListenerKind::Tproxy => client.stream.local_addr(),
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

/// Checks that a connection to a redirect or tproxy listener was diverted to it. One that was
/// addressed to the listener itself would loop.
fn check_diverted(shared: &Shared, request_info: &RequestInfo, client: &Leg) -> Result<(), Fault> {
    let (Some(mode @ (Mode::Redirect | Mode::Tproxy)), Some(target)) =
        (request_info.mode, &request_info.target)
    else {
        return Ok(());
    };
    let Some(target) = target.literal() else { return Ok(()) };
    // What TPROXY diverts keeps its target's address.
    if mode == Mode::Redirect && client.state.meter.local == Some(target) {
        let text = "the connection was made to the listener itself, not diverted to it";
        return Err(Fault { code: "LOOP".into(), text: text.into() });
    }
    shared.check_loop(target)
}

/// Where the request for the target comes from.
pub(super) fn request_origin(conn_log: &ConnectionLog, client: &Leg) -> RequestOrigin {
    let RequestInfo { mode, target, .. } = &conn_log.request_info;
    let meter = &client.state.meter;
    let request_origin = match mode {
        Some(Mode::Forward) => return RequestOrigin::Operator,
        Some(Mode::Redirect | Mode::Tproxy) => {
            RequestOrigin::for_diverted(meter.remote, target.as_ref().and_then(Target::literal))
        }
        _ => RequestOrigin::for_client(meter.remote, meter.local),
    };
    conn_log
        .request_info
        .announced_source()
        .map_or(request_origin, |source| request_origin.on_behalf_of(source))
}
