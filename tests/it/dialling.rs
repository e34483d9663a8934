//! Targets with several addresses: attempts that overlap, families, and what is asked of the
//! resolver.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use conniver::record::{AttemptOutcome, By, How, Outcome, Record, ResolveSource};

use tempfile::TempDir;

use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{echo_server_on, exchange, read_all, read_until_reset};
use crate::harness::program::{BINARY, PATIENCE, Proxy};

/// The two addresses of the name `both`.
const HOSTS: &str = "::1 both\n127.0.0.1 both\n";

fn proxy_in(namespace: &Namespace, target: &str, args: &[&str]) -> Proxy {
    Proxy::start(&mut namespace.command(BINARY), &[&format!("0:{target}")], args)
}

fn client_in(namespace: &Namespace, proxy: &Proxy) -> TcpStream {
    let client = namespace.enter(|| TcpStream::connect(proxy.address()).unwrap());
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// One exchange with `target` through a proxy in the namespace.
fn good_pair(namespace: &Namespace, target: &str, args: &[&str]) -> Record {
    let proxy = proxy_in(namespace, target, args);
    let mut client = client_in(namespace, &proxy);
    assert_eq!(exchange(&mut client, b"hello"), b"hello");
    drop(client);
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    record
}

fn failed_pair(namespace: &Namespace, target: &str, args: &[&str]) -> Record {
    let proxy = proxy_in(namespace, target, args);
    assert_eq!(read_until_reset(&mut client_in(namespace, &proxy)), b"");
    proxy.the_record()
}

fn outcomes(record: &Record) -> Vec<(SocketAddr, AttemptOutcome)> {
    record.attempts.iter().map(|attempt| (attempt.addr, attempt.outcome)).collect()
}

fn v6(port: u16) -> SocketAddr {
    format!("[::1]:{port}").parse().unwrap()
}

#[test]
fn a_dead_ipv6_address_costs_a_quarter_of_a_second() {
    if !available("a_dead_ipv6_address_costs_a_quarter_of_a_second") {
        return;
    }
    let namespace = Namespace::new();
    namespace.hosts(HOSTS);
    let server = namespace.enter(|| echo_server_on("127.0.0.1:0"));
    namespace.nft("add table inet hole; add chain inet hole in { type filter hook input priority 0; }; add rule inet hole in ip6 daddr ::1 tcp dport != 0 drop");

    let record = good_pair(&namespace, &format!("both:{}", server.port()), &[]);
    assert_eq!(
        outcomes(&record),
        [(v6(server.port()), AttemptOutcome::Cancelled), (server, AttemptOutcome::Ok)]
    );
    let [dead, alive] = &record.attempts[..] else { unreachable!() };
    // The next SYN to the dead address would leave after a second.
    let delay = Duration::from_millis(250)..Duration::from_millis(900);
    assert_eq!(dead.started_after, Duration::ZERO);
    assert!(delay.contains(&alive.started_after), "{:?}", alive.started_after);
    assert!(delay.contains(&record.phases.connect.unwrap()), "{:?}", record.phases.connect);
    assert!(dead.duration >= alive.started_after, "it was under way until the other one won");
    assert_eq!((dead.syn_retransmits, alive.syn_retransmits), (Some(0), Some(0)));
    assert_eq!((dead.error.as_ref(), dead.error_code.as_ref()), (None, None));
    let upstream = record.upstream.unwrap();
    assert_eq!((upstream.remote_addr, upstream.reconnects), (Some(server), 0));
}

#[test]
fn after_a_refusal_the_next_address_is_tried_at_once() {
    if !available("after_a_refusal_the_next_address_is_tried_at_once") {
        return;
    }
    let namespace = Namespace::new();
    namespace.hosts(HOSTS);
    let server = namespace.enter(|| echo_server_on("127.0.0.1:0"));
    let record = good_pair(&namespace, &format!("both:{}", server.port()), &[]);
    assert_eq!(
        outcomes(&record),
        [(v6(server.port()), AttemptOutcome::Error), (server, AttemptOutcome::Ok)]
    );
    let [refused, alive] = &record.attempts[..] else { unreachable!() };
    assert_eq!(refused.error_code.as_deref(), Some("ECONNREFUSED"));
    assert_eq!(refused.syn_retransmits, Some(0));
    assert!(alive.started_after < Duration::from_millis(250), "{:?}", alive.started_after);
    let upstream = record.upstream.unwrap();
    assert_eq!((upstream.remote_addr, upstream.reconnects), (Some(server), 1));
}

#[test]
fn an_upstreams_refusal_tells_more_than_another_addresss_silence() {
    if !available("an_upstreams_refusal_tells_more_than_another_addresss_silence") {
        return;
    }
    let namespace = Namespace::new();
    namespace.hosts(HOSTS);
    namespace.nft("add table inet hole; add chain inet hole in { type filter hook input priority 0; }; add rule inet hole in ip6 daddr ::1 tcp dport 9 drop");
    let record = failed_pair(&namespace, "both:9", &["--connect-timeout", "600ms"]);
    let codes = record.attempts.iter().map(|attempt| attempt.error_code.as_deref());
    assert_eq!(codes.collect::<Vec<_>>(), [Some("CONNECT_TIMEOUT"), Some("ECONNREFUSED")]);
    assert_eq!(record.outcome, Some(Outcome::Refused));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Upstream, How::Refused));
    assert!(record.duration >= Duration::from_millis(600), "{:?}", record.duration);
    assert!(record.attempts[0].duration > Duration::from_millis(300), "it had the time left over");
}

