//! Limits: on how much is taken on at a time, on time, and on descriptors.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use conniver::record::{By, How, Outcome, Phase, Record};
use socket2::{Domain, SockRef, Socket, Type};

use crate::harness::forwarding::Forwarding;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{echo_server, exchange, read_until_reset};
use crate::harness::program::{BINARY, PATIENCE, Proxy};
use crate::harness::{has_tool, run};

/// Most pairs of these that were open at a moment.
fn most_at_a_time(records: &[Record]) -> usize {
    let open_at = |at: i64| {
        let is_open = |r: &&Record| r.opened_at <= at && at <= r.closed_at.unwrap();
        records.iter().filter(is_open).count()
    };
    records.iter().map(|record| open_at(record.opened_at)).max().unwrap()
}

/// One exchange over each of so many connections, which are all open at once.
fn clients_at_once(proxy: &Proxy, count: usize) {
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| assert_eq!(exchange(&mut proxy.connect(), b"x"), b"x"));
        }
    });
}

#[test]
fn beyond_max_connections_clients_wait_and_are_served_when_others_end() {
    let forwarding = Forwarding::new(&["--max-connections", "2"]);
    let first = forwarding.pair();
    let second = forwarding.pair();
    let mut third = forwarding.proxy.connect();
    let said = forwarding.proxy.wait_to_hear("open connections is reached");
    assert!(said.contains(" 2 open connections"), "{said}");
    assert!(forwarding.waiting().is_empty(), "the third one is not served");
    drop(first);
    let mut third_upstream = forwarding.accept();
    std::io::Write::write_all(&mut third_upstream, b"at last").unwrap();
    let mut answer = [0; 7];
    std::io::Read::read_exact(&mut third, &mut answer).unwrap();
    assert_eq!(&answer, b"at last");
    drop((second, third, third_upstream));
    let left = forwarding.proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert_eq!(left.stderr.matches("open connections is reached").count(), 1, "it is said once");
    assert_eq!(most_at_a_time(&left.records()), 2);
}

#[test]
fn twice_as_many_clients_as_may_be_are_all_served() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--max-connections", "20"]);
    clients_at_once(&proxy, 40);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    let records = left.records();
    assert_eq!(records.len(), 40);
    assert!(records.iter().all(|record| record.outcome == Some(Outcome::Ok)));
    assert!(most_at_a_time(&records) <= 22);
}

#[test]
fn a_listener_that_waits_takes_no_place_from_another_one() {
    let forwards = [(); 3].map(|()| format!("0:{}", echo_server()));
    let forwards = forwards.each_ref().map(String::as_str);
    let proxy = Proxy::start(&mut Command::new(BINARY), &forwards, &["--max-connections", "1"]);
    for _ in 0..10 {
        for &address in proxy.addresses() {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            exchange(&mut client, b"x");
        }
    }
    assert_eq!(most_at_a_time(&proxy.stop().records()), 1);
}

fn connect_from(client: [u8; 4], proxy: &Proxy) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&proxy.address().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the record of a connection says that its client had no place for.
fn assert_is_refused(record: &Record) {
    assert_eq!(record.outcome, Some(Outcome::Limit));
    let ending = record.ending.as_ref().unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Accept, By::Proxy, How::Limit)
    );
    assert_eq!(ending.error_code.as_deref(), Some("CLIENT_LIMIT"));
    assert_eq!(record.upstream, None);
}

#[test]
fn a_client_beyond_its_own_limit_is_reset_and_others_are_served() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--max-per-client", "2"]);
    let here = [127, 0, 0, 1];
    let mut held = [(); 2].map(|()| connect_from(here, &proxy));
    for client in &mut held {
        exchange(client, b"x");
    }
    assert_eq!(read_until_reset(&mut connect_from(here, &proxy)), b"");
    assert_is_refused(&proxy.the_record());
    exchange(&mut connect_from([127, 0, 0, 2], &proxy), b"x");
    proxy.wait_for_records(2);
    drop(held);
    proxy.wait_for_records(4);
    exchange(&mut connect_from(here, &proxy), b"x");
    assert_eq!(proxy.stop().status.code(), Some(0));
}

