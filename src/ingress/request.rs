//! From an accepted socket to a request, in whichever language the client speaks.

use std::net::SocketAddr;
use std::sync::Arc;

use super::dialogue::{Dialogue, Unheard};
use super::http::{
    self, Absolute, BadHead, Exchange, Form, HttpRequest, RequestEditor, ResponseEditor, Status,
};
use super::socks::{self, BadMessage, Method, Reply};
use super::{Answer, Endpoints, Target, proxy_protocol};
use crate::access::{Credentials, Users};
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, How, Mode, Outcome, Phase};
use crate::relay::{Edit, Then};

/// What is known of a request. It is filled on the way, so that it is complete also when the
/// request is not granted.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) mode: Option<Mode>,
    pub(crate) target: Option<Target>,
    /// For whom the client speaks, where it said so by the PROXY protocol.
    pub(crate) announced: Option<Box<Endpoints>>,
    /// The exchange of a request in absolute form.
    pub(crate) exchange: Option<Arc<Exchange>>,
}

impl Asked {
    /// The client for whom the client speaks.
    pub(crate) fn announced_source(&self) -> Option<SocketAddr> {
        self.announced.as_ref().map(|announced| announced.source)
    }
}

/// A request for a target. Without `Debug`: what the upstream gets may have a password.
pub(crate) struct Request {
    pub(crate) target: Target,
    pub(crate) answer: Answer,
    /// What the upstream gets before anything that is still to be read.
    pub(crate) first: Vec<u8>,
    /// Of these bytes: so many are the proxy's own.
    pub(crate) authored: usize,
    /// Who edits what follows; `None` if it passes as it is.
    pub(crate) editors: Option<Editors>,
}

/// Editors of the two directions.
#[derive(Debug)]
pub(crate) struct Editors {
    pub(crate) to_upstream: Box<dyn Edit>,
    pub(crate) to_client: Box<dyn Edit>,
}

impl Request {
    /// A request for a tunnel: all that follows it is for the upstream.
    pub(crate) fn tunnel(target: Target, answer: Answer, first: Vec<u8>) -> Self {
        Self { target, answer, first, authored: 0, editors: None }
    }

    /// The upstream is a parent proxy that takes the client's own request: it gets it in absolute
    /// form, with our authorization.
    pub(crate) fn turn_to_parent(&mut self, exchange: &Exchange, authorization: Option<&[u8]>) {
        let (head, body) = self.first.split_at(self.authored.min(self.first.len()));
        let mut first = http::for_parent(head, exchange.host(), authorization);
        self.authored = first.len();
        first.extend_from_slice(body);
        self.first = first;
    }
}

/// A request that is not granted.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    /// What the client is told; `None` if a reset says all.
    pub(crate) reply: Option<Vec<u8>>,
}

/// Hears for whom a client speaks.
///
/// # Errors
///
/// What is wrong with its PROXY protocol header, or why that did not come; the client gets a reset.
pub(crate) async fn hear_announced(
    dialogue: &mut Dialogue<'_>,
) -> Result<Option<Box<Endpoints>>, Refusal> {
    let failure = match dialogue.hear(proxy_protocol::parse).await {
        Ok(announced) => return Ok(announced.map(Box::new)),
        Err(Unheard::Cut(failure)) => failure,
        Err(Unheard::Bad(text)) => {
            let fault = Fault { code: "PROXY_PROTOCOL".into(), text: text.into() };
            Failure { fault: Some(fault), ..malformed(text) }
        }
    };
    Err(Refusal { failure, reply: None })
}

/// Hears a client out that speaks HTTP or SOCKS.
///
/// # Errors
///
/// What is wrong with its request, or why it did not come; also when `users` do not know the client.
pub(crate) async fn hear(
    mut dialogue: Dialogue<'_>,
    users: Option<&Users>,
    asked: &mut Asked,
) -> Result<Request, Refusal> {
    match dialogue.first_byte().await.map_err(Refusal::silent)? {
        socks::VERSION_4 => socks_4(dialogue, users, asked).await,
        socks::VERSION_5 => socks_5(dialogue, users, asked).await,
        // A method begins with a letter; tokens could begin with more, but none does. An empty line
        // may come before it.
        byte if byte.is_ascii_alphabetic() || matches!(byte, b'\r' | b'\n') => {
            http(dialogue, users, asked).await
        }
        // RFC 8446 section 5.1: a handshake record.
        0x16 => Err(Refusal::silent(malformed(
            "the client speaks TLS; use plain HTTP or SOCKS to the proxy",
        ))),
        _ => Err(Refusal::silent(malformed("the client speaks neither HTTP nor SOCKS"))),
    }
}