#[test]
fn attempts_that_lost_leave_no_descriptor_behind() {
    if !available("attempts_that_lost_leave_no_descriptor_behind") {
        return;
    }
    let namespace = Namespace::new();
    namespace.hosts(HOSTS);
    let server = namespace.enter(|| echo_server_on("127.0.0.1:0"));
    namespace.nft("add table inet hole; add chain inet hole in { type filter hook input priority 0; }; add rule inet hole in ip6 daddr ::1 tcp dport != 0 drop");
    // Looking for the clients' programs opens files of /proc for a moment.
    let args = ["--no-process"];
    let proxy = proxy_in(&namespace, &format!("both:{}", server.port()), &args);
    let before = proxy.descriptors();
    let mut clients: Vec<_> = (0..8).map(|_| client_in(&namespace, &proxy)).collect();
    for client in &mut clients {
        assert_eq!(exchange(client, b"x"), b"x");
    }
    // Two sockets a pair, and none of the attempts that lost.
    assert_eq!(proxy.descriptors(), before + 2 * clients.len());
}

#[test]
fn one_family_alone_is_dialled_when_that_is_asked_for() {
    if !available("one_family_alone_is_dialled_when_that_is_asked_for") {
        return;
    }
    let namespace = Namespace::new();
    namespace.hosts(HOSTS);
    let server = namespace.enter(|| echo_server_on("[::]:0"));
    let (v4, v6) = (SocketAddr::from(([127, 0, 0, 1], server.port())), v6(server.port()));
    let both = format!("both:{}", server.port());
    for (option, address) in [("-4", v4), ("-6", v6)] {
        let record = good_pair(&namespace, &both, &[option]);
        assert_eq!(outcomes(&record), [(address, AttemptOutcome::Ok)]);
    }
    for (option, target) in [("-4", v6), ("-6", v4)] {
        let args = ["-D", "0", option];
        let proxy = Proxy::start(&mut namespace.command(BINARY), &[], &args);
        let mut client = client_in(&namespace, &proxy);
        write!(client, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").unwrap();
        assert!(read_all(&mut client).starts_with(b"HTTP/1.1 403 "));
        let record = proxy.the_record();
        assert_eq!((record.outcome, &record.attempts[..]), (Some(Outcome::Denied), &[][..]));
        let ending = record.ending.unwrap();
        assert_eq!((ending.first_by, ending.first_how), (By::Proxy, How::Denied));
        assert_eq!(ending.error_code.as_deref(), Some("ADDRESS_FAMILY"));
    }
}

#[test]
fn a_burst_to_one_name_is_one_look_up_and_later_pairs_are_served_from_memory() {
    if !available("a_burst_to_one_name_is_one_look_up_and_later_pairs_are_served_from_memory") {
        return;
    }
    if !has_tool(
        "strace",
        "a_burst_to_one_name_is_one_look_up_and_later_pairs_are_served_from_memory",
    ) {
        return;
    }
    let namespace = Namespace::new();
    namespace.hosts(HOSTS);
    let server = namespace.enter(|| echo_server_on("127.0.0.1:0"));
    let directory = TempDir::new().unwrap();
    let trace = directory.path().join("trace");
    let mut command = namespace.command("strace");
    command.args(["-f", "-e", "trace=openat", "-P", "/etc/hosts", "-o"]).arg(&trace).arg(BINARY);
    let proxy = Proxy::start(&mut command, &[&format!("0:both:{}", server.port())], &[]);

    let burst: Vec<_> = (0..20).map(|_| client_in(&namespace, &proxy)).collect();
    for mut client in burst {
        exchange(&mut client, b"x");
    }
    exchange(&mut client_in(&namespace, &proxy), b"x");
    let records = proxy.wait_for_records(21);
    for record in &records {
        let looked_up = match record.resolve_source {
            Some(ResolveSource::Lookup) => true,
            Some(ResolveSource::Cache) => false,
            other => panic!("{other:?}"),
        };
        assert_eq!(record.phases.resolve.is_some(), looked_up, "null unless looked up");
        assert_eq!(record.attempts.len(), 2);
    }
    let source = |seq| records.iter().find(|record| record.seq == seq).unwrap().resolve_source;
    assert_eq!((source(1), source(21)), (Some(ResolveSource::Lookup), Some(ResolveSource::Cache)));
    let trace = std::fs::read_to_string(trace).unwrap();
    let read = trace.lines().filter(|line| line.contains("/etc/hosts")).count();
    // The proxy reads the file once, and glibc once a look-up.
    assert_eq!(read, 2, "reads of /etc/hosts:\n{trace}");
}
