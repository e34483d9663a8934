//! Who was slow: each test makes somebody slow and reads who it was, in the record and in words.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use conniver::record::stat::{Exchange, Phase};
use conniver::record::{Basis, Direction, LimitedBy, Outcome, Verdict, VerdictTime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;

use super::{ok, record, record_of, request, said, serve, stat};
use crate::harness::has_tool;
use crate::harness::lossy_path::{self, Path};
use crate::harness::namespace::{Namespace, available};
use crate::harness::network::FAR;
use crate::harness::peers::noise;
use crate::harness::program::{BINARY, wait_until};
use crate::harness::tls::TlsServer;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[track_caller]
fn assert_limited(exchange: &Exchange, by: LimitedBy, basis: Option<Basis>) -> Verdict {
    let verdict = exchange.verdict.clone().unwrap();
    assert_eq!((verdict.limited_by, verdict.basis), (by, basis), "{verdict:#?}");
    let VerdictTime { resolver, client, upstream, network_client, network_upstream, proxy, .. } =
        verdict.time;
    assert_eq!(resolver + client + upstream + network_upstream, verdict.active, "{verdict:#?}");
    assert_eq!((network_client, proxy), (ms(0), ms(0)));
    verdict
}

/// Answers after a while, in pieces with a while between them.
fn slow_server(before: Duration, pieces: usize, between: Duration) -> SocketAddr {
    serve(move |mut stream| {
        request(&stream);
        thread::sleep(before);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 4096 * pieces);
        stream.write_all(head.as_bytes()).unwrap();
        for number in 0..pieces {
            if number > 0 {
                thread::sleep(between);
            }
            // One that is no longer listened to is no failure of the test.
            let _ = stream.write_all(&[7; 4096]);
        }
    })
}

/// Reads all of an upload, so much at once and at this pace, and answers at once.
fn taking(mut stream: TcpStream, at_once: usize, pause: Duration) {
    let (mut read, mut room) = (Vec::new(), vec![0; at_once]);
    let whole = loop {
        match stream.read(&mut room) {
            Ok(bytes) => read.extend_from_slice(&room[..bytes]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => panic!("{error}"),
        }
        if let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = std::str::from_utf8(&read[..head]).unwrap().to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1);
            let length = length.and_then(|length| length.lines().next()?.parse().ok());
            break head + 4 + length.unwrap_or(0);
        }
    };
    let mut left = whole - read.len();
    while left > 0 {
        match stream.read(&mut room) {
            Ok(bytes) => left -= bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
        thread::sleep(pause);
    }
    stream.write_all(ok("taken").as_bytes()).unwrap();
}

#[test]
fn a_server_that_thinks_is_named_and_said_so() {
    let url = format!("http://{}/", slow_server(ms(300), 1, ms(0)));
    let (stat, _) = record(&[&url]);
    let verdict = assert_limited(&stat.exchange, LimitedBy::Upstream, Some(Basis::Receiver));
    assert_eq!(verdict.direction, Some(Direction::ToClient));
    assert!(verdict.time.upstream >= ms(290) && verdict.share > Some(0.9), "{verdict:#?}");

    let output = super::stat(&[&url]).output().unwrap();
    let text = said(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("verdict: ")).unwrap();
    assert!(line.starts_with("verdict: upstream, 9") || line.contains(" 100 %"), "{line}");
    assert!(line.ends_with("ms: the server, or the path from it"), "{line}");
}

#[test]
fn a_server_that_sends_slowly_is_named() {
    let url = format!("http://{}/", slow_server(ms(0), 20, ms(15)));
    let (stat, _) = record(&[&url]);
    assert_limited(&stat.exchange, LimitedBy::Upstream, Some(Basis::Receiver));
}

#[test]
fn a_server_that_thinks_behind_tls_is_named() {
    let name = "a_server_that_thinks_behind_tls_is_named";
    if !has_tool("openssl", name) {
        return;
    }
    let server = TlsServer::start();
    let delayed = crate::harness::peers::far_away(server.address, ms(150));
    let (stat, is_ok) = record(&["-k", &format!("https://localhost:{}/", delayed.port()), "-4"]);
    assert!(is_ok, "{stat:?}");
    // What is behind this server is no part of the path to it, as far as the kernel sees.
    assert_limited(&stat.exchange, LimitedBy::Upstream, Some(Basis::Receiver));
}

