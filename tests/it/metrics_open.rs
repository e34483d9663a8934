//! What the metrics show of pairs that are open, and by which listener and target.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use conniver::record::Record;

use crate::harness::forwarding::Forwarding;
use crate::harness::has_tool;
use crate::harness::peers::{
    Upstream, deaf_port, echo_server, echo_server_on, exchange, noise, read_all,
};
use crate::harness::program::{BINARY, Proxy, wait_until};
use crate::metrics::{ask, shown_on, values};

fn scrape(address: SocketAddr) -> String {
    ask(address, "GET /metrics").1
}

/// Payload to upstreams and to clients, of all series together.
fn payload(address: SocketAddr) -> [f64; 2] {
    let body = scrape(address);
    ["to_upstream", "to_client"].map(|direction| {
        let is_of = |name: &str| {
            name.starts_with("conniver_payload_bytes_total{")
                && name.contains(&format!("direction=\"{direction}\""))
        };
        let values = values(&body);
        values.iter().filter(|(name, _)| is_of(name)).map(|(_, value)| value).sum()
    })
}

/// What the records say of the same.
fn recorded(records: &[Record]) -> [f64; 2] {
    let upstream =
        |record: &Record| record.upstream.as_ref().map_or(0, |leg| leg.tx_bytes - leg.own_tx_bytes);
    let client = |record: &Record| record.client.tx_bytes - record.client.own_tx_bytes;
    let sums: [u64; 2] = [records.iter().map(upstream).sum(), records.iter().map(client).sum()];
    sums.map(|sum| sum as f64)
}

/// Every value of a label, and the sum of this metric's series that have it.
fn by_label(address: SocketAddr, metric: &str, label: &str) -> BTreeMap<String, f64> {
    let body = scrape(address);
    let mut sums = BTreeMap::new();
    for (name, value) in values(&body) {
        if let Some(labels) = name.strip_prefix(metric).and_then(|rest| rest.strip_prefix('{')) {
            let after = labels.split(&format!("{label}=\"")).nth(1).unwrap();
            *sums.entry(after.split('"').next().unwrap().to_owned()).or_default() += value;
        }
    }
    sums
}

/// Waits until so many pairs are shown that have ended: a text that is shown may be some time old.
fn wait_for_ended(address: SocketAddr, count: u32) {
    wait_until("the pairs that have ended are shown", || {
        let ended = by_label(address, "conniver_pairs_ended_total", "listener");
        ended.into_values().sum::<f64>() == f64::from(count)
    });
}

/// Asks a proxy for a tunnel; its status.
fn connect(proxy: &Proxy, target: impl std::fmt::Display) -> (TcpStream, String) {
    let mut stream = proxy.connect();
    write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").unwrap();
    let mut reader = BufReader::with_capacity(1, &stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the head ends early: {head}");
    }
    let status = head[9..12].to_owned();
    (stream, status)
}

#[test]
fn payload_is_shown_while_a_pair_is_open() {
    const PIECE: usize = 1_000_000;
    let forwarding = Forwarding::new(&["--metrics", "0"]);
    let address = shown_on(&forwarding.proxy);
    assert_eq!(payload(address), [0.0, 0.0]);
    let mut ends = forwarding.pair();
    let sent = noise(PIECE);
    for piece in 1..=10 {
        std::thread::scope(|scope| {
            scope.spawn(|| ends.upstream.write_all(&sent).unwrap());
            ends.client.read_exact(&mut vec![0; PIECE]).unwrap();
        });
        let passed = (piece * PIECE) as f64;
        wait_until("all that has passed is shown", || {
            let shown = payload(address);
            assert!(shown[0] == 0.0 && shown[1] <= passed, "{shown:?} of {passed}");
            shown[1] == passed
        });
    }
    // So are the few bytes after which it is quiet.
    ends.client.write_all(b"12345").unwrap();
    ends.upstream.read_exact(&mut [0; 5]).unwrap();
    wait_until("the last bytes are shown", || payload(address) == [5.0, 10_000_000.0]);
    assert!(forwarding.proxy.wait_for_records(0).is_empty(), "it is open");

    drop(ends);
    assert_eq!(recorded(&forwarding.proxy.wait_for_records(1)), [5.0, 10_000_000.0]);
    wait_for_ended(address, 1);
    assert_eq!(payload(address), [5.0, 10_000_000.0]);
}

