//! Targets behind a parent proxy: what it is asked, what it answers, and what the record says.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use conniver::record::{AttemptOutcome, By, How, Outcome, Phase, Record, ResolveSource};
use tempfile::TempDir;

use crate::harness::dns::{Reply, serve_names};
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{Upstream, echo_server, read_all, read_until_reset, reset};
use crate::harness::program::{BINARY, PATIENCE, Proxy, wait_until};
use crate::http_mode::unread_by;

/// A name that nobody can resolve (RFC 6761): only its parent can have been asked for it.
const TARGET: &str = "Name.invalid:443";

const BANNER: &[u8] = b"220 hello\r\n";

fn through(url: &str, target: &str, args: &[&str]) -> Proxy {
    Proxy::forwarding_to(target, &[&["--via", url], args].concat())
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn bytes(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// The target that a parent leads to: a banner has gone out; what comes is echoed until its end.
fn echo(stream: &mut TcpStream) {
    let said = read_all(stream);
    stream.write_all(&said).unwrap();
}

/// A client that reads the banner and has one exchange with the echoing target.
fn good_pair(proxy: &Proxy) -> Record {
    let mut client = proxy.connect();
    assert_eq!(bytes(&mut client, BANNER.len()), BANNER);
    client.write_all(b"hello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"hello");
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    assert_eq!((record.client.rx_bytes, record.client.own_rx_bytes), (5, 0));
    assert_eq!(record.client.tx_bytes, BANNER.len() as u64 + 5);
    record
}

fn failed_pair(proxy: &Proxy) -> Record {
    assert_eq!(read_until_reset(&mut proxy.connect()), b"");
    proxy.the_record()
}

/// The leg is the one to the parent, and so many bytes of it are the proxy's own.
fn assert_leg(record: &Record, parent: SocketAddr, sent: usize, received: usize) {
    let upstream = record.upstream.as_ref().unwrap();
    assert_eq!(upstream.remote_addr, Some(parent));
    assert_eq!((upstream.own_tx_bytes, upstream.own_rx_bytes), (sent as u64, received as u64));
    let [attempt] = &record.attempts[..] else { panic!("{:?}", record.attempts) };
    assert_eq!((attempt.addr, attempt.outcome), (parent, AttemptOutcome::Ok));
}

fn assert_ending(record: &Record, outcome: Outcome, how: How, code: &str) {
    let ending = record.ending.as_ref().unwrap();
    assert_eq!(record.outcome, Some(outcome), "{ending:?}");
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Connect, By::Upstream, how)
    );
    assert_eq!(ending.error_code.as_deref(), Some(code));
}

#[test]
fn an_http_parent_is_asked_for_the_name_and_what_follows_its_answer_reaches_the_client() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 parent\r\n\r\n";
    let parent = Upstream::once(|mut stream| {
        let asked = head(&mut stream);
        stream.set_nodelay(true).unwrap();
        let (all_but_one, last) = ANSWER.split_at(ANSWER.len() - 1);
        for byte in all_but_one {
            stream.write_all(&[*byte]).unwrap();
        }
        stream.write_all(&[last, BANNER].concat()).unwrap();
        echo(&mut stream);
        asked
    });
    let address = parent.address;
    let proxy = through(&format!("http://us%20er:s3cret@{address}"), TARGET, &[]);
    let record = good_pair(&proxy);

    let asked = parent.join();
    assert_eq!(
        asked,
        "CONNECT Name.invalid:443 HTTP/1.1\r\nHost: Name.invalid:443\r\n\
         Proxy-Authorization: Basic dXMgZXI6czNjcmV0\r\n\r\n"
    );
    assert_leg(&record, address, asked.len(), ANSWER.len());
    let upstream = record.upstream.as_ref().unwrap();
    assert_eq!(upstream.tx_bytes, asked.len() as u64 + 5);
    assert_eq!(upstream.rx_bytes, (ANSWER.len() + BANNER.len()) as u64 + 5);
    assert_eq!(record.via, Some(format!("http://{address}")));
    assert_eq!(record.target.as_deref(), Some(TARGET));
    assert_eq!(
        (record.resolve_source, record.phases.resolve),
        (Some(ResolveSource::Literal), None)
    );
    // The parent's answer belongs to connecting; the first byte is the target's.
    assert!(record.phases.connect.unwrap() >= record.attempts[0].duration);
    assert!(record.phases.first_byte.is_some() && record.phases.response.is_none());

    let written = std::fs::read_to_string(proxy.records_file()).unwrap();
    let said = proxy.stop().stderr;
    for secret in ["s3cret", "us%20er", "us er", "dXMgZXI6"] {
        assert!(!written.contains(secret) && !said.contains(secret), "{secret}");
    }
}

