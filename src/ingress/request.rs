//! Reads a client's request, in whichever protocol the client speaks.

use std::net::SocketAddr;
use std::sync::Arc;

use super::dialogue::{Dialogue, MessageError};
use super::http::{
    self, Absolute, BadHead, Form, Framing, HttpExchange, HttpRequest, RequestEditor,
    ResponseEditor, Status,
};
use super::socks::{self, BadMessage, Method, Reply};
use super::{Endpoints, ReplyFormat, Target, proxy_protocol};
use crate::access::{Credentials, Users};
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, How, Mode, Outcome, Phase};
use crate::relay::{Edit, Next};

/// What is known of a request. It is filled step by step, so that it is complete even if the
/// request fails.
#[derive(Debug, Default)]
pub(crate) struct RequestInfo {
    pub(crate) mode: Option<Mode>,
    pub(crate) target: Option<Target>,
    /// The request names one of this proxy's own forwarding listeners; `target` is that one's.
    pub(crate) is_own_forward: bool,
    /// The endpoints that the client announced by the PROXY protocol.
    pub(crate) announced: Option<Box<Endpoints>>,
    /// The exchange of a request in absolute form; on a connection that is kept, the first one.
    pub(crate) exchange: Option<Arc<HttpExchange>>,
}

impl RequestInfo {
    /// The original client that was announced.
    pub(crate) fn announced_source(&self) -> Option<SocketAddr> {
        self.announced.as_ref().map(|announced| announced.source)
    }
}

/// A request for a target. Without `Debug`, because the bytes for the upstream may contain a
/// password.
pub(crate) struct Request {
    pub(crate) target: Target,
    pub(crate) reply_format: ReplyFormat,
    /// Bytes for the upstream, before anything that is still to be read.
    pub(crate) first: Vec<u8>,
    /// How many of these bytes are the proxy's own.
    pub(crate) authored: usize,
    /// Editors of what follows; `None` if it passes unchanged.
    pub(crate) editors: Option<Editors>,
    /// Bytes that were read after the request: they belong to the next one.
    pub(crate) held: Vec<u8>,
}

/// Editors of the two directions.
#[derive(Debug)]
pub(crate) struct Editors {
    pub(crate) to_upstream: Box<dyn Edit>,
    pub(crate) to_client: Box<dyn Edit>,
}

impl Request {
    /// A request for a tunnel: everything after it is for the upstream.
    pub(crate) fn tunnel(target: Target, reply_format: ReplyFormat, first: Vec<u8>) -> Self {
        Self { target, reply_format, first, authored: 0, editors: None, held: Vec::new() }
    }

    /// The same request without a body once more, for another connection. `head` is in origin form.
    pub(crate) fn repeated(
        head: Vec<u8>,
        target: Target,
        reply_format: ReplyFormat,
        exchange: &Arc<HttpExchange>,
    ) -> Self {
        let editors = Some(Editors::for_exchange(Framing::NONE, exchange));
        let authored = head.len();
        Self { target, reply_format, first: head, authored, editors, held: Vec::new() }
    }

    /// Rewrites the request for a parent proxy that takes it as it is: in absolute form, with our
    /// authorization.
    pub(crate) fn rewrite_for_parent(
        &mut self,
        exchange: &HttpExchange,
        authorization: Option<&[u8]>,
    ) {
        let (head, body) = self.first.split_at(self.authored.min(self.first.len()));
        let mut first = http::to_absolute_form(head, exchange.host(), authorization);
        self.authored = first.len();
        first.extend_from_slice(body);
        self.first = first;
    }
}

impl Editors {
    /// The editors of an exchange whose request has this body.
    fn for_exchange(body: Framing, exchange: &Arc<HttpExchange>) -> Self {
        Self {
            to_upstream: Box::new(RequestEditor::new(body, Arc::clone(exchange))),
            to_client: Box::new(ResponseEditor::new(Arc::clone(exchange))),
        }
    }
}

/// A failed request.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    /// The reply to the client; `None` for a reset.
    pub(crate) reply: Option<Vec<u8>>,
}

