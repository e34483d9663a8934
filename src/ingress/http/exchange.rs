//! One request in absolute form and its response: nothing passes to the upstream behind the
//! request, and the client is told that the connection ends behind the response.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering::Relaxed};

use super::body::Framing;
use super::response::parse_response;
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
    upgrade: AtomicU8,
    status: AtomicU16,
    discarded: AtomicU64,
    strange: AtomicBool,
}

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
    pub(crate) fn new(method: String, host: String, upgrade: bool) -> Self {
        Self {
            method,
            host,
            upgrade: AtomicU8::new(if upgrade { upgrade::ASKED } else { upgrade::NO }),
            status: AtomicU16::new(0),
            discarded: AtomicU64::new(0),
            strange: AtomicBool::new(false),
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

    /// The upstream did not answer in HTTP/1.
    pub(crate) fn is_strange(&self) -> bool {
        self.strange.load(Relaxed)
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
}

impl Edit for RequestEditor {
    fn edit<'b>(&mut self, bytes: &'b [u8]) -> Edited<'b> {
        if self.body.is_over() && self.exchange.upgrade.load(Relaxed) == upgrade::GRANTED {
            let write = Cow::Borrowed(bytes);
            return Edited { write, consumed: 0, authored: 0, then: Then::Pass };
        }
        let (taken, then) = match self.body.advance(bytes) {
            Ok(taken) => (taken, Then::Edit),
            Err(reason) => (0, Then::Fail(malformed(reason))),
        };
        let (body, behind) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        let waits = self.exchange.upgrade.load(Relaxed) == upgrade::ASKED;
        let then = match then {
            // They could be another request, or the beginning of the other protocol.
            Then::Edit if waits && !behind.is_empty() => Then::Fail(malformed(
                "more came behind a request to upgrade before it was answered",
            )),
            then => then,
        };
        self.exchange.discarded.fetch_add(behind.len() as u64, Relaxed);
        Edited { write: Cow::Borrowed(body), consumed: behind.len(), authored: 0, then }
    }

    fn held(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

fn malformed(reason: &'static str) -> Fault {
    Fault { code: "MALFORMED_REQUEST".into(), text: reason.into() }
}

/// Tells the client, in the head of the final response, that the connection ends behind it.
#[derive(Debug)]
pub(crate) struct ResponseEditor {
    /// The beginning of a head.
    head: Vec<u8>,
    exchange: Arc<Exchange>,
}

impl ResponseEditor {
    pub(crate) fn new(exchange: Arc<Exchange>) -> Self {
        Self { head: Vec::new(), exchange }
    }
}

impl Edit for ResponseEditor {
    fn edit<'b>(&mut self, bytes: &'b [u8]) -> Edited<'b> {
        self.head.extend_from_slice(bytes);
        let mut write = Vec::new();
        let (mut consumed, mut authored) = (0, 0);
        let then = loop {
            match parse_response(&self.head) {
                Parsed::Partial => break Then::Edit,
                Parsed::Bad(_) => {
                    self.exchange.strange.store(true, Relaxed);
                    write.append(&mut self.head);
                    break Then::Pass;
                }
                Parsed::Complete(head, used) => {
                    let asked = self.exchange.upgrade.load(Relaxed) == upgrade::ASKED;
                    let interim = (100..200).contains(&head.status);
                    let switched = head.status == 101 && asked;
                    if !interim || switched {
                        self.exchange.status.store(head.status, Relaxed);
                        let upgrade = if switched { upgrade::GRANTED } else { upgrade::NO };
                        self.exchange.upgrade.store(upgrade, Relaxed);
                    }
                    if interim {
                        write.extend(self.head.drain(..used));
                    } else {
                        (consumed, authored) = (used, head.closing.len());
                        write.extend_from_slice(&head.closing);
                        self.head.drain(..used);
                    }
                    if !interim || switched {
                        write.append(&mut self.head);
                        break Then::Pass;
                    }
                }
            }
        };
        Edited { write: Cow::Owned(write), consumed, authored, then }
    }

    fn held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.head)
    }
}
