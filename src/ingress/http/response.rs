//! The heads of an upstream's responses, in http mode.

use super::head::{ConnectionOptions, end_of_head, is_for_all, room, write_field};
use crate::ingress::Parsed;

/// The head of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(super) status: u16,
    /// As the client gets it: this connection ends behind the response.
    pub(super) closing: Vec<u8>,
}

/// What an upstream sent is no head that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strange;

/// Reads the head that `bytes` begin with.
pub(crate) fn parse_response(bytes: &[u8]) -> Parsed<ResponseHead, Strange> {
    const BEGINNING: &[u8] = b"HTTP/1.";
    if !bytes.starts_with(BEGINNING) && !BEGINNING.starts_with(bytes) {
        return Parsed::Bad(Strange);
    }
    match end_of_head(bytes) {
        Ok(None) => Parsed::Partial,
        Ok(Some(end)) => match read_head(bytes.get(..end).unwrap_or_default()) {
            Some(head) => Parsed::Complete(head, end),
            None => Parsed::Bad(Strange),
        },
        Err(_) => Parsed::Bad(Strange),
    }
}

fn read_head(head: &[u8]) -> Option<ResponseHead> {
    let mut fields = room();
    let mut response = httparse::Response::new(&mut fields);
    response.parse(head).ok()?;
    let status = response.code?;
    let status_line = head.get(..=memchr::memchr(b'\n', head)?)?;
    let options = ConnectionOptions::of(response.headers);
    let mut closing = status_line.to_vec();
    for field in response.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let of_this_hop = is("connection")
            || is("keep-alive")
            || is("proxy-connection")
            // What a 426 asks for stays readable.
            || options.name(field.name) && !is_for_all(field.name) && !is("upgrade");
        if !of_this_hop {
            write_field(&mut closing, field.name, field.value);
        }
    }
    closing.extend_from_slice(b"Connection: close\r\n\r\n");
    Some(ResponseHead { status, closing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_client_is_told_that_the_connection_closes_and_all_else_stays() {
        let head = "HTTP/1.1 404 Not  Here\r\nServer: x\r\nconnection: keep-alive, X-Hop\r\n\
                    Keep-Alive: timeout=5\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\
                    Set-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
        let Parsed::Complete(read, used) = parse_response(head.as_bytes()) else { panic!() };
        assert_eq!((read.status, used), (404, head.len()));
        assert_eq!(
            String::from_utf8(read.closing).unwrap(),
            "HTTP/1.1 404 Not  Here\r\nServer: x\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\n\
             Set-Cookie: b\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn what_is_no_http_is_seen_as_soon_as_possible() {
        for bytes in ["S", "HTTP/2", "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\n", "HTTP/1.1 x\r\n\r\n"] {
            assert!(matches!(parse_response(bytes.as_bytes()), Parsed::Bad(_)), "{bytes:?}");
        }
        for bytes in ["", "H", "HTTP/1.1 200 OK\r\nX: y\r\n"] {
            assert!(matches!(parse_response(bytes.as_bytes()), Parsed::Partial), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_strange(text in "(HTTP/1.1 [0-9]{3} )?\\PC{0,20}\r\n(\\PC{0,20}\r\n){0,3}\r\n") {
            if let Parsed::Complete(head, used) = parse_response(text.as_bytes()) {
                prop_assert!(used <= text.len());
                prop_assert_eq!(end_of_head(&head.closing), Ok(Some(head.closing.len())));
            }
        }
    }
}
