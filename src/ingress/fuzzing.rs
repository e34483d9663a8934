//! Fuzzing of the parsers of client data, and the invariants of their results.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::http::{
    Absolute, Form, Framing, HttpExchange, RequestEditor, ResponseContext, ResponseEditor,
    parse_request, parse_response,
};
use super::proxy_protocol::{self, ProxyProtocol};
use super::socks::{parse_4, parse_5, parse_methods, parse_password};
use super::{Forward, ListenAddr, Parsed, Target};
use crate::access::{self, Network, TargetRule};
use crate::record::Http;
use crate::relay::{Edit, EditOutput, Next};
use crate::target::{parse_address, unclear_address};

/// A message is complete at its end and not before.
fn check<T, B>(parse: impl Fn(&[u8]) -> Parsed<T, B>, bytes: &[u8]) -> Option<T> {
    let Parsed::Complete(message, used) = parse(bytes) else { return None };
    assert!(used <= bytes.len());
    assert!(matches!(parse(&bytes[..used]), Parsed::Complete(_, again) if again == used));
    assert!(matches!(parse(&bytes[..used - 1]), Parsed::Partial));
    Some(message)
}

/// Heads of requests and responses.
pub fn http_head(bytes: &[u8]) {
    for (head, upgrade, keep_alive, minor) in
        [(false, false, false, 1), (true, true, true, 1), (false, false, true, 0)]
    {
        let context = ResponseContext { head, upgrade, keep_alive, minor };
        let read = |bytes: &[u8]| parse_response(bytes, context);
        if let Some(response) = check(read, bytes) {
            // The client gets what reads as the upstream's did, in one way.
            let forwarded = response.forwarded();
            assert!(matches!(read(forwarded), Parsed::Complete(again, used)
                if used == forwarded.len() && again == response));
            let text = String::from_utf8_lossy(forwarded).to_ascii_lowercase();
            assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
            assert!(text.matches("\r\ncontent-length:").count() <= 1);
        }
    }
    let Some(request) = check(parse_request, bytes) else { return };
    if let Form::Absolute(absolute) = request.form {
        // The upstream gets one head, of one host, and nothing behind it.
        let head = String::from_utf8_lossy(&absolute.head).to_ascii_lowercase();
        assert_eq!(head.find("\r\n\r\n"), Some(head.len() - 4));
        assert_eq!(head.matches("\r\nhost:").count(), 1);
        assert!(head.matches("\r\nconnection:").count() <= 1);
        assert!(head.matches("\r\ncontent-length:").count() <= 1);
        assert_eq!(head.matches('\n').count(), head.matches("\r\n").count());
        assert!(!head.contains("\r\nproxy-authorization:"));
    }
}

/// A chunked body: its pieces are read as the whole.
pub fn http_body(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let mut whole = Framing::chunked();
    let taken = whole.advance(bytes);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let mut pieces = Framing::chunked();
    let in_pieces =
        pieces.advance(first).and_then(|taken| pieces.advance(second).map(|more| taken + more));
    assert_eq!(taken, in_pieces);
    if taken.is_ok() {
        assert_eq!(whole, pieces);
    }
}

/// Every message of SOCKS 4 and 5.
pub fn socks(bytes: &[u8]) {
    for target in [check(parse_4, bytes), check(parse_5, bytes)].into_iter().flatten() {
        assert_eq!(target.to_string().parse(), Ok(target));
    }
    check(parse_methods, bytes);
    check(parse_password, bytes);
}

/// The PROXY protocol: what is announced reads back from either version.
pub fn proxy_protocol(bytes: &[u8]) {
    let Some(announced) = check(proxy_protocol::parse, bytes) else { return };
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let header = version.header(announced);
        assert_eq!(check(proxy_protocol::parse, &header), Some(announced));
    }
}

/// What names targets, networks, and places to listen.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(target.to_string().parse(), Ok(target.clone()));
        let host = target.host();
        assert!(host.split('.').all(|label| !label.is_empty()));
        access::fuzzing::check_rules(&target);
        if let Some(address) = target.literal() {
            // The usual spelling is the same address, and nobody reads it as another one.
            let usual = Target::from(address);
            assert_eq!(usual.literal(), Some(address));
            assert!(!usual.has_unusual_spelling() && !target.is_localhost());
        }
    }
    // An address is one with and without its port.
    if let Some(address) = parse_address(text) {
        let target = Target::new(text, 80).map(|target| target.literal());
        assert_eq!(target, Ok(Some(SocketAddr::new(address, 80))));
        assert!(unclear_address(text, None).is_some() || text.parse::<Network>().is_ok());
    }
    let _ = text.parse::<Forward>();
    let _ = text.parse::<ListenAddr>();
    let _ = text.parse::<TargetRule>();
    let _ = text.parse::<Network>();
}

