//! The examples do what they say.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use conniver::Report;

use crate::harness::clients::{Server, without_proxies};
use crate::harness::peers::{Upstream, echo_server, exchange};
use crate::harness::program::{BINARY, Proxy};
use crate::harness::{output, skip};

/// An example, built as the tests are.
fn example(name: &str) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        let tests = std::env::current_exe().unwrap();
        let profile = tests.ancestors().nth(2).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--examples", "--target-dir"]);
        cargo.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        // What cargo tells a test of its package: some dependencies would be built anew for it.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| {
                name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
            }) {
                cargo.env_remove(name);
            }
        }
        output(&mut cargo);
        profile.join("examples")
    });
    Command::new(directory.join(name))
}

/// Runs one to its end: what it prints, and what it says.
fn run(name: &str, argument: &str) -> (String, String) {
    let mut command = example(name);
    let output = output(without_proxies(&mut command).arg(argument));
    let [stdout, stderr] = [output.stdout, output.stderr].map(String::from_utf8);
    (stdout.unwrap(), stderr.unwrap())
}

/// Answers one request.
fn server() -> Upstream<()> {
    Upstream::once(|mut stream| {
        let mut head = String::new();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        if !head.starts_with("HEAD ") {
            stream.write_all(b"hello").unwrap();
        }
    })
}

/// Whether this is the line of a connection to there that has received something.
fn tells_of(said: &str, address: SocketAddr) -> bool {
    said.lines().any(|line| {
        line.contains(&format!(" -> {address}: "))
            && line.contains(", sent ")
            && !line.contains(" received 0 bytes")
            && line.contains(" at close")
    })
}

#[test]
fn the_std_client_prints_its_report_as_json() {
    let server = server();
    let (printed, _) = run("std_client", &server.address.to_string());
    assert!(printed.starts_with("HTTP/1.1 200 OK\r\n") && printed.contains("\nnow: RTT "));
    let report: Report = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(report.remote_addr, Some(server.address));
    assert!(report.rx_bytes > 0 && report.closed_info.is_some(), "{report}");
    server.join();
}

#[test]
fn the_tokio_client_says_its_report_in_a_line() {
    let server = server();
    let (printed, said) = run("tokio_client", &server.address.to_string());
    assert!(printed.starts_with("HTTP/1.1 200 OK\r\n"), "{printed}");
    assert!(tells_of(&said, server.address), "{said}");
    server.join();
}

#[test]
fn the_hyper_client_says_a_report_of_its_connection() {
    let server = server();
    let (printed, said) = run("hyper_client", &format!("http://{}/", server.address));
    assert_eq!(printed, "hello");
    assert!(said.contains("200 OK\n") && tells_of(&said, server.address), "{said}");
    server.join();
}

#[test]
fn the_reqwest_client_says_a_report_of_the_connection_to_the_server() {
    let server = server();
    let (printed, said) = run("reqwest_client", &format!("http://{}/", server.address));
    assert_eq!(printed, "hello");
    assert!(said.contains("200 OK\n") && tells_of(&said, server.address), "{said}");
    server.join();
}

#[test]
fn the_server_says_a_report_of_each_connection_that_it_accepted() {
    let mut command = example("server");
    let mut server = Server::start(command.arg("127.0.0.1:0").stderr(Stdio::piped()));
    let mut said = BufReader::new(server.0.stderr.take().unwrap()).lines();
    let listening = said.next().unwrap().unwrap();
    let address = listening.strip_prefix("listening on ").unwrap();
    for request in [&b"one"[..], b"two"] {
        let mut client = TcpStream::connect(address).unwrap();
        let local = client.local_addr().unwrap();
        assert_eq!(exchange(&mut client, request), request);
        drop(client);
        let line = said.next().unwrap().unwrap();
        let start = format!("{address} -> {local}: ");
        assert!(line.starts_with(&start) && line.contains("sent 3 bytes, received 3"), "{line}");
    }
}

#[test]
fn the_reader_of_records_shows_the_slowest_to_connect() {
    let target = echo_server();
    let proxy = Proxy::forwarding_to(target, &[]);
    exchange(&mut proxy.connect(), b"x");
    proxy.wait_for_records(1);
    let (printed, said) = run("read_records", &proxy.records_file().display().to_string());
    assert!(printed.ends_with(&format!(" to connect to {target}\n")), "{printed}{said}");
}

/// A shop with one page for everything, which keeps its connections.
fn shop() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                while lines.any(|line| line.is_empty()) {
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                    (&stream).write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

#[test]
fn the_suite_of_pytest_passes_and_its_connections_are_not_as_expected() {
    let name = "the_suite_of_pytest_passes_and_its_connections_are_not_as_expected";
    // Debian's own Python has Debian's packages.
    let pythons = ["python3", "/usr/bin/python3"];
    let has_pytest = |python: &&str| {
        let version = Command::new(python).args(["-m", "pytest", "--version"]).output();
        version.is_ok_and(|output| output.status.success())
    };
    let Some(python) = pythons.into_iter().find(has_pytest) else {
        return skip(name, "pytest is not installed");
    };
    let (shop, directory) = (shop(), tempfile::TempDir::new().unwrap());
    let run = |tests: &str| {
        let mut command = Command::new(BINARY);
        command.args(["run", "--url-var", "SHOP_URL", "--expect", "connections=1"]);
        command.args(["--expect", "lost=0", "--expect", "endedBy=client", "--", python, "-m"]);
        command.args(["pytest", "-q", "-p", "no:cacheprovider", "-k", tests]);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pytest"));
        command.current_dir(directory.path()).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("SHOP_URL", format!("http://{shop}/"));
        let output = without_proxies(&mut command).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(String::from_utf8);
        (output.status.code(), stdout.unwrap(), stderr.unwrap())
    };
    let (status, printed, said) = run("names");
    assert_eq!(status, Some(0), "{printed}{said}");
    assert!(printed.contains("1 passed") && !said.contains("expected"), "{printed}{said}");

    let (status, printed, said) = run("shop");
    assert_eq!(status, Some(3), "{printed}{said}");
    assert!(printed.contains("2 passed"), "{printed}");
    let broken: Vec<_> = said.lines().filter(|line| line.starts_with("expected ")).collect();
    let [broken] = broken[..] else { panic!("{said}") };
    assert!(broken.starts_with(&format!("expected connections=1: there were 4: #1 to {shop}, ")));
    assert_eq!(said.lines().last(), Some("conniver: expectation failed (1 of 3)"));
}
