//! The first exchange of plain HTTP/1 (RFC 9112): method and host of the request, status of the
//! response.

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use httparse::Status::{Complete, Partial};

use super::host_name;
use crate::record::Http;

/// Maximum size of a head that is read, bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Most fields of a head that are read.
const MAX_FIELDS: usize = 100;

/// Longest valid method; the longest registered one has 17 letters.
const MAX_METHOD: usize = 32;

/// The beginning of the HTTP/2 preface (RFC 9113 section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";

/// The first exchange, as seen by the observers of both directions. Boxed, because many connections
/// have none.
#[derive(Debug, Default)]
pub(super) struct FirstExchange {
    request: OnceLock<Box<FirstRequest>>,
    is_http2: AtomicBool,
}

/// The first request and its status.
#[derive(Debug)]
struct FirstRequest {
    method: String,
    host: Option<String>,
    status: OnceLock<u16>,
}

impl FirstExchange {
    /// Whether the client's request was seen.
    pub(super) fn has_begun(&self) -> bool {
        self.request.get().is_some()
    }

    /// Whether the connection carries another protocol, without strict turns: the HTTP/2 preface
    /// was seen, or the answer is 101.
    pub(super) fn is_multiplexed(&self) -> bool {
        let status = self.request.get().and_then(|request| request.status.get());
        self.is_http2.load(Ordering::Relaxed) || status == Some(&101)
    }

    /// The exchange for the record; `None` without a request.
    pub(super) fn seen(&self) -> Option<Http> {
        let FirstRequest { method, host, status } = &**self.request.get()?;
        Some(Http {
            method: Some(method.clone()),
            host: host.clone(),
            status: status.get().copied(),
        })
    }
}

/// The beginning of a head.
#[derive(Debug, Default)]
struct Head(Vec<u8>);

impl Head {
    /// Adds bytes; returns whether to parse again: a line has ended, or the buffer is full.
    fn add(&mut self, bytes: &[u8]) -> bool {
        let taken = bytes.get(..MAX_HEAD - self.0.len()).unwrap_or(bytes);
        self.0.extend_from_slice(taken);
        self.is_full() || memchr::memchr(b'\n', taken).is_some()
    }

    fn is_full(&self) -> bool {
        self.0.len() == MAX_HEAD
    }
}

/// Reads the head of the first request.
#[derive(Debug, Default)]
pub(super) struct ClientSide(Head);

