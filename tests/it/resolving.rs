//! Names with thousands of addresses, silent addresses, final dots, and look-ups that nobody
//! answers.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use conniver::record::{AttemptOutcome, Outcome, Record, ResolveSource};
use socket2::{Domain, Socket, Type};

use crate::connect::tunnel;
use crate::harness::dns::{Reply, serve_names};
use crate::harness::namespace::{Namespace, available};
use crate::harness::output;
use crate::harness::peers::{Upstream, echo_server_on, exchange, read_until_reset};
use crate::harness::program::{BINARY, PATIENCE, Proxy};

/// 127.NET.0.1, 127.NET.0.2, …
fn loopbacks(net: u8, count: usize) -> Vec<IpAddr> {
    let first = u32::from(Ipv4Addr::new(127, net, 0, 1));
    (first..).take(count).map(|bits| Ipv4Addr::from_bits(bits).into()).collect()
}

/// Drops what is sent to these addresses.
fn silence(namespace: &Namespace, network: &str) {
    namespace.nft(&format!(
        "add table inet hole; \
         add chain inet hole in {{ type filter hook input priority 0; }}; \
         add rule inet hole in ip daddr {network} drop"
    ));
}

fn proxy_in(namespace: &Namespace, target: &str, args: &[&str]) -> Proxy {
    Proxy::start(&mut namespace.command(BINARY), &[&format!("0:{target}")], args)
}

fn client_in(namespace: &Namespace, proxy: &Proxy) -> TcpStream {
    namespace.enter(|| proxy.connect())
}

/// The most attempts of a pair that were under way at one time.
fn most_in_flight(record: &Record) -> usize {
    let is_under_way = |at: Duration| {
        let attempts = record.attempts.iter();
        // One that ended lets the next begin in the same microsecond.
        let end = |a: &conniver::record::Attempt| {
            (a.started_after + a.duration).saturating_sub(Duration::from_micros(100))
        };
        attempts.filter(|a| a.started_after <= at && at < end(a)).count()
    };
    record.attempts.iter().map(|attempt| is_under_way(attempt.started_after)).max().unwrap_or(0)
}

#[test]
fn name_with_3000_addresses_costs_16_attempts() {
    if !available("name_with_3000_addresses_costs_16_attempts") {
        return;
    }
    let namespace = Namespace::new();
    let v6 = |last| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    let mut addresses = loopbacks(9, 2000);
    addresses.extend((1..=1000).map(v6));
    // Nobody listens there, and the machine says so.
    namespace.ip(&["-6", "route", "add", "local", "fd00::/64", "dev", "lo"]);
    serve_names(&namespace, "", move |_| Reply::Addresses(addresses.clone()));
    let proxy = proxy_in(&namespace, "many.test:9", &[]);
    assert_eq!(read_until_reset(&mut client_in(&namespace, &proxy)), b"");
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Refused));
    assert_eq!((record.attempts.len(), record.attempts_omitted), (16, Some(2984)));
    let v6_tried = record.attempts.iter().filter(|attempt| attempt.addr.is_ipv6()).count();
    assert_eq!(v6_tried, 8, "{:?}", record.attempts);
    let line = std::fs::metadata(proxy.records_file()).unwrap().len();
    assert!(line < 8 * 1024, "the record has {line} bytes");
}

#[test]
fn fifth_address_is_reached_in_a_second_when_four_are_silent() {
    if !available("fifth_address_is_reached_in_a_second_when_four_are_silent") {
        return;
    }
    let namespace = Namespace::new();
    silence(&namespace, "127.9.0.0/29");
    // As near as the others, so that the system keeps the order.
    let server = namespace.enter(|| echo_server_on("127.9.0.9:0"));
    let addresses = [loopbacks(9, 4), vec![server.ip()]].concat();
    serve_names(&namespace, "", move |_| Reply::Addresses(addresses.clone()));
    let proxy = proxy_in(&namespace, &format!("five.test:{}", server.port()), &[]);
    let mut client = client_in(&namespace, &proxy);
    assert_eq!(exchange(&mut client, b"hello"), b"hello");
    drop(client);
    let record = proxy.the_record();
    assert_eq!((record.attempts.len(), record.attempts_omitted), (5, Some(0)));
    assert_eq!(most_in_flight(&record), 4, "{:?}", record.attempts);
    let [oldest, .., last] = &record.attempts[..] else { unreachable!() };
    assert_eq!(oldest.error_code.as_deref(), Some("CONNECT_TIMEOUT"));
    assert_eq!((last.addr, last.outcome), (server, AttemptOutcome::Ok));
    let second = Duration::from_millis(1000)..Duration::from_millis(1900);
    assert!(second.contains(&last.started_after), "{:?}", last.started_after);
    let others = record.attempts[1..4].iter().map(|attempt| attempt.outcome);
    assert!(others.eq([AttemptOutcome::Cancelled; 3]), "{:?}", record.attempts);
}

