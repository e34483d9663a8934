//! SOCKS 4, 4a and 5.

use std::io::{Read, Write};

use conniver::record::{By, How, Mode, Outcome, Phase};

use crate::harness::has_tool;
use crate::harness::peers::{
    deaf_port, echo_server, echo_server_on, exchange, noise, read_all, sha256,
};
use crate::harness::program::Proxy;

/// The greeting that offers no authentication, and the answer to it.
const GREETING: (&[u8], [u8; 2]) = (b"\x05\x01\x00", [5, 0]);

/// Writes, then reads an answer of a known length.
fn ask<const N: usize>(client: &mut std::net::TcpStream, message: &[u8]) -> [u8; N] {
    client.write_all(message).unwrap();
    let mut answer = [0; N];
    client.read_exact(&mut answer).unwrap();
    answer
}

fn port_bytes(port: u16) -> [u8; 2] {
    port.to_be_bytes()
}

fn named_5(host: &str, port: u16) -> Vec<u8> {
    let length = u8::try_from(host.len()).unwrap();
    [&[5, 1, 0, 3, length], host.as_bytes(), &port_bytes(port)].concat()
}

#[test]
fn socks_5_by_name_relays_and_says_from_where_it_connected() {
    let proxy = Proxy::serving(&[]);
    let echo = echo_server();
    let mut client = proxy.connect();
    assert_eq!(ask(&mut client, GREETING.0), GREETING.1);
    let answer: [u8; 10] = ask(&mut client, &named_5("localhost", echo.port()));
    assert_eq!(answer[..8], [5, 0, 0, 1, 127, 0, 0, 1]);
    assert_eq!(exchange(&mut client, b"hello"), b"hello");
    drop(client);
    let record = proxy.the_record();
    let upstream = record.upstream.as_ref().unwrap();
    assert_eq!(answer[8..], port_bytes(upstream.local_addr.unwrap().port()));
    assert_eq!((record.mode, record.outcome), (Some(Mode::Socks5), Some(Outcome::Ok)));
    assert_eq!(record.target, Some(format!("localhost:{}", echo.port())));
    let client = &record.client;
    assert_eq!((client.own_rx_bytes, client.own_tx_bytes), (3 + 7 + 9, 2 + 10));
    assert_eq!(
        (client.rx_bytes - client.own_rx_bytes, client.tx_bytes - client.own_tx_bytes),
        (5, 5)
    );
    assert!(record.phases.request.is_some());
}

#[test]
fn socks_5_reaches_an_ipv6_address() {
    let proxy = Proxy::serving(&[]);
    let echo = echo_server_on("[::1]:0");
    let mut client = proxy.connect();
    assert_eq!(ask(&mut client, GREETING.0), GREETING.1);
    let mut request = vec![5, 1, 0, 4];
    request.extend([0; 15]);
    request.push(1);
    request.extend(port_bytes(echo.port()));
    let answer: [u8; 22] = ask(&mut client, &request);
    assert_eq!(answer[..4], [5, 0, 0, 4]);
    assert_eq!(exchange(&mut client, b"six"), b"six");
}

#[test]
fn a_name_in_brackets_is_an_ipv6_address() {
    let proxy = Proxy::serving(&["--deny", "0.0.0.0/0"]);
    let echo = echo_server_on("[::1]:0");
    let port = port_bytes(echo.port());
    let mut four = proxy.connect();
    let request = [&[4, 1], &port[..], &[0, 0, 0, 1], b"\0[::1]\0"].concat();
    let answer: [u8; 8] = ask(&mut four, &request);
    assert_eq!(answer[..2], [0, 0x5a]);
    let mut five = proxy.connect();
    assert_eq!(ask(&mut five, GREETING.0), GREETING.1);
    let answer: [u8; 22] = ask(&mut five, &named_5("[::1]", echo.port()));
    assert_eq!(answer[..4], [5, 0, 0, 4]);
    for mut client in [four, five] {
        assert_eq!(exchange(&mut client, b"six"), b"six");
    }
    for record in proxy.wait_for_records(2) {
        assert_eq!(record.target, Some(echo.to_string()));
        assert_eq!(record.target_host.as_deref(), Some("::1"));
        assert_eq!(record.resolve_source, Some(conniver::record::ResolveSource::Literal));
    }
}

#[test]
fn a_client_that_does_not_wait_for_answers_is_served_all_the_same() {
    let proxy = Proxy::serving(&[]);
    let echo = echo_server();
    let mut client = proxy.connect();
    let all = [GREETING.0, &named_5("localhost", echo.port()), b"early"].concat();
    client.write_all(&all).unwrap();
    let mut answer = [0; 2 + 10 + 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer[12..], *b"early");
}

