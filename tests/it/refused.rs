//! Clients that are refused as they come, by the thousand: they cost little, and are accounted for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use conniver::record::{Line, Outcome, Phase, Record, Refused};
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::harness::outputs::SmallDisk;
use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{BINARY, PATIENCE, Proxy, wait_until};
use crate::harness::run;
use crate::metrics::shown_on;

/// Who may connect where only one client may.
const ALLOWED: [u8; 4] = [127, 0, 0, 2];

fn connect_from(client: [u8; 4], to: SocketAddr) -> TcpStream {
    try_to_connect(client, to).unwrap()
}

/// It may be refused before this end has heard that it was connected.
fn try_to_connect(client: [u8; 4], to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&to.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Ok(stream)
}

fn assert_is_closed(stream: io::Result<TcpStream>) {
    match stream.and_then(|mut stream| stream.read(&mut [0])) {
        Ok(0) => {}
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        other => panic!("expected to be refused, got {other:?}"),
    }
}

/// So many connections that are refused, one after the other.
fn refused(proxy: &Proxy, count: usize) {
    for _ in 0..count {
        assert_is_closed(try_to_connect([127, 0, 0, 1], proxy.address()));
    }
}

/// The records of those that were refused, and the lines that count the others.
fn found(lines: Vec<Line>) -> (Vec<Record>, Vec<Refused>) {
    let (mut records, mut counted) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Line::Close(record) if record.outcome != Some(Outcome::Ok) => records.push(*record),
            Line::Refused(refused) => counted.push(refused),
            _ => {}
        }
    }
    (records, counted)
}

/// That those who were refused since `began` have few records, and are counted.
fn assert_accounted(count: usize, began: Instant, (records, counted): (&[Record], &[Refused])) {
    let seconds = began.elapsed().as_secs_f64();
    assert!(records.len() >= 100, "{}", records.len());
    assert!((records.len() as f64) < 102.0 + seconds, "{} in {seconds} s", records.len());
    assert!((counted.len() as f64) < 2.0 + seconds, "{} in {seconds} s", counted.len());
    let sum = counted.iter().map(|line| line.count).sum::<u64>();
    assert_eq!(sum + records.len() as u64, count as u64);
    for line in counted {
        let reasons: u64 = line.reasons.iter().map(|reason| reason.count).sum();
        assert!(reasons == line.count && line.first_at <= line.last_at, "{line:?}");
    }
}

/// What a program with `--events start,close,stop` has written when it has ended.
fn lines_at_the_end(proxy: Proxy) -> (String, Vec<Line>) {
    let file = proxy.records_file();
    proxy.signal(Signal::SIGTERM);
    let mut text = String::new();
    wait_until("the last line is written", || {
        text = std::fs::read_to_string(&file).unwrap();
        text.contains("\"event\":\"stop\"") && text.ends_with('\n')
    });
    // Which checks the file.
    let left = proxy.wait();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    (text, left.lines)
}

#[test]
fn clients_that_may_not_connect_cost_few_records_and_are_counted() {
    const COUNT: usize = 3000;
    let args = ["--allow-from", "127.0.0.2", "--events", "start,close,stop", "--metrics", "0"];
    let proxy = Proxy::forwarding_to(echo_server(), &args);
    let metrics = shown_on(&proxy);
    let began = Instant::now();
    refused(&proxy, COUNT);
    exchange(&mut connect_from(ALLOWED, proxy.address()), b"x");
    wait_until("the metrics tell of them", || {
        // Only those who may connect may ask.
        let mut stream = connect_from(ALLOWED, metrics);
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let value = |name: &str| -> u64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let refused = value("conniver_pairs_refused_total{");
        assert!(refused > COUNT as u64 / 2, "{text}");
        value("conniver_pairs_opened_total{") == COUNT as u64 + 1
            && value("conniver_pairs_open{") == 0
    });
    let (text, lines) = lines_at_the_end(proxy);
    let Some(Line::Stop(stop)) = lines.last() else { panic!("{:?}", lines.last()) };
    assert_eq!(stop.pairs, COUNT as u64 + 1);
    let (records, counted) = found(lines);
    assert_accounted(COUNT, began, (&records, &counted));
    for line in &counted {
        assert_eq!(line.reasons[0].error_code, "CLIENT_DENIED");
        assert_eq!(line.clients.len(), 1);
        assert_eq!(
            (&*line.clients[0].network, line.clients[0].count),
            ("127.0.0.1/32", line.count)
        );
    }
    for record in &records {
        let ending = record.ending.as_ref().unwrap();
        assert_eq!((record.outcome, ending.phase), (Some(Outcome::Denied), Phase::Accept));
        assert_eq!(ending.error_code.as_deref(), Some("CLIENT_DENIED"));
        assert_eq!(record.client_host.as_deref(), Some("127.0.0.1"));
        assert!(record.target.is_some() && record.mode.is_some() && record.process.is_none());
        assert_eq!((&record.client.opened_info, &record.client.closed_info), (&None, &None));
        assert_eq!(record.client.info_err, None);
        assert!(record.warnings.is_empty(), "{:?}", record.warnings);
    }
    let denied = text.lines().filter(|line| line.contains("\"CLIENT_DENIED\""));
    let longest = denied.map(str::len).max().unwrap();
    assert!(longest < 2500, "{longest} bytes");
}

