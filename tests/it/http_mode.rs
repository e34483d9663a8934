//! Requests in absolute form: what HTTP_PROXY brings.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use conniver::record::{By, How, Http, Mode, Outcome, Phase, Record, WarningCode};

use crate::connect::refused;
use crate::harness::has_tool;
use crate::harness::peers::{
    Upstream, deaf_port, noise, read_all, read_until_reset, reset, sha256,
};
use crate::harness::program::Proxy;

/// Reads a head, its empty line included.
fn read_head(stream: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "the head ends early: {head}");
    }
    head
}

/// Reads a chunked body, its last line included.
fn read_chunks(stream: &mut impl BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        stream.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let start = body.len();
        body.resize(start + size + 2, 0);
        stream.read_exact(&mut body[start..]).unwrap();
        assert!(body.ends_with(b"\r\n"));
        body.truncate(start + size);
        if size == 0 {
            return body;
        }
    }
}

/// An upstream that answers one request without a body; the head that it got, and what came behind.
fn answering(response: impl Into<Vec<u8>>) -> Upstream<(String, Vec<u8>)> {
    let response = response.into();
    Upstream::once(move |stream| {
        let mut reader = BufReader::new(&stream);
        let head = read_head(&mut reader);
        (&stream).write_all(&response).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut behind = Vec::new();
        reader.read_to_end(&mut behind).unwrap();
        (head, behind)
    })
}

const EMPTY: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const EMPTY_CLOSING: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

/// A request that ends the client's connection.
fn get(target: SocketAddr) -> String {
    format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")
}

/// What a client receives that sends `request`, to the end of its stream.
fn fetch(proxy: &Proxy, request: &[u8]) -> Vec<u8> {
    let mut client = proxy.connect();
    client.write_all(request).unwrap();
    read_all(&mut client)
}

fn discarded(record: &Record) -> Option<u64> {
    let of = |warning: &&conniver::record::Warning| warning.code == WarningCode::BytesAfterRequest;
    record.warnings.iter().find(of).map(|warning| warning.value)
}

/// What one side sent is what the other got, but for what the proxy consumed and authored.
fn assert_payload_is_conserved(record: &Record) {
    let (client, upstream) = (&record.client, record.upstream.as_ref().unwrap());
    assert_eq!(
        client.rx_bytes - client.own_rx_bytes,
        upstream.tx_bytes - upstream.own_tx_bytes,
        "to upstream"
    );
    assert_eq!(
        upstream.rx_bytes - upstream.own_rx_bytes,
        client.tx_bytes - client.own_tx_bytes,
        "to client"
    );
}

#[test]
fn curl_fetches_a_page_and_the_upstream_sees_no_proxy() {
    if !has_tool("curl", "curl_fetches_a_page_and_the_upstream_sees_no_proxy") {
        return;
    }
    let body = noise(30_000_000);
    let hash = sha256(&body);
    let mut response = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n",
        body.len()
    )
    .into_bytes();
    response.extend_from_slice(&body);
    let upstream = answering(response.clone());
    let proxy = Proxy::serving(&[]);
    let target = upstream.address;
    let url = format!("http://user:pw@{target}/path?query");
    let via = format!("http://{}", proxy.address());
    let output = Command::new("curl")
        .args(["-sS", "-i", "--noproxy", "", "-x", &via, "--proxy-user", "me:secret"])
        .args(["-A", "test", &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let start = output.stdout.len() - body.len();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout[..start]),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())
    );
    assert_eq!(sha256(&output.stdout[start..]), hash);

    let (head, behind) = upstream.join();
    // The user and password of the URL are curl's to send, as Authorization.
    let authorization = "Authorization: Basic dXNlcjpwdw==\r\n";
    assert_eq!(
        head,
        format!(
            "GET /path?query HTTP/1.1\r\nHost: {target}\r\n{authorization}User-Agent: test\r\n\
             Accept: */*\r\n\r\n"
        )
    );
    assert_eq!(behind, b"");
    let record = proxy.the_record();
    assert_eq!((record.mode, record.outcome), (Some(Mode::Http), Some(Outcome::Ok)));
    assert_eq!(record.target, Some(target.to_string()));
    let Some(Http { method, host, status, .. }) = &record.http else { panic!() };
    assert_eq!((method.as_deref(), *status), (Some("GET"), Some(200)));
    assert_eq!(*host, Some(target.to_string()));
    assert_payload_is_conserved(&record);
    let upstream = record.upstream.as_ref().unwrap();
    assert_eq!(upstream.tx_bytes, head.len() as u64);
    assert_eq!(upstream.own_tx_bytes, head.len() as u64);
    assert_eq!(upstream.rx_bytes, response.len() as u64);
    assert_eq!(record.client.own_rx_bytes, record.client.rx_bytes);
    assert!(record.phases.request.is_some() && record.phases.response.is_some());
    assert_eq!(discarded(&record), None);
}