impl ClientSide {
    /// Observes the next bytes; breaks when it has seen enough.
    pub(super) fn observe(&mut self, bytes: &[u8], exchange: &FirstExchange) -> ControlFlow<()> {
        let may_tell = self.0.add(bytes);
        let head = &self.0.0;
        let method = head.split(|&byte| byte == b' ').next().unwrap_or_default();
        if method.len() > MAX_METHOD || !method.iter().all(u8::is_ascii_graphic) {
            return Break(());
        }
        if !may_tell {
            return Continue(());
        }
        if head.starts_with(HTTP2) {
            exchange.is_http2.store(true, Ordering::Relaxed);
            return Break(());
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(head) {
            Ok(Partial) if !self.0.is_full() => return Continue(()),
            // A full buffer is used as far as it goes.
            Ok(Complete(_) | Partial) | Err(httparse::Error::TooManyHeaders) => {}
            Err(_) => return Break(()),
        }
        if let (Some(method), Some(_)) = (request.method, request.version) {
            let host = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"));
            let host = host.and_then(|field| host_name(field.value));
            let request = FirstRequest { method: method.to_owned(), host, status: OnceLock::new() };
            // Set only once.
            let _ = exchange.request.set(request.into());
        }
        Break(())
    }
}

/// Reads heads of responses up to the final one.
#[derive(Debug, Default)]
pub(super) struct ServerSide(Head);

impl ServerSide {
    /// Sees what comes next; breaks when nothing more is to be seen.
    pub(super) fn observe(&mut self, bytes: &[u8], exchange: &FirstExchange) -> ControlFlow<()> {
        if !self.0.add(bytes) {
            return Continue(());
        }
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut response = httparse::Response::new(&mut fields);
            let parsed = response.parse(&self.0.0);
            match (parsed, response.code) {
                // RFC 9110 section 15.2: others follow, but for "switching protocols".
                (Ok(Complete(length)), Some(100 | 102..200)) => drop(self.0.0.drain(..length)),
                (Ok(Partial), None | Some(100 | 102..200)) if !self.0.is_full() => {
                    return Continue(());
                }
                (Ok(_) | Err(httparse::Error::TooManyHeaders), Some(status @ (101 | 200..))) => {
                    if let Some(request) = exchange.request.get() {
                        let _ = request.status.set(status);
                    }
                    return Break(());
                }
                _ => return Break(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(requests: &[&[u8]], responses: &[&[u8]]) -> Option<Http> {
        let exchange = FirstExchange::default();
        let (mut client, mut server) = (ClientSide::default(), ServerSide::default());
        let _ = requests.iter().try_for_each(|bytes| client.observe(bytes, &exchange));
        let _ = responses.iter().try_for_each(|bytes| server.observe(bytes, &exchange));
        exchange.seen()
    }

    fn http(method: &str, host: Option<&str>, status: Option<u16>) -> Option<Http> {
        Some(Http { method: Some(method.to_owned()), host: host.map(str::to_owned), status })
    }

    #[test]
    fn method_host_and_the_final_status_are_seen() {
        let request = b"POST /secret?x HTTP/1.1\r\nAccept: */*\r\nHOST: Example.com:81\r\n\r\nbody";
        let response = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                         HTTP/1.1 404 Not Found\r\nX: y\r\n\r\n";
        let expected = http("POST", Some("example.com:81"), Some(404));
        assert_eq!(seen(&[request], &[response]), expected);
        let pieces = |bytes: &'static [u8]| bytes.chunks(1).collect::<Vec<_>>();
        assert_eq!(seen(&pieces(request), &pieces(response)), expected);
    }

    #[test]
    fn a_request_may_lack_a_host_and_an_answer() {
        assert_eq!(seen(&[b"GET / HTTP/1.0\r\n\r\n"], &[]), http("GET", None, None));
        assert_eq!(
            seen(&[b"GET / HTTP/1.1\r\nHost: a\x80b\r\n\r\n"], &[b"HTTP/1.1 101 Yes\r\n"]),
            http("GET", None, Some(101))
        );
    }

    #[test]
    fn of_a_head_without_end_the_beginning_is_read() {
        let long = [b"GET / HTTP/1.1\r\nHost: a\r\nCookie: ".to_vec(), vec![b'x'; 20_000]].concat();
        assert_eq!(seen(&[&long], &[]), http("GET", Some("a"), None));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(120));
        assert_eq!(seen(&[many.as_bytes()], &[]), http("GET", Some("a"), None));
        let path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
        assert_eq!(seen(&[path.as_bytes()], &[]), None);
    }

    #[test]
    fn the_preface_of_http_2_is_no_request_and_shows_that_there_are_no_turns() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for cut in [3, 16, 20] {
            let (exchange, mut client) = (FirstExchange::default(), ClientSide::default());
            let (first, rest) = preface.split_at(cut);
            let seen = client.observe(first, &exchange);
            assert_eq!(seen.is_break(), cut >= 16);
            if seen.is_continue() {
                assert_eq!(client.observe(rest, &exchange), Break(()));
            }
            assert!(exchange.is_multiplexed() && exchange.seen().is_none());
        }
    }

    #[test]
    fn other_languages_are_dropped_as_soon_as_they_show() {
        for bytes in [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            b"EHLO mail.example.com\r\n",
            b"SSH-2.0-OpenSSH_9\r\n",
            b"USER\0\0",
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ",
        ] {
            let exchange = FirstExchange::default();
            assert_eq!(ClientSide::default().observe(bytes, &exchange), Break(()), "{bytes:?}");
            assert_eq!(exchange.seen(), None);
        }
        assert_eq!(
            ServerSide::default().observe(b"SSH-2.0-x\r\n", &FirstExchange::default()),
            Break(())
        );
    }

    proptest! {
        #[test]
        fn pieces_are_read_as_the_whole(
            text in "[A-Z]{1,8} /[a-z]{0,9} HTTP/1\\.[01]\r\n(Host: \\PC{0,9}\r\n|[a-zA-Z]{1,9}: \\PC{0,9}\r\n){0,4}\r\n",
            cuts in prop::collection::vec(1usize..20, 1..20),
        ) {
            let mut rest = text.as_bytes();
            let mut pieces = Vec::new();
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = later;
            }
            let whole = seen(&[text.as_bytes()], &[]);
            prop_assert!(whole.is_some());
            prop_assert_eq!(seen(&pieces, &[]), whole);
        }
    }
}
