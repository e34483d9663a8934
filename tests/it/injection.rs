//! Text from elsewhere that wants to be more than text: terminals' commands, lines of its own, turned
//! directions. Nothing that the program writes has it as it came.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use conniver::record::{self, Line};

use crate::harness::has_tool;
use crate::harness::peers::{Upstream, echo_server, exchange, read_all};
use crate::harness::program::{BINARY, Proxy, wait_for};
use crate::metrics::{ask, shown_on};

/// A terminal's commands (C0 and C1), a line end, and characters that end lines or turn the direction
/// in Unicode. Behind it, what a script would take for ours.
const HOSTILE: &str = "\u{1b}[31m\u{9b}2J\u{7f}\u{202e}\u{2028}\u{85}\r\nlistening on 6.6.6.6:6, ";

/// The same as far as it fits into a line of a protocol.
fn in_line() -> String {
    HOSTILE.replace("\r\n", "")
}

fn is_active(c: char) -> bool {
    c.is_control() && c != '\n'
        || "\u{61c}\u{200e}\u{200f}".contains(c)
        || ('\u{2028}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// It has only its own line ends, and nothing else that is more than text.
fn assert_tame(what: &str, text: &str) {
    let active = text.find(is_active).map(|at| &text[at.saturating_sub(20)..]);
    assert_eq!(active, None, "{what}");
    assert!(!text.lines().any(|line| line.starts_with("listening on 6")), "{what}: {text}");
}

/// All that a proxy has written. `count` pairs must have their records.
fn assert_writes_tamely(proxy: Proxy, count: usize) -> String {
    proxy.wait_for_records(count);
    let records = std::fs::read_to_string(proxy.records_file()).unwrap();
    assert_tame("records", &records);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert_tame("standard error", &left.stderr);
    assert!(left.stderr.contains(" written, 0 lost"), "it talks: {}", left.stderr);
    records
}

/// A program that says everything.
fn talking() -> Command {
    let mut command = Command::new(BINARY);
    command.env("RUST_LOG", "trace");
    command
}

/// Sends it, and reads what is said to it until the connection has ended in whatever way.
fn say(proxy: &Proxy, bytes: &[u8]) {
    let mut client = proxy.connect();
    client.write_all(bytes).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = client.read_to_end(&mut Vec::new());
}

#[test]
fn what_clients_of_a_proxy_say_commands_nothing() {
    let args = ["-D", "0", "--metrics", "0", "--label", &format!("key={HOSTILE}")];
    let proxy = Proxy::start(&mut talking(), &[], &args);
    let (text, turned) = (in_line(), "\u{202e}moc.elpmaxe");
    let raw = [b"CONNECT \x9b31m\xff", text.as_bytes(), b":80 HTTP/1.1\r\n\r\n"].concat();
    let socks_5 = |name: &str, port: &[u8]| {
        let length = [u8::try_from(name.len()).unwrap()];
        [b"\x05\x01\x00\x05\x01\x00\x03", &length[..], name.as_bytes(), port].concat()
    };
    let user = [&b"\x05\x01\x02\x01\x04"[..], b"\x1b[0m", b"\x02\x9b\x07"].concat();
    let said: &[Vec<u8>] = &[
        raw,
        format!("CONNECT {text}:80 HTTP/1.1\r\nHost: {text}\r\n\r\n").into(),
        // The turned name is one that is looked up, in vain.
        format!("CONNECT {turned}:80 HTTP/1.1\r\n\r\n").into(),
        format!("GET http://{turned}/{text} HTTP/1.1\r\nHost: {turned}\r\n\r\n").into(),
        format!("G{text} http://{text}/ HTTP/1.1\r\nHost: {text}\r\n\r\n").into(),
        format!("GET http://a.invalid/ HTTP/1.1\r\nHost: a.invalid\r\n{text}: {text}\r\n\r\n")
            .into(),
        [b"\x04\x01\x00\x50\x00\x00\x00\x01", text.as_bytes(), b"\0", HOSTILE.as_bytes(), b"\0"]
            .concat(),
        [b"\x04\x01\x00\x50\x00\x00\x00\x01\0", turned.as_bytes(), b"\0"].concat(),
        socks_5(HOSTILE, b"\x00\x50"),
        socks_5(turned, b"\x00\x50"),
        user,
        HOSTILE.into(),
    ];
    for bytes in said {
        say(&proxy, bytes);
    }
    let shown_on = shown_on(&proxy);
    let (_, metrics) = ask(shown_on, "GET /metrics");
    assert!(metrics.contains("conniver_pairs_ended_total{"), "{metrics}");
    assert_tame("metrics", &metrics);
    let mut curious = TcpStream::connect(shown_on).unwrap();
    // In one piece, because it may be reset.
    let head = format!("G{text} /{text} HTTP/1.1\r\nHost: {text}\r\n\r\n");
    curious.write_all(head.as_bytes()).unwrap();
    let _ = curious.read_to_end(&mut Vec::new());
    let records = assert_writes_tamely(proxy, said.len());
    // JSON has the characters, escaped.
    assert!(records.contains("\\u202emoc.elpmaxe"), "{records}");
    let labels: Vec<_> = record::read(records.as_bytes()).map(Result::unwrap).collect();
    let Line::Close(first) = &labels[0] else { panic!("{labels:?}") };
    assert_eq!(first.labels["key"], HOSTILE);
}

#[test]
fn what_a_load_balancer_announces_commands_nothing() {
    let forward = format!("0:{}", echo_server());
    let proxy = Proxy::start(&mut talking(), &[&forward], &["--accept-proxy"]);
    let v1 = format!("PROXY TCP4 {} 192.0.2.2 1 2\r\n", in_line());
    let unknown = format!("PROXY UNKNOWN {}\r\nx", &in_line());
    // A v2 header with a TLV of the name that the client asked for (PP2_TYPE_AUTHORITY).
    let tlv = [&[2, 0, u8::try_from(HOSTILE.len()).unwrap()], HOSTILE.as_bytes()].concat();
    let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2];
    let length = u16::try_from(addresses.len() + tlv.len()).unwrap().to_be_bytes();
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let v2 = [&signature[..], &[0x21, 0x11], &length, &addresses, &tlv, b"x"].concat();
    for bytes in [v1.as_bytes(), unknown.as_bytes(), &v2] {
        say(&proxy, bytes);
    }
    assert_writes_tamely(proxy, 3);
}

/// A ClientHello that names this server.
fn client_hello(name: &[u8]) -> Vec<u8> {
    let counted =
        |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let names = counted(&[&[0][..], &counted(name)].concat());
    let extensions = counted(&[&[0, 0][..], &counted(&names)].concat());
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &extensions].concat();
    let message = [&[1, 0][..], &counted(&body)].concat();
    [&[0x16, 3, 1][..], &counted(&message)].concat()
}