#[test]
fn clients_that_may_not_connect_fill_no_disk_for_those_who_may() {
    if !SmallDisk::available("clients_that_may_not_connect_fill_no_disk_for_those_who_may") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let _disk = SmallDisk::mount(&path, 1 << 20);
    let forward = format!("0:{}", echo_server());
    let args = ["--allow-from", "127.0.0.2", "--queue", "200kB"];
    let proxy = Proxy::start_in(directory, &mut Command::new(BINARY), &[&forward], &args);
    let address = proxy.address();
    // Those who are refused hang in the listener's queue when the proxy accepts no more.
    let refusing = || {
        for _ in 0..3000 {
            let refused = try_to_connect([127, 0, 0, 1], address).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                stream.read(&mut [0])
            });
            if refused.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(refusing);
        }
    });
    for _ in 0..20 {
        assert_eq!(exchange(&mut connect_from(ALLOWED, address), b"x"), b"x");
    }
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert!(!left.stderr.contains("No space"), "{}", left.stderr);
    assert_eq!(left.stderr.matches("too many refused connections").count(), 1, "{}", left.stderr);
}

#[test]
fn connections_beyond_a_clients_limit_are_counted_also_where_it_is_announced() {
    const COUNT: usize = 500;
    let echo = echo_server();
    for announced in [false, true] {
        let mut args = vec!["--max-per-client", "1", "--events", "start,close,stop"];
        let header =
            if announced { "PROXY TCP6 2001:db8:0:1::7 2001:db8::1 5000 80\r\n" } else { "" };
        if announced {
            args.push("--accept-proxy");
        }
        let proxy = Proxy::forwarding_to(echo, &args);
        let connect = || {
            let mut stream = try_to_connect([127, 0, 0, 1], proxy.address())?;
            stream.write_all(header.as_bytes())?;
            Ok(stream)
        };
        let mut first = connect().unwrap();
        exchange(&mut first, b"x");
        let began = Instant::now();
        for _ in 0..COUNT {
            assert_is_closed(connect());
        }
        drop(first);
        let (records, counted) = found(lines_at_the_end(proxy).1);
        assert_accounted(COUNT, began, (&records, &counted));
        assert!(records.iter().all(|record| record.outcome == Some(Outcome::Limit)));
        let network = if announced { "2001:db8:0:1::/64" } else { "127.0.0.1/32" };
        for line in &counted {
            assert_eq!(line.reasons[0].error_code, "CLIENT_LIMIT");
            assert_eq!(line.clients[0].network, network);
        }
    }
}

#[test]
fn a_line_that_counts_the_refused_is_as_the_schema_says_and_check_reckons_with_it() {
    let args = ["--allow-from", "127.0.0.2", "--events", "start,close,stop", "--detail", "brief"];
    let proxy = Proxy::forwarding_to(echo_server(), &args);
    refused(&proxy, 300);
    let file = proxy.records_file();
    proxy.signal(Signal::SIGTERM);
    let mut text = String::new();
    wait_until("the last line is written", || {
        text = std::fs::read_to_string(&file).unwrap();
        text.contains("\"event\":\"stop\"") && text.ends_with('\n')
    });
    drop(proxy);
    for detail in ["brief", "full"] {
        let schema = run(BINARY, &["schema", "--detail", detail]);
        let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
        let mut seen = 0;
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            if value["event"] == "refused" {
                seen += 1;
                crate::contract::assert_keys(
                    &value,
                    "event schema time host labels runId count firstAt lastAt reasons clients line",
                    "a refused line",
                );
                assert!(validator.is_valid(&value), "{line}");
                for key in value.as_object().unwrap().keys() {
                    let mut lacking = value.clone();
                    lacking.as_object_mut().unwrap().remove(key);
                    assert!(!validator.is_valid(&lacking), "without {key}");
                }
            } else if detail == "brief" {
                assert!(validator.is_valid(&value), "{line}");
            }
        }
        assert!(seen > 0, "{text}");
    }
    let check = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let output = Command::new(BINARY).arg("check").arg(file.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, said) = check(&text);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(" refused without a record: no findings"), "{said}");
    let (status, said) = check(&text.replace("\"pairs\":300", "\"pairs\":301"));
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains(": 301 connections, but ") && said.contains(" counted as refused"),
        "{said}"
    );
}
