//! What is drawn for people: in the room that there is, and also of what failed.

use std::io::Write;
use std::net::TcpListener;

use conniver::record::WarningCode;

use super::{ok, record, record_of, request, said, serve, stat};
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::deaf_port;
use crate::harness::program::BINARY;
use crate::harness::tls::TlsServer;
use tempfile::TempDir;

/// Lines that are too long for a terminal of 80 columns.
fn too_long(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.chars().count() > 80).collect()
}

#[test]
fn a_drawing_fits_into_80_columns_and_ports_stay_whole() {
    // A parent proxy takes any name.
    let parent = serve(|stream| {
        request(&stream);
        (&stream).write_all(ok("hello").as_bytes()).unwrap();
    });
    let host = "a-service-with-a-long-name.a-namespace-with-a-long-name.svc.cluster.test";
    let url = format!("http://{host}:18443/path");
    let output = stat(&["--via", &format!("http://{parent}"), &url]).output().unwrap();
    let text = said(&output.stdout);
    assert!(output.status.success(), "{}", said(&output.stderr));
    assert_eq!(too_long(text), [""; 0], "{text}");
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("GET http://a-service-with") && first.ends_with(":18443/path"));
    assert!(first.contains('…') && first.chars().count() == 80, "{first}");

    let name = "a_drawing_fits_into_80_columns_and_ports_stay_whole";
    if !has_tool("openssl", name) {
        return;
    }
    let server =
        TlsServer::start_as("a-service-with-a-long-name.a-namespace.svc.cluster.test", &[]);
    let output = stat(&["-k", &format!("https://{}/", server.address)]).output().unwrap();
    let text = said(&output.stdout);
    assert!(text.contains("Server      Transfer"), "{text}");
    assert_eq!(too_long(text), [""; 0], "{text}");
    if !has_tool("script", name) {
        return;
    }
    let command = format!("stty rows 24 cols 120; {BINARY} stat -k https://{}/", server.address);
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(std::process::Stdio::null());
    let output = script.env("no_proxy", "*").env("TERM", "xterm").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Server Processing   Content Transfer"), "{text}");
}

#[test]
fn phases_of_what_never_got_there_are_drawn_as_absent() {
    let (_held, deaf) = deaf_port();
    for (url, row) in [
        (format!("http://{deaf}/"), "connect:-"),
        ("http://no-such-host.invalid/".to_owned(), "namelookup:-"),
        (format!("https://{deaf}/"), "pretransfer:-"),
    ] {
        let output = stat(&[&url]).output().unwrap();
        let text = said(&output.stdout);
        assert_eq!(output.status.code(), Some(1));
        assert!(text.contains(row) && text.contains("starttransfer:-  "), "{text}");
        assert!(!text.contains("total:-") && !text.contains("TCP: "), "{text}");
        let phases = record(&[&url]).0.exchange.phases;
        assert_eq!((phases.tls, phases.server, phases.transfer), (None, None, None));
    }
}

#[test]
fn an_attempt_that_was_given_up_is_drawn() {
    if !available("an_attempt_that_was_given_up_is_drawn") {
        return;
    }
    let namespace = Namespace::new();
    namespace.hosts("::1 both\n127.0.0.1 both\n");
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:80").unwrap());
    namespace.nft("add table inet hole; add chain inet hole in { type filter hook input priority 0; }; add rule inet hole in ip6 daddr ::1 tcp dport != 0 drop");
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        request(&stream);
        (&stream).write_all(ok("").as_bytes()).unwrap();
        let _ = std::io::copy(&mut &stream, &mut std::io::sink());
    });
    let output = namespace.command(BINARY).args(["stat", "http://both/"]).output().unwrap();
    let text = said(&output.stdout);
    assert!(output.status.success(), "{}", said(&output.stderr));
    let line = text.lines().find(|line| line.starts_with("[::1]:80: abandoned after ")).unwrap();
    assert!(line.ends_with("ms, another address connected first"), "{line}");
}

#[test]
fn a_server_that_does_not_read_is_warned_of() {
    // Nothing but its end, which never comes, is waited for.
    let deaf = serve(|_stream| {
        loop {
            std::thread::park();
        }
    });
    let files = TempDir::new().unwrap();
    let body = files.path().join("body");
    std::fs::write(&body, vec![b'x'; 32_000_000]).unwrap();
    let body = format!("@{}", body.display());
    let url = format!("http://{deaf}/");
    let (stat, _) = record_of(&mut stat(&["--json", "--max-time", "2s", "-d", &body, &url]));
    let warnings = stat.exchange.warnings;
    let warned = warnings.iter().find(|warning| warning.code == WarningCode::ZeroWindow);
    let warned = warned.unwrap_or_else(|| panic!("{warnings:?}"));
    assert!(warned.value >= 200_000_000, "{warned:?}");
}
