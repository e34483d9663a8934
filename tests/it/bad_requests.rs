//! Clients that ask for nothing, for nonsense, or for what must not be: an answer or a clean end,
//! a record that says why, and nothing left behind.

use std::io::Write;
use std::net::Shutdown;
use std::process::Command;

use conniver::record::{By, How, Mode, Outcome, Phase, Record};
use nix::sys::signal::Signal;

use crate::connect::refused;
use crate::harness::peers::{deaf_port, read_all, reset};
use crate::harness::program::{BINARY, Proxy, wait_until};

type End = (Phase, By, How);

fn end(record: &Record) -> (Option<Outcome>, End, &str) {
    let ending = record.ending.as_ref().unwrap();
    let code = ending.error_code.as_deref().unwrap_or("");
    (record.outcome, (ending.phase, ending.first_by, ending.first_how), code)
}

#[test]
fn each_malformed_head_gets_its_status_and_leaves_nothing_behind() {
    let long = format!("GET http://a/{} HTTP/1.1\r\n", "a".repeat(70_000));
    let long_field = format!("GET http://a/ HTTP/1.1\r\nX: {}\r\n", "y".repeat(70_000));
    let without_end = format!("CONNECT {}", "a".repeat(70_000));
    let fields = format!("GET http://a/ HTTP/1.1\r\n{}", "X: y\r\n".repeat(101));
    let proxy = Proxy::serving(&[]);
    let descriptors = proxy.descriptors();
    let heads = [
        ("GET http://a/ HTTP/1.1\nHost: a\n\n", 400, "without a carriage return"),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400, "invalid value"),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400, "second line"),
        (
            "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
            "conflicting Content-Length fields",
        ),
        (
            "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "both Content-Length and Transfer-Encoding",
        ),
        ("GET http://a/ HTTP/1.1\r\n\r\n", 400, "the Host field is missing"),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "more than one Host"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "this is a proxy"),
        ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 501, "CONNECT"),
        ("CONNECT a HTTP/1.1\r\n\r\n", 400, "the port is missing"),
        ("CONNECT a:0 HTTP/1.1\r\n\r\n", 400, "port"),
        ("PRI * HTTP/2.0\r\n\r\n", 400, "version"),
        ("nonsense\r\n\r\n", 400, "request line"),
        (&long, 414, "request line is too long"),
        (&long_field, 431, "64 KiB"),
        (&without_end, 414, "request line is too long"),
        ("CONNECT ::1 HTTP/1.1\r\n\r\n", 400, "[ADDRESS]:PORT"),
        ("CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "no body"),
        (&fields, 431, "100 fields"),
    ];
    for (count, (head, status, words)) in heads.into_iter().enumerate() {
        let answer = refused(&proxy, head.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        assert!(answer.contains(words), "{head}: {answer}");
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        let expected = match status {
            414 | 431 => (Outcome::Limit, (Phase::Request, By::Proxy, How::Limit)),
            _ => (Outcome::Protocol, (Phase::Request, By::Client, How::Error)),
        };
        let code = format!("HTTP_{status}");
        assert_eq!(end(&record), (Some(expected.0), expected.1, &*code), "{head}");
        assert!(answer.contains(record.ending.unwrap().error.unwrap().as_str()), "{answer}");
        let mode = match head.split_once(' ').map(|(method, _)| method) {
            Some("CONNECT") => Some(Mode::Connect),
            Some(_) => Some(Mode::Http),
            None => None,
        };
        assert_eq!((record.mode, record.target, record.upstream), (mode, None, None), "{head}");
        assert!(record.phases.request.is_some());
    }
    wait_until("all descriptors are closed", || proxy.descriptors() <= descriptors);
}

#[test]
fn what_is_neither_http_nor_socks_is_closed_cleanly() {
    let proxy = Proxy::serving(&[]);
    for (count, (first, words)) in
        [(&b"\x16\x03\x01\x02\x00"[..], "TLS"), (b"\x00", "neither"), (b"\x80\r\n", "neither")]
            .into_iter()
            .enumerate()
    {
        assert_eq!(refused(&proxy, first), "");
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        assert_eq!(record.outcome, Some(Outcome::Protocol));
        assert!(record.ending.unwrap().error.unwrap().contains(words));
    }
}

