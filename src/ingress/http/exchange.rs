//! One request in absolute form and its response: nothing after the request passes to the upstream,
//! and nothing after the response passes to the client. The connection ends there.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering::Relaxed};

use super::body::Framing;
use super::own_response::response_to_bad;
use super::response::{BadResponse, ResponseContext, ResponseHead, parse_response};
use crate::fault::Fault;
use crate::ingress::Parsed;
use crate::record::Http;
use crate::relay::{Edit, EditOutput, Next};

/// State of both editors, also for the record. Both are polled by one task, so relaxed atomics
/// suffice.
#[derive(Debug)]
pub(crate) struct HttpExchange {
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

/// At least this much data passes without the editor, so that it can be spliced. Less is not worth
/// the switch.
const WORTH_PASSING: u64 = 256 * 1024;

/// Whether both sides go on in another protocol (RFC 9110 section 7.8).
mod upgrade {
    /// Not requested, or declined by the upstream.
    pub(super) const NO: u8 = 0;
    /// Requested by the client; the upstream has not answered.
    pub(super) const ASKED: u8 = 1;
    /// The upstream has answered 101.
    pub(super) const GRANTED: u8 = 2;
}

impl HttpExchange {
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

    /// `host` or `host:port`, as sent to the upstream.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The exchange for the record.
    pub(crate) fn seen(&self) -> Http {
        let status = self.status.load(Relaxed);
        Http {
            method: Some(self.method.clone()),
            host: Some(self.host.clone()),
            status: (status != 0).then_some(status),
        }
    }

    /// Bytes that came after the request and were discarded.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded.load(Relaxed)
    }

    /// Bytes that the upstream sent after the response, which were discarded.
    pub(crate) fn discarded_of_upstream(&self) -> u64 {
        self.discarded_of_upstream.load(Relaxed)
    }

    /// Whether the upstream's response had no valid head, and the client got a response of the
    /// proxy.
    pub(crate) fn has_bad_response(&self) -> bool {
        self.bad_response.load(Relaxed)
    }

    fn context(&self) -> ResponseContext {
        let upgrade = self.upgrade.load(Relaxed) == upgrade::ASKED;
        ResponseContext { head: self.method == "HEAD", upgrade }
    }
}

/// How to treat the bytes after those of a body that were just read.
fn next_after_body(body: &mut Framing) -> Next {
    match body.data() {
        WORTH_PASSING.. => Next::PassBytes(body.take_data()),
        _ => Next::Edit,
    }
}

/// Lets the request's body pass to the upstream, and nothing after it.
#[derive(Debug)]
pub(crate) struct RequestEditor {
    body: Framing,
    exchange: Arc<HttpExchange>,
}

impl RequestEditor {
    pub(crate) fn new(body: Framing, exchange: Arc<HttpExchange>) -> Self {
        Self { body, exchange }
    }

    /// Edits received bytes of the body; what follows is edited as well.
    pub(crate) fn take<'b>(&mut self, bytes: &'b [u8]) -> EditOutput<'b> {
        if self.body.is_over() && self.exchange.upgrade.load(Relaxed) == upgrade::GRANTED {
            let write = Cow::Borrowed(bytes);
            return EditOutput { write, consumed: 0, authored: 0, next: Next::Pass };
        }
        let taken = match self.body.advance(bytes) {
            Ok(taken) => taken,
            // These bytes belong to the request, not after it.
            Err(reason) => {
                let next = Next::Fail(malformed(reason));
                return EditOutput { consumed: bytes.len(), next, ..EditOutput::NOTHING };
            }
        };
        let (body, behind) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        let waits = self.exchange.upgrade.load(Relaxed) == upgrade::ASKED;
        let next = if waits && !behind.is_empty() {
            // They could be another request, or the beginning of the other protocol.
            Next::Fail(malformed("more data followed an upgrade request before its response"))
        } else {
            Next::Edit
        };
        self.exchange.discarded.fetch_add(behind.len() as u64, Relaxed);
        EditOutput { write: Cow::Borrowed(body), consumed: behind.len(), authored: 0, next }
    }
}

impl Edit for RequestEditor {
    fn edit<'b>(&mut self, bytes: &'b [u8]) -> EditOutput<'b> {
        let edited = self.take(bytes);
        match edited.next {
            Next::Edit => EditOutput { next: next_after_body(&mut self.body), ..edited },
            _ => edited,
        }
    }
}

fn malformed(reason: &'static str) -> Fault {
    Fault { code: "MALFORMED_REQUEST".into(), text: reason.into() }
}

/// Lets the response pass to the client, and nothing after it. The head gets `Connection: close`.
#[derive(Debug)]
pub(crate) struct ResponseEditor {
    stage: Stage,
    exchange: Arc<HttpExchange>,
}