/// Reads the PROXY protocol header of a client.
///
/// # Errors
///
/// The header is malformed or incomplete; the client gets a reset.
pub(crate) async fn read_proxy_header(
    dialogue: &mut Dialogue<'_>,
) -> Result<Option<Box<Endpoints>>, Refusal> {
    let failure = match dialogue.read_message(proxy_protocol::parse).await {
        Ok(announced) => return Ok(announced.map(Box::new)),
        Err(MessageError::Incomplete(failure)) => failure,
        Err(MessageError::Malformed(text)) => {
            let fault = Fault { code: "PROXY_PROTOCOL".into(), text: text.into() };
            Failure { fault: Some(fault), ..malformed(text) }
        }
    };
    Err(Refusal { failure, reply: None })
}

/// Reads the request of a client that speaks HTTP or SOCKS.
///
/// # Errors
///
/// The request is malformed or incomplete, or the client is not one of `users`.
pub(crate) async fn read_request(
    mut dialogue: Dialogue<'_>,
    users: Option<&Users>,
    info: &mut RequestInfo,
) -> Result<Request, Refusal> {
    match dialogue.first_byte().await.map_err(Refusal::silent)? {
        socks::VERSION_4 => socks_4(dialogue, users, info).await,
        socks::VERSION_5 => socks_5(dialogue, users, info).await,
        // A method begins with a letter; tokens could begin with more, but none does. An empty line
        // may come before it.
        byte if byte.is_ascii_alphabetic() || matches!(byte, b'\r' | b'\n') => {
            http(dialogue, users, info).await
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
    info: &mut RequestInfo,
) -> Result<Request, Refusal> {
    let parsed = dialogue.read_message(http::parse_request).await;
    if parsed.is_err() {
        info.mode = http::mode_of(dialogue.unparsed());
    }
    let request = parsed.map_err(|error| match error {
        MessageError::Malformed(bad) => Refusal::from_bad_head(bad),
        MessageError::Incomplete(failure) if failure.outcome == Outcome::Timeout => {
            Refusal::http(Status::RequestTimeout, failure, 1, false)
        }
        MessageError::Incomplete(failure) => Refusal::silent(failure),
    })?;
    let HttpRequest { target, minor, credentials, form } = request;
    let to_head = matches!(&form, Form::Absolute(absolute) if absolute.method == "HEAD");
    info.mode = Some(match form {
        Form::Connect => Mode::Connect,
        Form::Absolute(_) => Mode::Http,
    });
    info.target = Some(target.clone());
    authenticated(users, credentials.as_ref()).map_err(|failure| {
        Refusal::http(Status::AuthenticationRequired, failure, minor, to_head)
    })?;
    match form {
        Form::Connect => {
            Ok(Request::tunnel(target, ReplyFormat::Connect { minor }, dialogue.take_rest()))
        }
        Form::Absolute(absolute) => {
            let reply_format = ReplyFormat::Http { minor, to_head };
            exchange(dialogue, *absolute, target, reply_format, info)
        }
    }
}

/// A request in absolute form: its head in origin form, the beginning of its body, and editors that
/// let nothing pass after it before the response is over.
fn exchange(
    mut dialogue: Dialogue<'_>,
    absolute: Absolute,
    target: Target,
    reply_format: ReplyFormat,
    info: &mut RequestInfo,
) -> Result<Request, Refusal> {
    let minor = reply_format.minor();
    let exchange = Arc::new(HttpExchange::new(&absolute, minor, dialogue.draining().clone()));
    let Absolute { head, body, .. } = absolute;
    info.exchange = Some(Arc::clone(&exchange));
    let mut to_upstream = Box::new(RequestEditor::new(body, Arc::clone(&exchange)));
    let to_client = Box::new(ResponseEditor::new(exchange));

    let mut first = head;
    let authored = first.len();
    let mut rest = dialogue.take_rest();
    let edited = to_upstream.take(&rest);
    dialogue.count_consumed(edited.consumed);
    if let Next::Fail(fault) = edited.next {
        let failure = Failure { fault: Some(fault), ..malformed("") };
        return Err(Refusal::http(Status::BadRequest, failure, 1, false));
    }
    first.extend_from_slice(&edited.write);
    let held = rest.split_off(rest.len().saturating_sub(edited.held));
    let editors = Some(Editors { to_upstream, to_client });
    Ok(Request { target, reply_format, first, authored, editors, held })
}

async fn socks_4(
    mut dialogue: Dialogue<'_>,
    users: Option<&Users>,
    info: &mut RequestInfo,
) -> Result<Request, Refusal> {
    info.mode = Some(Mode::Socks4);
    let refused = socks::reply_4(false);
    let target = dialogue
        .read_message(socks::parse_4)
        .await
        .map_err(|error| Refusal::from_message_error(error, |_| refused.clone()))?;
    info.target = Some(target.clone());
    // SOCKS 4 has a user name, but no password.
    authenticated(users, None).map_err(|failure| Refusal { failure, reply: Some(refused) })?;
    Ok(Request::tunnel(target, ReplyFormat::Socks4, dialogue.take_rest()))
}

async fn socks_5(
    mut dialogue: Dialogue<'_>,
    users: Option<&Users>,
    info: &mut RequestInfo,
) -> Result<Request, Refusal> {
    info.mode = Some(Mode::Socks5);
    let offered = dialogue
        .read_message(socks::parse_methods)
        .await
        .map_err(|error| Refusal::from_message_error(error, |_| socks::NO_METHOD.to_vec()))?;
    // A client that offers only a password is asked for it, even if none is required.
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
    dialogue.write(&socks::choice(method)).await.map_err(Refusal::silent)?;
    if method == Method::Password {
        let given = dialogue.read_message(socks::parse_password).await.map_err(|error| {
            Refusal::from_message_error(error, |_| socks::PASSWORD_BAD.to_vec())
        })?;
        authenticated(users, Some(&given))
            .map_err(|failure| Refusal { failure, reply: Some(socks::PASSWORD_BAD.to_vec()) })?;
        dialogue.write(&socks::PASSWORD_GOOD).await.map_err(Refusal::silent)?;
    }
    let target = dialogue
        .read_message(socks::parse_5)
        .await
        .map_err(|error| Refusal::from_message_error(error, |reply| socks::reply_5(reply, None)))?;
    info.target = Some(target.clone());
    Ok(Request::tunnel(target, ReplyFormat::Socks5, dialogue.take_rest()))
}

/// Error code of a wrong user name or password.
const AUTH_FAILED: &str = "AUTH_FAILED";

/// Checks the credentials of a client.
fn authenticated(users: Option<&Users>, given: Option<&Credentials>) -> Result<(), Failure> {
    let (code, text) = match (users, given) {
        (None, _) => return Ok(()),
        (Some(users), Some(given)) if users.contains(given) => return Ok(()),
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
    /// Whether the client gave wrong credentials.
    pub(crate) fn is_wrong_password(&self) -> bool {
        self.failure.fault.as_ref().is_some_and(|fault| fault.code == AUTH_FAILED)
    }

    /// The client gets an end of stream without a reply.
    fn silent(failure: Failure) -> Self {
        Self { failure, reply: Some(Vec::new()) }
    }

    fn http(status: Status, failure: Failure, minor: u8, to_head: bool) -> Self {
        let why = failure.fault.as_ref().map_or("the proxy is shutting down", |fault| &*fault.text);
        let reply = http::response_to_failure(status, &failure, why, minor, to_head);
        Self { reply: Some(reply), failure }
    }

    fn from_bad_head(bad: BadHead) -> Self {
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

    fn from_message_error(
        error: MessageError<BadMessage>,
        reply: impl Fn(Reply) -> Vec<u8>,
    ) -> Self {
        match error {
            MessageError::Malformed(bad) => {
                Self { failure: malformed(bad.reason), reply: Some(reply(bad.reply)) }
            }
            MessageError::Incomplete(failure) => Self::silent(failure),
        }
    }
}