#[test]
fn uploads_of_any_size_stream_by_length_and_by_chunks_after_100_continue() {
    if !has_tool("curl", "uploads_of_any_size_stream_by_length_and_by_chunks_after_100_continue") {
        return;
    }
    let proxy = Proxy::serving(&[]);
    let via = format!("http://{}", proxy.address());
    let body = noise(60_000_000);
    for (count, chunked) in [false, true].into_iter().enumerate() {
        let upstream = Upstream::once(|stream| {
            let mut reader = BufReader::new(&stream);
            let head = read_head(&mut reader);
            assert!(head.contains("\r\nExpect: 100-continue\r\n"), "{head}");
            (&stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let body = match length {
                Some(length) => {
                    let mut body = vec![0; length.parse().unwrap()];
                    reader.read_exact(&mut body).unwrap();
                    body
                }
                None => read_chunks(&mut reader),
            };
            (&stream).write_all(EMPTY.as_bytes()).unwrap();
            sha256(&body)
        });
        let url = format!("http://{}/", upstream.address);
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "-f",
            "--noproxy",
            "",
            "-x",
            &via,
            "-T",
            "-",
            "--expect100-timeout",
            "60",
        ]);
        curl.args(["-H", "Expect: 100-continue"]);
        let length = format!("Content-Length: {}", body.len());
        curl.args(["-H", if chunked { "Transfer-Encoding: chunked" } else { &length }]);
        if !chunked {
            curl.args(["-H", "Transfer-Encoding:"]);
        }
        let mut curl = curl.arg(&url).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        curl.stdin.take().unwrap().write_all(&body).unwrap();
        let output = curl.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(upstream.join(), sha256(&body), "chunked: {chunked}");
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        assert_eq!(record.http.as_ref().unwrap().status, Some(204));
        assert_payload_is_conserved(&record);
        assert_eq!(discarded(&record), None);
        let payload = record.client.rx_bytes - record.client.own_rx_bytes;
        assert!(payload >= body.len() as u64 && (payload > body.len() as u64) == chunked);
    }
}