#[test]
fn waits_of_turns_are_shown_while_their_pair_is_open() {
    const WAIT: Duration = Duration::from_millis(120);
    let forwarding = Forwarding::new(&["--metrics", "0"]);
    let address = shown_on(&forwarding.proxy);
    let mut ends = forwarding.pair();
    for wait in [Duration::ZERO, WAIT, Duration::ZERO] {
        ends.client.write_all(b"?").unwrap();
        ends.upstream.read_exact(&mut [0]).unwrap();
        std::thread::sleep(wait);
        ends.upstream.write_all(b"!").unwrap();
        ends.client.read_exact(&mut [0]).unwrap();
    }
    // The last one has ended when the next one begins, or when the pair does.
    let shown = |metric: &str, label: &str| by_label(address, metric, label);
    let target = forwarding.listener.local_addr().unwrap().to_string();
    wait_until("two are shown", || {
        shown("conniver_turn_wait_seconds_count", "target") == [(target.clone(), 2.0)].into()
    });
    drop(ends);
    wait_until("three are shown", || {
        shown("conniver_turn_wait_seconds_count", "target").into_values().sum::<f64>() == 3.0
    });
    let up_to = shown("conniver_turn_wait_seconds_bucket", "le");
    assert_eq!((up_to["0.1"], up_to["0.25"], up_to["+Inf"]), (2.0, 3.0, 3.0), "{up_to:?}");
    let sum = shown("conniver_turn_wait_seconds_sum", "target")[&target];
    let records = forwarding.proxy.wait_for_records(1);
    let wait = records[0].turns.as_ref().unwrap().wait.unwrap().total.as_secs_f64();
    assert!((sum - wait).abs() < 1e-6, "{sum} and {wait}");
}

#[test]
fn payload_is_what_the_records_say_when_pairs_have_ended() {
    let proxy = Proxy::serving(&["--metrics", "0"]);
    let address = shown_on(&proxy);
    let echo = echo_server();
    // Answers and requests of which some bytes are the proxy's own: what is shown never counts them.
    let mut ended = Vec::new();
    for round in 1..=5 {
        let (mut tunnel, status) = connect(&proxy, echo);
        assert_eq!(status, "200");
        let sent = noise(round * 30_000);
        let mut half = tunnel.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| half.write_all(&sent).unwrap());
            tunnel.read_exact(&mut vec![0; sent.len()]).unwrap();
        });
        tunnel.shutdown(Shutdown::Write).unwrap();
        ended.push(tunnel);

        let body = noise(round * 1000);
        let upstream = Upstream::once(move |mut stream| {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            // Without a length: its end is the connection's.
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: x\r\nX: y\r\n\r\n").unwrap();
            stream.write_all(&body).unwrap();
        });
        let target = upstream.address;
        let mut client = proxy.connect();
        write!(client, "GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n").unwrap();
        let answer = read_all(&mut client);
        assert!(answer.len() > round * 1000, "{}", String::from_utf8_lossy(&answer));
        upstream.join();
        // One that gets nothing but the proxy's own words.
        let (held, deaf) = deaf_port();
        let (mut refused, status) = connect(&proxy, deaf);
        assert_eq!(status, "502");
        read_all(&mut refused);
        drop(held);
    }
    for mut tunnel in ended {
        read_all(&mut tunnel);
    }
    let records = proxy.wait_for_records(15);
    assert!(records.iter().any(|record| record.client.own_tx_bytes > 0));
    wait_for_ended(address, 15);
    assert_eq!(payload(address), recorded(&records));
    assert!(recorded(&records)[1] > 155_000.0);
}