#[test]
fn silent_name_ends_by_the_timeout_with_16_attempts() {
    if !available("silent_name_ends_by_the_timeout_with_16_attempts") {
        return;
    }
    let namespace = Namespace::new();
    silence(&namespace, "127.9.0.0/16");
    serve_names(&namespace, "", |_| Reply::Addresses(loopbacks(9, 40)));
    let proxy = proxy_in(&namespace, "silent.test:9", &["--connect-timeout", "4500ms"]);
    assert_eq!(read_until_reset(&mut client_in(&namespace, &proxy)), b"");
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Timeout));
    assert_eq!((record.attempts.len(), record.attempts_omitted), (16, Some(24)));
    assert_eq!(most_in_flight(&record), 4);
    let codes = record.attempts.iter().map(|attempt| attempt.error_code.as_deref());
    assert!(codes.eq([Some("CONNECT_TIMEOUT"); 16]), "{:?}", record.attempts);
}

#[test]
fn denied_addresses_take_no_place_from_permitted_ones() {
    if !available("denied_addresses_take_no_place_from_permitted_ones") {
        return;
    }
    let namespace = Namespace::new();
    let server = namespace.enter(|| echo_server_on("127.9.0.40:0"));
    let addresses = [loopbacks(9, 20), vec![server.ip()]].concat();
    serve_names(&namespace, "", move |_| Reply::Addresses(addresses.clone()));
    let target = format!("mostly-denied.test:{}", server.port());
    let proxy = proxy_in(&namespace, &target, &["--deny", "127.9.0.0/27"]);
    let mut client = client_in(&namespace, &proxy);
    assert_eq!(exchange(&mut client, b"hello"), b"hello");
    drop(client);
    let record = proxy.the_record();
    let winner = record.attempts.last().unwrap();
    assert_eq!((winner.addr, winner.outcome), (server, AttemptOutcome::Ok));
    assert_eq!((record.attempts.len(), record.attempts_omitted), (16 + 1, Some(4)));
}

#[test]
fn clients_of_silent_names_leave_descriptors_for_others() {
    if !available("clients_of_silent_names_leave_descriptors_for_others") {
        return;
    }
    const CLIENTS: usize = 300;
    const DESCRIPTORS: usize = 2048;
    let namespace = Namespace::new();
    silence(&namespace, "127.9.0.0/16");
    let server = namespace.enter(|| echo_server_on("127.0.0.1:0"));
    serve_names(&namespace, "", |_| Reply::Addresses(loopbacks(9, 40)));
    let mut command = namespace.command("prlimit");
    command.arg(format!("--nofile={DESCRIPTORS}")).arg(BINARY);
    let args = ["--no-process", "--connect-timeout", "60s", "-D", "0"];
    let proxy = Proxy::start(&mut command, &[], &args);
    let before = proxy.descriptors();
    let ask = || {
        let mut client = client_in(&namespace, &proxy);
        client.write_all(b"CONNECT silent.test:9 HTTP/1.1\r\n\r\n").unwrap();
        client
    };
    let began = Instant::now();
    let silent: Vec<_> = (0..CLIENTS).map(|_| ask()).collect();
    // Until each has had the time for all that it may have under way.
    while began.elapsed() < Duration::from_secs(4) {
        let mut other = tunnel(client_in(&namespace, &proxy), server);
        assert_eq!(exchange(&mut other, b"hello"), b"hello");
        drop(other);
        // Two a pair, a sixteenth for further attempts, a few for what just ended.
        let most = before + 2 * CLIENTS + DESCRIPTORS / 16 + 64;
        assert!(proxy.descriptors() <= most, "{} of {most}", proxy.descriptors());
    }
    drop(silent);
}

