//! HTTP CONNECT: tunnels that a client asks for, and what it is told when it gets none.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use conniver::record::{By, How, Mode, Outcome, Phase};

use crate::harness::peers::{
    Upstream, deaf_port, echo_server, echo_server_on, exchange, noise, read_all, read_until_reset,
    reset, sha256,
};
use crate::harness::program::Proxy;
use crate::harness::tls::TlsServer;
use crate::harness::{has_tool, is_own_body, run};

const GRANTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Asks for a tunnel and reads the answer, which is to be 200.
pub(crate) fn connect(proxy: &Proxy, target: impl std::fmt::Display) -> TcpStream {
    tunnel(proxy.connect(), target)
}

/// The same on a connection that is there.
pub(crate) fn tunnel(mut client: TcpStream, target: impl std::fmt::Display) -> TcpStream {
    write!(client, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").unwrap();
    let mut answer = vec![0; GRANTED.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, GRANTED);
    client
}

/// Sends a request that is refused; the whole answer.
pub(crate) fn refused(proxy: &Proxy, request: &[u8]) -> String {
    let mut client = proxy.connect();
    client.write_all(request).unwrap();
    String::from_utf8(read_all(&mut client)).unwrap()
}

#[test]
fn a_tunnel_carries_both_ways_and_its_record_tells_own_bytes_from_payload() {
    let proxy = Proxy::serving(&[]);
    let echo = echo_server();
    let request = format!("CONNECT LocalHost.:{} HTTP/1.1\r\n\r\n", echo.port());
    let mut client = proxy.connect();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![0; GRANTED.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, GRANTED);
    assert_eq!(exchange(&mut client, b"hello"), b"hello");
    drop(client);

    let record = proxy.the_record();
    assert_eq!((record.mode, record.outcome), (Some(Mode::Connect), Some(Outcome::Ok)));
    assert_eq!(record.target, Some(format!("LocalHost.:{}", echo.port())));
    assert_eq!(record.target_host.as_deref(), Some("localhost"));
    assert_eq!(record.target_port, Some(echo.port()));
    let (client, upstream) = (&record.client, record.upstream.as_ref().unwrap());
    assert_eq!((client.own_rx_bytes, client.own_tx_bytes), (request.len() as u64, 39));
    assert_eq!((client.rx_bytes, client.tx_bytes), (request.len() as u64 + 5, 39 + 5));
    assert_eq!((upstream.rx_bytes, upstream.tx_bytes), (5, 5));
    assert_eq!((upstream.own_rx_bytes, upstream.own_tx_bytes), (0, 0));
    let phases = &record.phases;
    assert!(phases.request.is_some() && phases.response.is_some(), "{phases:?}");
    assert!(phases.request.unwrap() <= record.duration);
}

#[test]
fn bytes_behind_the_head_in_the_same_packet_are_forwarded() {
    let proxy = Proxy::serving(&[]);
    let mut client = proxy.connect();
    let echo = echo_server();
    let request = format!("CONNECT {echo} HTTP/1.0\r\nUser-Agent: x\r\n\r\nearly");
    client.write_all(request.as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"HTTP/1.0 200 Connection established\r\n\r\nearly");
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    assert_eq!(record.client.rx_bytes - record.client.own_rx_bytes, 5);
    assert_eq!(record.upstream.unwrap().tx_bytes, 5);
}

#[test]
fn content_length_of_connect_is_ignored() {
    let proxy = Proxy::serving(&[]);
    for length in ["0", "3", "5", "100"] {
        let mut client = proxy.connect();
        let request = format!("CONNECT {} HTTP/1.1\r\nContent-Length: {length}\r\n", echo_server());
        client.write_all(format!("{request}\r\nearly").as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut client), [GRANTED, b"early"].concat(), "{length}");
    }
}

#[test]
fn a_head_may_come_in_one_byte_pieces() {
    let proxy = Proxy::serving(&[]);
    let mut client = proxy.connect();
    client.set_nodelay(true).unwrap();
    for byte in format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\nz", echo_server()).bytes() {
        client.write_all(&[byte]).unwrap();
    }
    let mut answer = vec![0; GRANTED.len() + 1];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [GRANTED, b"z"].concat());
}

#[test]
fn an_ipv6_literal_is_reached() {
    let proxy = Proxy::serving(&[]);
    let echo = echo_server_on("[::1]:0");
    let mut client = connect(&proxy, echo);
    assert_eq!(exchange(&mut client, b"six"), b"six");
    drop(client);
    let record = proxy.the_record();
    assert_eq!(record.target, Some(format!("[::1]:{}", echo.port())));
    assert_eq!(record.target_host.as_deref(), Some("::1"));
}

#[test]
fn a_half_close_passes_a_tunnel_and_the_answer_still_comes() {
    let body = noise(5_000_000);
    let hash = sha256(&body);
    let upstream = Upstream::once(move |mut stream| {
        let all = read_all(&mut stream);
        stream.write_all(&body).unwrap();
        sha256(&all)
    });
    let proxy = Proxy::serving(&[]);
    let mut client = connect(&proxy, upstream.address);
    let sent = noise(3_000_000);
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(sha256(&read_all(&mut client)), hash);
    assert_eq!(upstream.join(), sha256(&sent));
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    assert_eq!(record.client.rx_bytes - record.client.own_rx_bytes, 3_000_000);
    assert_eq!(record.client.tx_bytes - record.client.own_tx_bytes, 5_000_000);
}