#[test]
fn clients_that_a_load_balancer_announces_have_a_limit_each() {
    let args = ["--accept-proxy", "--max-per-client", "1"];
    let proxy = Proxy::forwarding_to(echo_server(), &args);
    let connect = |client: &str| {
        let mut stream = proxy.connect();
        let header = format!("PROXY TCP4 {client} 192.0.2.100 5000 80\r\n");
        std::io::Write::write_all(&mut stream, header.as_bytes()).unwrap();
        stream
    };
    let mut first = connect("192.0.2.1");
    exchange(&mut first, b"x");
    exchange(&mut connect("192.0.2.2"), b"x");
    proxy.wait_for_records(1);
    assert_eq!(read_until_reset(&mut connect("192.0.2.1")), b"");
    let records = proxy.wait_for_records(2);
    assert_is_refused(&records[1]);
    assert_eq!(records[1].client_host.as_deref(), Some("192.0.2.1"));
}

#[test]
fn the_addresses_of_an_ipv6_network_have_one_limit() {
    let args = ["--accept-proxy", "--max-per-client", "1"];
    let proxy = Proxy::forwarding_to(echo_server(), &args);
    let connect = |client: &str| {
        let mut stream = proxy.connect();
        let header = format!("PROXY TCP6 {client} 2001:db8:f::1 5000 80\r\n");
        std::io::Write::write_all(&mut stream, header.as_bytes()).unwrap();
        stream
    };
    let mut first = connect("2001:db8::1");
    exchange(&mut first, b"x");
    assert_eq!(read_until_reset(&mut connect("2001:db8::2:3:4:5")), b"");
    assert_is_refused(&proxy.the_record());
    exchange(&mut connect("2001:db8:0:1::1"), b"x");
}

#[test]
fn an_idle_pair_ends_with_a_reset_to_both_sides_and_says_why() {
    let forwarding = Forwarding::new(&["--idle-timeout", "300ms"]);
    let mut ends = forwarding.pair();
    assert_eq!(read_until_reset(&mut ends.client), b"");
    assert_eq!(read_until_reset(&mut ends.upstream), b"");
    let record = forwarding.proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Timeout));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Relay, By::Proxy, How::Timeout)
    );
    assert_eq!((ending.second_by, ending.second_how), (None, None));
    assert_eq!(ending.error_code.as_deref(), Some("IDLE_TIMEOUT"));
    assert!(record.duration >= Duration::from_millis(300), "{:?}", record.duration);
}

#[test]
fn a_pair_on_which_something_moves_is_not_idle() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--idle-timeout", "1s"]);
    let mut client = proxy.connect();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2500) {
        exchange(&mut client, b"x");
    }
    drop(client);
    assert_eq!(proxy.the_record().outcome, Some(Outcome::Ok));
}

#[test]
fn a_pair_ends_when_it_has_lasted_as_long_as_one_may() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--lifetime", "500ms"]);
    let mut client = proxy.connect();
    use std::io::{Read, Write};
    while client.write_all(b"x").is_ok() && matches!(client.read(&mut [0]), Ok(1)) {}
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Limit));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Proxy, How::Limit));
    assert_eq!(ending.error_code.as_deref(), Some("LIFETIME"));
    assert!(record.duration >= Duration::from_millis(500), "{:?}", record.duration);
}