/// A proxy in a namespace where `db.example` with a search domain is one host, and without it
/// another one.
fn with_search_domain(typed: &str, args: &[&str]) -> (Namespace, Proxy, [SocketAddr; 2]) {
    let namespace = Namespace::new();
    serve_names(&namespace, "search corp.test\noptions ndots:3\n", |name| match name {
        "db.example.corp.test." => Reply::Addresses(vec![Ipv4Addr::new(127, 0, 0, 2).into()]),
        "db.example." => Reply::Addresses(vec![Ipv4Addr::new(127, 0, 0, 3).into()]),
        _ => Reply::NoSuchName,
    });
    let server = namespace.enter(|| echo_server_on("0.0.0.0:0"));
    let hosts = [2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], server.port())));
    let proxy = proxy_in(&namespace, &format!("{typed}:{}", server.port()), args);
    (namespace, proxy, hosts)
}

#[test]
fn name_with_final_dot_is_looked_up_without_search_domain() {
    if !available("name_with_final_dot_is_looked_up_without_search_domain") {
        return;
    }
    for (typed, index) in [("DB.example", 0), ("DB.example.", 1)] {
        let (namespace, proxy, hosts) = with_search_domain(typed, &[]);
        exchange(&mut client_in(&namespace, &proxy), b"x");
        let record = proxy.the_record();
        assert_eq!(record.attempts[0].addr, hosts[index], "{typed}");
        assert_eq!(record.target_host.as_deref(), Some("db.example"));
    }
}

#[test]
fn remembered_names_with_and_without_final_dot_are_two() {
    if !available("remembered_names_with_and_without_final_dot_are_two") {
        return;
    }
    let (namespace, proxy, hosts) = with_search_domain("unused.test", &["-D", "0"]);
    let dynamic = proxy.addresses()[1];
    let names = ["db.example", "db.example.", "db.example", "DB.EXAMPLE."];
    for name in names {
        let client = namespace.enter(|| TcpStream::connect(dynamic).unwrap());
        exchange(&mut tunnel(client, format_args!("{name}:{}", hosts[0].port())), b"x");
    }
    let mut records = proxy.wait_for_records(names.len());
    records.sort_by_key(|record| record.seq);
    let dialled: Vec<_> =
        records.iter().map(|r| (r.attempts[0].addr, r.resolve_source.unwrap())).collect();
    let (looked_up, known) = (ResolveSource::Lookup, ResolveSource::Cache);
    assert_eq!(
        dialled,
        [(hosts[0], looked_up), (hosts[1], looked_up), (hosts[0], known), (hosts[1], known)]
    );
}

#[test]
fn name_rules_hold_with_and_without_final_dot() {
    if !available("name_rules_hold_with_and_without_final_dot") {
        return;
    }
    for typed in ["db.example", "db.example."] {
        let args = ["-D", "0", "--deny", "db.example"];
        let (namespace, proxy, hosts) = with_search_domain("unused.test", &args);
        let mut client = namespace.enter(|| TcpStream::connect(proxy.addresses()[1]).unwrap());
        write!(client, "CONNECT {typed}:{} HTTP/1.1\r\n\r\n", hosts[0].port()).unwrap();
        assert_eq!(proxy.the_record().outcome, Some(Outcome::Denied), "{typed}");
    }
}

#[test]
fn stat_looks_up_a_final_dot_and_sends_the_host_as_typed() {
    if !available("stat_looks_up_a_final_dot_and_sends_the_host_as_typed") {
        return;
    }
    let (namespace, _proxy, _) = with_search_domain("unused.test", &[]);
    let upstream = |last: u8| {
        let address = SocketAddr::from(([127, 0, 0, last], 0));
        namespace.enter(|| TcpListener::bind(address).unwrap())
    };
    let listener = upstream(3);
    let port = listener.local_addr().unwrap().port();
    let server = Upstream::on(listener, |mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        String::from_utf8(head).unwrap()
    });
    let url = format!("http://db.example.:{port}/");
    output(namespace.command(BINARY).args(["stat", &url]));
    let head = server.join();
    assert!(head.to_lowercase().contains(&format!("host: db.example.:{port}\r\n")), "{head}");

    // RFC 6066 section 3: no final dot in the server name.
    let listener = upstream(3);
    let port = listener.local_addr().unwrap().port();
    let server = Upstream::on(listener, |mut stream| {
        let mut hello = [0; 4096];
        let length = stream.read(&mut hello).unwrap();
        String::from_utf8_lossy(&hello[..length]).into_owned()
    });
    // It fails: nobody answers the handshake.
    let url = format!("https://db.example.:{port}/");
    let status = namespace.command(BINARY).args(["stat", &url]).output().unwrap().status;
    assert!(!status.success());
    let hello = server.join();
    assert!(hello.contains("db.example") && !hello.contains("db.example."), "{hello}");
}

