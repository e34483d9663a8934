//! Passwords: each way in with one, and nothing that the program writes or keeps has it.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Output, Stdio};

use conniver::record::Outcome;

use crate::harness::namespace::available;
use crate::harness::peers::{Upstream, echo_server, exchange, read_all};
use crate::harness::program::{BINARY, Proxy};
use crate::harness::tls::TlsServer;
use crate::metrics::{ask, shown_on};

/// One that stands in nothing else.
const PASSWORD: &str = "Xyzzy-pl0ugh";

/// `ann:Xyzzy-pl0ugh` and the part of it that every `user:Xyzzy-pl0ugh` with a user of three bytes has
/// in common, in base64.
const BASIC: &str = "YW5uOlh5enp5LXBsMHVnaA==";
const ENCODED: &str = "Olh5enp5LXBsMHVnaA==";

fn assert_hides(what: &str, text: &str) {
    for secret in [PASSWORD, BASIC, ENCODED, "pl0ugh"] {
        assert!(!text.contains(secret), "{what} has '{secret}':\n{text}");
    }
}

/// A program that says everything.
fn talking() -> Command {
    let mut command = Command::new(BINARY);
    command.env("RUST_LOG", "trace");
    command
}

/// A proxy that says everything, with this user.
fn guarded(args: &[&str]) -> Proxy {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    std::fs::write(&users, format!("ann:{PASSWORD}\n")).unwrap();
    let users = users.display().to_string();
    // The file is read before the proxy listens; it may go away then.
    let args = [&["-D", "0", "--metrics", "0", "--auth-file", &users], args].concat();
    Proxy::start(&mut talking(), &[], &args)
}

/// Sends it, and reads what is said to it.
fn say(proxy: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut client = proxy.connect();
    client.write_all(bytes).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    read_all(&mut client)
}

/// Nothing that a proxy has written of `count` pairs has the password.
fn assert_writes_none(proxy: Proxy, count: usize) {
    proxy.wait_for_records(count);
    assert_hides("the records", &std::fs::read_to_string(proxy.records_file()).unwrap());
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert!(left.stderr.contains(" written, 0 lost"), "it talks: {}", left.stderr);
    assert_hides("standard error", &left.stderr);
}

/// SOCKS 5 with the password alone, for a user.
fn socks(user: &str, password: &str, target: std::net::SocketAddr) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    let mut message = vec![5, 1, 2, 1, length(user)];
    message.extend(user.as_bytes());
    message.push(length(password));
    message.extend(password.as_bytes());
    message.extend([5, 1, 0, 1, 127, 0, 0, 1]);
    message.extend(target.port().to_be_bytes());
    message
}

#[test]
fn what_a_client_proves_itself_with_is_written_nowhere() {
    let echo = echo_server();
    let proxy = guarded(&["--events", "start,open,sample,close,stop"]);
    let shown_on = shown_on(&proxy);
    let field = format!("Proxy-Authorization: Basic {BASIC}");
    // Right, wrong, and not even HTTP.
    let granted = say(&proxy, format!("CONNECT {echo} HTTP/1.1\r\n{field}\r\n\r\nx").as_bytes());
    assert!(granted.starts_with(b"HTTP/1.1 200 ") && granted.ends_with(b"x"));
    let heads = [
        format!("GET http://{echo}/ HTTP/1.1\r\nHost: {echo}\r\n{field}\r\n\r\n"),
        format!("GET http://ann:{PASSWORD}@{echo}/ HTTP/1.1\r\nHost: {echo}\r\n{field}\r\n\r\n"),
        format!("CONNECT ann:{PASSWORD}@{echo} HTTP/1.1\r\n{field}\r\n\r\n"),
        format!("CONNECT {echo} HTTP/1.1\r\nProxy-Authorization: Basic eHh4{ENCODED}\r\n\r\n"),
        format!("CONNECT {echo} HTTP/1.1\r\nProxy-Authorization: Bearer {PASSWORD}\r\n\r\n"),
        format!("CONNECT {echo} HTTP/1.1\r\n{field}\r\n{field}\r\n\r\n"),
        format!("CONNECT {echo} HTTP/1.1\r\n{field}"),
        format!("{field}\r\n\r\n"),
    ];
    for head in &heads {
        say(&proxy, head.as_bytes());
    }
    let granted = say(&proxy, &[&socks("ann", PASSWORD, echo)[..], b"x"].concat());
    assert!(granted.starts_with(&[5, 2, 1, 0, 5, 0]) && granted.ends_with(b"x"), "{granted:?}");
    assert_eq!(say(&proxy, &socks("bob", PASSWORD, echo)), [5, 2, 1, 1]);
    assert_eq!(say(&proxy, &[5, 1, 2, 7, 3, b'a', 12]), [5, 2, 1, 1]);
    let (_, metrics) = ask(shown_on, "GET /metrics");
    assert_hides("the metrics", &metrics);
    assert_writes_none(proxy, 1 + heads.len() + 3);
}