/// A request's body and an upstream's responses, as the proxy changes them: pieces come out as the
/// whole does. The first three bytes say where the responses begin, and how long pieces are; the
/// highest bit, whether the client asks for another protocol.
pub fn http_exchange(bytes: &[u8]) {
    let Some((&[high, low, piece], bytes)) = bytes.split_first_chunk() else { return };
    let end = usize::from(u16::from_be_bytes([high & 0x7f, low])).min(bytes.len());
    let (request, responses) = bytes.split_at(end);
    let exchanged = |piece| exchange(request, responses, high & 0x80 != 0, piece);
    let whole = exchanged(bytes.len().max(1));
    assert_eq!(exchanged(usize::from(piece).max(bytes.len() / 64).max(1)), whole);
}

/// What came out in each direction, and what the record says.
fn exchange(
    request: &[u8],
    responses: &[u8],
    upgrade: bool,
    piece: usize,
) -> (Option<Vec<u8>>, Option<Vec<u8>>, Http) {
    let absolute = Absolute {
        method: "GET".into(),
        host: "name.test".into(),
        head: Vec::new(),
        body: Framing::chunked(),
        upgrade,
        keep_alive: true,
        expects_continue: false,
    };
    let exchange = Arc::new(HttpExchange::new(&absolute, 1, CancellationToken::new()));
    let requests = RequestEditor::new(Framing::chunked(), Arc::clone(&exchange));
    let to_upstream = edited(requests, request, piece);
    let to_client = edited(ResponseEditor::new(Arc::clone(&exchange)), responses, piece);
    (to_upstream, to_client, exchange.seen())
}

/// What a half writes of `bytes`; `None` if they break the protocol.
fn edited(mut editor: impl Edit, bytes: &[u8], piece: usize) -> Option<Vec<u8>> {
    let (mut written, mut consumed, mut authored) = (Vec::new(), 0, 0);
    // Bytes that are held back for the next exchange: all that follow.
    let mut held = 0;
    // Bytes that pass without the editor.
    let mut passing = 0;
    let mut is_finished = false;
    let mut apply = |edited: EditOutput<'_>, passing: &mut u64| {
        written.extend_from_slice(&edited.write);
        assert!(!is_finished || edited.write.is_empty(), "written behind the end");
        assert!(held == 0 || edited.write.is_empty(), "written behind what is held back");
        consumed += edited.consumed;
        authored += edited.authored;
        held += edited.held;
        match edited.next {
            Next::Edit => {}
            Next::Pass => *passing = u64::MAX,
            Next::PassBytes(bytes) => *passing = bytes,
            Next::Finish(None) | Next::Rest | Next::Detach => is_finished = true,
            // What had come before decides whether the receiver gets an answer instead.
            Next::Finish(Some(_)) | Next::Fail(_) => return false,
        }
        true
    };
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let passes = usize::try_from(passing).unwrap_or(usize::MAX).min(piece.len());
            if passes == 0 {
                if !apply(editor.edit(piece), &mut passing) {
                    return None;
                }
                break;
            }
            let passed = EditOutput {
                write: piece[..passes].into(),
                next: Next::Edit,
                ..EditOutput::NOTHING
            };
            apply(passed, &mut passing);
            piece = &piece[passes..];
            if passing < u64::MAX {
                passing -= passes as u64;
                if passing == 0 && !apply(editor.edit(&[]), &mut passing) {
                    return None;
                }
            }
        }
    }
    if passing == 0 && !apply(editor.end(false), &mut passing) {
        return None;
    }
    assert_eq!(written.len() + consumed + held, bytes.len() + authored);
    Some(written)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_must_hold_of_targets_holds_of_all_that_look_like_one(
            text in "(\\[?[0-9a-fxX.:%]{0,20}\\]?|(a|local|localhost|[0-9x]{1,4}|\\PC|\\*)(\\.(localhost|[0-9a-fxX]{0,4}|\\.)){0,4})(:[0-9]{1,2}|/[0-9]{1,3})?",
        ) {
            super::target(text.as_bytes());
        }
    }
}