#[test]
fn http_parent_is_asked_for_the_name_with_its_final_dot() {
    let parent = Upstream::once(|mut stream| {
        let mut head = [0; 1024];
        let length = stream.read(&mut head).unwrap();
        String::from_utf8(head[..length].to_vec()).unwrap()
    });
    let via = format!("http://{}", parent.address);
    let proxy = Proxy::start(&mut Command::new(BINARY), &["0:Name.invalid.:443"], &["--via", &via]);
    let _client = proxy.connect();
    assert!(
        parent
            .join()
            .starts_with("CONNECT Name.invalid.:443 HTTP/1.1\r\nHost: Name.invalid.:443\r\n")
    );
}

#[test]
fn socks5h_parent_is_asked_for_the_name_with_its_final_dot() {
    let parent = Upstream::once(|mut stream| {
        stream.read_exact(&mut [0; 3]).unwrap();
        stream.write_all(&[5, 0]).unwrap();
        let mut request = [0; 20];
        stream.read_exact(&mut request).unwrap();
        request
    });
    let via = format!("socks5h://{}", parent.address);
    let proxy = Proxy::start(&mut Command::new(BINARY), &["0:Name.invalid.:443"], &["--via", &via]);
    let _client = proxy.connect();
    assert_eq!(&parent.join(), b"\x05\x01\0\x03\x0dname.invalid.\x01\xbb".as_slice());
}

/// A connection from this address of the namespace's loopback.
fn connect_from(namespace: &Namespace, source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    namespace.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    })
}

/// Has 600 look-ups go unanswered, those of so many clients, and measures what another client waits
/// for names that are answered.
fn waits_beside_unanswered_look_ups(clients: u8) {
    let namespace = Namespace::new();
    namespace.hosts("127.0.0.1 localhost listed\n");
    let server = namespace.enter(|| echo_server_on("127.0.0.1:0"));
    serve_names(&namespace, "", |name| match name.ends_with("silent.test.") {
        true => Reply::Silence,
        false => Reply::Addresses(vec![Ipv4Addr::LOCALHOST.into()]),
    });
    let args = ["--no-process", "--connect-timeout", "60s", "-D", "0"];
    let proxy = Proxy::start(&mut namespace.command(BINARY), &[], &args);
    let exchange_with = |name: String| {
        let client = connect_from(&namespace, Ipv4Addr::new(127, 0, 1, 1), proxy.address());
        let began = Instant::now();
        exchange(&mut tunnel(client, format_args!("{name}:{}", server.port())), b"x");
        began.elapsed()
    };
    exchange_with("known.test".to_owned());
    let silent: Vec<_> = (0..600u16)
        .map(|index| {
            let last = u8::try_from(index % u16::from(clients)).unwrap() + 1;
            let source = Ipv4Addr::new(127, 0, 2, last);
            let mut client = connect_from(&namespace, source, proxy.address());
            write!(client, "CONNECT n{index}.silent.test:80 HTTP/1.1\r\n\r\n").unwrap();
            client
        })
        .collect();
    let names = (0..20).map(|index| format!("n{index}.test"));
    let names = names.chain(["localhost", "listed", "known.test"].map(String::from));
    for name in names {
        let waited = exchange_with(name.clone());
        // A look-up that is not answered takes ten.
        assert!(waited < Duration::from_secs(2), "{name} took {waited:?}");
    }
    drop(silent);
}

#[test]
fn one_clients_unanswered_look_ups_do_not_delay_another_one() {
    if available("one_clients_unanswered_look_ups_do_not_delay_another_one") {
        waits_beside_unanswered_look_ups(1);
    }
}

#[test]
fn many_clients_unanswered_look_ups_do_not_delay_another_one() {
    if available("many_clients_unanswered_look_ups_do_not_delay_another_one") {
        waits_beside_unanswered_look_ups(100);
    }
}