#[test]
fn an_http_parent_gets_a_request_for_a_page_as_it_is_and_no_connect() {
    let parent = Upstream::once(|mut stream| {
        let asked = head(&mut stream);
        let body = bytes(&mut stream, 5);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        (asked, body)
    });
    let address = parent.address;
    let url = format!("http://me:s3cret@{address}");
    let proxy = Proxy::serving(&["--via", &url]);
    let mut client = proxy.connect();
    client
        .write_all(
            b"POST http://user:own@Name.invalid/a?b HTTP/1.1\r\nHost: other\r\n\
              Proxy-Authorization: Basic bm9ib2R5\r\nContent-Length: 5\r\n\r\nhello",
        )
        .unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = String::from_utf8(read_all(&mut client)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hi"), "{answer}");

    let (asked, body) = parent.join();
    assert_eq!(
        asked,
        "POST http://Name.invalid/a?b HTTP/1.1\r\nProxy-Authorization: Basic bWU6czNjcmV0\r\n\
         Host: Name.invalid\r\nContent-Length: 5\r\n\r\n"
    );
    assert_eq!(body, b"hello");
    drop(client);
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    assert_eq!(record.target.as_deref(), Some("Name.invalid:80"));
    assert_eq!(record.via, Some(format!("http://{address}")));
    let upstream = record.upstream.unwrap();
    assert_eq!(
        (upstream.own_tx_bytes, upstream.tx_bytes),
        (asked.len() as u64, asked.len() as u64 + 5)
    );
}

#[test]
fn a_socks_parent_looks_the_name_up_and_what_follows_its_answer_reaches_the_client() {
    let parent = Upstream::once(|mut stream| {
        assert_eq!(bytes(&mut stream, 4), [5, 2, 0, 2]);
        stream.write_all(&[5, 2]).unwrap();
        assert_eq!(bytes(&mut stream, 11), b"\x01\x02me\x06s3cret");
        stream.write_all(&[1, 0]).unwrap();
        assert_eq!(bytes(&mut stream, 19), b"\x05\x01\0\x03\x0cname.invalid\x01\xbb");
        let reply = b"\x05\0\0\x03\x05where\0\x01";
        stream.write_all(&[reply, BANNER].concat()).unwrap();
        echo(&mut stream);
    });
    let address = parent.address;
    let proxy = through(&format!("socks5h://me:s3cret@{address}"), TARGET, &[]);
    let record = good_pair(&proxy);
    parent.join();
    assert_leg(&record, address, 4 + 11 + 19, 2 + 2 + 12);
    assert_eq!(record.via, Some(format!("socks5h://{address}")));
}

#[test]
fn with_socks5_names_are_looked_up_here() {
    let parent = Upstream::once(|mut stream| {
        assert_eq!(bytes(&mut stream, 3), [5, 1, 0]);
        stream.write_all(&[5, 0]).unwrap();
        assert_eq!(bytes(&mut stream, 10), b"\x05\x01\0\x01\x7f\0\0\x01\0\x50");
        stream.write_all(&[b"\x05\0\0\x01\0\0\0\0\0\0", BANNER].concat()).unwrap();
        echo(&mut stream);
    });
    let address = parent.address;
    let proxy = through(&format!("socks5://{address}"), "localhost:80", &["-4"]);
    let record = good_pair(&proxy);
    parent.join();
    assert_leg(&record, address, 3 + 10, 2 + 10);
    assert_eq!(record.resolve_source, Some(ResolveSource::Lookup));
    assert!(record.phases.resolve.is_some());
}

#[test]
fn an_http_parents_refusal_is_the_ending_and_carries_its_status() {
    for (status, outcome, how) in [
        ("407", Outcome::Denied, How::Denied),
        ("502", Outcome::Error, How::Error),
        ("504", Outcome::Timeout, How::Timeout),
    ] {
        let answer = format!("HTTP/1.1 {status} no\r\nContent-Length: 6\r\n\r\nreason");
        let parent = Upstream::once(move |mut stream| {
            head(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let address = parent.address;
        let proxy = through(&address.to_string(), TARGET, &[]);
        let record = failed_pair(&proxy);
        parent.join();
        assert_ending(&record, outcome, how, &format!("HTTP_{status}"));
        let upstream = record.upstream.unwrap();
        assert_eq!(upstream.remote_addr, Some(address));
        assert_eq!(
            (upstream.own_rx_bytes, upstream.own_tx_bytes),
            (upstream.rx_bytes, upstream.tx_bytes)
        );
    }
}

#[test]
fn a_socks_parents_refusal_is_the_ending_and_carries_its_code() {
    for (code, outcome, how) in [
        (2, Outcome::Denied, How::Denied),
        (4, Outcome::Unreachable, How::Error),
        (5, Outcome::Refused, How::Refused),
    ] {
        let parent = Upstream::once(move |mut stream| {
            bytes(&mut stream, 3);
            stream.write_all(&[5, 0]).unwrap();
            bytes(&mut stream, 19);
            stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
        });
        let proxy = through(&format!("socks5h://{}", parent.address), TARGET, &[]);
        let record = failed_pair(&proxy);
        parent.join();
        assert_ending(&record, outcome, how, &format!("SOCKS5_0{code}"));
    }
}

#[test]
fn a_parent_that_speaks_otherwise_or_leaves_is_recorded_so() {
    for (scheme, said, outcome, how, code) in [
        ("http", &b"SSH-2.0-OpenSSH_9\r\n"[..], Outcome::Error, How::Error, "PARENT_PROTOCOL"),
        (
            "socks5h",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            Outcome::Error,
            How::Error,
            "PARENT_PROTOCOL",
        ),
        ("http", b"HTTP/1.1 200 OK\r\n", Outcome::Error, How::Fin, "EOF"),
        ("socks5h", b"\x05", Outcome::Error, How::Fin, "EOF"),
    ] {
        let parent = Upstream::once(move |mut stream| {
            // What comes is read, so that the end is no reset.
            bytes(&mut stream, 3);
            stream.write_all(said).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            read_all(&mut stream);
        });
        let proxy = through(&format!("{scheme}://{}", parent.address), TARGET, &[]);
        let record = failed_pair(&proxy);
        assert_ending(&record, outcome, how, code);
        parent.join();
    }
}

#[test]
fn a_parent_that_says_nothing_runs_into_the_connect_timeout() {
    let parent = Upstream::once(|mut stream| read_all(&mut stream));
    let proxy = through(&parent.address.to_string(), TARGET, &["--connect-timeout", "400ms"]);
    let record = failed_pair(&proxy);
    assert_eq!(record.outcome, Some(Outcome::Timeout));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Connect, By::Proxy, How::Timeout)
    );
    assert_eq!(ending.error_code.as_deref(), Some("CONNECT_TIMEOUT"));
    assert!(record.duration >= Duration::from_millis(400), "{:?}", record.duration);
    assert!(record.phases.connect.unwrap() > Duration::from_millis(300));
    assert!(parent.join().starts_with(b"CONNECT "));
}

#[test]
fn a_client_that_resets_while_the_parent_is_silent_ends_the_conversation() {
    let (told, asked) = std::sync::mpsc::channel();
    let parent = Upstream::once(move |mut stream| {
        head(&mut stream);
        told.send(()).unwrap();
        read_all(&mut stream)
    });
    let proxy = through(&parent.address.to_string(), TARGET, &[]);
    let client = proxy.connect();
    asked.recv_timeout(PATIENCE).unwrap();
    reset(client);
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    let ending = record.ending.unwrap();
    assert_eq!((ending.phase, ending.first_by), (Phase::Connect, By::Client));
    assert_eq!(parent.join(), b"", "the parent sees an end of stream");
}

#[test]
fn end_of_stream_while_dialling_is_recorded_when_dialling_fails() {
    for said in [&b""[..], b"request"] {
        let parent = Upstream::once(|mut stream| read_all(&mut stream));
        let proxy = through(&parent.address.to_string(), TARGET, &["--connect-timeout", "400ms"]);
        let mut client = proxy.connect();
        client.write_all(said).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_until_reset(&mut client), b"");
        let record = proxy.the_record();
        assert_eq!(record.outcome, Some(Outcome::Timeout));
        let seen = record.client.rx_eof_at.expect("the end of stream was seen");
        // The time to connect began after it was accepted.
        assert!(seen < record.client.opened_at + 400_000_000, "{record:?}");
        assert_eq!(record.client.rx_bytes, 0);
        parent.join();
    }
}

#[test]
fn end_of_stream_while_dialling_passes_and_keeps_its_time() {
    if !has_tool("ss", "end_of_stream_while_dialling_passes_and_keeps_its_time") {
        return;
    }
    let (ended, told) = std::sync::mpsc::channel();
    let parent = Upstream::once(move |mut stream| {
        head(&mut stream);
        told.recv_timeout(PATIENCE).unwrap();
        // Whoever has read this has seen what came before it.
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        wait_until("the proxy has read it", || unread_by(&stream) == 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        echo(&mut stream);
    });
    let proxy = through(&parent.address.to_string(), TARGET, &[]);
    let mut client = proxy.connect();
    client.write_all(b"hello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    ended.send(()).unwrap();
    assert_eq!(read_all(&mut client), b"hello");
    parent.join();
    let record = proxy.the_record();
    assert_eq!((record.outcome, record.client.rx_bytes), (Some(Outcome::Ok), 5));
    let seen = record.client.rx_eof_at.unwrap();
    assert!(seen < record.client.first_rx_at.unwrap(), "{record:?}");
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Client, How::Fin));
}

#[test]
fn a_parent_that_is_this_proxy_itself_is_denied() {
    if !available("a_parent_that_is_this_proxy_itself_is_denied") {
        return;
    }
    // Its address would be wrong usage; what a name leads to is only known when it is looked up. In a
    // namespace of the test's own, every port is free.
    let namespace = Namespace::new();
    serve_names(&namespace, "", |_| Reply::Addresses(vec![Ipv4Addr::LOCALHOST.into()]));
    let forward = format!("8888:{TARGET}");
    let args = ["--via", "proxy.test:8888"];
    let proxy = Proxy::start(&mut namespace.command(BINARY), &[&forward], &args);
    let mut client = namespace.enter(|| proxy.connect());
    assert_eq!(read_until_reset(&mut client), b"");
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Denied));
    assert_eq!(record.ending.unwrap().error_code.as_deref(), Some("LOOP"));
}

