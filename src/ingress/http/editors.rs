//! What becomes of an exchange's bytes: nothing after a request passes to its upstream, and nothing after a
//! response passes to the client, before the exchange is over.
//!
//! One exchange has two editors. If both connections stay open after it, the bytes of the client
//! that follow are held back: they are the next request, perhaps for another upstream.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::body::Framing;
use super::exchange::{HttpExchange, persistence, upgrade};
use super::own_response::response_to_bad;
use super::response::{BadResponse, ResponseHead, parse_response};
use crate::fault::Fault;
use crate::ingress::Parsed;
use crate::relay::{Edit, EditOutput, Next};

/// At least this much data passes without the editor, so that it can be spliced. Less is not worth
/// the switch.
const WORTH_PASSING: u64 = 256 * 1024;

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
        let exchange = &*self.exchange;
        if self.body.is_over() && exchange.upgrade.load(Relaxed) == upgrade::GRANTED {
            return EditOutput { write: Cow::Borrowed(bytes), ..EditOutput::NOTHING };
        }
        let taken = match self.body.advance(bytes) {
            Ok(taken) => taken,
            // These bytes belong to the request, not after it.
            Err(reason) => {
                let next = Next::Fail(malformed(reason));
                return EditOutput { consumed: bytes.len(), next, ..EditOutput::NOTHING };
            }
        };
        if self.body.is_over() {
            exchange.is_requested.store(true, Relaxed);
        }
        let (body, behind) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        let mut edited =
            EditOutput { write: Cow::Borrowed(body), next: Next::Edit, ..EditOutput::NOTHING };
        let waits = exchange.upgrade.load(Relaxed) == upgrade::ASKED;
        if !waits && exchange.persistence.load(Relaxed) != persistence::CLOSED {
            // Empty lines before a request are ignored (RFC 9112 section 2.2).
            let is_break = |byte: &&u8| matches!(**byte, b'\r' | b'\n');
            if !exchange.has_next.load(Relaxed) {
                edited.consumed = behind.iter().take_while(is_break).count();
            }
            edited.held = behind.len() - edited.consumed;
            exchange.has_next.fetch_or(edited.held > 0, Relaxed);
            return edited;
        }
        if waits && !behind.is_empty() {
            // They could be another request, or the beginning of the other protocol.
            edited.next =
                Next::Fail(malformed("more data followed an upgrade request before its response"));
        }
        edited.consumed = behind.len();
        exchange.count_discarded(behind.len() as u64);
        edited
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

/// Lets the response pass to the client, and nothing after it. The head says whether the client's
/// connection stays open.
#[derive(Debug)]
pub(crate) struct ResponseEditor {
    stage: Stage,
    /// An interim response was passed on.
    has_passed: bool,
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
        Self { stage: Stage::Head(Vec::new()), has_passed: false, exchange }
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
                    if !is_interim || self.exchange.request.minor > 0 {
                        self.has_passed = true;
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
        ResponseHead { status, body, head, keep_alive }: ResponseHead,
        behind: Vec<u8>,
        mut edited: EditOutput<'static>,
    ) -> EditOutput<'static> {
        let switched = status == 101;
        let upgrade = if switched { upgrade::GRANTED } else { upgrade::NO };
        self.exchange.upgrade.store(upgrade, Relaxed);
        let is_kept = keep_alive && !switched;
        let persistence = if is_kept { persistence::KEPT } else { persistence::CLOSED };
        self.exchange.persistence.store(persistence, Relaxed);
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
        self.exchange.close();
        self.exchange.bad_response.store(true, Relaxed);
        let reason = bad.reason();
        let why = format!("invalid response from {}: {reason}", self.exchange.host());
        let head = self.exchange.context().head;
        let answer = response_to_bad(bad, &why, self.exchange.request.minor, head);
        edited.write.to_mut().extend_from_slice(&answer);
        edited.authored += answer.len();
        edited.consumed += unread;
        edited.next = Next::Finish(Some(malformed_response(reason)));
        edited
    }

    /// The upstream has ended its connection without any byte of a response, on a connection that
    /// has carried an earlier exchange: it may have closed before the request arrived. `None` on a
    /// new connection.
    fn end_of_kept_connection(&self) -> Option<EditOutput<'static>> {
        let exchange = &*self.exchange;
        if self.has_passed || !exchange.is_later.load(Relaxed) {
            return None;
        }
        if exchange.is_repeatable() {
            exchange.needs_repeat.store(true, Relaxed);
            return Some(EditOutput { next: Next::Detach, ..EditOutput::NOTHING });
        }
        // The client sees its connection close, and decides itself (RFC 9112 section 9.3.1).
        exchange.close();
        let next = Next::Finish(Some(malformed_response(BadResponse::NONE.reason())));
        Some(EditOutput { next, ..EditOutput::NOTHING })
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
                let exchange = &*self.exchange;
                exchange.discarded_of_upstream.fetch_add(bytes.len() as u64, Relaxed);
                let next = match exchange.persistence.load(Relaxed) {
                    persistence::KEPT => exchange.after_upstream(),
                    _ => Next::Edit,
                };
                return EditOutput { consumed: bytes.len(), next, ..EditOutput::NOTHING };
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
        let is_over = body.is_over();
        let next = if is_over {
            self.exchange.after_response(behind.len())
        } else {
            next_after_body(body)
        };
        if is_over {
            self.stage = Stage::Over;
            self.exchange.discarded_of_upstream.fetch_add(behind.len() as u64, Relaxed);
        }
        let consumed = behind.len();
        EditOutput { write: Cow::Borrowed(write), consumed, next, ..EditOutput::NOTHING }
    }

    fn end(&mut self, is_broken: bool) -> EditOutput<'static> {
        let bad = match &self.stage {
            Stage::Head(unread) if !unread.is_empty() => BadResponse::INCOMPLETE_HEAD,
            Stage::Head(_) => match self.end_of_kept_connection() {
                Some(edited) => return edited,
                None if !is_broken => BadResponse::NONE,
                // A reset that comes instead of an answer says so itself: it crosses.
                None => return EditOutput::NOTHING,
            },
            Stage::Over if self.exchange.persistence.load(Relaxed) == persistence::KEPT => {
                let next = self.exchange.after_close();
                return EditOutput { next, ..EditOutput::NOTHING };
            }
            Stage::Body(_) | Stage::Over => return EditOutput::NOTHING,
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
