//! Where records go: files that are rotated, pipes whose reader leaves, files with a torn end.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use conniver::output::{self, Output, Recorder};
use conniver::record::Line;
use nix::sys::signal::Signal;

use crate::arguments::unwrapped;
use crate::harness::has_tool;
use crate::harness::load::under_load;
use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{BINARY, Proxy, listening, read_lines, wait_for, wait_until};

#[test]
fn sighup_and_sigusr1_reopen_the_file_under_load_and_lose_nothing() {
    for signal in [Signal::SIGHUP, Signal::SIGUSR1] {
        reopen_under_load(signal);
    }
}

fn reopen_under_load(signal: Signal) {
    let proxy = Proxy::forwarding_to(echo_server(), &[]);
    let file = proxy.records_file();
    let rotated = |n: u32| file.with_extension(format!("{n}"));
    let pairs = under_load(proxy.address(), || {
        for n in 0..3 {
            // Rotate once there is something in the present file, and wait for the new one.
            wait_until("records come", || {
                std::fs::metadata(&file).is_ok_and(|meta| meta.len() > 0)
            });
            std::fs::rename(&file, rotated(n)).unwrap();
            proxy.signal(signal);
            wait_until("the file is there again", || file.exists());
        }
    }) as u64;
    let mut lines: Vec<Line> = (0..3).flat_map(|n| read_lines(&rotated(n))).collect();
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    lines.extend(left.lines);

    let numbers: Vec<u64> = lines.iter().map(line_number).collect();
    assert_eq!(numbers, (1..=pairs).collect::<Vec<_>>(), "in order, without a gap, in four files");
}

pub(crate) fn line_number(line: &Line) -> u64 {
    match line {
        Line::Close(record) => record.line,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_of_something_else_is_not_appended_to() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("file");
    let run = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["run", "-q"]).args(args).arg("-o").arg(&file).args(["--", "true"]);
        command.output().unwrap()
    };
    for content in [
        &b"<!DOCTYPE html>\n"[..],
        b"\x1f\x8b\x08\0",
        b"\0\0\0\x18ftyp",
        b"a,b\n",
        b"{\n  \"name\": \"app\"\n}\n",
        b"{\"log\":{\"entries\":[]}}",
        b"{\"event\":\"start\",\"time\":1}\n{\"event\":\"stop\",\"time\":2}\n",
    ] {
        for fresh in [&[][..], &["--fresh"]] {
            std::fs::write(&file, content).unwrap();
            let output = run(fresh);
            assert_eq!(output.status.code(), Some(125), "{output:?}");
            let said = unwrapped(&String::from_utf8(output.stderr).unwrap());
            assert!(said.contains("something else than records"), "{said}");
            assert_eq!(std::fs::read(&file).unwrap(), content, "nothing was touched");
        }
    }
    // A record that was cut short by a kill, a full disk or a power failure.
    let torn = b"{\"event\":\"close\",\"schema\":1,\"ti";
    for content in [&b""[..], b"{\"event\"", torn, b"     \n", b"\0\0\0\0"] {
        for fresh in [&[][..], &["--fresh"]] {
            std::fs::write(&file, content).unwrap();
            let output = run(fresh);
            assert!(output.status.success(), "{content:?}: {output:?}");
        }
    }
}

#[test]
fn a_name_that_promises_compression_is_told_that_there_is_none() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("records.GZ");
    let mut run = Command::new(BINARY);
    run.args(["run", "--events", "start", "-o"]).arg(&file).args(["--", "true"]);
    let output = run.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let warning = format!("records are not compressed: '{}' will be plain text", file.display());
    assert!(said.contains(&warning), "{said}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("{\"event\":\"start\""));
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly() {
    let echo = echo_server();
    let mut proxy = Command::new(BINARY)
        .args(["proxy", "-L", &format!("0:{echo}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The reader is gone before there is any record.
    drop(proxy.stdout.take());
    assert_eq!(wait_for(&mut proxy).code(), Some(0));
    let output = proxy.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("listening on 127.0.0.1:") && said.lines().count() == 1, "{said}");
}

#[test]
fn head_1_gets_one_record_and_everything_ends() {
    if !has_tool("head", "head_1_gets_one_record_and_everything_ends") {
        return;
    }
    let echo = echo_server();
    let script = format!("\"$0\" proxy -L 0:{echo} | head -1");
    let mut shell = Command::new("sh")
        .args(["-c", &script, BINARY])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (address, mut said) = listening(&mut shell);
    for _ in 0..3 {
        if let Ok(mut client) = std::net::TcpStream::connect(address) {
            // After the first record it may end at any moment.
            let _ = client.write_all(b"x");
        }
    }
    let output = shell.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 1);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    assert_eq!(rest, "", "it ends without a word");
}

#[test]
fn a_file_with_a_torn_last_line_keeps_our_first_one_whole() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("torn.ndjson");
    std::fs::write(&file, "{\"event\":\"close\",\"sch").unwrap();
    let status = Command::new(BINARY)
        .args(["proxy", "-L", "0:127.0.0.1:9", "--events", "start,stop", "-o"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            let _said = listening(&mut child);
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
            child.wait()
        })
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let lines: Vec<_> = conniver::record::read(std::fs::File::open(&file).unwrap()).collect();
    assert!(lines[0].is_err(), "the torn line is reported");
    assert!(matches!(lines[1], Ok(Line::Start(_))), "{:?}", lines[1]);
    assert!(matches!(lines[2], Ok(Line::Stop(_))), "{:?}", lines[2]);
    assert_eq!(lines.len(), 3);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let made = directory.path().join("made.ndjson");
        let output = Output::file(made.clone());
        let (_recorder, writer) = Recorder::start(output, output::QUEUE, || {}).unwrap();
        writer.finish();
        assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_writer_that_is_dropped_has_written_what_was_queued() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("dropped.ndjson");
    let line: Line = serde_json::from_str(
        r#"{"event":"stop","schema":1,"time":"2026-01-01T00:00:00Z","host":"","labels":{},
            "runId":"00000000-0000-7000-8000-000000000000","duration":0,"pairs":0,"linesLost":0,"line":0}"#,
    )
    .unwrap();
    let (recorder, writer) =
        Recorder::start(Output::file(file.clone()), output::QUEUE, || {}).unwrap();
    for _ in 0..1000 {
        recorder.push(&line);
    }
    drop(writer);
    assert_eq!(read_lines(&file).len(), 1000);
}

