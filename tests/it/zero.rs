//! What 0 means: no limit for what ends something, no wait for what waits.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use conniver::proxy::{Keepalive, SocketOptions};
use conniver::record::Outcome;

use crate::harness::forwarding::Forwarding;
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{Upstream, echo_server, exchange, reset};
use crate::harness::program::{BINARY, Proxy};
use crate::harness::tls::TlsServer;

#[test]
fn zero_limits_nothing_for_times_that_end_something() {
    let args = [
        &["--connect-timeout", "0", "--idle-timeout", "0", "--lifetime", "0"][..],
        &["--user-timeout", "0", "--max-connections", "0", "--max-per-client", "0"],
    ];
    let proxy = Proxy::forwarding_to(echo_server(), &args.concat());
    let mut clients: Vec<_> = (0..3).map(|_| proxy.connect()).collect();
    for client in clients.iter_mut().rev() {
        exchange(client, b"x");
    }
    drop(clients);
    let records = proxy.wait_for_records(3);
    assert!(records.iter().all(|record| record.outcome == Some(Outcome::Ok)), "{records:?}");
}

#[test]
fn zero_lets_a_client_take_its_time_with_its_request() {
    let proxy = Proxy::serving(&["--request-timeout", "0"]);
    let echo = echo_server();
    let connect = |client: &mut TcpStream| {
        write!(client, "CONNECT {echo} HTTP/1.1\r\nHost: {echo}\r\n\r\n").unwrap();
        let mut head = [0; 12];
        client.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    };
    let mut patient = proxy.connect();
    for _ in 0..5 {
        connect(&mut proxy.connect());
    }
    connect(&mut patient);
}

#[test]
fn zero_lets_a_parent_take_its_time_with_its_answer() {
    let parent = Proxy::serving(&[]);
    let via = format!("http://{}", parent.address());
    let args = ["--via", &via, "--connect-timeout", "0"];
    let proxy = Proxy::forwarding_to(echo_server(), &args);
    exchange(&mut proxy.connect(), b"x");
    assert_eq!(proxy.the_record().outcome, Some(Outcome::Ok));
}

#[test]
fn zero_lets_stat_take_its_time_with_tls() {
    if !has_tool("openssl", "zero_lets_stat_take_its_time_with_tls") {
        return;
    }
    let server = TlsServer::start();
    let url = format!("https://{}/", server.address);
    let mut command = Command::new(BINARY);
    crate::harness::clients::without_proxies(&mut command);
    let output = command.args(["stat", "-k", "--connect-timeout", "0", &url]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn zero_limits_no_time_of_stat() {
    let pages = Upstream::on(TcpListener::bind("127.0.0.1:0").unwrap(), |stream| {
        crate::curl::serve(stream, b"page")
    });
    let url = format!("http://{}/", pages.address);
    let args = ["--connect-timeout", "0", "--max-time", "0"];
    let mut command = Command::new(BINARY);
    crate::harness::clients::without_proxies(&mut command);
    let output = command.arg("stat").args(args).arg(&url).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    pages.join();
}

#[test]
fn a_queue_of_zero_lets_connections_wait_and_loses_no_record() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--queue", "0"]);
    for _ in 0..20 {
        exchange(&mut proxy.connect(), b"x");
    }
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert_eq!(left.records().len(), 20);
}

#[test]
fn zero_does_not_wait_for_open_connections_at_the_end() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--drain", "0"]);
    let mut client = proxy.connect();
    exchange(&mut client, b"x");
    let began = Instant::now();
    let left = proxy.stop();
    assert!(began.elapsed() < Duration::from_secs(4), "the default is 5 s");
    assert_eq!(left.records()[0].outcome, Some(Outcome::Shutdown));
}

#[test]
fn zero_does_not_wait_for_acknowledgements() {
    if !available("zero_does_not_wait_for_acknowledgements") {
        return;
    }
    let namespace = Namespace::new();
    let args = ["--linger", "0", "--events", "open,close"];
    let (forwarding, mut ends) = Forwarding::with_pair_in(&namespace, &args);
    forwarding.proxy.wait_for_open(1);
    namespace.swallow(&ends.upstream);
    ends.client.write_all(b"into the void").unwrap();
    reset(ends.client);
    let record = forwarding.proxy.the_record();
    assert!(record.duration < Duration::from_secs(8), "the default is 10 s: {record:?}");
    assert_eq!(record.delivery.to_upstream.unwrap().undelivered, Some(13));
}

#[test]
fn zero_turns_keepalive_off_in_the_library_too() {
    let idle = |idle| Some(Keepalive { idle, ..Keepalive::default() });
    let options = SocketOptions::new(idle(Duration::ZERO), Some(Duration::ZERO)).unwrap();
    assert_eq!(options, SocketOptions::new(None, None).unwrap());
}
