//! HTTP exchanges in which requests and answers do not simply alternate.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::super::clients::client;
use super::super::namespace::Namespace;
use super::super::program::{BINARY, Proxy};
use super::lab::{Lab, proxy_in, record};
use super::web::{ANSWER, Thoughts, longest, sum, think};
use super::{Case, Cause, Imposed, Turns, Who, cause, ms};

pub(super) const CAUSES: &[Cause] = &[
    cause("100 Continue, then an answer, by curl, forwarded", || upload_after_consent(false))
        .quiet()
        .needs(&["curl"]),
    cause("100 Continue, then an answer, by curl, http mode", || upload_after_consent(true))
        .quiet()
        .needs(&["curl"]),
    cause("413 during a paced upload", refused_upload).quiet(),
    cause("three pipelined requests", pipelined).quiet(),
];

const BODY: usize = 20_000;

/// Waits 200 ms before it asks for the body, and 300 ms before it answers.
fn consenting_server(namespace: &Namespace) -> (SocketAddr, Thoughts) {
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let thoughts = Thoughts::default();
    let own = Thoughts::clone(&thoughts);
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        read_head(&mut reader);
        think(200, Instant::now(), &own);
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        reader.read_exact(&mut vec![0; BODY]).unwrap();
        think(300, Instant::now(), &own);
        stream.write_all(ANSWER.as_bytes()).unwrap();
        // Until the client leaves.
        let _ = reader.read(&mut [0]);
    });
    (address, thoughts)
}

fn read_head(reader: &mut impl BufRead) {
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    lines.find(|line| line.is_empty()).unwrap();
}

fn upload_after_consent(in_http_mode: bool) -> Case {
    let namespace = Namespace::new();
    let (server, thoughts) = consenting_server(&namespace);
    let mut body = NamedTempFile::new().unwrap();
    body.write_all(&[b'x'; BODY]).unwrap();
    let mut curl = namespace.command("curl");
    curl.args(["-sS", "--expect100-timeout", "60", "-H", "Expect: 100-continue", "-T"]);
    curl.arg(body.path());
    let proxy = if in_http_mode {
        let proxy = Proxy::start(&mut namespace.command(BINARY), &[], &["-D", "0"]);
        curl.args(["-x", &format!("http://{}", proxy.address()), &format!("http://{server}/")]);
        proxy
    } else {
        let proxy = proxy_in(&namespace, server);
        curl.arg(format!("http://{}/", proxy.address()));
        proxy
    };
    assert_eq!(client(&mut curl), b"ok\n");
    let imposed = Imposed::on(&["upstream"])
        .time(Who::Upstream, sum(&thoughts))
        .turns(Turns::answered(2, longest(&thoughts)));
    Case { record: record(&proxy), imposed }
}

const PIECES: u32 = 20;
const PACE: Duration = ms(50);

/// The client sends a piece of its body every 50 ms; the server answers after half of them and reads on.
fn refused_upload() -> Case {
    const PIECE: usize = 4096;
    let lab = Lab::here(&[]);
    let mut pair = lab.pair();
    let began = Instant::now();
    let mut upstream = pair.ends.upstream.try_clone().unwrap();
    let server = thread::spawn(move || {
        let mut half = vec![0; PIECE * PIECES as usize / 2];
        upstream.read_exact(&mut half).unwrap();
        upstream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").unwrap();
        let answered = Instant::now();
        upstream.read_exact(&mut half).unwrap();
        answered
    });
    for piece in 0..PIECES {
        thread::sleep((began + PACE * piece).saturating_duration_since(Instant::now()));
        pair.ends.client.write_all(&[b'x'; PIECE]).unwrap();
    }
    let answered = server.join().unwrap() - began;
    let whole = began.elapsed();
    drop(pair);
    // What it sends after the answer looks like the next request, which is not answered.
    let imposed = Imposed::on(&["client"])
        .time(Who::Client, answered..=whole)
        .time(Who::Idle, ms(0)..=whole - answered)
        .turns(Turns { count: Some(2..=2), unanswered: Some(1), ..Turns::default() });
    Case { record: lab.record(), imposed }
}

/// Sent in one piece, and answered one after the other.
fn pipelined() -> Case {
    let lab = Lab::here(&[]);
    let mut pair = lab.pair();
    let requests: String =
        [100, 300, 50].map(|millis| format!("GET /{millis} HTTP/1.1\r\nHost: x\r\n\r\n")).concat();
    let thoughts = Thoughts::default();
    let (mut upstream, own) = (pair.ends.upstream.try_clone().unwrap(), Thoughts::clone(&thoughts));
    let server = thread::spawn(move || {
        let mut reader = BufReader::new(upstream.try_clone().unwrap());
        for millis in [100, 300, 50] {
            read_head(&mut reader);
            think(millis, Instant::now(), &own);
            upstream.write_all(ANSWER.as_bytes()).unwrap();
        }
    });
    pair.ends.client.write_all(requests.as_bytes()).unwrap();
    pair.ends.client.read_exact(&mut vec![0; ANSWER.len() * 3]).unwrap();
    server.join().unwrap();
    drop(pair);
    let first = thoughts.lock().unwrap()[0];
    let imposed = Imposed::on(&["upstream"])
        .time(Who::Upstream, sum(&thoughts))
        .turns(Turns::answered(1, first));
    Case { record: lab.record(), imposed }
}
