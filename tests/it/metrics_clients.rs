//! Clients of the metrics that mean no good, and those whose browser was misled.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::program::{BINARY, PATIENCE, Proxy};
use crate::metrics::shown_on;

fn proxy(args: &[&str]) -> (Proxy, SocketAddr) {
    let proxy = Proxy::start(&mut Command::new(BINARY), &["0:127.0.0.1:9"], args);
    let address = shown_on(&proxy);
    (proxy, address)
}

/// What comes back for these bytes until the end, and how long it took.
fn send(address: SocketAddr, request: &str) -> (String, Duration) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer, began.elapsed())
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn assert_is_shown(address: SocketAddr, meanwhile: &str) {
    let (answer, took) = send(address, SCRAPE);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{meanwhile}: {answer}");
    assert!(answer.contains("conniver_pairs_opened_total"), "{meanwhile}: {answer}");
    assert!(took < Duration::from_secs(5), "{meanwhile}: {took:?}");
}

/// Asks again and again and reads nothing.
fn never_reads(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    // It is closed after the first request, at any moment.
    while stream.write(SCRAPE.repeat(100).as_bytes()).is_ok() {}
    stream
}

#[test]
fn metrics_are_shown_whoever_holds_connections_and_says_or_reads_nothing() {
    let (_proxy, address) = proxy(&["--metrics", "0"]);
    let mut held = Vec::new();
    for count in [64, 200, 1000] {
        while held.len() < count {
            held.push(TcpStream::connect(address).unwrap());
            held.push(never_reads(address));
        }
        assert_is_shown(address, &format!("{count} connections are held"));
    }
}

#[test]
fn metrics_are_shown_while_others_come_back_as_fast_as_they_can() {
    let (_proxy, address) = proxy(&["--metrics", "0"]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // It may be reset before it has heard that it was connected.
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                    // Until it has to make room.
                    let _ = stream.read(&mut [0]);
                }
            });
        }
        for _ in 0..50 {
            assert_is_shown(address, "50 clients come back");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_connection_for_metrics_carries_one_request_and_lives_for_seconds() {
    let (_proxy, address) = proxy(&["--metrics", "0"]);
    let (answer, _) = send(address, &SCRAPE.repeat(3));
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");

    for part in ["", "GET /metr"] {
        let (answer, took) = send(address, part);
        assert_eq!(answer, "");
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
    // One whose request has a body that nobody wants gets its answer whole.
    let body = "x".repeat(20_000);
    let post = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\n{body}");
    let (answer, _) = send(address, &post);
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.ends_with("\n"), "{answer}");
}

#[test]
fn on_loopback_metrics_are_shown_to_requests_for_loopback_alone() {
    let (_proxy, address) = proxy(&["--metrics", "0"]);
    let port = address.port();
    let status = |request: &str| send(address, request).0[9..12].to_owned();
    for path in ["/metrics", "/healthz", "/"] {
        for host in ["evil.example", &format!("evil.example:{port}"), "192.0.2.1", "localhost.evil"]
        {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let (answer, _) = send(address, &request);
            assert!(answer.starts_with("HTTP/1.1 421 "), "{host}: {answer}");
            assert!(answer.contains(&format!("http://{address}/metrics")), "{answer}");
            assert!(!answer.contains("conniver_"), "{answer}");
        }
    }
    for host in ["localhost", "LocalHost:1", "a.localhost", "127.0.0.1", "[::1]:80"] {
        assert_eq!(status(&format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n")), "200");
    }
    let absolute =
        |url: &str, host: &str| status(&format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert_eq!(absolute("http://localhost/metrics", "evil.example"), "200");
    assert_eq!(absolute("http://evil.example/metrics", "localhost"), "421");
    assert_eq!(status("GET /metrics HTTP/1.0\r\n\r\n"), "200");
    assert_eq!(status("GET /metrics HTTP/1.0\r\nHost: evil.example\r\n\r\n"), "421");
    assert_eq!(status("GET /metrics HTTP/1.1\r\n\r\n"), "400");
    assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: x\r\n\r\n"), "400");
}

#[test]
fn beyond_loopback_metrics_are_shown_under_any_name() {
    let (_proxy, address) = proxy(&["--metrics", "0.0.0.0:0", "--allow-from", "127.0.0.0/8"]);
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let (answer, _) = send(address, "GET /metrics HTTP/1.1\r\nHost: proxy.example\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn clients_that_may_not_read_the_metrics_fill_no_log() {
    const COUNT: usize = 3000;
    let (proxy, address) = proxy(&["--metrics", "0", "--allow-from", "192.0.2.0/24"]);
    let began = Instant::now();
    for _ in 0..COUNT {
        let mut stream = TcpStream::connect(address).unwrap();
        match stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{other:?}"),
        }
    }
    // One is told, and how many others there were, once a second.
    let mut told = 1;
    while told < COUNT {
        let line = proxy.wait_to_hear("more metrics requests were refused");
        let count =
            line.split(" more metrics requests").next().unwrap().rsplit(' ').next().unwrap();
        told += count.parse::<usize>().unwrap();
        assert!(line.contains(", the last one from 127.0.0.1:"), "{line}");
    }
    let seconds = began.elapsed().as_secs_f64();
    let left = proxy.stop();
    let lines = left.stderr.matches("metrics").count() as f64;
    assert!(told == COUNT && lines <= seconds + 4.0, "{lines} in {seconds}:\n{}", left.stderr);
}