#[test]
fn what_the_proxy_proves_itself_with_to_its_parent_is_written_nowhere() {
    // Parents that let in and that do not, and the password in what they say.
    let repeated = format!("HTTP/1.1 407 {PASSWORD}\r\nX: {BASIC}\r\n\r\n{PASSWORD}");
    let answers: &[(&str, &[&[u8]])] = &[
        ("http", &[b"HTTP/1.1 200 OK\r\n\r\n"]),
        ("http", &[repeated.as_bytes()]),
        ("socks5", &[&[5, 2], &[1, 0], &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]]),
        ("socks5h", &[&[5, 2], &[1, 1]]),
    ];
    for request in [
        "CONNECT 192.0.2.1:80 HTTP/1.1\r\n\r\n",
        "GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n",
    ] {
        for (scheme, answers) in answers {
            let answers: Vec<Vec<u8>> = answers.iter().map(|answer| answer.to_vec()).collect();
            let parent = Upstream::once(move |mut stream| {
                let (mut heard, mut piece) = (Vec::new(), [0; 1024]);
                for answer in answers {
                    let bytes = stream.read(&mut piece).unwrap();
                    heard.extend_from_slice(&piece[..bytes]);
                    stream.write_all(&answer).unwrap();
                }
                heard
            });
            let via = format!("{scheme}://ann:{PASSWORD}@{}", parent.address);
            let proxy = Proxy::start(&mut talking(), &[], &["-D", "0", "--via", &via]);
            let mut client = proxy.connect();
            client.write_all(request.as_bytes()).unwrap();
            let heard = String::from_utf8_lossy(&parent.join()).into_owned();
            assert!(heard.contains(BASIC) || heard.contains(PASSWORD), "{heard:?}");
            drop(client);
            assert_writes_none(proxy, 1);
        }
    }
}