#[test]
fn a_target_is_reached_through_tinyproxy_by_who_knows_the_password() {
    let name = "a_target_is_reached_through_tinyproxy_by_who_knows_the_password";
    if !has_tool("tinyproxy", name) || !available(name) {
        return;
    }
    // It takes no port 0; in a namespace of the test's own, every port is free.
    let namespace = Namespace::new();
    let directory = TempDir::new().unwrap();
    let configuration = directory.path().join("tinyproxy.conf");
    std::fs::write(
        &configuration,
        "Port 8888\nListen 127.0.0.1\nBasicAuth me s3cret\nTimeout 60\nMaxClients 10\n",
    )
    .unwrap();
    let mut tinyproxy = namespace.command("tinyproxy");
    tinyproxy.arg("-d").arg("-c").arg(configuration).stdout(Stdio::null()).stderr(Stdio::null());
    let mut tinyproxy = tinyproxy.spawn().unwrap();
    wait_until("tinyproxy listens", || {
        namespace.enter(|| TcpStream::connect("127.0.0.1:8888").is_ok())
    });

    let target = namespace.enter(echo_server).to_string();
    let pair = |url: &str| {
        let args = ["--via", url];
        let proxy = Proxy::start(&mut namespace.command(BINARY), &[&format!("0:{target}")], &args);
        let mut client = namespace.enter(|| proxy.connect());
        (client.write_all(b"hello").and_then(|()| client.read_exact(&mut [0; 5])).is_ok(), {
            drop(client);
            proxy.the_record()
        })
    };
    let (answered, record) = pair("http://me:s3cret@127.0.0.1:8888");
    assert!(answered && record.outcome == Some(Outcome::Ok), "{:?}", record.ending);
    assert_eq!(record.via.as_deref(), Some("http://127.0.0.1:8888"));
    let (answered, record) = pair("http://me:wrong@127.0.0.1:8888");
    assert!(!answered);
    let refused = record.ending.unwrap().error_code.unwrap();
    assert!(matches!(&*refused, "HTTP_401" | "HTTP_407"), "{refused}");
    tinyproxy.kill().unwrap();
    tinyproxy.wait().unwrap();
}
