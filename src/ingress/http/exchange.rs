//! One request in absolute form and its response: nothing passes to the upstream behind the
//! request and nothing to the client behind the response, where the connection ends.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering::Relaxed};

use super::Status;
use super::body::Framing;
use super::response::{Answering, BadResponse, ResponseHead, parse_response};
use crate::fault::Fault;
use crate::ingress::Parsed;
use crate::record::Http;
use crate::relay::{Edit, Edited, Then};

/// What the editors of both directions know, and the record tells. Both are polled by one task, so
/// no order of memory accesses is asked for.
#[derive(Debug)]
pub(crate) struct Exchange {
    method: String,
    host: String,
    /// The minor version of HTTP/1 that the client speaks.
    minor: u8,
    upgrade: AtomicU8,
    status: AtomicU16,
    discarded: AtomicU64,
    discarded_of_upstream: AtomicU64,
    bad_response: AtomicBool,
}

/// Data of which so much is to come passes without an editor, so that it can be spliced. Below
/// this, it is not worth the change.
const WORTH_PASSING: u64 = 256 * 1024;

/// Whether both sides go on in another protocol (RFC 9110 section 7.8).
mod upgrade {
    /// Nobody asked, or the upstream declined.
    pub(super) const NO: u8 = 0;
    /// The client asks; the upstream has not answered.
    pub(super) const ASKED: u8 = 1;
    /// The upstream said 101.
    pub(super) const GRANTED: u8 = 2;
}

impl Exchange {
    pub(crate) fn new(method: String, host: String, minor: u8, upgrade: bool) -> Self {
        Self {
            method,
            host,
            minor,
            upgrade: AtomicU8::new(if upgrade { upgrade::ASKED } else { upgrade::NO }),
            status: AtomicU16::new(0),
            discarded: AtomicU64::new(0),
            discarded_of_upstream: AtomicU64::new(0),
            bad_response: AtomicBool::new(false),
        }
    }

    /// `host` or `host:port`, as the upstream is told.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// As the record shows it.
    pub(crate) fn seen(&self) -> Http {
        let status = self.status.load(Relaxed);
        Http {
            method: Some(self.method.clone()),
            host: Some(self.host.clone()),
            status: (status != 0).then_some(status),
        }
    }

    /// Bytes that came behind the request.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded.load(Relaxed)
    }

    /// Bytes that the upstream sent behind the response.
    pub(crate) fn discarded_of_upstream(&self) -> u64 {
        self.discarded_of_upstream.load(Relaxed)
    }

    /// The upstream's answer has no head that can be passed on; the client got one of ours.
    pub(crate) fn has_bad_response(&self) -> bool {
        self.bad_response.load(Relaxed)
    }

    fn answering(&self) -> Answering {
        let upgrade = self.upgrade.load(Relaxed) == upgrade::ASKED;
        Answering { head: self.method == "HEAD", upgrade }
    }
}

/// What becomes of the bytes behind those of a body that were read just now.
fn what_follows(body: &mut Framing) -> Then {
    match body.data() {
        WORTH_PASSING.. => Then::PassBytes(body.take_data()),
        _ => Then::Edit,
    }
}

/// Lets the request's body pass to the upstream, and nothing behind it.
#[derive(Debug)]
pub(crate) struct RequestEditor {
    body: Framing,
    exchange: Arc<Exchange>,
}

impl RequestEditor {
    pub(crate) fn new(body: Framing, exchange: Arc<Exchange>) -> Self {
        Self { body, exchange }
    }

    /// Takes what has come of the body; what follows is edited.
    pub(crate) fn take<'b>(&mut self, bytes: &'b [u8]) -> Edited<'b> {
        if self.body.is_over() && self.exchange.upgrade.load(Relaxed) == upgrade::GRANTED {
            let write = Cow::Borrowed(bytes);
            return Edited { write, consumed: 0, authored: 0, then: Then::Pass };
        }
        let taken = match self.body.advance(bytes) {
            Ok(taken) => taken,
            // These are of the request, not behind it.
            Err(reason) => {
                let then = Then::Fail(malformed(reason));
                return Edited { consumed: bytes.len(), then, ..Edited::NOTHING };
            }
        };
        let (body, behind) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        let waits = self.exchange.upgrade.load(Relaxed) == upgrade::ASKED;
        let then = if waits && !behind.is_empty() {
            // They could be another request, or the beginning of the other protocol.
            Then::Fail(malformed("more data followed an upgrade request before its response"))
        } else {
            Then::Edit
        };
        self.exchange.discarded.fetch_add(behind.len() as u64, Relaxed);
        Edited { write: Cow::Borrowed(body), consumed: behind.len(), authored: 0, then }
    }
}

impl Edit for RequestEditor {
    fn edit<'b>(&mut self, bytes: &'b [u8]) -> Edited<'b> {
        let edited = self.take(bytes);
        match edited.then {
            Then::Edit => Edited { then: what_follows(&mut self.body), ..edited },
            _ => edited,
        }
    }
}

fn malformed(reason: &'static str) -> Fault {
    Fault { code: "MALFORMED_REQUEST".into(), text: reason.into() }
}

/// Lets the response pass to the client, and nothing behind it. Its head says that the connection
/// ends there.
#[derive(Debug)]
pub(crate) struct ResponseEditor {
    stage: Stage,
    exchange: Arc<Exchange>,
}

