//! What the proxy shows of itself, read by hand, by promtool, and by a Prometheus.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::harness::has_tool;
use crate::harness::peers::{deaf_port, echo_server, exchange, read_all, read_until_reset};
use crate::harness::program::{BINARY, PATIENCE, Proxy, address_in, wait_until};
use crate::harness::prometheus::Prometheus;

const SHOWING: &str = "serving metrics on ";

/// A proxy to an echo server and to a port on which nobody listens, and where its metrics are.
pub(crate) fn measured(args: &[&str]) -> (Proxy, SocketAddr) {
    let (proxy, address, _) = measured_to(args);
    (proxy, address)
}

/// The same with the targets.
fn measured_to(args: &[&str]) -> (Proxy, SocketAddr, [SocketAddr; 2]) {
    let (held, deaf) = deaf_port();
    let targets = [echo_server(), deaf];
    let forwards = targets.map(|target| format!("0:{target}"));
    let forwards = forwards.each_ref().map(String::as_str);
    let args = [&["--metrics", "0"], args].concat();
    let proxy = Proxy::start(&mut Command::new(BINARY), &forwards, &args);
    // It stays bound as long as the test's process runs.
    std::mem::forget(held);
    let address = shown_on(&proxy);
    (proxy, address, targets)
}

/// Where a proxy shows its metrics, which it has not been asked yet.
pub(crate) fn shown_on(proxy: &Proxy) -> SocketAddr {
    address_in(&proxy.wait_to_hear(SHOWING), SHOWING).unwrap()
}

/// Three pairs that end well with 5 bytes each way, and two that are refused.
pub(crate) fn five_pairs(proxy: &Proxy) {
    for _ in 0..3 {
        let mut client = proxy.connect();
        assert_eq!(exchange(&mut client, b"12345"), b"12345");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut client), b"");
    }
    for _ in 0..2 {
        read_until_reset(&mut TcpStream::connect(proxy.addresses()[1]).unwrap());
    }
    proxy.wait_for_records(5);
}

/// The head and the body of an answer.
pub(crate) fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Every value by its name and labels.
pub(crate) fn values(text: &str) -> BTreeMap<&str, f64> {
    let values = text.lines().filter(|line| !line.starts_with('#'));
    values
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

#[test]
fn the_metrics_say_what_the_pairs_did() {
    let (proxy, address, targets) = measured_to(&[]);
    five_pairs(&proxy);
    let mut open = proxy.connect();
    exchange(&mut open, b"still here");

    let [echo, deaf] = [0, 1].map(|index| format!("listener=\"{}\"", proxy.addresses()[index]));
    let [to_echo, to_deaf] = [(&echo, targets[0]), (&deaf, targets[1])]
        .map(|(listener, target)| format!("{listener},target=\"{target}\""));
    let expected = [
        (format!("conniver_pairs_opened_total{{{echo}}}"), 4.0),
        (format!("conniver_pairs_opened_total{{{deaf}}}"), 2.0),
        (format!("conniver_pairs_open{{{echo}}}"), 1.0),
        (format!("conniver_pairs_open{{{deaf}}}"), 0.0),
        (format!("conniver_pairs_refused_total{{{echo}}}"), 0.0),
        (format!("conniver_pairs_ended_total{{{to_echo},mode=\"forward\",outcome=\"ok\"}}"), 3.0),
        (
            format!("conniver_pairs_ended_total{{{to_deaf},mode=\"forward\",outcome=\"refused\"}}"),
            2.0,
        ),
        (format!("conniver_payload_bytes_total{{{to_echo},direction=\"to_client\"}}"), 25.0),
        (format!("conniver_payload_bytes_total{{{to_echo},direction=\"to_upstream\"}}"), 25.0),
        (format!("conniver_payload_bytes_total{{{to_deaf},direction=\"to_upstream\"}}"), 0.0),
        (format!("conniver_connect_seconds_count{{{to_echo}}}"), 3.0),
        (format!("conniver_connect_seconds_count{{{to_deaf}}}"), 2.0),
        // All of these connections took less than the highest bound.
        (format!("conniver_connect_seconds_bucket{{le=\"30.0\",{to_deaf}}}"), 2.0),
        (format!("conniver_first_byte_seconds_count{{{to_echo}}}"), 3.0),
        (format!("conniver_rtt_seconds_count{{{to_echo},leg=\"upstream\"}}"), 3.0),
        (format!("conniver_retransmits_total{{{to_echo},leg=\"upstream\"}}"), 0.0),
        ("conniver_lines_written_total".to_owned(), 5.0),
        ("conniver_lines_queued".to_owned(), 0.0),
        ("conniver_lines_lost_total".to_owned(), 0.0),
    ];
    // The pair's task may have the last bytes still to count.
    let missing = |body: &str| {
        let values = values(body);
        expected.iter().find(|(name, value)| values.get(name.as_str()) != Some(value)).cloned()
    };
    let began = Instant::now();
    let (head, body) = loop {
        let (head, body) = ask(address, "GET /metrics");
        let Some(missing) = missing(&body) else { break (head, body) };
        assert!(began.elapsed() < PATIENCE, "{missing:?} in\n{body}");
    };
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("version=0.0.4"), "{head}");
    let values = values(&body);
    let open = values["process_open_fds"];
    assert!(open >= 8.0 && open < values["process_max_fds"], "{open}");
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    if !has_tool("promtool", "promtool_has_nothing_to_say_about_the_metrics") {
        return;
    }
    let (proxy, address) = measured(&[]);
    five_pairs(&proxy);
    let (_, body) = ask(address, "GET /metrics");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert!(output.status.success());
}

