use proptest::prelude::*;

use super::*;
use crate::ingress::http::head::end_of_head;

const GET: ResponseContext =
    ResponseContext { head: false, upgrade: false, keep_alive: false, minor: 1 };

/// The head as the client gets it, and the body behind it.
fn read(head: &str) -> (String, Framing) {
    match parse_response(head.as_bytes(), GET) {
        Parsed::Complete(read, used) => {
            assert_eq!(used, head.len());
            (String::from_utf8(read.head).unwrap(), read.body)
        }
        other => panic!("{other:?}: {head:?}"),
    }
}

fn is_bad(head: &[u8]) -> bool {
    matches!(parse_response(head, GET), Parsed::Bad(_))
}

#[test]
fn client_is_told_that_the_connection_closes_and_all_else_stays() {
    let head = "HTTP/1.1 404 Not  Here\r\nServer: x\r\nconnection: keep-alive, X-Hop\r\n\
                Keep-Alive: timeout=5\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\
                Set-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    assert_eq!(
        read(head),
        (
            "HTTP/1.1 404 Not  Here\r\nServer: x\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\n\
             Set-Cookie: b\r\nConnection: close\r\n\r\n"
                .to_owned(),
            Framing::chunked()
        )
    );
}

#[test]
fn head_that_reads_in_one_way_is_normalised() {
    for (head, forwarded) in [
        ("HTTP/1.0 200 OK\nX: y\n\n", "HTTP/1.0 200 OK\r\nX: y\r\n"),
        ("HTTP/1.1 200 OK\r\nX: a\r\n  b\r\n\tc\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a b c\r\n"),
        ("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n"),
        ("HTTP/1.1 200\r\n\r\n", "HTTP/1.1 200\r\n"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        ),
        ("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 204 No\r\n"),
    ] {
        assert_eq!(read(head).0, format!("{forwarded}Connection: close\r\n\r\n"), "{head:?}");
    }
    let latin_1 = b"HTTP/1.1 200 O\xe4\r\nX: \xe4\r\n\r\n";
    let Parsed::Complete(head, _) = parse_response(latin_1, GET) else { panic!() };
    assert_eq!(head.head, b"HTTP/1.1 200 O\xe4\r\nX: \xe4\r\nConnection: close\r\n\r\n");
}

#[test]
fn head_that_reads_in_several_ways_is_bad() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101));
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD));
    for head in [
        "S",
        "HTTP/2",
        "SSH-2.0-x\r\n",
        "ICY 200 OK\r\n\r\n",
        "<html>",
        "HTTP/1.1 x\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 1000 OK\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\n X: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX Y: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        &many,
        &long,
    ] {
        assert!(is_bad(head.as_bytes()), "{head:?}");
    }
    for begun in ["", "H", "HTTP/1.1 200 OK\r\nX: y\r\n", "HTTP/1.1 200 OK\nX: y\n"] {
        assert!(matches!(parse_response(begun.as_bytes(), GET), Parsed::Partial), "{begun:?}");
    }
}

#[test]
fn what_is_answered_decides_about_the_body_and_101() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let to_head = ResponseContext { head: true, ..GET };
    let Parsed::Complete(read_head, _) = parse_response(head, to_head) else { panic!() };
    assert_eq!(read_head.body, Framing::NONE);
    assert_eq!(read("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").1, Framing::NONE);
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let upgrading = ResponseContext { upgrade: true, ..GET };
    let Parsed::Complete(switched, _) = parse_response(switching.as_bytes(), upgrading) else {
        panic!()
    };
    assert_eq!(String::from_utf8(switched.head).unwrap(), switching);
}

proptest! {
    /// What the client gets is itself a strict head, which reads as the upstream's did.
    #[test]
    fn any_bytes_are_read_or_bad(
        text in "(HTTP/1.1 [0-9]{3} )?\\PC{0,20}\r?\n([ -~]{0,20}\r?\n){0,3}\r?\n",
        fields in prop::collection::vec(
            "(Content-Length|Transfer-Encoding|Connection|X)(: ?| : )(chunked|5|5, 5|close, x|[ -~]{0,8})(\r?\n [a-z5]{0,4})?", 0..5),
        end in "\r?\n",
    ) {
        let with_fields = format!("HTTP/1.1 200 OK{end}{}{end}{end}", fields.join(&end));
        for head in [text, with_fields] {
            if let Parsed::Complete(read, used) = parse_response(head.as_bytes(), GET) {
                prop_assert!(used <= head.len());
                prop_assert_eq!(end_of_head(&read.head), Ok(Some(read.head.len())));
                let Parsed::Complete(again, used) = parse_response(&read.head, GET) else { panic!() };
                prop_assert_eq!((used, again), (read.head.len(), read));
            }
        }
    }
}

#[test]
fn the_clients_connection_is_kept_if_both_sides_and_the_framing_permit_it() {
    let length = "Content-Length: 0\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (client, upstream, fields, connection) in [
        (1, 1, length, None),
        (1, 1, chunked, None),
        (1, 1, "", Some("close")),
        (1, 1, "Content-Length: 0\r\nConnection: close\r\n", Some("close")),
        (1, 0, length, Some("close")),
        (1, 0, "Content-Length: 0\r\nConnection: keep-alive\r\n", Some("keep-alive")),
        (0, 1, length, Some("keep-alive")),
        (0, 1, chunked, Some("close")),
    ] {
        let context = ResponseContext { keep_alive: true, minor: client, ..GET };
        let head = format!("HTTP/1.{upstream} 200 OK\r\n{fields}\r\n");
        let Parsed::Complete(read, _) = parse_response(head.as_bytes(), context) else { panic!() };
        let forwarded = String::from_utf8(read.head).unwrap();
        let shown = forwarded.split("Connection: ").nth(1).map(|rest| rest.trim_end());
        assert_eq!(shown, connection, "{head}");
        assert_eq!(read.keep_alive, connection != Some("close"));
    }
}
