//! Answers over TLS: session tickets and last words are none.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use tempfile::TempDir;

use super::super::clients::client;
use super::super::namespace::Namespace;
use super::super::program::Proxy;
use super::lab::{proxy_in, record};
use super::tls_servers::{Kind, ThinkingServer, Version, connect};
use super::web::{Backend, Nginx, longest, sum};
use super::{Case, Cause, Imposed, Turns, Who, cause, ms};

pub(super) const CAUSES: &[Cause] = &[
    answer("TLS 1.2 answer from rustls", || curl_asks(Kind::Rustls, Version::Tls12)),
    answer("TLS 1.3 answer from rustls", || curl_asks(Kind::Rustls, Version::Tls13)),
    answer("TLS 1.2 answer from OpenSSL", || curl_asks(Kind::OpenSsl, Version::Tls12)),
    answer("TLS 1.3 answer from OpenSSL", || curl_asks(Kind::OpenSsl, Version::Tls13)),
    answer("TLS 1.2 answer from nginx", || curl_asks(Kind::Nginx, Version::Tls12)).needs(NGINX),
    answer("TLS 1.3 answer from nginx", || curl_asks(Kind::Nginx, Version::Tls13)).needs(NGINX),
    answer("TLS 1.3 request some time after the tickets", late_request),
    answer("close_notify after 2 s, TLS 1.3, rustls", || {
        last_words(Kind::Rustls, Version::Tls13, ms(2000))
    }),
    answer("close_notify after 2 s, TLS 1.3, nginx", || {
        last_words(Kind::Nginx, Version::Tls13, ms(2000))
    })
    .needs(NGINX),
    answer("close_notify after 75 s, TLS 1.2, nginx", || {
        last_words(Kind::Nginx, Version::Tls12, ms(75_000))
    })
    .needs(NGINX)
    .idle(),
    answer("close_notify after 75 s, TLS 1.3, nginx", || {
        last_words(Kind::Nginx, Version::Tls13, ms(75_000))
    })
    .needs(NGINX)
    .idle(),
    answer("HTTP/2 from nginx, then 2 s idle", || idle_http_2(ms(2000))).needs(NGINX),
    answer("HTTP/2 from nginx, then 60 s idle", || idle_http_2(ms(60_000))).needs(NGINX).idle(),
];

const NGINX: &[&str] = &["curl", "openssl", "nginx"];

const fn answer(name: &'static str, impose: fn() -> Case) -> Cause {
    cause(name, impose).quiet().needs(&["curl", "openssl"])
}

const THINK: u64 = 300;

/// Longer than any cause lasts.
const NEVER: Duration = ms(1_000_000);

/// A server's thoughts, and at most this much besides for the handshake: both sides compute.
fn thought_of(server: &ThinkingServer, besides: Duration) -> Imposed {
    let thought = sum(&server.thoughts);
    Imposed::on(&["upstream"])
        .time(Who::Upstream, thought..=thought + besides)
        .time(Who::Client, ms(0)..=besides)
        .time(Who::Idle, ms(0)..=besides)
        .turns(Turns::answered(1, longest(&server.thoughts)))
        .provided(thought >= ms(THINK), "the server thought")
}

/// The request comes in one flight with the end of the handshake, before the tickets.
fn curl_asks(kind: Kind, version: Version) -> Case {
    let namespace = Namespace::new();
    let server = ThinkingServer::start(&namespace, kind, version, THINK, NEVER);
    let proxy = proxy_in(&namespace, server.address);
    let mut curl = namespace.command("curl");
    curl.args(["-sS", "--http1.1", "--cacert", &server.certificate]);
    curl.args(["--connect-to", &format!("localhost:443:{}", proxy.address())]);
    curl.arg("https://localhost/300");
    let began = Instant::now();
    let said = client(&mut curl);
    let elapsed = began.elapsed();
    assert_eq!(said, b"ok\n");
    let besides = elapsed.saturating_sub(sum(&server.thoughts));
    Case { record: record(&proxy), imposed: thought_of(&server, besides) }
}

type Session = StreamOwned<ClientConnection, TcpStream>;

fn session(namespace: &Namespace, proxy: &Proxy, certificate: &str, alpn: &[&[u8]]) -> Session {
    let stream = namespace.enter(|| proxy.connect());
    stream.set_read_timeout(None).unwrap();
    let mut session = connect(stream, certificate, alpn);
    while session.conn.is_handshaking() {
        session.conn.complete_io(&mut session.sock).unwrap();
    }
    session
}