#[test]
fn a_client_that_says_nothing_is_recorded_whoever_ends_it() {
    let proxy = Proxy::serving(&["--request-timeout", "200ms"]);
    assert_eq!(read_all(&mut proxy.connect()), b"");
    let record = proxy.the_record();
    let ended = (Phase::Request, By::Proxy, How::Timeout);
    assert_eq!(end(&record), (Some(Outcome::Timeout), ended, "REQUEST_TIMEOUT"));
    assert_eq!((record.mode, record.target), (None, None));
    assert!(record.phases.request.unwrap().as_millis() >= 200);

    let client = proxy.connect();
    client.shutdown(Shutdown::Write).unwrap();
    let record = proxy.wait_for_records(2).pop().unwrap();
    let ended = (Phase::Request, By::Client, How::Fin);
    assert_eq!(end(&record), (Some(Outcome::Protocol), ended, "REQUEST_INCOMPLETE"));

    let mut client = proxy.connect();
    client.write_all(b"CONN").unwrap();
    reset(client);
    let record = proxy.wait_for_records(3).pop().unwrap();
    let ended = (Phase::Request, By::Client, How::Reset);
    assert_eq!(end(&record), (Some(Outcome::Reset), ended, "ECONNRESET"));
}

#[test]
fn a_head_that_does_not_end_in_time_is_a_408() {
    let proxy = Proxy::serving(&["--request-timeout", "200ms"]);
    let answer = refused(&proxy, b"CONNECT a:1 HTTP/1.1\r\nX: ");
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    let record = proxy.the_record();
    assert_eq!((record.mode, record.outcome), (Some(Mode::Connect), Some(Outcome::Timeout)));
}

#[test]
fn an_empty_line_before_a_request_is_skipped() {
    let (_held, deaf) = deaf_port();
    let proxy = Proxy::serving(&[]);
    for (count, (request, mode)) in [
        (format!("\r\nCONNECT {deaf} HTTP/1.1\r\n\r\n"), Mode::Connect),
        (format!("\nGET http://{deaf}/ HTTP/1.1\r\nHost: {deaf}\r\n\r\n"), Mode::Http),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = refused(&proxy, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 502 "), "{request:?}: {answer}");
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        assert_eq!((record.mode, record.target), (Some(mode), Some(deaf.to_string())));
        assert_eq!(record.client.own_rx_bytes, request.len() as u64);
    }
}

#[test]
fn a_proxy_that_stops_records_clients_that_it_still_heard() {
    let proxy = Proxy::serving(&["--drain", "0s"]);
    let mut client = proxy.connect();
    client.write_all(b"\x05\x01\x00").unwrap();
    let mut answer = [0; 2];
    std::io::Read::read_exact(&mut client, &mut answer).unwrap();
    proxy.signal(Signal::SIGTERM);
    let records = proxy.wait().records();
    assert_eq!(records[0].mode, Some(Mode::Socks5));
    let ended = (Phase::Request, By::Proxy, How::Shutdown);
    assert_eq!(end(&records[0]), (Some(Outcome::Shutdown), ended, ""));
}

#[test]
fn no_spelling_of_a_local_address_gets_round_the_loop_check_or_a_deny_rule() {
    // A port that is free now, to listen on every address by it.
    let (held, address) = deaf_port();
    drop(held);
    let port = address.port().to_string();
    let listen = format!("*:{port}");
    let own = own_address();
    let hosts = ["127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "[::1]", "127.1", &own];
    let everyone = ["--allow-from", "0.0.0.0/0", "--allow-from", "::/0"];
    let looping =
        Proxy::start(&mut Command::new(BINARY), &[], &[&["-D", &listen], &everyone[..]].concat());
    let denying = Proxy::serving(&[
        "--deny",
        "127.0.0.0/8",
        "--deny",
        "::1",
        "--deny",
        "0.0.0.0",
        "--deny",
        "::",
    ]);
    for (count, host) in hosts.iter().enumerate() {
        let request = format!("CONNECT {host}:{port} HTTP/1.1\r\n\r\n");
        let mut client =
            std::net::TcpStream::connect(("127.0.0.1", looping.address().port())).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let answer = String::from_utf8(read_all(&mut client)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{host}: {answer}");
        let record = looping.wait_for_records(count + 1).pop().unwrap();
        let ended = (Phase::Connect, By::Proxy, How::Denied);
        assert_eq!(end(&record), (Some(Outcome::Denied), ended, "LOOP"), "{host}");

        if *host != own {
            let answer = refused(&denying, request.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 403 "), "{host}: {answer}");
            let record = denying.wait_for_records(count + 1).pop().unwrap();
            assert_eq!(end(&record), (Some(Outcome::Denied), ended, "TARGET_DENIED"), "{host}");
        }
    }
    assert_eq!(looping.stop().records().len(), hosts.len());
}

/// An address of this machine's beside loopback, where it has one.
fn own_address() -> String {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // TEST-NET-1, RFC 5737; nothing is sent.
    match socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) {
        Ok(address) => address.ip().to_string(),
        Err(_) => "127.0.0.2".to_owned(),
    }
}