#[test]
fn a_reader_that_leaves_cuts_no_open_connection_short() {
    let echo = echo_server();
    let mut proxy = Command::new(BINARY)
        .args(["proxy", "--drain", "20s", "-L", &format!("0:{echo}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (address, _said) = listening(&mut proxy);
    let connect = || std::net::TcpStream::connect(address).unwrap();
    let (mut first, mut second) = (connect(), connect());
    exchange(&mut first, b"x");
    exchange(&mut second, b"x");
    drop(proxy.stdout.take());
    wait_until("it accepts no more", || std::net::TcpStream::connect(address).is_err());
    // The record of the first one finds nobody to read it.
    drop(first);
    assert_eq!(exchange(&mut second, b"still here"), b"still here");
    drop(second);
    assert_eq!(wait_for(&mut proxy).code(), Some(0));
}

#[test]
fn the_sample_for_logrotate_rotates_and_loses_nothing() {
    if !has_tool("logrotate", "the_sample_for_logrotate_rotates_and_loses_nothing") {
        return;
    }
    let proxy = Proxy::forwarding_to(echo_server(), &[]);
    exchange(&mut proxy.connect(), b"x");
    proxy.wait_for_records(1);
    let file = proxy.records_file();
    let directory = file.parent().unwrap();
    let sample = include_str!("../../scripts/logrotate.conf");
    let config = sample.replace("/var/log/conniver", directory.to_str().unwrap()).replace(
        "systemctl try-reload-or-restart conniver.service",
        &format!("kill -HUP {}", proxy.pid()),
    );
    assert!(config.contains("kill -HUP") && !config.contains("/var/log"));
    let (settings, state) = (directory.join("logrotate.conf"), directory.join("state"));
    std::fs::write(&settings, config).unwrap();
    crate::harness::output(
        Command::new("logrotate").arg("--force").arg("--state").args([&state, &settings]),
    );
    wait_until("the file is there again", || file.exists());
    let rotated = read_lines(&file.with_extension("ndjson.1"));
    exchange(&mut proxy.connect(), b"x");
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    let lines: Vec<u64> = rotated.iter().chain(&left.lines).map(line_number).collect();
    assert_eq!((rotated.len(), lines), (1, vec![1, 2]));
}

#[test]
fn two_processes_may_append_to_one_file() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("shared.ndjson");
    let forward = format!("0:{}", echo_server());
    let start =
        || Proxy::start_printing(Stdio::null(), &[&forward], &["-o", file.to_str().unwrap()]);
    let mut proxies = vec![start()];
    std::thread::scope(|scope| {
        let load = |proxy: SocketAddr| {
            for _ in 0..200 {
                exchange(&mut std::net::TcpStream::connect(proxy).unwrap(), b"x");
            }
        };
        let first = proxies[0].address();
        scope.spawn(move || load(first));
        // Opened while the first one writes.
        for _ in 0..3 {
            proxies.push(start());
        }
        for proxy in &proxies[1..] {
            let address = proxy.address();
            scope.spawn(move || load(address));
        }
    });
    for proxy in proxies {
        assert_eq!(proxy.stop().status.code(), Some(0));
    }
    let mut check = conniver::record::Check::default();
    check.read("shared", std::fs::File::open(&file).unwrap()).unwrap();
    let checked = check.finish();
    assert_eq!((checked.findings, checked.runs, checked.closed), (vec![], 4, 800));
}