#[derive(Debug)]
enum Stage {
    /// Bytes of an incomplete head.
    Head(Vec<u8>),
    Body(Framing),
    /// The client has the whole response.
    Over,
}

impl ResponseEditor {
    pub(crate) fn new(exchange: Arc<HttpExchange>) -> Self {
        Self { stage: Stage::Head(Vec::new()), exchange }
    }

    /// Parses all heads received so far, up to that of the final response.
    fn read_heads(&mut self, mut unread: Vec<u8>) -> EditOutput<'static> {
        let mut edited = EditOutput { next: Next::Edit, ..EditOutput::NOTHING };
        loop {
            match parse_response(&unread, self.exchange.context()) {
                Parsed::Partial => {
                    self.stage = Stage::Head(unread);
                    return edited;
                }
                Parsed::Bad(bad) => return self.reply_bad_gateway(bad, unread.len(), edited),
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
        mut edited: EditOutput<'static>,
    ) -> EditOutput<'static> {
        let switched = status == 101;
        let upgrade = if switched { upgrade::GRANTED } else { upgrade::NO };
        self.exchange.upgrade.store(upgrade, Relaxed);
        if switched || body == Framing::UntilClose {
            edited.write.to_mut().extend_from_slice(&behind);
            edited.next = Next::Pass;
            return edited;
        }
        self.stage = Stage::Body(body);
        let of_body = self.edit(&behind);
        if let Next::Fail(_) = of_body.next {
            // Nothing of this response has reached the client.
            let unread = behind.len();
            edited.write.to_mut().truncate(edited.authored - head.len());
            edited.authored -= head.len();
            let reason = BadResponse("the first chunk is malformed");
            return self.reply_bad_gateway(reason, unread, edited);
        }
        edited.write.to_mut().extend_from_slice(&of_body.write);
        edited.consumed += of_body.consumed;
        edited.next = of_body.next;
        edited
    }

    /// Replies 502 in place of a response that cannot be passed on.
    fn reply_bad_gateway(
        &mut self,
        bad: BadResponse,
        unread: usize,
        mut edited: EditOutput<'static>,
    ) -> EditOutput<'static> {
        self.stage = Stage::Over;
        self.exchange.bad_response.store(true, Relaxed);
        let reason = bad.reason();
        let why = format!("invalid response from {}: {reason}", self.exchange.host);
        let head = self.exchange.context().head;
        let answer = response_to_bad(bad, &why, self.exchange.minor, head);
        edited.write.to_mut().extend_from_slice(&answer);
        edited.authored += answer.len();
        edited.consumed += unread;
        edited.next = Next::Finish(Some(malformed_response(reason)));
        edited
    }
}

impl Edit for ResponseEditor {
    fn edit<'b>(&mut self, bytes: &'b [u8]) -> EditOutput<'b> {
        let body = match &mut self.stage {
            Stage::Head(unread) => {
                let mut unread = std::mem::take(unread);
                unread.extend_from_slice(bytes);
                return self.read_heads(unread);
            }
            Stage::Body(body) => body,
            Stage::Over => {
                self.exchange.discarded_of_upstream.fetch_add(bytes.len() as u64, Relaxed);
                return EditOutput {
                    consumed: bytes.len(),
                    next: Next::Edit,
                    ..EditOutput::NOTHING
                };
            }
        };
        let taken = match body.advance(bytes) {
            Ok(taken) => taken,
            // Part of it was written already: the client must not take that for the whole.
            Err(reason) => {
                let next = Next::Fail(malformed_response(reason));
                return EditOutput { consumed: bytes.len(), next, ..EditOutput::NOTHING };
            }
        };
        let (write, behind) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        let next = if body.is_over() { Next::Finish(None) } else { next_after_body(body) };
        if let Next::Finish(_) = next {
            self.stage = Stage::Over;
            self.exchange.discarded_of_upstream.fetch_add(behind.len() as u64, Relaxed);
        }
        EditOutput { write: Cow::Borrowed(write), consumed: behind.len(), authored: 0, next }
    }

    fn end(&mut self, is_broken: bool) -> EditOutput<'static> {
        let bad = match &self.stage {
            Stage::Head(unread) if !unread.is_empty() => BadResponse::INCOMPLETE_HEAD,
            // A reset that comes instead of an answer says so itself: it crosses.
            Stage::Head(_) if !is_broken => BadResponse::NONE,
            Stage::Head(_) | Stage::Body(_) | Stage::Over => return EditOutput::NOTHING,
        };
        let unread = match &self.stage {
            Stage::Head(unread) => unread.len(),
            Stage::Body(_) | Stage::Over => 0,
        };
        self.reply_bad_gateway(bad, unread, EditOutput::NOTHING)
    }
}

fn malformed_response(reason: &'static str) -> Fault {
    Fault { code: "MALFORMED_RESPONSE".into(), text: format!("invalid response: {reason}").into() }
}