#[test]
fn a_second_request_on_a_connection_that_closes_reaches_nobody() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let second = get(other.local_addr().unwrap());
    let proxy = Proxy::serving(&[]);

    // In the same packet.
    let upstream = answering(EMPTY);
    let first = get(upstream.address);
    assert_eq!(fetch(&proxy, format!("{first}{second}").as_bytes()), EMPTY_CLOSING.as_bytes());
    let (head, behind) = upstream.join();
    assert!(head.starts_with("GET / HTTP/1.1\r\n") && head.matches("HTTP/").count() == 1);
    assert_eq!(behind, b"");

    // Behind a body, whose end lies in the middle of a packet.
    let upstream = Upstream::once(|stream| {
        let mut reader = BufReader::new(&stream);
        let head = read_head(&mut reader);
        assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"), "{head}");
        assert_eq!(read_chunks(&mut reader), b"hello");
        (&stream).write_all(EMPTY.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut behind = Vec::new();
        reader.read_to_end(&mut behind).unwrap();
        behind
    });
    let target = upstream.address;
    let mut client = proxy.connect();
    write!(client, "POST http://{target}/ HTTP/1.1\r\nHost: {target}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nhel\r\n").unwrap();
    write!(client, "2\r\nlo\r\n0\r\n\r\n{second}").unwrap();
    assert_eq!(read_all(&mut client), EMPTY_CLOSING.as_bytes());
    drop(client);
    assert_eq!(upstream.join(), b"");

    // After the response, as on a connection that was kept open.
    let upstream = answering(EMPTY);
    let mut client = proxy.connect();
    client.write_all(get(upstream.address).as_bytes()).unwrap();
    assert_eq!(read_all(&mut client), EMPTY_CLOSING.as_bytes());
    client.write_all(second.as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(upstream.join().1, b"");

    let records = proxy.wait_for_records(3);
    for record in &records {
        assert_eq!(discarded(record), Some(second.len() as u64), "{:?}", record.warnings);
        assert_eq!(record.outcome, Some(Outcome::Ok));
        assert_payload_is_conserved(record);
    }
    assert!(other.accept().is_err(), "nobody connected to the host of the second request");
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let upstream = Upstream::once(move |stream| {
        let mut reader = BufReader::new(&stream);
        let head = read_head(&mut reader);
        assert!(head.contains("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), "{head}");
        // The first frame in the same packet as the answer.
        (&stream).write_all(format!("{answer}frame").as_bytes()).unwrap();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        (&stream).write_all(&all).unwrap();
        sha256(&all)
    });
    let proxy = Proxy::serving(&[]);
    let target = upstream.address;
    let mut client = proxy.connect();
    write!(client, "GET http://{target}/chat HTTP/1.1\r\nHost: {target}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    let mut answered = vec![0; answer.len() + 5];
    client.read_exact(&mut answered).unwrap();
    assert_eq!(String::from_utf8(answered).unwrap(), format!("{answer}frame"));
    let frames = noise(5_000_000);
    client.write_all(&frames).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(sha256(&read_all(&mut client)), sha256(&frames));
    assert_eq!(upstream.join(), sha256(&frames));
    let record = proxy.the_record();
    assert_eq!((record.mode, record.outcome), (Some(Mode::Http), Some(Outcome::Ok)));
    assert_eq!(record.http.as_ref().unwrap().status, Some(101));
    assert_payload_is_conserved(&record);
    assert_eq!(discarded(&record), None);
}

#[test]
fn what_comes_before_an_upgrade_is_answered_reaches_nobody() {
    let request = |target: SocketAddr| {
        format!(
            "GET http://{target}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        )
    };
    let proxy = Proxy::serving(&[]);
    let (_held, deaf) = deaf_port();
    let answer = refused(&proxy, format!("{}early", request(deaf)).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("upgrade"), "{answer}");
    let record = proxy.the_record();
    assert_eq!((record.outcome, record.attempts.len()), (Some(Outcome::Protocol), 0));

    let upstream = Upstream::once(|mut stream| {
        let head = read_head(&mut BufReader::new(&stream));
        assert!(head.ends_with("Connection: Upgrade\r\n\r\n"));
        (&stream).write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
        read_until_reset(&mut stream)
    });
    let mut client = proxy.connect();
    client.write_all(request(upstream.address).as_bytes()).unwrap();
    let mut hints = [0; 28];
    client.read_exact(&mut hints).unwrap();
    client.write_all(b"early").unwrap();
    assert_eq!(read_until_reset(&mut client), b"");
    assert_eq!(upstream.join(), b"");
    let record = proxy.wait_for_records(2).pop().unwrap();
    assert_eq!(record.outcome, Some(Outcome::Protocol));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Relay, By::Client, How::Error)
    );
    assert_eq!(ending.error_code.as_deref(), Some("MALFORMED_REQUEST"));
}

#[test]
fn a_declined_upgrade_is_one_exchange_like_any_other() {
    let upstream =
        answering("HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\n");
    let proxy = Proxy::serving(&[]);
    let target = upstream.address;
    let mut client = proxy.connect();
    write!(
        client,
        "GET http://{target}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    )
    .unwrap();
    let expected = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: y\r\nConnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(read_all(&mut client)).unwrap(), expected);
    client.write_all(b"more").unwrap();
    drop(client);
    assert_eq!(upstream.join().1, b"");
    assert_eq!(discarded(&proxy.the_record()), Some(4));
}

#[test]
fn interim_responses_pass_and_heads_may_come_in_pieces() {
    let upstream = Upstream::once(|stream| {
        read_head(&mut BufReader::new(&stream));
        stream.set_nodelay(true).unwrap();
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
        for byte in format!("{interim}{interim}{EMPTY}").bytes() {
            (&stream).write_all(&[byte]).unwrap();
        }
    });
    let proxy = Proxy::serving(&[]);
    let answer = fetch(&proxy, get(upstream.address).as_bytes());
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    assert_eq!(String::from_utf8(answer).unwrap(), format!("{interim}{interim}{EMPTY_CLOSING}"));
    upstream.join();
    assert_payload_is_conserved(&proxy.the_record());
}

/// The proxy's own answer to a response that cannot be passed on.
fn assert_is_502(answer: &[u8], words: &str) {
    let answer = String::from_utf8_lossy(answer);
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n") && answer.contains(words), "{answer}");
}

#[test]
fn unreadable_response_becomes_502_with_a_warning() {
    let proxy = Proxy::serving(&[]);
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101));
    for (count, (response, words)) in [
        ("SSH-2.0-test\r\n", "the version"),
        ("ICY 200 OK\r\n\r\n", "the version"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "without an Upgrade"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "conflicting"),
        (&fields, "100 fields"),
    ]
    .iter()
    .enumerate()
    {
        let upstream = answering(*response);
        assert_is_502(&fetch(&proxy, get(upstream.address).as_bytes()), words);
        upstream.join();
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        assert!(record.warnings.iter().any(|w| w.code == WarningCode::ResponseNotHttp));
        assert_eq!(record.http.as_ref().unwrap().status, None);
        assert_eq!(record.outcome, Some(Outcome::Protocol));
        let ending = record.ending.as_ref().unwrap();
        assert_eq!((ending.first_by, ending.first_how), (By::Upstream, How::Error));
        assert_eq!(ending.error_code.as_deref(), Some("MALFORMED_RESPONSE"));
        assert_payload_is_conserved(&record);
    }
}

#[test]
fn half_a_head_becomes_502_whether_its_upstream_ends_or_resets() {
    if !has_tool("ss", "half_a_head_becomes_502_whether_its_upstream_ends_or_resets") {
        return;
    }
    let half = "HTTP/1.1 200 OK\r\nContent-Le";
    let proxy = Proxy::serving(&[]);
    let upstream = answering(half);
    assert_is_502(&fetch(&proxy, get(upstream.address).as_bytes()), "the head is incomplete");
    upstream.join();

    let upstream = Upstream::once(move |stream| {
        read_head(&mut BufReader::new(&stream));
        (&stream).write_all(half.as_bytes()).unwrap();
        // A reset would purge what the proxy has not read yet.
        crate::harness::program::wait_until("the proxy has it all", || unread_by(&stream) == 0);
        reset(stream);
    });
    let mut client = proxy.connect();
    client.write_all(get(upstream.address).as_bytes()).unwrap();
    assert_is_502(&read_all(&mut client), "the head is incomplete");
    drop(client);
    upstream.join();
    let record = proxy.wait_for_records(2).pop().unwrap();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Upstream, How::Reset));
}