#[test]
fn a_reset_crosses_a_tunnel_behind_the_data_before_it() {
    let upstream = Upstream::once(|mut stream| {
        stream.write_all(b"last words").unwrap();
        // The client says when it has them; only then is nothing left that a reset could purge.
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        reset(stream);
    });
    let proxy = Proxy::serving(&[]);
    let mut client = connect(&proxy, upstream.address);
    let mut words = [0; 10];
    client.read_exact(&mut words).unwrap();
    client.write_all(b"x").unwrap();
    assert_eq!(read_until_reset(&mut client), b"");
    upstream.join();
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Upstream, How::Reset));
}

#[test]
fn a_refusing_target_is_a_502_with_the_reason_that_the_record_has() {
    let (_held, address) = deaf_port();
    let proxy = Proxy::serving(&[]);
    let answer = refused(&proxy, format!("CONNECT {address} HTTP/1.1\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    assert!(body.starts_with("502 Bad Gateway\n\n") && is_own_body(body.as_bytes()), "{body}");
    let reason = format!("cannot reach {address}: Connection refused (ECONNREFUSED)\n");
    assert!(body.ends_with(&format!("Reason: {reason}")), "{body}");
    assert!(answer.contains(&format!("Content-Length: {}\r\n", body.len())));
    assert!(answer.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{answer}");
    let status = "Proxy-Status: conniver; error=connection_refused; details=\"ECONNREFUSED\"";
    assert!(answer.contains(&format!("\r\n{status}\r\n")), "{answer}");
    let record = proxy.the_record();
    assert_eq!((record.mode, record.outcome), (Some(Mode::Connect), Some(Outcome::Refused)));
    let ending = record.ending.unwrap();
    assert_eq!((ending.phase, ending.first_by), (Phase::Connect, By::Upstream));
    assert_eq!(ending.error_code.as_deref(), Some("ECONNREFUSED"));
    assert_eq!(record.client.own_tx_bytes, answer.len() as u64);
    assert_eq!(record.client.own_rx_bytes, record.client.rx_bytes);
    assert_eq!(record.upstream, None);
}

#[test]
fn a_parent_that_refuses_is_named_in_the_502() {
    let (_held, parent) = deaf_port();
    let proxy = Proxy::serving(&["--via", &format!("http://{parent}")]);
    for request in ["CONNECT name.invalid:80 HTTP/1.1", "GET http://name.invalid/ HTTP/1.1"] {
        let request = format!("{request}\r\nHost: name.invalid\r\nConnection: close\r\n\r\n");
        let answer = refused(&proxy, request.as_bytes());
        let reason = format!(
            "cannot reach name.invalid:80 through the parent proxy http://{parent}: Connection \
             refused (ECONNREFUSED)\n"
        );
        assert!(answer.ends_with(&format!("Reason: {reason}")), "{answer}");
    }
}

#[test]
fn a_name_that_does_not_resolve_is_a_502_of_the_resolvers() {
    let proxy = Proxy::serving(&[]);
    let answer = refused(&proxy, b"CONNECT no-such-host.invalid:1 HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("(EAI_"), "{answer}");
    assert_eq!(proxy.the_record().outcome, Some(Outcome::Dns));
}

#[test]
fn a_target_that_does_not_answer_is_a_504() {
    use crate::harness::namespace::{Namespace, available};
    use crate::harness::program::BINARY;
    if !available("a_target_that_does_not_answer_is_a_504") {
        return;
    }
    let namespace = Namespace::new();
    namespace.nft("add table inet hole; add chain inet hole out { type filter hook output priority 0; }; add rule inet hole out tcp dport 9 drop");
    let proxy = Proxy::start(
        &mut namespace.command(BINARY),
        &[],
        &["-D", "0", "--connect-timeout", "300ms"],
    );
    let request = b"CONNECT 127.0.0.1:9 HTTP/1.1\r\n\r\n";
    let answer = namespace.enter(|| refused(&proxy, request));
    assert!(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer}");
    assert!(answer.contains("CONNECT_TIMEOUT"), "{answer}");
    assert_eq!(proxy.the_record().outcome, Some(Outcome::Timeout));
}

#[test]
fn an_error_reply_arrives_although_the_client_went_on_sending() {
    let (_held, address) = deaf_port();
    let proxy = Proxy::serving(&[]);
    let mut request = format!("CONNECT {address} HTTP/1.1\r\n\r\n").into_bytes();
    request.extend(noise(50_000));
    let answer = refused(&proxy, &request);
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.ends_with('\n'), "{answer}");
    let record = proxy.the_record();
    assert_eq!(record.client.rx_bytes, request.len() as u64);
    assert_eq!(record.client.own_rx_bytes, request.len() as u64);
}

#[test]
fn curl_fetches_https_through_connect_and_through_socks() {
    let what = "curl_fetches_https_through_connect_and_through_socks";
    if !has_tool("curl", what) || !has_tool("openssl", what) {
        return;
    }
    let server = TlsServer::start();
    let proxy = Proxy::serving(&[]);
    let url = format!("https://localhost:{}/", server.address.port());
    for (count, scheme) in ["http", "socks4a", "socks5h"].iter().enumerate() {
        let via = format!("{scheme}://{}", proxy.address());
        let page = run(
            "curl",
            &["-sS", "--cacert", &server.certificate, "--noproxy", "", "-x", &via, &url],
        );
        assert!(page.contains("Ciphers supported"), "{page}");
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        assert_eq!(record.target, Some(format!("localhost:{}", server.address.port())));
    }
    let mut modes: Vec<_> = proxy.stop().records().iter().map(|record| record.mode).collect();
    modes.sort_by_key(|mode| format!("{mode:?}"));
    assert_eq!(modes, [Some(Mode::Connect), Some(Mode::Socks4), Some(Mode::Socks5)]);
}