async fn http(
    mut dialogue: Dialogue<'_>,
    users: Option<&Users>,
    asked: &mut Asked,
) -> Result<Request, Refusal> {
    let heard = dialogue.hear(http::parse_request).await;
    if heard.is_err() {
        asked.mode = http::mode_of(dialogue.heard());
    }
    let request = heard.map_err(|unheard| match unheard {
        Unheard::Bad(bad) => Refusal::of_head(bad),
        Unheard::Cut(failure) if failure.outcome == Outcome::Timeout => {
            Refusal::http(Status::RequestTimeout, failure, 1, false)
        }
        Unheard::Cut(failure) => Refusal::silent(failure),
    })?;
    let HttpRequest { target, minor, credentials, form } = request;
    let to_head = matches!(&form, Form::Absolute(absolute) if absolute.method == "HEAD");
    asked.mode = Some(match form {
        Form::Connect => Mode::Connect,
        Form::Absolute(_) => Mode::Http,
    });
    asked.target = Some(target.clone());
    authenticated(users, credentials.as_ref()).map_err(|failure| {
        Refusal::http(Status::AuthenticationRequired, failure, minor, to_head)
    })?;
    match form {
        Form::Connect => {
            Ok(Request::tunnel(target, Answer::Connect { minor }, dialogue.take_rest()))
        }
        Form::Absolute(absolute) => {
            let answer = Answer::Http { minor, to_head };
            exchange(dialogue, *absolute, target, answer, asked)
        }
    }
}

/// A request in absolute form: its head in origin form, what has come of its body, and editors that
/// let nothing pass behind it.
fn exchange(
    mut dialogue: Dialogue<'_>,
    absolute: Absolute,
    target: Target,
    answer: Answer,
    asked: &mut Asked,
) -> Result<Request, Refusal> {
    let Absolute { method, host, head, body, upgrade } = absolute;
    let minor = answer.minor();
    let exchange = Arc::new(Exchange::new(method, host, minor, upgrade));
    asked.exchange = Some(Arc::clone(&exchange));
    let mut to_upstream = Box::new(RequestEditor::new(body, Arc::clone(&exchange)));
    let to_client = Box::new(ResponseEditor::new(exchange));

    let mut first = head;
    let authored = first.len();
    let rest = dialogue.take_rest();
    let edited = to_upstream.take(&rest);
    dialogue.consumed(edited.consumed);
    if let Then::Fail(fault) = edited.then {
        let failure = Failure { fault: Some(fault), ..malformed("") };
        return Err(Refusal::http(Status::BadRequest, failure, 1, false));
    }
    first.extend_from_slice(&edited.write);
    let editors = Some(Editors { to_upstream, to_client });
    Ok(Request { target, answer, first, authored, editors })
}

async fn socks_4(
    mut dialogue: Dialogue<'_>,
    users: Option<&Users>,
    asked: &mut Asked,
) -> Result<Request, Refusal> {
    asked.mode = Some(Mode::Socks4);
    let refused = socks::reply_4(false);
    let target = dialogue
        .hear(socks::parse_4)
        .await
        .map_err(|unheard| Refusal::of_message(unheard, |_| refused.clone()))?;
    asked.target = Some(target.clone());
    // SOCKS 4 has a user's name, but no password.
    authenticated(users, None).map_err(|failure| Refusal { failure, reply: Some(refused) })?;
    Ok(Request::tunnel(target, Answer::Socks4, dialogue.take_rest()))
}

