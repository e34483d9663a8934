//! What the first bytes of a connection tell: of TLS and of plain HTTP/1.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use conniver::record::{Http, Outcome, Record, Tls};

use crate::contract::{TLS, assert_keys};
use crate::harness::forwarding::Forwarding;
use crate::harness::peers::{Upstream, echo_server, exchange, far_away, noise};
use crate::harness::program::{Proxy, wait_until};
use crate::harness::tls::TlsServer;
use crate::harness::{has_tool, run};

fn tls_of(record: &Record) -> &Tls {
    assert_eq!(record.http, None);
    record.tls.as_ref().expect("TLS was seen")
}

/// The handshake ended within the connection's life.
fn assert_handshake_was_timed(record: &Record) {
    let handshake = tls_of(record).handshake.expect("the handshake has a duration");
    assert!(!handshake.is_zero() && handshake < record.duration, "{handshake:?}");
}

#[test]
fn tls_1_3_and_1_2_of_curl_are_seen_by_every_way_through_the_proxy() {
    let name = "tls_1_3_and_1_2_of_curl_are_seen_by_every_way_through_the_proxy";
    if !has_tool("curl", name) || !has_tool("openssl", name) {
        return;
    }
    let server = TlsServer::start(&["-alpn", "http/1.1"]);
    let port = server.address.port();
    let forwarding = Proxy::forwarding_to(server.address, &[]);
    let serving = Proxy::serving(&[]);
    let to = format!("site.test:{port}:{}", forwarding.address());
    let (http, socks) =
        (format!("http://{}", serving.address()), format!("socks5://{}", serving.address()));
    let resolve = format!("site.test:{port}:127.0.0.1");
    // Names are for the proxy to look up in connect mode.
    let connect = format!("site.test:{port}:127.0.0.1:{port}");
    let ways = [
        (&forwarding, &["--connect-to", &to][..]),
        (&serving, &["-x", &http, "--connect-to", &connect]),
        (&serving, &["-x", &socks, "--resolve", &resolve]),
    ];
    let mut counts = [0, 0];
    for (way, (proxy, args)) in ways.into_iter().enumerate() {
        let count = &mut counts[usize::from(way > 0)];
        for (version, max) in [("TLSv1.3", "1.3"), ("TLSv1.2", "1.2")] {
            server.fetch(port, &[args, &["--tls-max", max]].concat());
            *count += 1;
            let record = proxy.wait_for_records(*count).pop().unwrap();
            let tls = tls_of(&record);
            assert_eq!(tls.server_name.as_deref(), Some("site.test"), "{args:?}");
            assert_eq!(tls.version.as_deref(), Some(version));
            assert!(tls.versions_offered.contains(&version.to_owned()), "{tls:?}");
            assert_eq!(tls.alpn_offered, ["h2", "http/1.1"]);
            assert!(tls.cipher.as_ref().unwrap().starts_with("TLS_"), "{tls:?}");
            assert!(!tls.encrypted_client_hello);
            // TLS 1.3 encrypts the choice.
            let chosen = (version == "TLSv1.2").then_some("http/1.1");
            assert_eq!(tls.alpn.as_deref(), chosen);
            assert_handshake_was_timed(&record);
            assert_keys(&serde_json::to_value(tls).unwrap(), TLS, "tls");
        }
    }
}