#[test]
fn a_prometheus_reads_the_metrics() {
    if !has_tool("prometheus", "a_prometheus_reads_the_metrics")
        || !has_tool("curl", "a_prometheus_reads_the_metrics")
    {
        return;
    }
    let (proxy, address) = measured(&[]);
    five_pairs(&proxy);
    let prometheus = Prometheus::start(address, &[]);
    // Only what is read as a counter of this name in the newer format is found so.
    wait_until("it has read the pairs that ended well", || {
        let answer = prometheus.query("conniver_pairs_ended_total{outcome=\"ok\"}");
        answer.contains("\"mode\":\"forward\"") && answer.contains(",\"3\"]")
    });
    let quantile = prometheus.query("histogram_quantile(0.5,conniver_connect_seconds_bucket)");
    assert!(quantile.contains("\"resultType\":\"vector\",\"result\":[{"), "{quantile}");
    let kinds = prometheus.query("up");
    assert!(kinds.contains(",\"1\"]"), "{kinds}");
}

#[test]
fn the_proxy_is_well_until_it_is_told_to_stop() {
    let (proxy, address) = measured(&["--drain", "30s"]);
    let mut open = proxy.connect();
    exchange(&mut open, b"x");
    let (head, body) = ask(address, "GET /healthz");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "well\n");
    proxy.signal(Signal::SIGTERM);
    wait_until("it says that it stops", || {
        let (head, body) = ask(address, "GET /healthz");
        head.starts_with("HTTP/1.1 503 ") && body == "stopping\n"
    });
    drop(open);
    assert_eq!(proxy.wait().status.code(), Some(0));
}

#[test]
fn the_proxy_is_not_well_while_its_records_cannot_be_written() {
    let mut child = Command::new(BINARY)
        .args(["proxy", "-L", &format!("0:{}", echo_server()), "--metrics", "0"])
        .args(["--queue", "20kB"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut address_after = |words| said.find_map(|line| address_in(&line, words)).unwrap();
    let proxy = address_after("listening on ");
    let metrics = address_after(SHOWING);
    let health = || {
        let (head, body) = ask(metrics, "GET /healthz");
        (head.starts_with("HTTP/1.1 200 "), body)
    };
    // Nobody reads the records: the pipe takes some, and then the queue.
    let why = loop {
        match health() {
            // It may not be accepted any more.
            (true, _) => drop(TcpStream::connect(proxy).unwrap()),
            (false, why) => break why,
        }
    };
    assert_eq!(why, "records cannot be written\n");
    let mut records = child.stdout.take().unwrap();
    std::thread::spawn(move || std::io::copy(&mut records, &mut std::io::sink()));
    wait_until("it is well again", || health().0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_is_asked_otherwise_is_answered_so() {
    let (_proxy, address) = measured(&[]);
    assert!(ask(address, "GET /").0.starts_with("HTTP/1.1 404 "));
    let (head, _) = ask(address, "POST /metrics");
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: GET, HEAD"), "{head}");
    let (head, body) = ask(address, "HEAD /metrics");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"\x16\x03\x01 no HTTP\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn metrics_beyond_loopback_take_a_word_on_who_may_read_them() {
    let refused = |args: &[&str]| {
        let output = Command::new(BINARY)
            .args(["proxy", "-L", "0:127.0.0.1:9"])
            .args(args)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, said) = refused(&["--metrics", "0.0.0.0:0"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("--metrics 0.0.0.0:0") && said.contains("--allow-from"), "{said}");

    let (_proxy, address) = measured(&["--allow-from", "192.0.2.0/24"]);
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answer = Vec::new();
    // It may be closed with or without a reset.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
}
