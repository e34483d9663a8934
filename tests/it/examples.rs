//! The examples do what they say.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use conniver::Report;

use crate::harness::clients::{Server, without_proxies};
use crate::harness::output;
use crate::harness::peers::{Upstream, echo_server, exchange};
use crate::harness::program::Proxy;

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