async fn socks_5(
    mut dialogue: Dialogue<'_>,
    users: Option<&Users>,
    asked: &mut Asked,
) -> Result<Request, Refusal> {
    asked.mode = Some(Mode::Socks5);
    let offered = dialogue
        .hear(socks::parse_methods)
        .await
        .map_err(|unheard| Refusal::of_message(unheard, |_| socks::NO_METHOD.to_vec()))?;
    // Who offers a password alone is asked for it, even where any will do.
    let method = match (users, offered.none, offered.password) {
        (None, true, _) => Method::None,
        (_, _, true) => Method::Password,
        _ => {
            let failure = authenticated(users, None).err();
            let failure = failure.unwrap_or_else(|| {
                malformed("the client offers no supported authentication method")
            });
            return Err(Refusal { failure, reply: Some(socks::NO_METHOD.to_vec()) });
        }
    };
    dialogue.say(&socks::choice(method)).await.map_err(Refusal::silent)?;
    if method == Method::Password {
        let given = dialogue
            .hear(socks::parse_password)
            .await
            .map_err(|unheard| Refusal::of_message(unheard, |_| socks::PASSWORD_BAD.to_vec()))?;
        authenticated(users, Some(&given))
            .map_err(|failure| Refusal { failure, reply: Some(socks::PASSWORD_BAD.to_vec()) })?;
        dialogue.say(&socks::PASSWORD_GOOD).await.map_err(Refusal::silent)?;
    }
    let target = dialogue
        .hear(socks::parse_5)
        .await
        .map_err(|unheard| Refusal::of_message(unheard, |reply| socks::reply_5(reply, None)))?;
    asked.target = Some(target.clone());
    Ok(Request::tunnel(target, Answer::Socks5, dialogue.take_rest()))
}

/// The user or the password is wrong.
const AUTH_FAILED: &str = "AUTH_FAILED";

/// Whether the client may ask, by what it says of itself.
fn authenticated(users: Option<&Users>, given: Option<&Credentials>) -> Result<(), Failure> {
    let (code, text) = match (users, given) {
        (None, _) => return Ok(()),
        (Some(users), Some(given)) if users.know(given) => return Ok(()),
        (Some(_), Some(_)) => (AUTH_FAILED, "the user name or the password is wrong"),
        (Some(_), None) => ("AUTH_REQUIRED", "a user name and a password are required"),
    };
    Err(Failure {
        phase: Phase::Request,
        outcome: Outcome::Denied,
        by: By::Proxy,
        how: How::Denied,
        fault: Some(Fault { code: code.into(), text: text.into() }),
    })
}

fn malformed(text: &'static str) -> Failure {
    Failure {
        phase: Phase::Request,
        outcome: Outcome::Protocol,
        by: By::Client,
        how: How::Error,
        fault: Some(Fault { code: "MALFORMED_REQUEST".into(), text: text.into() }),
    }
}

impl Refusal {
    /// Whether the client gave credentials that nobody has.
    pub(crate) fn is_wrong_password(&self) -> bool {
        self.failure.fault.as_ref().is_some_and(|fault| fault.code == AUTH_FAILED)
    }

    /// The client gets an end of stream, and no words.
    fn silent(failure: Failure) -> Self {
        Self { failure, reply: Some(Vec::new()) }
    }

    fn http(status: Status, failure: Failure, minor: u8, to_head: bool) -> Self {
        let why = failure.fault.as_ref().map_or("the proxy is shutting down", |fault| &*fault.text);
        Self { reply: Some(status.response(why, minor, to_head)), failure }
    }

    fn of_head(bad: BadHead) -> Self {
        let failure = match bad.status {
            Status::HeadTooLarge | Status::UriTooLong => Failure {
                phase: Phase::Request,
                outcome: Outcome::Limit,
                by: By::Proxy,
                how: How::Limit,
                fault: Some(bad.fault()),
            },
            _ => Failure { fault: Some(bad.fault()), ..malformed(bad.reason) },
        };
        Self::http(bad.status, failure, 1, false)
    }

    fn of_message(unheard: Unheard<BadMessage>, reply: impl Fn(Reply) -> Vec<u8>) -> Self {
        match unheard {
            Unheard::Bad(bad) => {
                Self { failure: malformed(bad.reason), reply: Some(reply(bad.reply)) }
            }
            Unheard::Cut(failure) => Self::silent(failure),
        }
    }
}
