//! The configurations of collectors in `scripts/collectors`, with the collectors that can be had.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::clients::Server;
use crate::harness::has_tool;
use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{Proxy, wait_until};

/// Starts rsyslog with a configuration of ours, in which these texts are replaced.
fn rsyslog(name: &str, directory: &Path, replacements: &[(&str, &str)]) -> Server {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/collectors").join(name);
    let mut text = fs::read_to_string(file).unwrap();
    for (from, to) in replacements {
        assert!(text.contains(from), "{from} in {name}");
        text = text.replace(from, to);
    }
    let work = directory.join(format!("{name}.work"));
    fs::create_dir(&work).unwrap();
    let configuration = directory.join(name);
    let text = format!("global(workDirectory=\"{}\")\n{text}", work.display());
    fs::write(&configuration, text).unwrap();
    Server::start(
        Command::new("rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(configuration)
            .arg("-i")
            .arg(work.join("pid"))
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn rsyslog_brings_every_line_as_it_was_written_also_through_rotation() {
    if !has_tool("rsyslogd", "rsyslog_brings_every_line_as_it_was_written_also_through_rotation") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    // rsyslog can only be told a port: one that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let proxy = Proxy::forwarding_to(echo_server(), &["--events", "start,open,close"]);
    let (records, collected) = (proxy.records_file(), directory.join("collected"));
    let _receiver = rsyslog(
        "rsyslog-receiver.conf",
        directory,
        &[("/var/log/conniver", collected.to_str().unwrap()), ("5514", &port)],
    );
    // A sender that finds no receiver waits for half a minute, and then may send a line twice.
    wait_until("the receiver listens", || TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    let _sender = rsyslog(
        "rsyslog-sender.conf",
        directory,
        &[
            ("/var/log/conniver/records.ndjson", records.to_str().unwrap()),
            ("logs.example.com", "127.0.0.1"),
            ("5514", &port),
        ],
    );

    let written = |path: &Path| fs::read(path).unwrap_or_default();
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    let talk = || {
        for _ in 0..50 {
            exchange(&mut proxy.connect(), "grüße".as_bytes());
        }
    };
    // At the turn of an hour there are two files; their names are in order.
    let arrived = || {
        let mut files = files(&collected);
        files.sort();
        files.iter().map(|file| written(file)).collect::<Vec<_>>().concat()
    };
    talk();
    // A file that has another name before the sender has found it is never read.
    wait_until("the sender follows the file", || !arrived().is_empty());
    talk();
    wait_until("the first connections are written", || lines(&written(&records)) == 201);
    let rotated = records.with_extension("1");
    fs::rename(&records, &rotated).unwrap();
    proxy.signal(Signal::SIGHUP);
    wait_until("the file is opened anew", || records.exists());
    talk();
    wait_until("the other connections are written", || lines(&written(&records)) == 100);

    let all = [written(&rotated), written(&records)].concat();
    wait_until("all lines have arrived", || arrived().len() >= all.len());
    assert!(arrived() == all, "what arrived is not what was written");
}
