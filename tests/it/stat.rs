//! `conniver stat`: what one request met, against real servers and beside curl.

mod drawn;
mod failures;
mod foreign;
mod phases;
mod requests;
mod secure;
mod verdicts;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use conniver::record::stat::{Phase, Stat};
use conniver::record::{Line, Outcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::arguments::unwrapped;
use crate::contract::assert_keys;
use crate::harness::clients::without_proxies;
use crate::harness::peers::deaf_port;
use crate::harness::program::{BINARY, PATIENCE};
use crate::harness::tls::TlsServer;
use crate::harness::{errors, has_tool, run};

/// The program, far from the proxies of whoever runs the tests.
fn stat(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    without_proxies(&mut command);
    command.arg("stat").args(args).stdin(Stdio::null());
    command
}

fn said(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The one record that it prints, and whether it calls that a success.
fn record(args: &[&str]) -> (Stat, bool) {
    record_of(stat(args).arg("--json"))
}

fn record_of(command: &mut Command) -> (Stat, bool) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let lines: Vec<_> = conniver::record::read(&stdout[..]).collect();
    match <[_; 1]>::try_from(lines) {
        Ok([Ok(Line::Stat(stat))]) => (*stat, status.success()),
        other => panic!("{other:?}\n{}", said(&stderr)),
    }
}

/// An exchange that failed: its phase and code, and what people are told.
fn failure(args: &[&str]) -> (Outcome, Phase, String, String) {
    let (stat, is_ok) = record(args);
    let output = self::stat(args).output().unwrap();
    assert_eq!((is_ok, output.status.code()), (false, Some(1)), "{}", said(&output.stdout));
    let sentence = unwrapped(said(&output.stderr));
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    let ending = stat.exchange.ending;
    assert!(sentence.contains(&ending.error.unwrap()), "{sentence}");
    let code = ending.error_code.unwrap();
    assert!(errors::is_documented(&code), "docs/error-codes.md does not explain {code}");
    (stat.exchange.outcome, ending.phase, code, sentence)
}

/// A server whose every connection is served on a thread, until the test's process ends.
fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = std::sync::Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = std::sync::Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The head of the request that comes next.
fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    // The body, as far as it was read with the head.
    head + std::str::from_utf8(reader.buffer()).unwrap()
}

/// Answers every request with this, after telling what it was.
fn answering(
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
) -> (String, Receiver<String>) {
    let (sender, requests) = channel();
    let address = serve(move |stream| {
        let request = request(&stream);
        let path = request.split(' ').nth(1).unwrap().to_owned();
        // The test may not care.
        let _ = sender.send(request);
        (&stream).write_all(answer(&path).as_bytes()).unwrap();
    });
    (format!("http://{address}"), requests)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Name: value\r\n\r\n{body}", body.len())
}

fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

const STAT: &str = "event schema time host runId seq id url target targetHost targetPort via outcome \
    openedAt closedAt duration phases resolveSource attempts attemptsOmitted upstream ending verdict tls http warnings savedTo redirects";
const EXCHANGE: &str = "url target targetHost targetPort via outcome openedAt closedAt duration phases \
    resolveSource attempts attemptsOmitted upstream ending verdict tls http warnings";

#[test]
fn every_key_is_there_and_the_schema_knows_it() {
    let (url, _requests) = answering(|path| match path {
        "/" => redirect(302, "/there"),
        _ => ok("hello"),
    });
    let (_held, deaf) = deaf_port();
    let deaf = format!("http://{deaf}/");
    let mut lines = vec![
        run_json(&["-L", &url]),
        run_json(&[&deaf]),
        run_json(&["http://no-such-host.invalid/"]),
    ];
    if has_tool("openssl", "every_key_is_there_and_the_schema_knows_it") {
        let server = TlsServer::start();
        lines.push(run_json(&["-k", &format!("https://{}/", server.address)]));
    }
    let schema: Value = serde_json::from_str(&run(BINARY, &["schema"])).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for line in &lines {
        if let Err(error) = validator.validate(line) {
            panic!("{line}: at {}: {error}", error.instance_path());
        }
        assert_keys(line, STAT, "the record");
        assert_keys(&line["phases"], "resolve connect tls server transfer", "phases");
        assert_keys(&line["ending"], "phase error errorCode", "ending");
        assert_keys(&line["http"], "method host status version headers bodyBytes", "http");
        for key in line.as_object().unwrap().keys() {
            let mut lacking = line.clone();
            lacking.as_object_mut().unwrap().remove(key);
            assert!(!validator.is_valid(&lacking), "a record without {key}");
        }
        let read: Line = serde_json::from_value(line.clone()).unwrap();
        assert_eq!(&serde_json::to_value(&read).unwrap(), line);
    }
    assert_keys(&lines[0]["redirects"][0], EXCHANGE, "a redirect");
    assert_keys(&lines[0]["http"]["headers"][0], "name value", "a header");
    if let Some(secure) = lines.get(3) {
        let keys = "serverName alpn version cipher keyExchange verified verifyError verifyErrorCode \
                    certificates";
        assert_keys(&secure["tls"], keys, "tls");
        let keys = "subject issuer names notBefore notAfter";
        assert_keys(&secure["tls"]["certificates"][0], keys, "a certificate");
    }
}

