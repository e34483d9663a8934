//! What a client asks for, and whether it may ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::account::Account;
use super::client_end::abandoned;
use super::shared::{Shared, canonical};
use crate::access::{Asker, Owner};
use crate::clock;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::ingress::{
    Answer, Asked, Conditions, Dialogue, Refusal, Request, Way, hear, hear_announced,
    original_destination,
};
use crate::record::{By, How, Mode, Outcome, Phase};
use crate::relay::Leg;
use crate::target::Target;

/// What the client asks for.
pub(super) async fn request(
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
        return Err(no_reply(Failure::denied(Phase::Accept, fault)));
    }
    let accept_proxy = shared.settings.accept_proxy;
    // Who speaks for others says first for whom.
    let mut admit = |client: Option<SocketAddr>| {
        let place = client.map(|client| shared.admission.take_of(client.ip())).transpose();
        account.client_place =
            place.map_err(|fault| no_reply(Failure::limited(Phase::Accept, fault)))?.flatten();
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
                _ = abandoned(&shared.stop, &client.stream, &mut ended) => {}
            }
        }
    }
    heard
}

/// The target, where the client need not name it.
pub(super) fn known_target(way: &Way, client: &Leg) -> Result<Option<Target>, Failure> {
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
        let text = "the connection was made to the listener itself, not diverted to it";
        return Some(Fault { code: "LOOP".into(), text: text.into() });
    }
    shared.refuse_loop(target)
}

/// Who wants to reach the target.
pub(super) fn asker(account: &Account, client: &Leg) -> Asker {
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
