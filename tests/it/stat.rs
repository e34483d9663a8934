//! `conniver stat`: what one request met, against real servers and beside curl.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use conniver::record::stat::{Phase, Stat};
use conniver::record::{Line, Outcome, WarningCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::clients::nghttpd;
use crate::contract::assert_keys;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{deaf_port, far_away, noise, reset, sha256};
use crate::harness::program::{BINARY, PATIENCE, Proxy, wait_until};
use crate::harness::tls::{Authority, TlsServer};
use crate::harness::{has_tool, run};

/// What a server lets pass where a test is about that.
const DELAY: Duration = Duration::from_millis(100);

/// The program, far from the proxies of whoever runs the tests.
fn stat(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
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
    let sentence = said(&output.stderr).to_owned();
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    let ending = stat.exchange.ending;
    assert!(sentence.contains(&ending.error.unwrap()), "{sentence}");
    (stat.exchange.outcome, ending.phase, ending.error_code.unwrap(), sentence)
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

/// Answers late, and is late again within the head and within the body.
fn slow_server() -> SocketAddr {
    serve(|mut stream| {
        request(&stream);
        for piece in ["HTTP/1.1 200 OK\r\n", "Content-Length: 10\r\n\r\nfirst", "later"] {
            std::thread::sleep(DELAY);
            stream.write_all(piece.as_bytes()).unwrap();
        }
    })
}

/// curl's times for the same request: when the connection was there, TLS was, the first byte came,
/// and all was over.
fn curl_times(args: &[&str]) -> [Duration; 4] {
    let format = "%{time_connect} %{time_appconnect} %{time_starttransfer} %{time_total}";
    let common = ["-sS", "--noproxy", "*", "-o", "/dev/null", "-w", format];
    let times = run("curl", &[&common, args].concat());
    let times = times.split(' ').map(|time| Duration::from_secs_f64(time.parse().unwrap()));
    times.collect::<Vec<_>>().try_into().unwrap()
}

/// The same of ours, as sums of phases.
fn our_times(args: &[&str]) -> [Duration; 4] {
    let (stat, is_ok) = record(args);
    assert!(is_ok, "{stat:?}");
    let phases = stat.exchange.phases;
    let connect = phases.resolve.unwrap_or_default() + phases.connect.unwrap();
    let secure = connect + phases.tls.unwrap_or_default();
    let first_byte = secure + phases.server.unwrap();
    let total = first_byte + phases.transfer.unwrap();
    let lasted = stat.exchange.duration;
    assert!(total <= lasted && lasted - total < DELAY / 4, "{total:?} are not {lasted:?}");
    [connect, phases.tls.map_or(Duration::ZERO, |_| secure), first_byte, total]
}

/// The smallest of each of several runs: what the machine's noise adds is gone from it.
fn smallest(times: impl Fn() -> [Duration; 4]) -> [Duration; 4] {
    let runs: Vec<_> = (0..5).map(|_| times()).collect();
    std::array::from_fn(|at| runs.iter().map(|times| times[at]).min().unwrap())
}

#[test]
fn phases_agree_with_curls_where_the_server_is_slow() {
    if !has_tool("curl", "phases_agree_with_curls_where_the_server_is_slow") {
        return;
    }
    let url = format!("http://{}/", slow_server());
    let (ours, curls) = (smallest(|| our_times(&[&url])), smallest(|| curl_times(&[&url])));
    for (ours, curls) in ours.into_iter().zip(curls) {
        assert!(ours.abs_diff(curls) < DELAY / 4, "{ours:?} and curl's {curls:?}");
    }
    let [connect, _, first_byte, total] = ours;
    assert!(connect < DELAY && total >= 3 * DELAY, "{ours:?}");
    assert!(first_byte >= DELAY && first_byte < 2 * DELAY, "{ours:?}");
}

#[test]
fn phases_agree_with_curls_where_the_path_is_long() {
    let name = "phases_agree_with_curls_where_the_path_is_long";
    if !has_tool("curl", name) || !has_tool("openssl", name) {
        return;
    }
    let server = TlsServer::start();
    let port = far_away(server.address, DELAY).port();
    let url = format!("https://localhost:{port}/");
    let ours = smallest(|| our_times(&["-4", "--cacert", &server.certificate, &url]));
    let curls = smallest(|| curl_times(&["-4", "--cacert", &server.certificate, &url]));
    for (ours, curls) in ours.into_iter().zip(curls) {
        assert!(ours.abs_diff(curls) < DELAY / 4, "{ours:?} and curl's {curls:?}");
    }
    let [connect, secure, first_byte, _] = ours;
    // The handshake of TLS 1.3 is one turn, the request another one.
    assert!(connect < DELAY && (DELAY..2 * DELAY).contains(&secure), "{ours:?}");
    assert!((2 * DELAY..3 * DELAY).contains(&first_byte), "{ours:?}");
}

const STAT: &str = "event schema time host runId seq id url target targetHost targetPort via outcome \
    openedAt closedAt duration phases resolveSource attempts upstream ending tls http warnings savedTo redirects";
const EXCHANGE: &str = "url target targetHost targetPort via outcome openedAt closedAt duration phases \
    resolveSource attempts upstream ending tls http warnings";

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
    assert!(text.contains("x-evil: \u{fffd}31mred\n"), "{text}");
}

#[test]
fn method_body_and_fields_are_sent_as_asked_for() {
    let (url, requests) = answering(|_| ok(""));
    let files = TempDir::new().unwrap();
    let file = files.path().join("body");
    std::fs::write(&file, "from a file\n").unwrap();
    let file = format!("@{}", file.display());
    let with_login = url.replace("http://", "http://me:p%40ss@");
    for (args, starts, has) in [
        (&[&*url][..], "GET / HTTP/1.1\r\n", "\r\naccept: */*\r\n"),
        (&["-I", &url], "HEAD / HTTP/1.1\r\n", "\r\nuser-agent: conniver/"),
        (&["-X", "PATCH", &url], "PATCH / HTTP/1.1\r\n", "\r\n"),
        (&["-d", "a=b", &url], "POST / HTTP/1.1\r\n", "\r\ncontent-length: 3\r\n"),
        (&["-d", "a=b", &url], "POST / ", "content-type: application/x-www-form-urlencoded\r\n"),
        (&["-d", &file, "-X", "PUT", &url], "PUT / ", "\r\n\r\nfrom a file\n"),
        (&["-H", "Host: other.test", "-H", "X-A: b", &url], "GET / ", "\r\nhost: other.test\r\n"),
        (&["-H", "User-Agent: me", &url], "GET / ", "\r\nuser-agent: me\r\n"),
        (&[&with_login], "GET / ", "\r\nauthorization: Basic bWU6cEBzcw==\r\n"),
    ] {
        let (stat, is_ok) = record(args);
        assert!(is_ok, "{args:?} {stat:?}");
        let request = requests.recv_timeout(PATIENCE).unwrap();
        assert!(request.starts_with(starts) && request.contains(has), "{args:?}\n{request}");
        assert!(!stat.exchange.url.contains("me:"));
    }
}

#[test]
fn redirects_are_followed_on_request_and_secrets_stay_behind() {
    let (other, other_requests) = answering(|_| ok("there"));
    let location = format!("{other}/there");
    let (url, requests) = answering(move |path| match path {
        "/a" => redirect(301, "b"),
        "/b" => redirect(307, &location),
        _ => redirect(302, path),
    });
    let first = format!("{url}/a");
    let (stat, is_ok) = record(&[&first]);
    assert!(is_ok && stat.exchange.http.status == Some(301) && stat.redirects.is_empty());
    requests.recv_timeout(PATIENCE).unwrap();

    let (stat, is_ok) = record(&["-L", "-d", "secret=1", "-H", "Authorization: s3cret", &first]);
    assert!(is_ok, "{stat:?}");
    let urls: Vec<_> = stat.redirects.iter().map(|exchange| exchange.url.as_str()).collect();
    assert_eq!(urls, [&first, &format!("{url}/b")]);
    assert_eq!(stat.exchange.url, format!("{other}/there"));
    let seen: Vec<_> = (0..2).map(|_| requests.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(seen[0].starts_with("POST /a ") && seen[0].contains("s3cret"), "{}", seen[0]);
    assert!(seen[1].starts_with("GET /b ") && seen[1].contains("s3cret"), "{}", seen[1]);
    let last = other_requests.recv_timeout(PATIENCE).unwrap();
    assert!(last.starts_with("GET /there ") && !last.contains("s3cret"), "{last}");

    let (outcome, phase, code, _) = failure(&["-L", &format!("{url}/round")]);
    assert_eq!((outcome, phase, &*code), (Outcome::Error, Phase::Transfer, "TOO_MANY_REDIRECTS"));
}

#[test]
fn a_redirect_to_where_there_is_no_http_is_an_error() {
    let (url, _requests) = answering(|_| redirect(302, "file:///etc/passwd"));
    let (_, _, code, sentence) = failure(&["-L", &url]);
    assert_eq!(code, "REDIRECT");
    assert!(sentence.contains("neither http nor https"), "{sentence}");
}

#[test]
fn what_goes_wrong_is_told_with_its_phase_its_code_and_a_remedy() {
    let (_held, deaf) = deaf_port();
    let silent = serve(|stream| {
        request(&stream);
        // Until the client leaves.
        let _ = (&stream).read(&mut [0]);
    });
    let mute = serve(|stream| _ = std::io::copy(&mut &stream, &mut std::io::sink()));
    let breaking = serve(|stream| {
        request(&stream);
        (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
        // When that has arrived: a reset purges what has not.
        wait_until("the answer arrived", || {
            conniver::TcpInfo::of(&stream).unwrap().sys_info.linux().unwrap().un_acked == Some(0)
        });
        reset(stream);
    });
    let ending = serve(|stream| {
        request(&stream);
        (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    });
    let strange = serve(|stream| {
        request(&stream);
        (&stream).write_all(b"SSH-2.0-x\r\n\r\n").unwrap();
    });
    let url = |address: SocketAddr| format!("http://{address}/");
    let secure = |address: SocketAddr| format!("https://{address}/");
    use Outcome::*;
    for (args, outcome, phase, code, words) in [
        (&[&*url(deaf)][..], Refused, Phase::Connect, "ECONNREFUSED", "check the port"),
        (&["http://no-such-host.invalid/"], Dns, Phase::Resolve, "", "no-such-host.invalid"),
        (
            &["--max-time", "200ms", &url(silent)],
            Timeout,
            Phase::Server,
            "MAX_TIME",
            "--max-time gives it longer",
        ),
        (
            &["--connect-timeout", "200ms", &secure(mute)],
            Timeout,
            Phase::Tls,
            "CONNECT_TIMEOUT",
            "--connect-timeout gives it longer",
        ),
        (&[&url(breaking)], Reset, Phase::Transfer, "ECONNRESET", "broke it off"),
        (&[&url(ending)], Error, Phase::Transfer, "EOF", "too early"),
        (&[&url(strange)], Protocol, Phase::Transfer, "HTTP_MALFORMED", "https://"),
        (&["-6", &url(deaf)], Denied, Phase::Connect, "ADDRESS_FAMILY", "-4 and -6"),
    ] {
        let (found, at, symbol, sentence) = failure(args);
        assert_eq!((found, at), (outcome, phase), "{sentence}");
        assert!(symbol == code || code.is_empty() && symbol.starts_with("EAI_"), "{symbol}");
        assert!(sentence.contains(words), "{sentence}");
    }
    // Of what came before the reset, nothing is lost.
    let (stat, _) = record(&[&url(breaking)]);
    let exchange = stat.exchange;
    assert_eq!((exchange.http.status, exchange.http.body_bytes), (Some(200), 4));
    assert_eq!(exchange.upstream.unwrap().rx_err_code.as_deref(), Some("ECONNRESET"));
}

#[test]
fn a_certificate_is_trusted_when_its_authority_is_and_it_is_for_this_name_now() {
    let name = "a_certificate_is_trusted_when_its_authority_is_and_it_is_for_this_name_now";
    if !has_tool("openssl", name) {
        return;
    }
    let authority = Authority::new();
    let cacert = authority.certificate();
    let now = 2020..2090;
    let good = TlsServer::start_with(authority.sign("localhost", now.clone()), &["-tls1_2"]);
    let expired = TlsServer::start_with(authority.sign("localhost", 2001..2002), &[]);
    let early = TlsServer::start_with(authority.sign("localhost", 2080..2081), &[]);
    let other = TlsServer::start_with(authority.sign("other.test", now), &[]);
    let itself = TlsServer::start();
    let url = |server: &TlsServer| format!("https://localhost:{}/", server.address.port());

    for (server, cacert, version) in
        [(&good, &cacert, "TLSv1.2"), (&itself, &itself.certificate, "TLSv1.3")]
    {
        let (stat, is_ok) = record(&["-4", "--cacert", cacert, &url(server)]);
        assert!(is_ok, "{stat:?}");
        let tls = stat.exchange.tls.unwrap();
        assert_eq!((tls.verified, tls.version.as_deref()), (Some(true), Some(version)));
        assert_eq!(tls.server_name.as_deref(), Some("localhost"));
        assert_eq!(tls.certificates[0].subject, "CN=localhost");
        assert_eq!(tls.certificates[0].names, ["localhost"]);
        assert!(tls.cipher.unwrap().starts_with("TLS_"));
    }
    for (server, cacert, code, words) in [
        (&good, None, "CERT_UNKNOWN_ISSUER", "--cacert"),
        (&itself, None, "CERT_UNKNOWN_ISSUER", "--cacert"),
        (&expired, Some(&cacert), "CERT_EXPIRED", "to 2002-01-01T00:00:00Z"),
        (&early, Some(&cacert), "CERT_NOT_YET_VALID", "from 2080-01-01T00:00:00Z"),
        (&other, Some(&cacert), "CERT_OTHER_NAME", "ask for one of them: other.test"),
    ] {
        let url = url(server);
        let args = match cacert {
            Some(cacert) => vec!["-4", "--cacert", cacert, &url],
            None => vec!["-4", &url],
        };
        let (outcome, phase, found, sentence) = failure(&args);
        assert_eq!((outcome, phase, &*found), (Outcome::Error, Phase::Tls, code), "{sentence}");
        assert!(sentence.contains(words), "{sentence}");
        // It was seen all the same, and -k goes on.
        let (stat, _) = record(&args);
        assert!(!stat.exchange.tls.unwrap().certificates.is_empty());
        let (stat, is_ok) = record(&[&args[..], &["-k"]].concat());
        assert!(is_ok, "{stat:?}");
        let tls = stat.exchange.tls.unwrap();
        assert_eq!((tls.verified, tls.verify_error_code.as_deref()), (Some(false), Some(code)));
        assert!(tls.version.is_some() && stat.exchange.http.status == Some(200));
    }
}

#[test]
fn a_client_is_known_by_its_certificate() {
    let name = "a_client_is_known_by_its_certificate";
    if !has_tool("openssl", name) {
        return;
    }
    let authority = Authority::new();
    let (key, certificate) = authority.sign("client.test", 2020..2090);
    let both = TempDir::new().unwrap();
    let both = both.path().join("both");
    let together = [&certificate, &key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    std::fs::create_dir_all(both.parent().unwrap()).unwrap();
    std::fs::write(&both, together).unwrap();
    let both = both.display().to_string();
    let files = authority.sign("localhost", 2020..2090);
    let cacert = authority.certificate();
    let server = TlsServer::start_with(files, &["-Verify", "1", "-CAfile", &cacert]);
    let url = format!("https://localhost:{}/", server.address.port());
    let (stat, is_ok) = record(&["-4", "--cacert", &cacert, "-E", &both, &url]);
    assert!(is_ok, "{stat:?}");
    // TLS 1.3 refuses it after the handshake, perhaps together with a reset.
    let files = authority.sign("localhost", 2021..2090);
    let older = ["-Verify", "1", "-CAfile", &cacert, "-tls1_2"];
    let server = TlsServer::start_with(files, &older);
    let url = format!("https://localhost:{}/", server.address.port());
    let (_, _, code, sentence) = failure(&["-4", "--cacert", &cacert, &url]);
    assert_eq!(code, "TLS_ALERT", "{sentence}");
    assert!(sentence.contains("-E FILE"), "{sentence}");

    let output = stat_failing(&["-E", &certificate, &url]);
    assert!(output.contains("reading a private key from") && output.contains("PEM"), "{output}");
}

fn stat_failing(args: &[&str]) -> String {
    let output = stat(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    said(&output.stderr).to_owned()
}

#[test]
fn http_and_tls_on_each_others_ports_are_told_apart() {
    let name = "http_and_tls_on_each_others_ports_are_told_apart";
    if !has_tool("openssl", name) {
        return;
    }
    let plain = serve(|stream| {
        (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
        let _ = std::io::copy(&mut &stream, &mut std::io::sink());
    });
    let (_, phase, code, sentence) = failure(&[&format!("https://{plain}/")]);
    assert_eq!((phase, &*code), (Phase::Tls, "TLS_MALFORMED"));
    assert!(sentence.contains("http://"), "{sentence}");
    let server = TlsServer::start();
    let (_, _, code, _) = failure(&[&format!("http://{}/", server.address)]);
    assert!(["HTTP_MALFORMED", "EOF", "ECONNRESET"].contains(&&*code), "{code}");
}

#[test]
fn http_2_is_spoken_with_a_server_that_has_it() {
    let name = "http_2_is_spoken_with_a_server_that_has_it";
    if !["nghttpd", "openssl"].iter().all(|tool| has_tool(tool, name)) || !available(name) {
        return;
    }
    let files = TempDir::new().unwrap();
    let authority = Authority::new();
    let (key, certificate) = authority.sign("localhost", 2020..2090);
    let page = noise(3_000_000);
    std::fs::write(files.path().join("page"), &page).unwrap();
    let namespace = Namespace::new();
    let _server = nghttpd(&namespace, files.path(), &key, &certificate);
    let cacert = authority.certificate();
    let copy = files.path().join("copy").display().to_string();
    let mut command = namespace.command(BINARY);
    command.args(["stat", "--json", "-4", "--cacert", &cacert, "-o", &copy]);
    let (stat, is_ok) =
        record_of(command.args(["-H", "Connection: close", "https://localhost/page?q"]));
    assert!(is_ok, "{stat:?}");
    let exchange = stat.exchange;
    assert_eq!(exchange.http.version.as_deref(), Some("HTTP/2"));
    assert_eq!((exchange.http.status, exchange.http.body_bytes), (Some(200), 3_000_000));
    assert_eq!(exchange.tls.unwrap().alpn.as_deref(), Some("h2"));
    assert_eq!(sha256(&std::fs::read(&copy).unwrap()), sha256(&page));
    assert_eq!(stat.saved_to, Some(copy));
    let leg = exchange.upstream.unwrap();
    let kernel = leg.closed_info.unwrap().sys_info.linux().unwrap().clone();
    assert!(leg.rx_bytes > 3_000_000 && kernel.bytes_received.unwrap() >= leg.rx_bytes);

    let mut command = namespace.command(BINARY);
    command.args(["stat", "--json", "-4", "--cacert", &cacert, "--http1.1"]);
    // This server speaks nothing else.
    let (stat, is_ok) = record_of(command.arg("https://localhost/page"));
    assert!(!is_ok && stat.exchange.http.version.is_none(), "{stat:?}");
}

#[test]
fn a_path_that_loses_packets_is_warned_of() {
    let name = "a_path_that_loses_packets_is_warned_of";
    if !available(name) {
        return;
    }
    let namespace = Namespace::new();
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:80").unwrap());
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut all = vec![0; 500_000];
        (&stream).read_exact(&mut all).unwrap();
        (&stream).write_all(ok("").as_bytes()).unwrap();
        let _ = (&stream).read(&mut [0]);
    });
    // One of ten packets towards the server is gone.
    namespace.nft(
        "add table ip loss; add chain ip loss in { type filter hook input priority 0; }; \
         add rule ip loss in tcp dport 80 numgen inc mod 10 == 9 drop",
    );
    let files = TempDir::new().unwrap();
    let body = files.path().join("body");
    std::fs::write(&body, vec![b'x'; 500_000]).unwrap();
    let mut command = namespace.command(BINARY);
    command.args(["stat", "--json", "-d", &format!("@{}", body.display()), "127.0.0.1"]);
    let (stat, is_ok) = record_of(&mut command);
    assert!(is_ok, "{stat:?}");
    let leg = stat.exchange.upstream.unwrap();
    let sent_again = leg.closed_info.unwrap().retransmits.unwrap();
    let warned = stat.exchange.warnings.iter().find(|w| w.code == WarningCode::Retransmits);
    assert!(sent_again > 0);
    assert_eq!(warned.unwrap().value, sent_again);
}

#[test]
fn a_body_is_saved_here_whatever_the_server_calls_it() {
    let (url, _requests) = answering(|path| {
        let name = match path {
            "/up" => "attachment; filename=\"../../up\"",
            "/hidden" => "attachment; filename=.profile",
            "/absolute" => "attachment; filename*=UTF-8''%2Ftmp%2Fabsolute-name",
            _ => "inline",
        };
        format!("HTTP/1.1 200 OK\r\nContent-Disposition: {name}\r\nContent-Length: 4\r\n\r\nbody")
    });
    let root = TempDir::new().unwrap();
    let here = root.path().join("a/b");
    std::fs::create_dir_all(&here).unwrap();
    for (path, file) in [
        ("up", "up"),
        ("hidden", "_profile"),
        ("absolute", "absolute-name"),
        ("a/c%2F..%2Fd", "d"),
        ("page.html", "page.html"),
        ("", "index.html"),
    ] {
        let url = format!("{url}/{path}");
        let (stat, is_ok) = record_of(stat(&["--json", "-O", &url]).current_dir(&here));
        assert!(is_ok, "{stat:?}");
        assert_eq!(stat.saved_to.as_deref(), Some(file));
        assert_eq!(std::fs::read(here.join(file)).unwrap(), b"body");
    }
    let files = |at: &Path| std::fs::read_dir(at).unwrap().count();
    assert_eq!((files(root.path()), files(&root.path().join("a")), files(&here)), (1, 1, 6));

    let url = format!("{url}/page.html");
    let output = stat(&["-O", &url]).current_dir(&here).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let sentence = said(&output.stderr);
    assert!(sentence.contains("File exists") && sentence.contains("-o FILE"), "{sentence}");
}

#[test]
fn proxies_of_the_environment_are_gone_through_as_curl_does() {
    let name = "proxies_of_the_environment_are_gone_through_as_curl_does";
    let (plain, requests) = answering(|_| ok("x"));
    let proxy = Proxy::serving(&[]);
    let (http, socks) =
        (format!("http://{}", proxy.address()), format!("socks5h://{}", proxy.address()));
    let mut count = 0;
    for (variable, value) in [("http_proxy", &http), ("ALL_PROXY", &socks)] {
        let (stat, is_ok) = record_of(stat(&["--json", &plain]).env(variable, value));
        assert!(is_ok, "{stat:?}");
        assert_eq!(stat.exchange.via.as_ref(), Some(value));
        let request = requests.recv_timeout(PATIENCE).unwrap();
        assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
        count += 1;
        assert_eq!(proxy.wait_for_records(count).len(), count);
    }
    for (variable, value) in [("https_proxy", &*http), ("no_proxy", "127.0.0.1")] {
        let mut command = stat(&["--json", &plain]);
        if variable == "no_proxy" {
            command.env("http_proxy", &http);
        }
        let (stat, is_ok) = record_of(command.env(variable, value));
        assert!(is_ok && stat.exchange.via.is_none(), "{stat:?}");
    }
    if has_tool("openssl", name) {
        let server = TlsServer::start();
        let url = format!("https://localhost:{}/", server.address.port());
        let mut command = stat(&["--json", "--cacert", &server.certificate, &url]);
        let (stat, is_ok) = record_of(command.env("https_proxy", &http));
        assert!(is_ok, "{stat:?}");
        let leg = stat.exchange.upstream.unwrap();
        assert_eq!(leg.remote_addr, Some(proxy.address()));
        assert!(leg.own_tx_bytes > 0 && leg.own_rx_bytes > 0);
        count += 1;
        let seen = proxy.wait_for_records(count).pop().unwrap();
        assert_eq!(seen.target, Some(format!("localhost:{}", server.address.port())));
        // What the proxy got is what we sent.
        assert_eq!(seen.client.rx_bytes, leg.tx_bytes);
    }
    let refused = stat_with(&[&plain], "http_proxy", "https://user:s3cret@host:1");
    assert!(refused.contains("http_proxy") && !refused.contains("s3cret"), "{refused}");
    let (_held, deaf) = deaf_port();
    let dead = stat_with(&[&plain], "http_proxy", &format!("http://{deaf}"));
    assert!(dead.contains(&format!("through http://{deaf}: Connection refused")), "{dead}");
}

fn stat_with(args: &[&str], variable: &str, value: &str) -> String {
    let output = stat(args).env(variable, value).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    said(&output.stderr).to_owned()
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
        missing.contains("reading certificates from '/no/such/file': No such file"),
        "{missing}"
    );
    let missing = stat_failing(&["-d", "@/no/such/file", "http://host/"]);
    assert!(missing.contains("reading '/no/such/file' for the request's body"), "{missing}");
}