#[test]
fn keepalive_and_the_user_timeout_hold_for_both_sockets() {
    let what = "keepalive_and_the_user_timeout_hold_for_both_sockets";
    if !available(what) {
        return;
    }
    let args = ["--keepalive", "7s", "--keepalive-interval", "3s", "--keepalive-probes", "2"];
    let forwarding = Forwarding::new(&[&args[..], &["--user-timeout", "9s"]].concat());
    let ends = forwarding.pair();
    for end in [&ends.client, &ends.upstream] {
        let socket = forwarding.proxy.socket_facing(end);
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(3));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 2);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(9)));
    }

    let forwarding = Forwarding::new(&["--keepalive", "0"]);
    let ends = forwarding.pair();
    for end in [&ends.client, &ends.upstream] {
        let socket = forwarding.proxy.socket_facing(end);
        assert!(!SockRef::from(&socket).keepalive().unwrap());
    }
}

#[test]
fn data_that_nobody_acknowledges_ends_the_pair_after_the_user_timeout() {
    if !available("data_that_nobody_acknowledges_ends_the_pair_after_the_user_timeout") {
        return;
    }
    let namespace = Namespace::new();
    let args = ["--user-timeout", "500ms", "--events", "open,close"];
    let (forwarding, mut ends) = Forwarding::with_pair_in(&namespace, &args);
    forwarding.proxy.wait_for_open(1);
    namespace.swallow(&ends.upstream);
    std::io::Write::write_all(&mut ends.client, b"into the void").unwrap();
    assert_eq!(read_until_reset(&mut ends.client), b"");
    let record = forwarding.proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Timeout));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Upstream, How::Timeout));
    assert!(record.duration < Duration::from_secs(10), "{:?}", record.duration);
}

#[test]
fn as_many_connections_are_taken_as_there_are_descriptors_for() {
    if !has_tool("prlimit", "as_many_connections_are_taken_as_there_are_descriptors_for") {
        return;
    }
    let mut command = Command::new("prlimit");
    command.args(["--nofile=40:64", BINARY]);
    let proxy = Proxy::start(&mut command, &[&format!("0:{}", echo_server())], &["-v"]);
    clients_at_once(&proxy, 40);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    let room = "accepting up to 14 connections at a time (64 descriptors, ulimit -Hn)";
    assert!(left.stderr.contains(room), "{}", left.stderr);
    assert!(!left.stderr.contains("Too many open files"), "{}", left.stderr);
    let records = left.records();
    assert!(records.iter().all(|record| record.outcome == Some(Outcome::Ok)));
    assert!(records.len() == 40 && most_at_a_time(&records) <= 14);
}

#[test]
fn more_connections_than_descriptors_are_not_promised() {
    if !has_tool("prlimit", "more_connections_than_descriptors_are_not_promised") {
        return;
    }
    let mut command = Command::new("prlimit");
    command.args(["--nofile=64", BINARY]);
    let forward = format!("0:{}", echo_server());
    let proxy = Proxy::start(&mut command, &[&forward], &["--max-connections", "100"]);
    let said = proxy.stop().stderr;
    assert!(
        said.contains(
            "--max-connections 100 is reduced: 64 descriptors (ulimit -Hn) are enough for 14"
        ),
        "{said}"
    );
}

#[test]
fn running_out_of_descriptors_holds_up_new_connections_and_nothing_else() {
    let what = "running_out_of_descriptors_holds_up_new_connections_and_nothing_else";
    if !has_tool("prlimit", what) {
        return;
    }
    let proxy = Proxy::forwarding_to(echo_server(), &[]);
    let mut open = proxy.connect();
    exchange(&mut open, b"x");
    let pid = proxy.pid().to_string();
    // The standard streams have those.
    run("prlimit", &["--pid", &pid, "--nofile=3:1024"]);
    let waiting: Vec<TcpStream> = (0..10).map(|_| proxy.connect()).collect();
    proxy.wait_to_hear("Too many open files");
    assert_eq!(exchange(&mut open, b"goes on"), b"goes on");
    run("prlimit", &["--pid", &pid, "--nofile=1024:1024"]);
    for mut client in waiting {
        exchange(&mut client, b"x");
    }
    drop(open);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert_eq!(left.stderr.matches("Too many open files").count(), 1, "it is said once");
    assert_eq!(left.records().len(), 11);
}