#[test]
fn a_server_that_lets_the_time_run_out_is_named() {
    let url = format!("http://{}/", slow_server(ms(3000), 1, ms(0)));
    let (stat, is_ok) = record(&["--max-time", "400ms", &url]);
    assert_eq!((is_ok, stat.exchange.ending.phase), (false, Phase::Server));
    assert_eq!(stat.exchange.outcome, Outcome::Timeout);
    assert_limited(&stat.exchange, LimitedBy::Upstream, Some(Basis::Receiver));
}

#[test]
fn a_short_exchange_names_nobody() {
    let url = format!("http://{}/", slow_server(ms(0), 1, ms(0)));
    let (stat, _) = record(&[&url]);
    assert_limited(&stat.exchange, LimitedBy::None, None);
    let output = super::stat(&[&url]).output().unwrap();
    assert!(said(&output.stdout).contains("\nverdict: none\n"), "{}", said(&output.stdout));
}

#[test]
fn where_nothing_was_asked_there_is_no_verdict() {
    let (_held, deaf) = crate::harness::peers::deaf_port();
    let (stat, _) = record(&[&format!("http://{deaf}/")]);
    assert_eq!(stat.exchange.verdict, None);
}

#[test]
fn a_stopped_stat_names_itself() {
    let (asked, was_asked) = channel();
    let (answer, may_answer) = channel();
    let may_answer = std::sync::Mutex::new(may_answer);
    let address = serve(move |mut stream| {
        request(&stream);
        asked.send(()).unwrap();
        may_answer.lock().unwrap().recv().unwrap();
        stream.write_all(ok("x").as_bytes()).unwrap();
    });
    let mut command = stat(&["--json", &format!("http://{address}/")]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    was_asked.recv().unwrap();
    kill(pid, Signal::SIGSTOP).unwrap();
    wait_until("it is stopped", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        status.contains(") T ")
    });
    answer.send(()).unwrap();
    thread::sleep(ms(800));
    kill(pid, Signal::SIGCONT).unwrap();
    let output = child.wait_with_output().unwrap();
    let lines: Vec<_> = conniver::record::read(&output.stdout[..]).collect();
    let [Ok(conniver::record::Line::Stat(stat))] = &lines[..] else { panic!("{lines:?}") };
    assert_limited(&stat.exchange, LimitedBy::Client, None);
}

#[test]
fn a_server_on_this_machine_that_takes_an_upload_slowly_is_named() {
    let address = serve(|stream| taking(stream, 100_000, ms(2)));
    let body = upload(20_000_000);
    let (stat, is_ok) = record(&["-d", &format!("@{}", body.1), &format!("http://{address}/")]);
    assert!(is_ok, "{stat:?}");
    let verdict = assert_limited(&stat.exchange, LimitedBy::Upstream, Some(Basis::Sender));
    assert_eq!(verdict.direction, Some(Direction::ToUpstream));
}

/// A file to send, and its name.
fn upload(bytes: usize) -> (NamedTempFile, String) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&noise(bytes)).unwrap();
    let name = file.path().display().to_string();
    (file, name)
}

/// Two machines with a path between them.
struct Far {
    here: Namespace,
    there: Namespace,
}

impl Far {
    /// Losses are on the way from there when `from_there`.
    fn new(path: Path, from_there: bool) -> Self {
        let (here, there) = (Namespace::new(), Namespace::new());
        let (from, to) = if from_there { (&there, &here) } else { (&here, &there) };
        lossy_path::lay(from, to, "path", 7, path);
        Self { here, there }
    }

    fn control(&self, congestion: &str) {
        for namespace in [&self.here, &self.there] {
            let change = "route change 10.7.0.0/24 dev path congctl";
            namespace.ip(&[&change.split(' ').collect::<Vec<_>>()[..], &[congestion]].concat());
        }
    }

    /// Serves one connection there.
    fn serve(&self, work: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
        let address: Ipv4Addr = self.there.address_on("path");
        let listener = self.there.enter(|| TcpListener::bind((address, 0)).unwrap());
        let address = listener.local_addr().unwrap();
        thread::spawn(move || work(listener.accept().unwrap().0));
        address
    }