/// The one line that it prints.
fn run_json(args: &[&str]) -> Value {
    let output = stat(args).arg("--json").output().unwrap();
    let lines = said(&output.stdout).lines().count();
    assert_eq!(lines, 1, "{}", said(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_page_is_drawn_for_people_and_in_colours_on_a_terminal_alone() {
    let (url, _requests) = answering(|_| ok("hello"));
    let output = stat(&[&url]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output.stderr));
    let text = said(&output.stdout);
    for part in [
        "HTTP/1.1 200\n",
        "\nx-name: value\n",
        "  DNS Lookup   TCP Connection   Server Processing   Content Transfer\n",
        "starttransfer:",
        "TCP: RTT ",
        " 0 retransmissions",
        "body: 5 B, discarded\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");

    let name = "a_page_is_drawn_for_people_and_in_colours_on_a_terminal_alone";
    if !has_tool("script", name) {
        return;
    }
    let on_terminal = |no_color: &str| {
        let command = format!("{BINARY} stat {url}");
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).env("TERM", "xterm");
        match no_color {
            "" => script.env_remove("NO_COLOR"),
            value => script.env("NO_COLOR", value),
        };
        let output = script.env("no_proxy", "*").output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains('\u{1b}')
    };
    assert!(on_terminal(""));
    assert!(!on_terminal("1"));
}

#[test]
fn what_a_server_says_commands_no_terminal() {
    let (url, _requests) = answering(|_| {
        "HTTP/1.1 200 OK\r\nX-Evil: \u{9b}31mred\r\nContent-Length: 0\r\n\r\n".to_owned()
    });
    let output = stat(&[&url]).output().unwrap();
    let text = said(&output.stdout);
    assert!(text.contains("x-evil: \\u{9b}31mred\n"), "{text}");
}

fn stat_failing(args: &[&str]) -> String {
    let output = stat(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    unwrapped(said(&output.stderr))
}

#[test]
fn repetitions_are_counted_and_their_times_ranked() {
    let (url, requests) = answering(|_| ok("x"));
    let output = stat(&["-n", "3", "--interval", "10ms", &url]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output.stderr));
    let text = said(&output.stdout);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("1: 200  TCP ") && lines[2].starts_with("3: 200"), "{text}");
    assert_eq!(lines[4], "3 requests, 0 failed", "{text}");
    let columns: Vec<_> = lines[5].split_whitespace().collect();
    assert_eq!(columns, ["min", "p50", "p99"]);
    assert!(lines[6].starts_with("TCP connection "), "{text}");
    assert_eq!(requests.try_iter().count(), 3);

    let output = stat(&["-n", "2", "--interval", "0", "--json", &url]).output().unwrap();
    let records: Vec<_> = conniver::record::read(&output.stdout[..]).collect();
    let seqs: Vec<_> = records
        .iter()
        .map(|line| match line {
            Ok(Line::Stat(stat)) => stat.seq,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seqs, [1, 2]);
    assert!(said(&output.stderr).starts_with("2 requests, 0 failed\n"));

    let (_held, deaf) = deaf_port();
    let output = stat(&["-n", "2", "--interval", "0", &format!("http://{deaf}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output.stdout).ends_with("\n2 requests, 2 failed\n"));
}

#[test]
fn an_interrupt_ends_repetitions_with_what_was_measured() {
    let (url, requests) = answering(|_| ok("x"));
    let mut command = stat(&["-n", "1000", "--interval", "20ms", &url]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    for _ in 0..3 {
        requests.recv_timeout(PATIENCE).unwrap();
    }
    let pid = Pid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = said(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(" requests, 0 failed\n") && text.contains("\ntotal "), "{text}");
    assert!(requests.try_iter().count() < 100);
}

#[test]
fn what_cannot_be_asked_is_wrong_usage_and_no_password_is_repeated() {
    for args in [
        &[][..],
        &["ftp://user:s3cret@host/"],
        &["http://user:s3cret@host:0/"],
        &["http://"],
        &["-H", "no colon", "http://host/"],
        &["-I", "-d", "x", "http://host/"],
        &["-o", "-", "http://host/"],
        &["-O", "-o", "x", "http://host/"],
        &["-O", "-n", "2", "http://host/"],
        &["-n", "0", "http://host/"],
        &["-4", "-6", "http://host/"],
        &["-X", "GET IT", "http://host/"],
    ] {
        let output = stat(args).output().unwrap();
        let text = said(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?} {text}");
        assert!(output.stdout.is_empty() && !text.contains("s3cret"), "{text}");
    }
    let missing = stat_failing(&["--cacert", "/no/such/file", "https://host/"]);
    assert!(
        missing.contains("cannot read certificates from '/no/such/file': No such file"),
        "{missing}"
    );
    let missing = stat_failing(&["-d", "@/no/such/file", "http://host/"]);
    assert!(missing.contains("cannot read the request body from '/no/such/file'"), "{missing}");
}