#[test]
fn targets_have_labels_if_configured_or_among_the_first() {
    let echoes = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
        .map(|ip| echo_server_on(&format!("{ip}:0")));
    let [configured, first, second, third] = echoes;
    let proxy = Proxy::start(
        &mut Command::new(BINARY),
        &[&format!("0:{configured}")],
        &["-D", "0", "--metrics", "0", "--metrics-targets", "2"],
    );
    let address = shown_on(&proxy);
    let (forward, dynamic) = (proxy.addresses()[0], proxy.addresses()[1]);
    let through = |target: String| {
        let mut stream = TcpStream::connect(dynamic).unwrap();
        write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        let mut rest = BufReader::with_capacity(1, &stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            rest.read_line(&mut line).unwrap();
        }
        if &answer[9..] == b"200" {
            exchange(&mut stream, b"123");
        }
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream);
    };
    exchange(&mut TcpStream::connect(forward).unwrap(), b"12345");
    // A name that does not exist takes no place.
    through("no-such-name.invalid:80".into());
    let (_held, deaf) = deaf_port();
    for target in [first, deaf, second, third, first, configured] {
        through(target.to_string());
    }
    wait_for_ended(address, 8);
    let labels = |metric| by_label(address, metric, "target");
    let ended = labels("conniver_pairs_ended_total");
    let expected = [
        (configured.to_string(), 2.0),
        (first.to_string(), 2.0),
        (deaf.to_string(), 1.0),
        ("other".to_owned(), 3.0),
    ];
    assert_eq!(ended, BTreeMap::from(expected));
    let expected = [
        (configured.to_string(), 16.0),
        (first.to_string(), 12.0),
        (deaf.to_string(), 0.0),
        ("other".to_owned(), 12.0),
    ];
    assert_eq!(labels("conniver_payload_bytes_total"), BTreeMap::from(expected));
    let of_listener = by_label(address, "conniver_pairs_ended_total", "listener");
    let expected = [(forward.to_string(), 1.0), (dynamic.to_string(), 7.0)];
    assert_eq!(of_listener, BTreeMap::from(expected));
}

#[test]
fn clients_cannot_make_more_labels_than_there_are_places() {
    let proxy = Proxy::serving(&["--metrics", "0", "--metrics-targets", "3"]);
    let address = shown_on(&proxy);
    let servers: Vec<_> = (1..=20)
        .map(|last| TcpListener::bind((std::net::Ipv4Addr::new(127, 0, 1, last), 0)).unwrap())
        .collect();
    let series = |body: &str| body.lines().filter(|line| !line.starts_with('#')).count();
    let mut shown = Vec::new();
    for (count, server) in (1..).zip(&servers) {
        let (mut stream, _) = connect(&proxy, server.local_addr().unwrap());
        drop(server.accept().unwrap());
        read_all(&mut stream);
        drop(stream);
        wait_for_ended(address, count);
        shown.push(series(&scrape(address)));
    }
    assert!(shown[3..].iter().all(|count| *count == shown[3]), "{shown:?}");
    let labels: BTreeSet<_> =
        by_label(address, "conniver_pairs_ended_total", "target").into_keys().collect();
    let mut expected: BTreeSet<_> =
        servers[..3].iter().map(|server| server.local_addr().unwrap().to_string()).collect();
    expected.insert("other".to_owned());
    assert_eq!(labels, expected);
}

#[test]
fn promtool_reads_labels_with_any_name_in_them() {
    if !has_tool("promtool", "promtool_reads_labels_with_any_name_in_them") {
        return;
    }
    let long = format!("0:{}:1", "x.".repeat(127).trim_end_matches('.'));
    let forwards = ["0:b\u{fc}cher.example:80", "0:a\u{202e}b.example:80", "0:[::1]:443", &long];
    let proxy = Proxy::start(&mut Command::new(BINARY), &forwards, &["--metrics", "0"]);
    let body = scrape(shown_on(&proxy));
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}\n{body}");
    for label in ["b\u{fc}cher.example:80", "a\\\\u{202e}b.example:80", "[::1]:443", &long[2..]] {
        assert!(body.contains(&format!("target=\"{label}\"")), "{label} in\n{body}");
    }
}