#[test]
fn openssl_after_a_hello_retry_request_and_by_a_named_cipher_is_seen_as_it_says_itself() {
    let name =
        "openssl_after_a_hello_retry_request_and_by_a_named_cipher_is_seen_as_it_says_itself";
    if !has_tool("openssl", name) {
        return;
    }
    let server = TlsServer::start(&["-groups", "P-384"]);
    let proxy = Proxy::forwarding_to(server.address, &[]);
    let address = proxy.address().to_string();
    for (count, (args, version, cipher)) in [
        (
            &["-groups", "X25519:P-384", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"][..],
            "TLSv1.3",
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (&["-tls1_3", "-groups", "P-384"], "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"],
            "TLSv1.2",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-noservername", "-quiet", "-no_ign_eof"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        client.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        client.wait().unwrap();
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        let tls = tls_of(&record);
        assert_eq!((tls.version.as_deref(), tls.cipher.as_deref()), (Some(version), Some(cipher)));
        assert_eq!((&tls.server_name, tls.alpn_offered.len()), (&None, 0));
        assert_handshake_was_timed(&record);
    }
}

#[test]
fn the_handshake_takes_the_turns_that_its_version_needs_on_a_path_of_200_ms() {
    let name = "the_handshake_takes_the_turns_that_its_version_needs_on_a_path_of_200_ms";
    if !has_tool("curl", name) || !has_tool("openssl", name) {
        return;
    }
    const WAY: Duration = Duration::from_millis(200);
    let server = TlsServer::start(&[]);
    let proxy = Proxy::forwarding_to(far_away(server.address, WAY), &[]);
    let to = format!("site.test:443:{}", proxy.address());
    // RFC 8446 section 2, RFC 5246 section 7.3.
    for (count, (version, turns)) in [("1.3", 1), ("1.2", 2)].into_iter().enumerate() {
        server.fetch(443, &["--connect-to", &to, "--tls-max", version]);
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        let handshake = tls_of(&record).handshake.unwrap();
        assert!((WAY * turns..WAY * (turns + 1)).contains(&handshake), "{version}: {handshake:?}");
    }
}

/// A ClientHello of openssl's own, for `site.test`.
pub(crate) fn client_hello() -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "site.test"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let mut hello = vec![0; u16::from_be_bytes([header[3], header[4]]).into()];
    stream.read_exact(&mut hello).unwrap();
    drop(stream);
    client.wait().unwrap();
    [&header[..], &hello].concat()
}

#[test]
fn a_client_hello_in_1_2_and_50_pieces_is_seen_and_each_piece_passes_at_once() {
    let name = "a_client_hello_in_1_2_and_50_pieces_is_seen_and_each_piece_passes_at_once";
    if !has_tool("openssl", name) {
        return;
    }
    let hello = client_hello();
    let proxy = Proxy::forwarding_to(echo_server(), &[]);
    for (count, pieces) in [1, 2, 50].into_iter().enumerate() {
        let mut client = proxy.connect();
        // The echo of each is waited for before the next one is sent.
        for piece in hello.chunks(hello.len().div_ceil(pieces)) {
            assert_eq!(exchange(&mut client, piece), piece);
        }
        drop(client);
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        let tls = tls_of(&record);
        assert_eq!(tls.server_name.as_deref(), Some("site.test"), "{pieces} pieces");
        // A ClientHello is no answer to one.
        assert_eq!((&tls.version, tls.handshake), (&None, None));
        assert_eq!(record.outcome, Some(Outcome::Ok));
    }
}

#[test]
fn what_is_neither_passes_untouched_and_at_once() {
    let proxy = Proxy::forwarding_to(echo_server(), &[]);
    let long = noise(300_000);
    let cases = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
        b"\x16\x03\x01garbage that begins like TLS",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03half a hello",
        b"\x16",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\0\0\x04\x1c\x05\x14",
        b"GET",
        b"GARBAGE THAT BEGINS LIKE HTTP\r\n\r\n",
        b"\0",
        &long,
    ];
    for (count, bytes) in cases.into_iter().enumerate() {
        let mut client = proxy.connect();
        for piece in bytes.chunks(bytes.len().div_ceil(10)) {
            assert_eq!(exchange(&mut client, piece), piece);
        }
        drop(client);
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        assert_eq!((&record.tls, &record.http), (&None, &None), "{:?}", &bytes[..1]);
        assert_eq!(record.outcome, Some(Outcome::Ok));
        assert_eq!(record.delta.to_client, bytes.len() as u64);
    }
}

#[test]
fn an_upstream_that_speaks_first_is_neither() {
    let forwarding = Forwarding::new(&[]);
    let mut ends = forwarding.pair();
    let mut heard = [0; 17];
    ends.upstream.write_all(b"SSH-2.0-OpenSSH\r\n").unwrap();
    ends.client.read_exact(&mut heard).unwrap();
    ends.client.write_all(b"SSH-2.0-OpenSSH\r\n").unwrap();
    ends.upstream.read_exact(&mut heard).unwrap();
    drop(ends);
    let record = forwarding.proxy.the_record();
    assert_eq!((record.tls, record.http), (None, None));
}

#[test]
fn a_request_that_passes_a_tunnel_shows_method_host_and_status_and_no_more() {
    let name = "a_request_that_passes_a_tunnel_shows_method_host_and_status_and_no_more";
    if !has_tool("curl", name) {
        return;
    }
    let body = b"secret-page".to_vec();
    let serving = Proxy::serving(&[]);
    let listener = serving.address().to_string();
    for (count, way) in
        [&["-p", "-x", &listener][..], &["--socks5", &listener]].into_iter().enumerate()
    {
        let served = body.clone();
        let upstream = Upstream::once(move |stream| crate::curl::serve(stream, &served));
        let host = upstream.address.to_string();
        let url = format!("http://{host}/secret-path?secret-query");
        let options = ["-sS", "--noproxy", "", "-H", "Cookie: secret-cookie", "-d", "secret-data"];
        let page = run("curl", &[&options, way, &[&url]].concat());
        assert_eq!(page.as_bytes(), body);
        upstream.join();
        let record = serving.wait_for_records(count + 1).pop().unwrap();
        let Some(Http { method, host: seen, status, .. }) = record.http else {
            panic!("HTTP was not seen: {way:?}")
        };
        assert_eq!((method.as_deref(), status), (Some("POST"), Some(200)));
        assert_eq!(seen, Some(host));
        assert_eq!(record.tls, None);
    }
    assert_nowhere(&serving.records_file(), "secret");
}

fn assert_nowhere(file: &Path, word: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(!text.contains(word), "{word} stands in {text}");
}

#[test]
fn what_comes_with_the_request_for_a_tunnel_is_seen_too() {
    let upstream = echo_server();
    let proxy = Proxy::serving(&[]);
    let mut client: TcpStream = proxy.connect();
    let request = "GET /early HTTP/1.1\r\nHost: Early.Test\r\n\r\n";
    write!(client, "CONNECT {upstream} HTTP/1.1\r\nHost: x\r\n\r\n{request}").unwrap();
    let mut heard = Vec::new();
    wait_until("the request comes back", || {
        let mut buffer = [0; 1024];
        let count = client.read(&mut buffer).unwrap();
        heard.extend_from_slice(&buffer[..count]);
        heard.ends_with(request.as_bytes())
    });
    drop(client);
    let http = proxy.the_record().http.unwrap();
    assert_eq!((http.method.as_deref(), http.host.as_deref()), (Some("GET"), Some("early.test")));
    // The echo is no response.
    assert_eq!(http.status, None);
}