#[test]
fn connection_closes_behind_the_response_of_an_upstream_that_keeps_its_own_open() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let proxy = Proxy::serving(&[]);
    let large = "x".repeat(700_000);
    for (count, (response, body)) in [
        ("Content-Length: 5\r\n\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n\r\n", "5;x\r\nhello\r\n0\r\nX: y\r\n\r\n"),
        ("Content-Length: 700000\r\n\r\n", &large),
        ("Content-Length: 0\r\n\r\n", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let response = format!("HTTP/1.1 200 OK\r\n{response}{body}{poison}");
        let upstream = Upstream::once(move |stream| {
            let mut reader = BufReader::new(&stream);
            read_head(&mut reader);
            (&stream).write_all(response.as_bytes()).unwrap();
            let mut behind = Vec::new();
            reader.read_to_end(&mut behind).unwrap();
            behind
        });
        let answer = fetch(&proxy, get(upstream.address).as_bytes());
        let answer = String::from_utf8(answer).unwrap();
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with("\r\nConnection: close"), "{head}");
        assert!(rest == body, "{} bytes: {:.99}", rest.len(), rest);
        assert_eq!(upstream.join(), b"");
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        assert_eq!(record.outcome, Some(Outcome::Ok));
        let of =
            |warning: &&conniver::record::Warning| warning.code == WarningCode::BytesAfterResponse;
        let behind = record.warnings.iter().find(of).map(|warning| warning.value);
        assert_eq!(behind, Some(poison.len() as u64));
        assert_payload_is_conserved(&record);
    }
}

