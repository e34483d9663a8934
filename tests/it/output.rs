//! Where records go: files that are rotated, pipes whose reader leaves, files with a torn end.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use conniver::record::Line;
use nix::sys::signal::Signal;

use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{BINARY, Proxy, read_lines, wait_for, wait_until};
use crate::harness::{has_tool, run, skip};

#[test]
fn sighup_under_load_opens_the_file_anew_and_loses_nothing() {
    let proxy = Proxy::forwarding_to(echo_server(), &[]);
    let file = proxy.records_file();
    let rotated = |n: u32| file.with_extension(format!("{n}"));
    let stop = AtomicBool::new(false);
    let pairs: u64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut pairs = 0;
                    while !stop.load(Ordering::Relaxed) {
                        exchange(&mut proxy.connect(), b"x");
                        pairs += 1;
                    }
                    pairs
                })
            })
            .collect();
        for n in 0..3 {
            // Rotate once there is something in the present file, and wait for the new one.
            wait_until("records come", || {
                std::fs::metadata(&file).is_ok_and(|meta| meta.len() > 0)
            });
            std::fs::rename(&file, rotated(n)).unwrap();
            proxy.signal(Signal::SIGHUP);
            wait_until("the file is there again", || file.exists());
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let mut lines: Vec<Line> = (0..3).flat_map(|n| read_lines(&rotated(n))).collect();
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    lines.extend(left.lines);

    let numbers: Vec<u64> = lines
        .iter()
        .map(|line| match line {
            Line::Close(record) => record.line,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(numbers, (1..=pairs).collect::<Vec<_>>(), "in order, without a gap, in four files");
}

/// Waits until a proxy listens: its address, and the rest of what it says.
fn listening(proxy: &mut Child) -> (SocketAddr, BufReader<ChildStderr>) {
    let mut said = BufReader::new(proxy.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    (line.split([' ', ',']).nth(2).unwrap().parse().unwrap(), said)
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
        let (_recorder, writer) =
            conniver::record::Recorder::start(conniver::record::Output::File(made.clone()), || {})
                .unwrap();
        writer.finish();
        assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
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

/// A small file system, mounted on a directory for as long as this lives.
struct SmallDisk<'d>(&'d std::path::Path);

impl<'d> SmallDisk<'d> {
    /// Whether one can be mounted here; says so when not.
    fn available(what: &str) -> bool {
        if !nix::unistd::geteuid().is_root() {
            skip(what, "it mounts a small file system, which needs root");
            return false;
        }
        has_tool("mount", what)
    }

    fn mount(on: &'d std::path::Path, bytes: u32) -> Self {
        let size = format!("size={bytes}");
        run("mount", &["-t", "tmpfs", "-o", &size, "none", on.to_str().unwrap()]);
        Self(on)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l".as_ref(), self.0.as_os_str()]).status();
    }
}

#[test]
fn a_full_disk_loses_and_tears_no_record_whatever_happens_meanwhile() {
    let what = "a_full_disk_loses_and_tears_no_record_whatever_happens_meanwhile";
    if !SmallDisk::available(what) {
        return;
    }
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let _disk = SmallDisk::mount(&path, 1 << 20);
    let ballast = path.join("ballast");
    std::fs::write(&ballast, vec![0; 1_000_000]).unwrap();
    let forward = format!("0:{}", echo_server());
    let proxy = Proxy::start_in(directory, &mut Command::new(BINARY), &[&forward], &[]);
    for _ in 0..20 {
        exchange(&mut proxy.connect(), b"x");
    }
    assert!(proxy.wait_to_hear("No space left on device").contains("waiting to be written"));
    let file = proxy.records_file();
    wait_until("the torn line is cut", || std::fs::read(&file).is_ok_and(|b| b.ends_with(b"\n")));
    // Opening the file anew is of no use now, and must not hurt.
    proxy.signal(Signal::SIGHUP);
    std::fs::remove_file(&ballast).unwrap();
    proxy.wait_to_hear("works again");
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    let numbers: Vec<u64> = left.records().iter().map(|record| record.line).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

#[test]
fn an_output_that_fails_for_good_is_given_up_with_a_count_and_no_torn_line() {
    let what = "an_output_that_fails_for_good_is_given_up_with_a_count_and_no_torn_line";
    if !SmallDisk::available(what) {
        return;
    }
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let _disk = SmallDisk::mount(&path, 65_536);
    let forward = format!("0:{}", echo_server());
    let proxy = Proxy::start_in(directory, &mut Command::new(BINARY), &[&forward], &[]);
    for _ in 0..20 {
        exchange(&mut proxy.connect(), b"x");
    }
    proxy.wait_to_hear("No space left on device");
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(1));
    let written = left.lines.len();
    assert!(
        left.stderr.contains(&format!("{} records were not written", 20 - written)),
        "{}",
        left.stderr
    );
    assert!(left.ends_whole);
}