#[test]
fn socks_4_and_4a_relay() {
    let proxy = Proxy::serving(&[]);
    let echo = echo_server();
    let port = port_bytes(echo.port());
    let four = [&[4, 1], &port[..], &[127, 0, 0, 1], b"me\0"].concat();
    let four_a = [&[4, 1], &port[..], &[0, 0, 0, 1], b"\0localhost\0"].concat();
    for request in [four, four_a] {
        let mut client = proxy.connect();
        let answer: [u8; 8] = ask(&mut client, &request);
        assert_eq!(answer[..2], [0, 0x5a]);
        assert_eq!(exchange(&mut client, b"hello"), b"hello");
    }
    let records = proxy.wait_for_records(2);
    assert!(records.iter().all(|record| record.mode == Some(Mode::Socks4)));
    let mut targets: Vec<_> = records.into_iter().filter_map(|record| record.target).collect();
    targets.sort();
    assert_eq!(
        targets,
        [format!("127.0.0.1:{}", echo.port()), format!("localhost:{}", echo.port())]
    );
}

#[test]
fn each_failure_has_its_reply() {
    let (_held, deaf) = deaf_port();
    let proxy = Proxy::serving(&["--deny", "192.0.2.0/24"]);
    let port = port_bytes(deaf.port());
    let by_address = |command: u8, ip: [u8; 4]| [&[5, command, 0, 1], &ip[..], &port].concat();
    let failures = [
        (by_address(1, [127, 0, 0, 1]), 5, Outcome::Refused),
        (by_address(1, [192, 0, 2, 1]), 2, Outcome::Denied),
        // Linux: EACCES without SO_BROADCAST.
        (by_address(1, [255, 255, 255, 255]), 3, Outcome::Unreachable),
        (named_5("no-such-host.invalid", 80), 4, Outcome::Dns),
        (named_5("a b", 80), 1, Outcome::Protocol),
        (named_5("", 80), 1, Outcome::Protocol),
        (named_5("localhost", 0), 1, Outcome::Protocol),
        (by_address(2, [127, 0, 0, 1]), 7, Outcome::Protocol),
        (by_address(3, [127, 0, 0, 1]), 7, Outcome::Protocol),
        (vec![5, 1, 0, 9, 0, 0], 8, Outcome::Protocol),
    ];
    for (count, (request, reply, outcome)) in failures.into_iter().enumerate() {
        let mut client = proxy.connect();
        assert_eq!(ask(&mut client, GREETING.0), GREETING.1);
        client.write_all(&request).unwrap();
        let answer = read_all(&mut client);
        assert_eq!(answer, [5, reply, 0, 1, 0, 0, 0, 0, 0, 0], "{request:?}");
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        assert_eq!(
            (record.mode, record.outcome),
            (Some(Mode::Socks5), Some(outcome)),
            "{request:?}"
        );
    }
    for request in [
        [&[4, 1], &port[..], &[127, 0, 0, 1, 0]].concat(),
        [&[4, 2], &port[..], &[127, 0, 0, 1, 0]].concat(),
        [&[4, 1], &port[..], &[0, 0, 0, 9], b"\0no-such-host.invalid\0"].concat(),
        [&[4, 1], &port[..], &[127, 0, 0, 1], &[b'u'; 300]].concat(),
    ] {
        let mut client = proxy.connect();
        client.write_all(&request).unwrap();
        assert_eq!(read_all(&mut client), [0, 0x5b, 0, 0, 0, 0, 0, 0], "{request:?}");
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_is_recorded() {
    let proxy = Proxy::serving(&[]);
    let mut client = proxy.connect();
    assert_eq!(ask(&mut client, GREETING.0), GREETING.1);
    client.write_all(&[5, 1, 0, 3, 200, b'a']).unwrap();
    drop(client);
    let record = proxy.the_record();
    assert_eq!((record.mode, record.target), (Some(Mode::Socks5), None));
    assert_eq!(record.outcome, Some(Outcome::Protocol));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Request, By::Client, How::Fin)
    );
    assert_eq!(ending.error_code.as_deref(), Some("REQUEST_INCOMPLETE"));
    assert!(record.phases.request.is_some() && record.phases.connect.is_none());
}

#[test]
fn curl_downloads_by_each_socks_version() {
    if !has_tool("curl", "curl_downloads_by_each_socks_version") {
        return;
    }
    use crate::harness::peers::Upstream;
    let proxy = Proxy::serving(&[]);
    let listening = proxy.address().to_string();
    for option in ["--socks4", "--socks4a", "--socks5", "--socks5-hostname"] {
        let body = noise(200_000);
        let hash = sha256(&body);
        let upstream = Upstream::once(move |stream| crate::curl::serve(stream, &body));
        let url = format!("http://localhost:{}/", upstream.address.port());
        let output = std::process::Command::new("curl")
            .args(["-sS", "-4", "--noproxy", "", option, &listening, &url])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(sha256(&output.stdout), hash, "{option}");
        upstream.join();
    }
    let targets: Vec<_> = proxy.wait_for_records(4).into_iter().map(|r| r.target_host).collect();
    // Where curl resolves the name, the proxy is given the address.
    let expected = ["127.0.0.1", "localhost", "127.0.0.1", "localhost"];
    let expected: Vec<_> = expected.iter().map(|host| Some((*host).to_owned())).collect();
    assert_eq!(targets, expected);
}
