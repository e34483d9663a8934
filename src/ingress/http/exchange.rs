//! The state of an exchange: a request in absolute form and its response.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering::Relaxed};

use tokio_util::sync::CancellationToken;

use super::request::Absolute;
use super::response::ResponseContext;
use crate::record::Http;
use crate::relay::Next;

/// State of both editors, also for the record. Both are polled by one task, so relaxed atomics
/// suffice.
#[derive(Debug)]
pub(crate) struct HttpExchange {
    pub(super) request: RequestFacts,
    /// Cancelled when no further requests are wanted.
    draining: CancellationToken,
    /// The connection to the upstream has carried an earlier exchange.
    pub(super) is_later: AtomicBool,
    /// The client's connection has other upstreams as well.
    has_others: AtomicBool,
    /// The client has begun another request.
    pub(super) has_next: AtomicBool,
    pub(super) upgrade: AtomicU8,
    pub(super) persistence: AtomicU8,
    /// The whole request was read.
    pub(super) is_requested: AtomicBool,
    /// The upstream has closed its connection without a response, and the request may be repeated.
    pub(super) needs_repeat: AtomicBool,
    pub(super) status: AtomicU16,
    discarded: AtomicU64,
    pub(super) discarded_of_upstream: AtomicU64,
    pub(super) bad_response: AtomicBool,
}

/// What a request says.
#[derive(Debug, Clone)]
pub(super) struct RequestFacts {
    method: String,
    host: String,
    /// The minor version of HTTP/1 that the client speaks.
    pub(super) minor: u8,
    asks_upgrade: bool,
    keep_alive: bool,
    expects_continue: bool,
    has_body: bool,
}

/// Whether both sides go on in another protocol (RFC 9110 section 7.8).
pub(super) mod upgrade {
    /// Not requested, or declined by the upstream.
    pub(in super::super) const NO: u8 = 0;
    /// Requested by the client; the upstream has not answered.
    pub(in super::super) const ASKED: u8 = 1;
    /// The upstream has answered 101.
    pub(in super::super) const GRANTED: u8 = 2;
}

/// Whether the connections stay open after the exchange.
pub(super) mod persistence {
    /// The client wants it; the upstream has not answered.
    pub(in super::super) const WANTED: u8 = 0;
    /// They do, and the client was told so.
    pub(in super::super) const KEPT: u8 = 1;
    /// They do not.
    pub(in super::super) const CLOSED: u8 = 2;
}

impl HttpExchange {
    /// `draining` is cancelled when no further requests are wanted.
    pub(crate) fn new(absolute: &Absolute, minor: u8, draining: CancellationToken) -> Self {
        let Absolute { method, host, body, upgrade, keep_alive, expects_continue, .. } = absolute;
        let request = RequestFacts {
            method: method.clone(),
            host: host.clone(),
            minor,
            asks_upgrade: *upgrade,
            keep_alive: *keep_alive,
            expects_continue: *expects_continue,
            has_body: !body.is_over(),
        };
        Self::from_facts(request, draining)
    }

    fn from_facts(request: RequestFacts, draining: CancellationToken) -> Self {
        let upgrade = if request.asks_upgrade { upgrade::ASKED } else { upgrade::NO };
        let persistence =
            if request.keep_alive { persistence::WANTED } else { persistence::CLOSED };
        let is_requested = !request.has_body;
        Self {
            request,
            draining,
            is_later: AtomicBool::new(false),
            has_others: AtomicBool::new(false),
            has_next: AtomicBool::new(false),
            upgrade: AtomicU8::new(upgrade),
            persistence: AtomicU8::new(persistence),
            is_requested: AtomicBool::new(is_requested),
            needs_repeat: AtomicBool::new(false),
            status: AtomicU16::new(0),
            discarded: AtomicU64::new(0),
            discarded_of_upstream: AtomicU64::new(0),
            bad_response: AtomicBool::new(false),
        }
    }

    /// The exchange of the same request on another connection.
    pub(crate) fn repeated(&self) -> Self {
        Self::from_facts(self.request.clone(), self.draining.clone())
    }

    /// `host` or `host:port`, as sent to the upstream.
    pub(crate) fn host(&self) -> &str {
        &self.request.host
    }