/// All that a command says is without the password.
fn assert_says_none(command: &mut Command) -> Output {
    let output = command.env("RUST_LOG", "trace").stdin(Stdio::null()).output().unwrap();
    assert_hides("standard output", &String::from_utf8_lossy(&output.stdout));
    assert_hides("standard error", &String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn what_stat_proves_itself_with_is_written_nowhere() {
    let server = || {
        Upstream::once(|mut stream| {
            let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
            while !heard.ends_with(b"\r\n\r\n") {
                let bytes = stream.read(&mut piece).unwrap();
                heard.extend_from_slice(&piece[..bytes]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            String::from_utf8(heard).unwrap()
        })
    };
    let (authorization, cookie) =
        (format!("Authorization: Basic {BASIC}"), format!("Cookie: {PASSWORD}"));
    for json in [&["--json"][..], &["-vv"]] {
        let one = server();
        let url = format!("http://ann:{PASSWORD}@{}/", one.address);
        assert!(
            assert_says_none(Command::new(BINARY).arg("stat").args(json).arg(&url))
                .status
                .success()
        );
        assert!(one.join().contains(BASIC));

        let one = server();
        let url = format!("http://{}/", one.address);
        let fields = ["-H", &authorization, "-H", &cookie];
        let mut stat = Command::new(BINARY);
        assert!(
            assert_says_none(stat.arg("stat").args(json).args(fields).arg(&url)).status.success()
        );
        let heard = one.join();
        assert!(heard.contains(BASIC) && heard.contains(PASSWORD), "{heard}");

        // A parent by its option, and by the environment.
        let parents = [server(), server()];
        let via = format!("http://ann:{PASSWORD}@{}", parents[0].address);
        let mut stat = Command::new(BINARY);
        assert_says_none(stat.args(["stat", "--via", &via, "http://192.0.2.1/"]).args(json));
        let via = format!("http://ann:{PASSWORD}@{}", parents[1].address);
        let mut stat = Command::new(BINARY);
        stat.env_remove("no_proxy").env_remove("NO_PROXY");
        assert_says_none(
            stat.args(["stat", "http://192.0.2.1/"]).args(json).env("http_proxy", via),
        );
        for parent in parents {
            assert!(parent.join().contains(BASIC));
        }
    }
    // Over TLS.
    let server = TlsServer::start();
    let url = format!("https://ann:{PASSWORD}@{}/", server.address);
    let output = assert_says_none(Command::new(BINARY).args(["stat", "-k", &url]));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_argument_that_is_wrong_is_not_repeated_where_it_may_have_a_password() {
    let said = |args: &[&str], environment: Option<&str>| {
        let mut command = Command::new(BINARY);
        command.args(args).env_remove("no_proxy").env_remove("NO_PROXY");
        if let Some(value) = environment {
            command.envs(["http_proxy", "https_proxy", "all_proxy"].map(|name| (name, value)));
        }
        let output = assert_says_none(&mut command);
        assert!(!output.status.success(), "{args:?}");
    };
    let via = format!("ftp://ann:{PASSWORD}@192.0.2.1");
    said(&["proxy", "-D", "0", "--via", &via], None);
    said(&["stat", "--via", &via, "http://127.0.0.1:9/"], None);
    said(&["stat", "http://127.0.0.1:9/"], Some(&via));
    said(&["run", "--", "true"], Some(&via));
    said(&["stat", &via], None);
    said(&["stat", &format!("http://ann:{PASSWORD}@:0/")], None);
    for header in [format!("Authorization Basic {BASIC}"), format!("Authorization: {PASSWORD}\n")] {
        said(&["stat", "-H", &header, "http://127.0.0.1:9/"], None);
    }
}

/// Where in a process's memory these bytes stand.
fn found_in_memory(pid: u32, bytes: &[u8]) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut region = vec![0; usize::try_from(to - from).unwrap()];
        // Some regions cannot be read.
        if memory.read_exact_at(&mut region, from).is_ok() {
            found.extend(memchr::memmem::find(&region, bytes).map(|at| {
                let around = at.saturating_sub(48)..region.len().min(at + 96);
                format!("{line} at {at:#x}: {}", region[around].escape_ascii())
            }));
        }
    }
    found
}

#[test]
fn what_a_client_proved_itself_with_is_not_in_memory_when_its_pair_has_ended() {
    // Reading another process's memory takes what root has.
    if !available("what_a_client_proved_itself_with_is_not_in_memory_when_its_pair_has_ended") {
        return;
    }
    let echo = echo_server();
    let proxy = guarded(&["--allow", "127.0.0.0/8"]);
    // It is kept as long as it is compared with; what clients give is not.
    assert!(!found_in_memory(proxy.pid(), PASSWORD.as_bytes()).is_empty());
    let wrong = "Plugh-xyzz7";
    let basic = "YW5uOlBsdWdoLXh5eno3";
    let mut said = Vec::new();
    for filler in [0, 5000, 20_000] {
        let filler = "x".repeat(filler);
        let field = format!("X: {filler}\r\nProxy-Authorization: Basic {basic}\r\nY: {filler}");
        said.push(format!("CONNECT {echo} HTTP/1.1\r\n{field}\r\n\r\n").into_bytes());
        said.push(format!("CONNECT {echo} HTTP/1.1\r\n{field}").into_bytes());
        said.push(format!("GET http://{echo}/ HTTP/1.1\r\nHost: {echo}\r\n{field}\r\n\r\n").into());
    }
    said.push(socks("ann", wrong, echo));
    said.push(socks("ann", wrong, echo)[..15].to_vec());
    let right = format!("CONNECT {echo} HTTP/1.1\r\nProxy-Authorization: Basic {BASIC}\r\n\r\n");
    for bytes in &said {
        let mut client = proxy.connect();
        // In pieces, as a network may bring it.
        for piece in bytes.chunks(1500) {
            client.write_all(piece).unwrap();
            std::thread::yield_now();
        }
        client.shutdown(std::net::Shutdown::Write).unwrap();
        read_all(&mut client);
    }
    // A pair that goes on has forgotten it as well.
    let mut open = proxy.connect();
    open.write_all(right.as_bytes()).unwrap();
    open.read_exact(&mut [0; 39]).unwrap();
    assert_eq!(exchange(&mut open, b"x"), b"x");
    let records = proxy.wait_for_records(said.len());
    assert!(records.iter().all(|record| record.outcome != Some(Outcome::Ok)));
    for secret in [wrong, basic, BASIC, &ENCODED[..14]] {
        let found = found_in_memory(proxy.pid(), secret.as_bytes());
        assert_eq!(found, [""; 0], "'{secret}' is still there");
    }
}
