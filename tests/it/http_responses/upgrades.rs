//! Upgrade (RFC 9110 section 7.8): what Connection names with it goes along, but HTTP/2 in the clear
//! is not asked for, because the proxy would not know where its messages end.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::process::Command;

use crate::harness::clients::client;
use crate::harness::has_tool;
use crate::harness::peers::{Upstream, read_all};
use crate::harness::program::Proxy;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// An upstream that answers `OK`; the lines of the head that it got, without the first two.
fn origin() -> Upstream<Vec<String>> {
    Upstream::once(|stream| {
        let lines = BufReader::new(&stream).lines().map(Result::unwrap);
        let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        (&stream).write_all(OK.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        lines[2..].to_vec()
    })
}

/// The fields that an upstream sees of these, without Host.
fn forwarded(fields: &str) -> Vec<String> {
    let (origin, proxy) = (origin(), Proxy::serving(&[]));
    let target = origin.address;
    let mut client = proxy.connect();
    write!(client, "GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n").unwrap();
    // Otherwise the connection would stay open for another request.
    client.shutdown(Shutdown::Write).unwrap();
    let answer = String::from_utf8(read_all(&mut client)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
    origin.join()
}

/// The members of the Connection field, in lower case and in order.
fn options(fields: &[String]) -> Vec<String> {
    let connection = fields.iter().filter_map(|field| field.strip_prefix("Connection: "));
    let mut options: Vec<_> =
        connection.flat_map(|value| value.split(", ")).map(str::to_lowercase).collect();
    options.sort();
    options
}

fn has(fields: &[String], name: &str) -> bool {
    let start = format!("{}:", name.to_lowercase());
    fields.iter().any(|field| field.to_lowercase().starts_with(&start))
}

#[test]
fn h2c_is_dropped_with_its_settings() {
    for upgrade in ["h2c", "H2C", "h2c,h2c"] {
        let fields = forwarded(&format!(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\nX: y\r\n"
        ));
        assert!(!has(&fields, "upgrade") && !has(&fields, "http2-settings"), "{fields:?}");
        assert!(options(&fields).is_empty(), "{fields:?}");
        assert!(fields.contains(&"X: y".into()), "{fields:?}");
    }
    // Also when Connection does not name it, which is an error.
    let fields = forwarded("Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n");
    assert!(!has(&fields, "upgrade") && !has(&fields, "http2-settings"), "{fields:?}");
}

#[test]
fn h2c_beside_another_protocol_leaves_that_alone() {
    for upgrade in ["websocket, h2c", "h2c, websocket", "h2c\r\nUpgrade: websocket"] {
        let fields = forwarded(&format!(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk\r\n"
        ));
        let upgrades: Vec<_> =
            fields.iter().filter_map(|field| field.strip_prefix("Upgrade: ")).collect();
        assert_eq!(upgrades, ["websocket"], "{fields:?}");
        assert!(!has(&fields, "http2-settings"), "{fields:?}");
        assert_eq!(options(&fields), ["upgrade"], "{fields:?}");
    }
}

#[test]
fn what_connection_names_with_an_upgrade_goes_along() {
    let fields = forwarded(
        "Connection: keep-alive, Upgrade, X-Needed\r\nUpgrade: websocket\r\nX-Needed: 1\r\n\
         Keep-Alive: timeout=5\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    assert_eq!(options(&fields), ["upgrade", "x-needed"], "{fields:?}");
    for field in
        ["Upgrade: websocket", "X-Needed: 1", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    {
        assert!(fields.contains(&field.into()), "{fields:?}");
    }
    assert!(!has(&fields, "keep-alive"), "{fields:?}");
}

#[test]
fn without_an_upgrade_what_connection_names_stays_here() {
    let fields =
        forwarded("Connection: X-Hop, HTTP2-Settings\r\nX-Hop: 1\r\nHTTP2-Settings: AA\r\n");
    assert!(fields.is_empty(), "{fields:?}");
}

#[test]
fn curl_that_would_upgrade_to_http_2_gets_http_1() {
    let name = "curl_that_would_upgrade_to_http_2_gets_http_1";
    if !has_tool("curl", name) {
        return;
    }
    let (origin, proxy) = (origin(), Proxy::serving(&[]));
    let url = format!("http://{}/", origin.address);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "20", "--http2", "-w", " HTTP/%{http_version}", "-x"]);
    let said = client(curl.arg(proxy.address().to_string()).arg(url));
    assert_eq!(String::from_utf8(said).unwrap(), "hello HTTP/1.1");
    let fields = origin.join();
    assert!(!has(&fields, "upgrade") && !has(&fields, "http2-settings"), "{fields:?}");
    assert!(options(&fields).is_empty(), "{fields:?}");
}