/// Bytes that wait unread at the other end of a connection of this machine's (ss shows its queue).
pub(crate) fn unread_by(stream: &TcpStream) -> u64 {
    let (here, there) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let filter = format!("src {there} dst {here}");
    let shown = crate::harness::run("ss", &["-tnH", &filter]);
    shown.split_whitespace().nth(1).map_or(0, |queue| queue.parse().unwrap())
}

#[test]
fn chunks_that_cannot_be_read_end_the_pair() {
    let proxy = Proxy::serving(&[]);
    let head = |target: SocketAddr| {
        format!("POST http://{target}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    };
    let (_held, deaf) = deaf_port();
    let answer = refused(&proxy, format!("{}zz\r\n", head(deaf)).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("chunk"), "{answer}");

    let upstream = Upstream::once(|mut stream| {
        read_head(&mut BufReader::new(&stream));
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        read_until_reset(&mut stream)
    });
    let mut client = proxy.connect();
    client.write_all(head(upstream.address).as_bytes()).unwrap();
    let mut interim = [0; 25];
    client.read_exact(&mut interim).unwrap();
    client.write_all(b"5\r\nhelloGET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_until_reset(&mut client), b"");
    assert_eq!(upstream.join(), b"");
    let records = proxy.wait_for_records(2);
    for record in records {
        assert_eq!(record.outcome, Some(Outcome::Protocol));
        assert_eq!(discarded(&record), None, "they are of the request, not behind it");
        let ending = record.ending.unwrap();
        assert_eq!(ending.error_code.as_deref(), Some("MALFORMED_REQUEST"));
        assert_eq!((ending.first_by, ending.first_how), (By::Client, How::Error));
    }
}

#[test]
fn a_target_that_is_not_reached_is_answered_and_head_gets_a_head_alone() {
    let (_held, deaf) = deaf_port();
    let proxy = Proxy::serving(&[]);
    let answer = refused(&proxy, get(deaf).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert!(
        answer.ends_with(&format!(
            "Reason: cannot reach {deaf}: Connection refused (ECONNREFUSED)\n"
        )),
        "{answer}"
    );
    let answer = refused(&proxy, get(deaf).replacen("GET", "HEAD", 1).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.contains("\r\nProxy-Status: conniver; error=connection_refused;"), "{answer}");
    for record in proxy.wait_for_records(2) {
        assert_eq!((record.mode, record.outcome), (Some(Mode::Http), Some(Outcome::Refused)));
        assert_eq!(record.http.unwrap().status, None);
    }
}

#[test]
fn wget_and_the_variables_that_programs_know_work() {
    if !has_tool("wget", "wget_and_the_variables_that_programs_know_work") {
        return;
    }
    let proxy = Proxy::serving(&[]);
    let via = format!("http://{}", proxy.address());
    let body = noise(1_000_000);
    let mut response = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    response.extend_from_slice(&body);
    let upstream = answering(response);
    let url = format!("http://{}/", upstream.address);
    let output = Command::new("wget")
        .args(["-q", "-O", "-", &url])
        .env("http_proxy", &via)
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(sha256(&output.stdout), sha256(&body));
    let (head, _) = upstream.join();
    assert!(!head.to_ascii_lowercase().contains("proxy"), "{head}");
    assert_eq!(proxy.the_record().mode, Some(Mode::Http));
}