    fn ask(&self, args: &[&str]) -> Exchange {
        let mut command = self.here.command(BINARY);
        let (stat, is_ok) = record_of(command.args(["stat", "--json"]).args(args));
        assert!(is_ok, "{stat:?}");
        stat.exchange
    }

    fn send(&self, bytes: usize, work: impl FnOnce(TcpStream) + Send + 'static) -> Exchange {
        let body = upload(bytes);
        let url = format!("http://{}/", self.serve(work));
        self.ask(&["-d", &format!("@{}", body.1), &url])
    }

    fn fetch(&self, bytes: usize) -> Exchange {
        let address = self.serve(move |mut stream| {
            request(&stream);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&noise(bytes)).unwrap();
        });
        self.ask(&[&format!("http://{address}/")])
    }
}

#[test]
fn a_long_path_to_a_server_that_answers_at_once_is_named() {
    if !available("a_long_path_to_a_server_that_answers_at_once_is_named") {
        return;
    }
    let far = Far::new(Path { delay: ms(60), ..FAR }, false);
    let exchange = far.fetch(100);
    let verdict = assert_limited(&exchange, LimitedBy::NetworkUpstream, Some(Basis::Sender));
    assert!(verdict.time.upstream < ms(30), "{verdict:#?}");
}

#[test]
fn a_server_far_away_that_thinks_is_named_and_not_the_path() {
    if !available("a_server_far_away_that_thinks_is_named_and_not_the_path") {
        return;
    }
    let far = Far::new(FAR, false);
    let address = far.serve(|mut stream| {
        request(&stream);
        thread::sleep(ms(200));
        stream.write_all(ok("x").as_bytes()).unwrap();
    });
    let exchange = far.ask(&[&format!("http://{address}/")]);
    let verdict = assert_limited(&exchange, LimitedBy::Upstream, Some(Basis::Receiver));
    let path = verdict.time.network_upstream;
    // Connecting, and the request with its answer.
    assert!(path >= ms(76) && path < ms(120), "{verdict:#?}");
}

#[test]
fn a_rate_limited_path_that_an_upload_takes_is_named() {
    if !available("a_rate_limited_path_that_an_upload_takes_is_named") {
        return;
    }
    for congestion in ["bbr", "cubic"] {
        let far = Far::new(Path { rate: Some(5_000_000), ..FAR }, false);
        far.control(congestion);
        let exchange = far.send(8_000_000, |stream| taking(stream, 1 << 20, ms(0)));
        let verdict = assert_limited(&exchange, LimitedBy::NetworkUpstream, Some(Basis::Sender));
        assert_eq!(verdict.direction, Some(Direction::ToUpstream), "{congestion}");
    }
}

#[test]
fn a_server_elsewhere_that_takes_an_upload_slowly_is_named_and_not_the_path() {
    if !available("a_server_elsewhere_that_takes_an_upload_slowly_is_named_and_not_the_path") {
        return;
    }
    for congestion in ["bbr", "cubic"] {
        let far = Far::new(FAR, false);
        far.control(congestion);
        let exchange = far.send(9_000_000, |stream| taking(stream, 20_000, ms(10)));
        assert_limited(&exchange, LimitedBy::Upstream, Some(Basis::Sender));
    }
}

#[test]
fn a_path_that_loses_packets_on_the_way_here_is_never_taken_for_the_server() {
    if !available("a_path_that_loses_packets_on_the_way_here_is_never_taken_for_the_server") {
        return;
    }
    for congestion in ["bbr", "cubic"] {
        let far = Far::new(Path { loses: Some(50), rate: Some(5_000_000), ..FAR }, true);
        far.control(congestion);
        let exchange = far.fetch(1_000_000);
        let verdict = exchange.verdict.unwrap();
        let may_be = [LimitedBy::NetworkUpstream, LimitedBy::None];
        assert!(may_be.contains(&verdict.limited_by), "{congestion}: {verdict:#?}");
        assert!(verdict.evidence.rx_out_of_order > Some(0), "{congestion}: {verdict:#?}");
    }
}