#[derive(Debug)]
enum Stage {
    /// The beginning of a head has come.
    Head(Vec<u8>),
    Body(Framing),
    /// The client has the whole response.
    Over,
}

impl ResponseEditor {
    pub(crate) fn new(exchange: Arc<Exchange>) -> Self {
        Self { stage: Stage::Head(Vec::new()), exchange }
    }

    /// Reads as many heads as have come, up to that of the final response.
    fn read_heads(&mut self, mut unread: Vec<u8>) -> Edited<'static> {
        let mut edited = Edited { then: Then::Edit, ..Edited::NOTHING };
        loop {
            match parse_response(&unread, self.exchange.answering()) {
                Parsed::Partial => {
                    self.stage = Stage::Head(unread);
                    return edited;
                }
                Parsed::Bad(bad) => return self.refuse(bad, unread.len(), edited),
                Parsed::Complete(head, used) => {
                    edited.consumed += used;
                    unread.drain(..used);
                    let (is_interim, status) = (head.is_interim(), head.status);
                    // RFC 9110 section 15.2: HTTP/1.0 does not know them.
                    if !is_interim || self.exchange.minor > 0 {
                        edited.authored += head.head.len();
                        edited.write.to_mut().extend_from_slice(&head.head);
                    }
                    if !is_interim {
                        self.exchange.status.store(status, Relaxed);
                        return self.begin_body(head, unread, edited);
                    }
                }
            }
        }
    }

    /// The head of the final response is written; `behind` came with it.
    fn begin_body(
        &mut self,
        ResponseHead { status, body, head }: ResponseHead,
        behind: Vec<u8>,
        mut edited: Edited<'static>,
    ) -> Edited<'static> {
        let switched = status == 101;
        let upgrade = if switched { upgrade::GRANTED } else { upgrade::NO };
        self.exchange.upgrade.store(upgrade, Relaxed);
        if switched || body == Framing::UntilClose {
            edited.write.to_mut().extend_from_slice(&behind);
            edited.then = Then::Pass;
            return edited;
        }
        self.stage = Stage::Body(body);
        let of_body = self.edit(&behind);
        if let Then::Fail(_) = of_body.then {
            // Nothing of this response has reached the client.
            let unread = behind.len();
            edited.write.to_mut().truncate(edited.authored - head.len());
            edited.authored -= head.len();
            let reason = BadResponse("the first chunk is malformed");
            return self.refuse(reason, unread, edited);
        }
        edited.write.to_mut().extend_from_slice(&of_body.write);
        edited.consumed += of_body.consumed;
        edited.then = of_body.then;
        edited
    }

    /// Answers in the upstream's place, which has sent what cannot be passed on.
    fn refuse(
        &mut self,
        BadResponse(reason): BadResponse,
        unread: usize,
        mut edited: Edited<'static>,
    ) -> Edited<'static> {
        self.stage = Stage::Over;
        self.exchange.bad_response.store(true, Relaxed);
        let why = format!("invalid response from {}: {reason}", self.exchange.host);
        let head = self.exchange.answering().head;
        let answer = Status::BadGateway.response(&why, self.exchange.minor, head);
        edited.write.to_mut().extend_from_slice(&answer);
        edited.authored += answer.len();
        edited.consumed += unread;
        edited.then = Then::Finish(Some(malformed_response(reason)));
        edited
    }
}

impl Edit for ResponseEditor {
    fn edit<'b>(&mut self, bytes: &'b [u8]) -> Edited<'b> {
        let body = match &mut self.stage {
            Stage::Head(unread) => {
                let mut unread = std::mem::take(unread);
                unread.extend_from_slice(bytes);
                return self.read_heads(unread);
            }
            Stage::Body(body) => body,
            Stage::Over => {
                self.exchange.discarded_of_upstream.fetch_add(bytes.len() as u64, Relaxed);
                return Edited { consumed: bytes.len(), then: Then::Edit, ..Edited::NOTHING };
            }
        };
        let taken = match body.advance(bytes) {
            Ok(taken) => taken,
            // What came of it is on its way: the client must not take it for the whole.
            Err(reason) => {
                let then = Then::Fail(malformed_response(reason));
                return Edited { consumed: bytes.len(), then, ..Edited::NOTHING };
            }
        };
        let (write, behind) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        let then = if body.is_over() { Then::Finish(None) } else { what_follows(body) };
        if let Then::Finish(_) = then {
            self.stage = Stage::Over;
            self.exchange.discarded_of_upstream.fetch_add(behind.len() as u64, Relaxed);
        }
        Edited { write: Cow::Borrowed(write), consumed: behind.len(), authored: 0, then }
    }

    fn end(&mut self, is_broken: bool) -> Edited<'static> {
        let reason = match &self.stage {
            Stage::Head(unread) if !unread.is_empty() => "the head is incomplete",
            // A reset that comes instead of an answer says so itself: it crosses.
            Stage::Head(_) if !is_broken => "the connection was closed without a response",
            Stage::Head(_) | Stage::Body(_) | Stage::Over => return Edited::NOTHING,
        };
        let unread = match &self.stage {
            Stage::Head(unread) => unread.len(),
            Stage::Body(_) | Stage::Over => 0,
        };
        self.refuse(BadResponse(reason), unread, Edited::NOTHING)
    }
}

fn malformed_response(reason: &'static str) -> Fault {
    Fault { code: "MALFORMED_RESPONSE".into(), text: format!("invalid response: {reason}").into() }
}