    /// The exchange for the record.
    pub(crate) fn seen(&self) -> Http {
        let status = self.status.load(Relaxed);
        Http {
            method: Some(self.request.method.clone()),
            host: Some(self.request.host.clone()),
            status: (status != 0).then_some(status),
        }
    }

    /// Notes that the request goes to a connection that has carried an earlier exchange.
    pub(crate) fn set_later(&self) {
        self.is_later.store(true, Relaxed);
    }

    /// Notes that the client's connection has other upstreams, which wait.
    pub(crate) fn set_has_others(&self) {
        self.has_others.store(true, Relaxed);
    }

    /// Notes that the client has begun another request.
    pub(crate) fn set_has_next(&self) {
        self.has_next.store(true, Relaxed);
    }

    /// Whether the request may be sent again if the upstream closes its connection without a
    /// response: it is idempotent, and has no body (RFC 9110 section 9.2.2).
    pub(crate) fn is_repeatable(&self) -> bool {
        const METHODS: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
        let RequestFacts { method, asks_upgrade, has_body, .. } = &self.request;
        METHODS.contains(&&**method) && !has_body && !asks_upgrade
    }

    /// Whether the upstream has closed its connection without a response, and the request is to be
    /// sent again.
    pub(crate) fn needs_repeat(&self) -> bool {
        self.needs_repeat.load(Relaxed)
    }

    /// Bytes that came after the request and were discarded.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded.load(Relaxed)
    }

    /// Counts bytes that came after the request and were discarded.
    pub(crate) fn count_discarded(&self, bytes: u64) {
        self.discarded.fetch_add(bytes, Relaxed);
    }

    /// Bytes that the upstream sent after the response, which were discarded.
    pub(crate) fn discarded_of_upstream(&self) -> u64 {
        self.discarded_of_upstream.load(Relaxed)
    }

    /// Counts bytes that the upstream sent after the response, which were discarded.
    pub(crate) fn count_discarded_of_upstream(&self, bytes: u64) {
        self.discarded_of_upstream.fetch_add(bytes, Relaxed);
    }

    /// Whether the upstream's response had no valid head, and the client got a response of the
    /// proxy.
    pub(crate) fn has_bad_response(&self) -> bool {
        self.bad_response.load(Relaxed)
    }

    /// Adds what was discarded in a later exchange on the same connections.
    pub(crate) fn absorb(&self, later: &Self) {
        self.discarded.fetch_add(later.discarded(), Relaxed);
        self.discarded_of_upstream.fetch_add(later.discarded_of_upstream(), Relaxed);
        self.bad_response.fetch_or(later.has_bad_response(), Relaxed);
    }

    pub(super) fn context(&self) -> ResponseContext {
        let RequestFacts { method, minor, expects_continue, .. } = &self.request;
        // A client that gets its response before it has sent the body may keep it back; then
        // nobody could tell where its next request begins.
        let withholds_body = *expects_continue && !self.is_requested.load(Relaxed);
        ResponseContext {
            head: method == "HEAD",
            upgrade: self.upgrade.load(Relaxed) == upgrade::ASKED,
            keep_alive: self.persistence.load(Relaxed) != persistence::CLOSED
                && !withholds_body
                && !self.draining.is_cancelled(),
            minor: *minor,
        }
    }

    pub(super) fn close(&self) {
        self.persistence.store(persistence::CLOSED, Relaxed);
    }

    /// The response is over, and the upstream has closed its connection or sends what is no
    /// response. The client's connection may stay open if its whole request was read.
    pub(super) fn after_upstream(&self) -> Next {
        if self.is_requested.load(Relaxed) {
            return Next::Detach;
        }
        self.close();
        Next::Finish(None)
    }

    /// The response is over, and the upstream has closed its connection. So does the client's, as it would
    /// without a proxy, unless it has other upstreams or another request has begun.
    pub(super) fn after_close(&self) -> Next {
        if self.has_others.load(Relaxed) || self.has_next.load(Relaxed) {
            return self.after_upstream();
        }
        self.close();
        Next::Finish(None)
    }

    /// What happens after the response, if `behind` bytes have come with it.
    pub(super) fn after_response(&self, behind: usize) -> Next {
        match (self.persistence.load(Relaxed), behind) {
            (persistence::KEPT, 0) => Next::Rest,
            (persistence::KEPT, _) => self.after_upstream(),
            _ => Next::Finish(None),
        }
    }
}
