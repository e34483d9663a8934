//! Connections that come back to the proxy: one record says so, and nothing grows.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use conniver::record::{By, How, Outcome, Record};

use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{echo_server, exchange, read_until_reset};
use crate::harness::program::{BINARY, PATIENCE, Proxy};
use crate::harness::run;

/// In a namespace of the test's own, every port is free.
const PORT: u16 = 15001;

fn connect(address: impl ToString) -> TcpStream {
    let stream = TcpStream::connect(address.to_string()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connects, sends a request and waits until that is reset.
fn ask(address: impl ToString, request: &str) {
    let mut client = connect(address);
    // It may be reset before this, which only the first to ask is told.
    if client.write_all(request.as_bytes()).is_ok() {
        read_until_reset(&mut client);
    }
}

/// There was one record in all, and it says that it was a loop.
fn assert_one_loop(proxy: Proxy, what: &str) -> Record {
    proxy.wait_for_records(1);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{what}: {}", left.stderr);
    let mut records = left.records();
    assert_eq!(records.len(), 1, "{what}");
    let record = records.remove(0);
    let ending = record.ending.as_ref().unwrap();
    assert_eq!(ending.error_code.as_deref(), Some("LOOP"), "{what}: {ending:?}");
    assert_eq!(record.outcome, Some(Outcome::Denied), "{what}: {ending:?}");
    assert_eq!((ending.first_by, ending.first_how), (By::Proxy, How::Denied), "{what}");
    record
}

/// A machine to whose loopback interface whole networks lead.
fn with_local_networks() -> Namespace {
    let namespace = Namespace::new();
    namespace.ip(&["addr", "add", "10.9.0.1/24", "dev", "lo"]);
    namespace.ip(&["route", "add", "local", "10.8.0.0/24", "dev", "lo"]);
    namespace.ip(&["-6", "route", "add", "local", "fd00:8::/64", "dev", "lo"]);
    namespace
}

const EVERYONE: [&str; 4] = ["--allow-from", "0.0.0.0/0", "--allow-from", "::/0"];

#[test]
fn a_loop_through_a_local_network_is_one_record() {
    if !available("a_loop_through_a_local_network_is_one_record") {
        return;
    }
    let namespace = with_local_networks();
    for target in ["10.9.0.77", "10.8.0.77", "[fd00:8::77]"].map(|host| format!("{host}:{PORT}")) {
        let forward = format!("*:{PORT}:{target}");
        let proxy = Proxy::start(&mut namespace.command(BINARY), &[&forward], &EVERYONE);
        let here = format!("127.0.0.1:{PORT}");
        namespace.enter(|| ask(&here, "hello"));
        assert_one_loop(proxy, &forward);

        let listen = format!("*:{PORT}");
        let args = [&["-D", &listen], &EVERYONE[..]].concat();
        for request in [
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
            format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"),
        ] {
            let proxy = Proxy::start(&mut namespace.command(BINARY), &[], &args);
            namespace.enter(|| {
                let mut client = connect(&here);
                client.write_all(request.as_bytes()).unwrap();
                // A reply, a reset, or both.
                let _ = std::io::copy(&mut client, &mut std::io::sink());
            });
            assert_one_loop(proxy, &request);
        }
    }
}

#[test]
fn a_listener_on_one_address_of_a_local_network_recognises_its_loop() {
    if !available("a_listener_on_one_address_of_a_local_network_recognises_its_loop") {
        return;
    }
    // Packets to the target are sent on to the listener's other address.
    let namespace = with_local_networks();
    namespace.nft(&format!(
        "add table ip back; \
         add chain ip back out {{ type nat hook output priority -100; }}; \
         add rule ip back out ip daddr 10.9.0.77 tcp dport 80 dnat to 10.9.0.78:{PORT}"
    ));
    let forward = format!("10.9.0.78:{PORT}:10.9.0.77:80");
    let proxy = Proxy::start(&mut namespace.command(BINARY), &[&forward], &EVERYONE);
    namespace.enter(|| ask(format!("10.9.0.78:{PORT}"), "hello"));
    let record = assert_one_loop(proxy, &forward);
    assert_eq!(record.upstream.unwrap().remote_addr, Some("10.9.0.77:80".parse().unwrap()));
}

#[test]
fn rules_that_divert_the_proxys_own_connections_give_one_record() {
    if !available("rules_that_divert_the_proxys_own_connections_give_one_record") {
        return;
    }
    for (name, hosts) in [("redirect", &["*"][..]), ("tproxy", &["127.0.0.1", "[::1]"])] {
        let (here, there) = (Namespace::new(), Namespace::new());
        here.cable(&there, "cable", 7);
        let option = format!("--{name}");
        let listeners: Vec<_> = hosts.iter().map(|host| format!("{host}:{PORT}")).collect();
        // The rules spare connections with a mark, which the proxy was not told.
        let rules = ["rules", name, "--port", &PORT.to_string(), "--mark", "0x77"];
        here.sh(&run(BINARY, &rules));
        for target in ["10.7.0.2:80", "[fd00:7::2]:80"] {
            let args: Vec<&str> =
                listeners.iter().flat_map(|listener| [&*option, listener]).collect();
            let proxy = Proxy::start(&mut here.command(BINARY), &[], &args);
            here.enter(|| ask(target, "hello"));
            let record = assert_one_loop(proxy, name);
            assert_eq!(record.target.as_deref(), Some(target));
        }
    }
}

#[test]
fn two_proxies_that_lead_to_each_other_end_what_goes_round() {
    if !available("two_proxies_that_lead_to_each_other_end_what_goes_round") {
        return;
    }
    let namespace = with_local_networks();
    for (one, other) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]"), ("10.9.0.1", "10.9.0.2")] {
        let (one, other) = (format!("{one}:{PORT}"), format!("{other}:{}", PORT + 1));
        let start = |listen: &str, target: &str| {
            let forward = format!("{listen}:{target}");
            Proxy::start(&mut namespace.command(BINARY), &[&forward], &EVERYONE)
        };
        let proxies = [start(&one, &other), start(&other, &one)];
        // Many at once are no more than each alone.
        const CLIENTS: usize = 5;
        namespace.enter(|| {
            std::thread::scope(|scope| {
                for _ in 0..CLIENTS {
                    scope.spawn(|| ask(&one, "hello"));
                }
            });
        });
        let left = proxies.map(Proxy::stop);
        let said = left
            .iter()
            .map(|left| left.stderr.matches("loop: a connection passed through").count());
        assert_eq!(said.sum::<usize>(), 1, "{}{}", left[0].stderr, left[1].stderr);
        let records: Vec<Record> = left.into_iter().flat_map(|left| left.records()).collect();
        let codes = records.iter().map(|record| record.ending.as_ref()?.error_code.as_deref());
        let loops = codes.filter(|code| *code == Some("LOOP")).count();
        assert_eq!((loops, records.len()), (CLIENTS, CLIENTS * 17), "{one}");
    }
}

#[test]
fn a_chain_of_proxies_and_a_client_with_its_own_time_to_live_are_no_loop() {
    let mut target: SocketAddr = echo_server();
    let mut proxies = Vec::new();
    for _ in 0..6 {
        let proxy = Proxy::start(&mut Command::new(BINARY), &[&format!("0:{target}")], &[]);
        target = proxy.address();
        proxies.push(proxy);
    }
    for time_to_live in [1, 32, 64, 255] {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_ttl_v4(time_to_live).unwrap();
        socket.connect(&target.into()).unwrap();
        let mut client = TcpStream::from(socket);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(exchange(&mut client, b"hello"), b"hello", "{time_to_live}");
    }
    for proxy in proxies {
        let outcomes: Vec<_> = proxy.stop().records().iter().map(|record| record.outcome).collect();
        assert_eq!(outcomes, [Some(Outcome::Ok); 4]);
    }
}