#[test]
fn what_is_seen_on_the_way_commands_nothing() {
    let answer = format!("HTTP/1.1 200 {0}\r\nServer: {0}\r\n\r\n", in_line());
    let text = in_line();
    let request = format!("G{text} /{text} HTTP/1.1\r\nHost: {text}\r\n\r\n");
    let turned = "GET / HTTP/1.1\r\nHost: \u{202e}moc.elpmaxe\r\n\r\n";
    for said in [
        request.as_bytes(),
        turned.as_bytes(),
        &client_hello(HOSTILE.as_bytes()),
        &client_hello(b"\x9b1m.a"),
    ] {
        let answer = answer.clone();
        let upstream = Upstream::once(move |mut stream| {
            // The client may not read it.
            let _ = stream.write_all(answer.as_bytes());
            read_all(&mut stream)
        });
        let forward = format!("0:{}", upstream.address);
        let proxy = Proxy::start(&mut talking(), &[&forward], &[]);
        say(&proxy, said);
        assert_eq!(upstream.join(), said, "it passes as it is");
        assert_writes_tamely(proxy, 1);
    }
}

#[test]
fn what_a_parent_answers_commands_nothing() {
    let answers: &[(&str, Vec<u8>)] = &[
        ("http", format!("HTTP/1.1 502 {0}\r\nVia: {0}\r\n\r\n{0}", in_line()).into()),
        ("http", HOSTILE.into()),
        ("socks5", [&b"\x05\xff"[..], HOSTILE.as_bytes()].concat()),
        ("socks5h", [&b"\x05\x00\x05\x01\x00\x03\x30"[..], HOSTILE.as_bytes()].concat()),
    ];
    for (scheme, answer) in answers {
        let answer = answer.clone();
        let parent = Upstream::once(move |mut stream| {
            let _ = stream.write_all(&answer);
            // It may be reset.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let via = format!("{scheme}://{}", parent.address);
        let args = ["-D", "0", "--via", &via];
        let proxy = Proxy::start(&mut talking(), &[], &args);
        say(&proxy, b"CONNECT 192.0.2.1:80 HTTP/1.1\r\n\r\n");
        assert_writes_tamely(proxy, 1);
    }
}

#[test]
fn what_a_local_client_is_called_commands_nothing() {
    if !has_tool("bash", "what_a_local_client_is_called_commands_nothing") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("\u{1b}[31m\n\u{9b}6\u{202e}");
    symlink("/bin/bash", &program).unwrap();
    let forward = format!("0:{}", echo_server());
    let proxy = Proxy::start(&mut talking(), &[&forward], &[]);
    let talk = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{} && printf x >&3 && read -rn1 -u3; read -r; true",
        proxy.address().port()
    );
    let mut client =
        Command::new(&program).args(["-c", &talk]).stdin(Stdio::piped()).spawn().unwrap();
    proxy.wait_to_hear("the client 127.0.0.1");
    drop(client.stdin.take());
    assert!(wait_for(&mut client).success());
    let record = proxy.the_record();
    let name = record.process.unwrap().name.unwrap();
    assert!(name.starts_with("\u{1b}[31m\n\u{9b}"), "{name:?}");
    let directory = proxy.records_file();
    let records = std::fs::read_to_string(directory).unwrap();
    assert!(records.contains("\\u001b[31m\\n\\u009b6\\u202e"), "{records}");
    assert_writes_tamely(proxy, 1);
}

#[test]
fn what_files_of_records_have_in_them_commands_nothing() {
    // A real line, with a name in it that no proxy would have written.
    let proxy = Proxy::forwarding_to(echo_server(), &["--events", "open,close"]);
    exchange(&mut proxy.connect(), b"x");
    proxy.the_record();
    let lines = std::fs::read_to_string(proxy.records_file()).unwrap();
    let mut open: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    for key in ["target", "id", "listener", "host"] {
        open[key] = HOSTILE.into();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(HOSTILE.replace('/', ""));
    std::fs::write(&file, format!("{open}\n{HOSTILE}\n{{\"a\": \"{HOSTILE}")).unwrap();
    for (file, status) in [(&*file, 1), (Path::new(&format!("/no/such/{HOSTILE}")), 2)] {
        let output = Command::new(BINARY).arg("check").arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(status));
        assert_tame("check", &String::from_utf8([output.stdout, output.stderr].concat()).unwrap());
    }
    let nowhere = format!("/no/such/{HOSTILE}");
    for args in [
        ["proxy", "-L", "0:127.0.0.1:9", "-o", &nowhere],
        ["proxy", "-D", "0", "--auth-file", &nowhere],
        ["stat", "-d", &format!("@{nowhere}"), "http://127.0.0.1:9/", "-4"],
        ["stat", "--cacert", &nowhere, "https://127.0.0.1:9/", "-4"],
        ["run", "-q", "--", &nowhere, "x"],
    ] {
        let output = Command::new(BINARY).args(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("conniver: "), "{said}");
        assert_tame("failure", &said);
        // What goes on in the next line is indented, so that it is no line of its own.
        assert!(said.lines().skip(1).all(|line| line.starts_with("    ")), "{said}");
    }
}

#[test]
fn what_a_program_asked_for_commands_nothing_in_its_summary() {
    if !has_tool("bash", "what_a_program_asked_for_commands_nothing_in_its_summary") {
        return;
    }
    let talk = "a=${http_proxy#http://}; a=${a%/}; exec 3<>/dev/tcp/${a%:*}/${a##*:}; \
                printf 'CONNECT \\xe2\\x80\\xaemoc.elpmaxe:80 HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3";
    let output = Command::new(BINARY)
        .args(["run", "--", "bash", "-c", talk])
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_tame("summary", &said);
    assert!(said.contains("conniver: 1 connection\n") && said.contains("moc.elpmaxe:80"), "{said}");
}

/// All that `stat` writes about a server that answers this, on a terminal's behalf and as JSON.
fn stat(answer: &str, args: &[&str]) -> String {
    let answer = answer.to_owned();
    let server = Upstream::once(move |mut stream: TcpStream| {
        stream.write_all(answer.as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut command = talking();
    command.arg("stat").args(args).arg(format!("http://{}/", server.address));
    let output = command.stdin(Stdio::null()).output().unwrap();
    server.join();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn what_a_server_answers_commands_nothing() {
    // What HTTP lets into a field; ESC and line ends it does not.
    let text = "\u{9b}31m\u{202e}\u{2028}\u{85}";
    let good = format!("HTTP/1.1 200 {text}\r\nServer: {text}\r\nContent-Length: 0\r\n\r\n");
    let leads =
        format!("HTTP/1.1 302 x\r\nLocation: http://{text}/{text}\r\nContent-Length: 0\r\n\r\n");
    let bad = format!("HTTP/1.1 200 OK\r\nX: {HOSTILE}\r\n\r\n");
    for answer in [good, leads, bad, HOSTILE.to_owned()] {
        for args in [&[][..], &["--json"], &["-L"]] {
            assert_tame(&format!("{answer:?} {args:?}"), &stat(&answer, args));
        }
    }
}
