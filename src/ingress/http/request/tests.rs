use proptest::prelude::*;

use super::*;

fn parsed(head: &str) -> HttpRequest {
    match parse_request(head.as_bytes()) {
        Parsed::Complete(request, used) => {
            assert_eq!(used, head.len());
            request
        }
        Parsed::Partial => panic!("partial: {head}"),
        Parsed::Bad(bad) => panic!("{bad:?}: {head}"),
    }
}

fn status_of(head: &[u8]) -> Option<u16> {
    match parse_request(head) {
        Parsed::Bad(bad) => Some(bad.status.code()),
        Parsed::Complete(..) => None,
        Parsed::Partial => Some(0),
    }
}

fn absolute(head: &str) -> (Target, Absolute) {
    let request = parsed(head);
    match request.form {
        Form::Absolute(absolute) => (request.target, *absolute),
        Form::Connect => panic!("{head}"),
    }
}

/// What the upstream gets of this request.
fn upstream_gets(head: &str) -> String {
    String::from_utf8(absolute(head).1.head).unwrap()
}

#[test]
fn connect_takes_names_and_addresses_of_both_families() {
    for (head, target, minor) in [
        ("CONNECT Example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", "Example.com:443", 1),
        ("CONNECT 192.0.2.1:80 HTTP/1.0\r\n\r\n", "192.0.2.1:80", 0),
        ("CONNECT [2001:db8::1]:80 HTTP/1.1\r\n\r\n", "[2001:db8::1]:80", 1),
        ("CONNECT a:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "a:1", 1),
        ("CONNECT a:1 HTTP/1.1\r\nContent-Length: 5\r\n\r\n", "a:1", 1),
        ("\r\nCONNECT a:1 HTTP/1.1\r\n\r\n", "a:1", 1),
        ("\nCONNECT a:1 HTTP/1.1\r\n\r\n", "a:1", 1),
    ] {
        let request = parsed(head);
        assert_eq!((request.target.to_string().as_str(), request.minor), (target, minor));
        assert!(matches!(request.form, Form::Connect));
    }
}

#[test]
fn connect_takes_ipv6_without_brackets_in_one_reading() {
    let head = |target: &str| format!("CONNECT {target} HTTP/1.0\r\n\r\n");
    for (text, target) in [
        ("::1:443", "[::1]:443"),
        ("2001:db8::1:80", "[2001:db8::1]:80"),
        ("1:2:3:4:5:6:7:8:443", "[1:2:3:4:5:6:7:8]:443"),
        ("::ffff:192.0.2.1:443", "[::ffff:192.0.2.1]:443"),
        ("2001:db8:::443", "[2001:db8::]:443"),
    ] {
        let target = target.parse::<Target>().unwrap();
        assert_eq!(parsed(&head(text)).target, target, "{text}");
        assert!(target.literal().is_some());
    }
    for text in ["::1", "2001:db8::", "1:2:3:4:5:6:7:8", "::1:abcd", "::1:0", "::1:70000", "a:b:80"]
    {
        let Parsed::Bad(bad) = parse_request(head(text).as_bytes()) else { panic!("{text}") };
        assert!(bad.reason.contains("[ADDRESS]:PORT"), "{text}: {}", bad.reason);
    }
}

#[test]
fn mode_is_known_as_soon_as_the_method_is() {
    for (head, mode) in [
        ("CONNECT ", Some(Mode::Connect)),
        ("\r\nCONNECT a", Some(Mode::Connect)),
        ("GET /", Some(Mode::Http)),
        ("\nCONNECTED a", Some(Mode::Http)),
        ("CONNECT", None),
        ("CONNECT\r\nX: a b", None),
        ("\r", None),
        ("", None),
    ] {
        assert_eq!(mode_of(head.as_bytes()), mode, "{head:?}");
    }
}

#[test]
fn the_upstream_gets_origin_form_and_nothing_of_this_hop() {
    let head = "POST http://user:pw@Example.com:8080/a/b?c=http://d HTTP/1.1\r\n\
                Host: other.test\r\n\
                connection: keep-alive, X-Named , host,Content-Length\r\n\
                Keep-Alive: timeout=5\r\n\
                Proxy-Connection: keep-alive\r\n\
                Proxy-Authorization: Basic YTpi\r\n\
                X-Named: secret\r\n\
                TE: trailers\r\n\
                Upgrade: websocket\r\n\
                Content-length: 5\r\n\
                Accept:  */* \r\n\
                Expect: 100-continue\r\n\r\n";
    assert_eq!(
        upstream_gets(head),
        "POST /a/b?c=http://d HTTP/1.1\r\nHost: Example.com:8080\r\nContent-length: 5\r\n\
         Accept: */*\r\nExpect: 100-continue\r\n\r\n"
    );
    let (target, absolute) = absolute(head);
    assert_eq!(target.to_string(), "Example.com:8080");
    assert_eq!((absolute.body, absolute.upgrade), (Framing::Length(5), false));
}

#[test]
fn the_upstreams_connection_is_kept_if_the_clients_is() {
    for (minor, fields, connection) in [
        (1, "", None),
        (1, "Connection: keep-alive\r\n", None),
        (1, "Connection: x, Close\r\n", Some("close")),
        (1, "Proxy-Connection: close\r\n", Some("close")),
        (0, "", Some("close")),
        (0, "Connection: Keep-Alive\r\n", Some("keep-alive")),
        (0, "Proxy-Connection: keep-alive\r\n", Some("keep-alive")),
        (0, "Connection: keep-alive, close\r\n", Some("close")),
    ] {
        let head = format!("GET http://a/ HTTP/1.{minor}\r\nHost: a\r\n{fields}\r\n");
        let expected = connection.map_or(String::new(), |it| format!("Connection: {it}\r\n"));
        let expected = format!("GET / HTTP/1.{minor}\r\nHost: a\r\n{expected}\r\n");
        assert_eq!(upstream_gets(&head), expected, "{head}");
        assert_eq!(absolute(&head).1.keep_alive, connection != Some("close"));
    }
}

#[test]
fn an_address_in_an_odd_spelling_is_passed_on_in_the_usual_one() {
    for (authority, host) in [
        ("0177.0.0.1", "127.0.0.1"),
        ("0x7f.1:8080", "127.0.0.1:8080"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[0::1]", "[0::1]"),
        ("Name.test.", "Name.test."),
    ] {
        let head = format!("GET http://{authority}/ HTTP/1.1\r\nHost: x\r\n\r\n");
        let (target, absolute) = absolute(&head);
        assert_eq!(absolute.host, host);
        assert!(upstream_gets(&head).contains(&format!("\r\nHost: {host}\r\n")), "{authority}");
        let info = if target.to_string() == authority { "" } else { ":80" };
        assert_eq!(target.to_string(), format!("{authority}{info}"));
    }
}

#[test]
fn an_upgrade_is_kept_when_connection_names_it() {
    let head = "GET http://a/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
                Connection: keep-alive, upgrade\r\n\r\n";
    assert!(absolute(head).1.upgrade);
    assert_eq!(
        upstream_gets(head),
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    );
}

#[test]
fn upgrade_keeps_what_connection_names_with_it_and_drops_h2c() {
    let gets = |fields: &str| {
        let head = format!("GET http://a/ HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let absolute = absolute(&head).1;
        (String::from_utf8(absolute.head).unwrap(), absolute.upgrade)
    };
    let expected = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    assert_eq!(
        gets("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
        (expected(""), false)
    );
    assert_eq!(
        gets("Upgrade: h2c, x/1\r\nX-Key: 1\r\nConnection: upgrade, x-key\r\nUpgrade: y\r\n"),
        (expected("Upgrade: x/1, y\r\nX-Key: 1\r\nConnection: Upgrade, X-Key\r\n"), true)
    );
    // Without Connection it is not for us to pass on.
    assert_eq!(gets("Upgrade: x\r\n"), (expected(""), false));
}

#[test]
fn host_and_target_come_from_the_authority() {
    for (uri, target, host, path) in [
        ("http://a", "a:80", "a", "/"),
        ("HTTP://a?q", "a:80", "a", "/?q"),
        ("http://a:/", "a:80", "a", "/"),
        ("http://[::1]/x", "[::1]:80", "[::1]", "/x"),
        ("http://[::1]:81", "[::1]:81", "[::1]:81", "/"),
        ("http://good.test@evil.test/", "evil.test:80", "evil.test", "/"),
        ("http://a@b@c:81/@d", "c:81", "c:81", "/@d"),
        ("http://a/http://b/", "a:80", "a", "/http://b/"),
    ] {
        let head = format!("GET {uri} HTTP/1.0\r\n\r\n");
        assert_eq!(absolute(&head).0.to_string(), target);
        assert_eq!(
            upstream_gets(&head),
            format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        );
    }
    let options = upstream_gets("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(options.starts_with("OPTIONS * HTTP/1.1\r\n"), "{options}");
}

#[test]
fn max_forwards_is_counted_down() {
    let trace =
        |n: &str| format!("TRACE http://a/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: {n}\r\n\r\n");
    assert!(upstream_gets(&trace("10")).contains("Max-Forwards: 9\r\n"));
    for large in ["2147483648", "99999999999", "99999999999999999999"] {
        assert!(upstream_gets(&trace(large)).contains("Max-Forwards: 2147483647\r\n"), "{large}");
    }
    assert_eq!(status_of(trace("0").as_bytes()), Some(405));
    for malformed in ["-1", "+1", "1x", "1, 2", ""] {
        assert_eq!(status_of(trace(malformed).as_bytes()), Some(400), "{malformed}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let with = |fields: &str| format!("GET http://a/ HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    for (fields, status) in [
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", 400),
        ("Content-Length: 1, 1\r\n", 400),
        ("Content-Length: +1\r\n", 400),
        ("Content-Length: \r\n", 400),
        ("Content-Length: 99999999999999999999\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Host: b\r\n", 400),
        ("X: a\n", 400),
        ("X: a\r\n b\r\n", 400),
        ("X: a\0b\r\n", 400),
        ("X: a\rb\r\n", 400),
        ("X : a\r\n", 400),
        (": a\r\n", 400),
        ("X\r\n", 400),
        ("Proxy-Authorization: Basic YTpi\r\nProxy-Authorization: Basic YTpj\r\n", 400),
    ] {
        assert_eq!(status_of(with(fields).as_bytes()), Some(status), "{fields:?}");
    }
    assert_eq!(
        absolute(&with("Content-Length: 7\r\nContent-Length: 7\r\n")).1.body,
        Framing::Length(7)
    );
}

#[test]
fn what_is_no_request_to_a_proxy_is_refused() {
    for (line, status) in [
        ("GET / HTTP/1.1", 400),
        ("GET //a/ HTTP/1.1", 400),
        ("GET a:80 HTTP/1.1", 400),
        ("OPTIONS * HTTP/1.1", 400),
        ("GET https://a/ HTTP/1.1", 501),
        ("GET ftp://a/ HTTP/1.1", 501),
        ("GET http:///x HTTP/1.1", 400),
        ("GET http://:80/ HTTP/1.1", 400),
        ("GET http://a:0/ HTTP/1.1", 400),
        ("GET http://a:b/ HTTP/1.1", 400),
        ("GET http://a/#f HTTP/1.1", 400),
        ("GET http://[::1/ HTTP/1.1", 400),
        ("GET http://[::1]x/ HTTP/1.1", 400),
        ("GET http://a\\b/ HTTP/1.1", 400),
        ("GET  http://a/ HTTP/1.1", 400),
        ("GET http://a/ HTTP/2.0", 400),
        ("GET http://a/", 400),
        ("CONNECT a HTTP/1.1", 400),
        ("CONNECT a:b HTTP/1.1", 400),
        ("CONNECT http://a:80/ HTTP/1.1", 400),
        ("CONNECT u:p@a:80 HTTP/1.1", 400),
        ("CONNECT :80 HTTP/1.1", 400),
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(status_of(head.as_bytes()), Some(status), "{line}");
    }
    assert_eq!(status_of(b"GET http://a/ HTTP/1.1\r\n\r\n"), Some(400), "no Host");
    for lines in ["\r\n\r\n", "\n\n", "\r\n\n", "\r\r\n"] {
        let head = format!("{lines}GET http://a/ HTTP/1.0\r\n\r\n");
        assert_eq!(status_of(head.as_bytes()), Some(400), "{lines:?}");
    }
    let chunked = b"CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(status_of(chunked), Some(400));
}

#[test]
fn a_head_has_limits_that_do_not_wait_for_its_end() {
    let long = [b"GET http://a/".to_vec(), vec![b'a'; 64 * 1024]].concat();
    assert_eq!(status_of(&long), Some(414));
    let complete = [&long[..], b" HTTP/1.0\r\n\r\n"].concat();
    assert_eq!(status_of(&complete), Some(414));
    // Most of it is the first line's, or the fields'.
    for (target, field, status) in [(40_000, 30_000, 414), (30_000, 40_000, 431)] {
        let (target, field) = ("a".repeat(target), "y".repeat(field));
        let head = format!("GET http://a/{target} HTTP/1.0\r\nX: {field}");
        assert_eq!(status_of(head.as_bytes()), Some(status));
    }
    let fields = |count: usize| format!("GET http://a/ HTTP/1.0\r\n{}", "X: y\r\n".repeat(count));
    assert_eq!(status_of(fields(101).as_bytes()), Some(431));
    assert_eq!(status_of(format!("{}\r\n", fields(100)).as_bytes()), None);
    assert_eq!(status_of(b"GET http://a/ HTTP/1.0\n"), Some(400), "refused at once");
}

#[test]
fn no_reason_repeats_what_the_client_sent() {
    for head in ["CONNECT user:hunter2@a:1 HTTP/1.1\r\n\r\n", "GET hunter2 HTTP/1.0\r\n\r\n"] {
        let Parsed::Bad(bad) = parse_request(head.as_bytes()) else { panic!("{head}") };
        assert!(!bad.reason.contains("hunter2"));
    }
    let head = "CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic aHVudGVyMg==\r\n\r\n";
    let shown = format!("{:?}", parsed(head));
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
}

proptest! {
    /// A head is complete at its end and not before, and what follows is left.
    #[test]
    fn a_request_is_read_from_pieces_as_from_the_whole(
        host in "[a-z]{1,10}", port in 1u16.., path in "[a-z/?=&]{0,20}",
        fields in prop::collection::vec(("X-[a-z]{1,8}", "[ -~]{0,20}"), 0..10),
        after in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut head = format!("GET http://{host}:{port}/{path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in &fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        for cut in 0..head.len() {
            prop_assert!(matches!(parse_request(&head.as_bytes()[..cut]), Parsed::Partial));
        }
        let all = [head.as_bytes(), &after].concat();
        let Parsed::Complete(request, used) = parse_request(&all) else { panic!("{head}") };
        prop_assert_eq!(used, head.len());
        prop_assert_eq!(request.target.to_string(), format!("{host}:{port}"));
    }

    /// What goes to the upstream is itself a strict head with one Host, and no field of this hop.
    #[test]
    fn what_the_upstream_gets_has_one_meaning(
        lines in prop::collection::vec(
            "(Host|Content-Length|Transfer-Encoding|Connection|Upgrade|TE|X): \
             (chunked|close, x|5|05|a|host|upgrade|[ -~]{0,10})", 0..8),
    ) {
        let head = format!("POST http://h:1/ HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
        if let Parsed::Complete(request, _) = parse_request(head.as_bytes()) {
            let Form::Absolute(absolute) = request.form else { panic!() };
            let sent = String::from_utf8(absolute.head).unwrap();
            prop_assert_eq!(sent.matches("\r\nHost: h:1\r\n").count(), 1);
            prop_assert!(sent.matches("\r\nContent-Length:").count() <= 1);
            prop_assert!(!sent.contains("\r\nTE:"));
            prop_assert!(sent.matches("\r\nConnection:").count() <= 1);
            prop_assert_eq!(end_of_head(sent.as_bytes()), Ok(Some(sent.len())));
            prop_assert_eq!(
                sent.contains("\r\nTransfer-Encoding:"),
                matches!(absolute.body, Framing::Chunked(_))
            );
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "(GET|CONNECT|PUT) \\PC{0,20} HTTP/1.[01]\r\n(\\PC{0,20}\r\n){0,3}\r\n",
    ) {
        for bytes in [&bytes[..], text.as_bytes()] {
            if let Parsed::Complete(_, used) = parse_request(bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