fn ask(session: &mut Session) {
    session.write_all(b"GET /300 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        let mut byte = [0];
        session.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
}

fn close(session: &mut Session) {
    session.conn.send_close_notify();
    // The server may have closed before.
    let _ = session.flush();
    let _ = session.sock.shutdown(Shutdown::Write);
    let _ = session.sock.read(&mut [0; 100]);
}

/// The tickets come long before the request.
fn late_request() -> Case {
    let namespace = Namespace::new();
    let server = ThinkingServer::start(&namespace, Kind::Rustls, Version::Tls13, THINK, NEVER);
    let proxy = proxy_in(&namespace, server.address);
    let began = Instant::now();
    let mut session = session(&namespace, &proxy, &server.certificate, &[]);
    let met = began.elapsed();
    thread::sleep(ms(500));
    let paused = began.elapsed() - met;
    ask(&mut session);
    close(&mut session);
    // The server makes its tickets after the handshake.
    let imposed = thought_of(&server, met * 2).time(Who::Idle, paused..=paused + met);
    Case { record: record(&proxy), imposed }
}

/// The server closes a connection that has been silent for a while.
fn last_words(kind: Kind, version: Version, after: Duration) -> Case {
    let namespace = Namespace::new();
    let server = ThinkingServer::start(&namespace, kind, version, THINK, after);
    let proxy = proxy_in(&namespace, server.address);
    let began = Instant::now();
    let mut session = session(&namespace, &proxy, &server.certificate, &[]);
    let met = began.elapsed();
    ask(&mut session);
    let answered = began.elapsed();
    // Nothing but close_notify.
    assert_eq!(session.read(&mut [0]).unwrap(), 0);
    let silent = began.elapsed() - answered;
    close(&mut session);
    let imposed = thought_of(&server, met)
        .time(Who::Idle, ms(0)..=met + silent)
        .provided(silent + ms(200) >= after, "the server was silent");
    Case { record: record(&proxy), imposed }
}

/// The preface, empty SETTINGS, and GET https://localhost/300 as stream 1 (RFC 9113; HPACK's static
/// table has the method, the scheme and the name of the path).
fn http_2_request() -> Vec<u8> {
    const HEADERS: u8 = 1;
    const END_STREAM_AND_HEADERS: u8 = 5;
    let mut fields = vec![0x82, 0x87, 0x04, 4];
    fields.extend(b"/300");
    fields.extend([0x01, 9]);
    fields.extend(b"localhost");
    // A field that makes the request as long as those of browsers are.
    fields.extend([0x0f, 0x2b, 60]); // user-agent, not indexed
    fields.extend([b'x'; 60]);
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    request.extend([0, 0, u8::try_from(fields.len()).unwrap(), HEADERS, END_STREAM_AND_HEADERS]);
    request.extend([0, 0, 0, 1]);
    request.extend(fields);
    request
}

/// Reads frames to the one that ends stream 1; acknowledges SETTINGS.
fn read_http_2_answer(session: &mut Session) {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    loop {
        let mut head = [0; 9];
        session.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut content = vec![0; length as usize];
        session.read_exact(&mut content).unwrap();
        let [kind, flags] = [head[3], head[4]];
        match kind {
            SETTINGS if flags == 0 => session.write_all(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).unwrap(),
            DATA | HEADERS if flags & 1 == 1 => return,
            GOAWAY => panic!("the server does not like the request: {content:?}"),
            _ => {}
        }
    }
}

fn idle_http_2(idle: Duration) -> Case {
    let namespace = Namespace::new();
    let files = TempDir::new().unwrap();
    let (key, certificate) = super::super::tls::certificate(files.path(), "localhost");
    let backend = Backend::start(&namespace);
    let settings = "keepalive_timeout 300s;";
    let _nginx = Nginx::start(&namespace, (&key, &certificate), backend.address, "http2", settings);
    let proxy = proxy_in(&namespace, "127.0.0.1:443");
    let began = Instant::now();
    let mut session = session(&namespace, &proxy, &certificate, &[b"h2"]);
    session.write_all(&http_2_request()).unwrap();
    read_http_2_answer(&mut session);
    let answered = began.elapsed();
    thread::sleep(idle);
    let silent = began.elapsed() - answered;
    close(&mut session);
    let thought = sum(&backend.thoughts);
    let imposed = Imposed::on(&["upstream", "none"])
        .time(Who::Upstream, ms(0)..=answered)
        .time(Who::Client, ms(0)..=answered - thought)
        .time(Who::Idle, ms(0)..=silent + answered)
        .turns(Turns { shape: Some("mixed"), ..Turns::default() })
        .provided(thought >= ms(THINK), "the server thought");
    Case { record: record(&proxy), imposed }
}
