//! One file of records that several processes write to, also when its disk is full.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use conniver::record::{Check, Finding, Line};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::outputs::SmallDisk;
use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{BINARY, Proxy, read_lines, wait_until};
use crate::harness::{has_tool, output};

/// On a disk of 1 MiB, it leaves room for some ten lines.
const BALLAST: usize = 960_000;

fn start(file: &Path, echo: SocketAddr) -> Proxy {
    Proxy::start_printing(Stdio::null(), &[&format!("0:{echo}")], &["-o", file.to_str().unwrap()])
}

fn pairs(proxy: &Proxy, count: usize) {
    for _ in 0..count {
        exchange(&mut proxy.connect(), b"x");
    }
}

/// What is wrong with a file, and how many pairs it has.
fn checked(file: &Path) -> (Vec<Finding>, u64) {
    let mut check = Check::default();
    check.read("shared", File::open(file).unwrap()).unwrap();
    let checked = check.finish();
    (checked.findings, checked.closed)
}

#[test]
fn a_full_disk_costs_no_record_of_any_process_that_writes_to_the_file() {
    let what = "a_full_disk_costs_no_record_of_any_process_that_writes_to_the_file";
    if !SmallDisk::available(what) {
        return;
    }
    const PROXIES: usize = 3;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("shared.ndjson");
    let _disk = SmallDisk::mount(directory.path(), 4 << 20);
    let ballast = directory.path().join("ballast");
    let echo = echo_server();
    let proxies: Vec<Proxy> = (0..PROXIES).map(|_| start(&file, echo)).collect();
    let mut count = 0;
    for _ in 0..5 {
        // All but some pages, and no whole number of lines.
        let length = std::fs::metadata(&file).unwrap().len();
        let free = (4 << 20) - length.next_multiple_of(4096);
        std::fs::write(&ballast, vec![0; usize::try_from(free).unwrap() - 50_000]).unwrap();
        std::thread::scope(|scope| {
            for proxy in &proxies {
                scope.spawn(|| pairs(proxy, 20));
            }
        });
        count += 20 * PROXIES;
        wait_until("the disk is full", || {
            let written = std::fs::metadata(&file).unwrap().len();
            written > length
                && written.next_multiple_of(4096) - length.next_multiple_of(4096) >= 40_960
        });
        std::fs::remove_file(&ballast).unwrap();
        wait_until("all is written", || {
            let text = std::fs::read(&file).unwrap();
            text.iter().filter(|&&byte| byte == b'\n').count() >= count && text.ends_with(b"\n")
        });
    }
    for proxy in proxies {
        let left = proxy.stop();
        assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    }
    assert_eq!(checked(&file), (vec![], count as u64));
}

/// A proxy whose disk is full in the middle of a line, and where its records are.
fn cut_short(directory: &Path) -> (Proxy, PathBuf, PathBuf) {
    let file = directory.join("records.ndjson");
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![0; BALLAST]).unwrap();
    let proxy = start(&file, echo_server());
    pairs(&proxy, 16);
    proxy.wait_to_hear("No space left on device");
    (proxy, file, ballast)
}

#[test]
fn nothing_that_others_append_is_cut_off_a_file() {
    let what = "nothing_that_others_append_is_cut_off_a_file";
    if !SmallDisk::available(what) || !has_tool("strace", what) {
        return;
    }
    let (directory, traced) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = directory.path().to_owned();
    let _disk = SmallDisk::mount(&path, 1 << 20);
    let (ballast, trace) = (path.join("ballast"), traced.path().join("trace"));
    std::fs::write(&ballast, vec![0; BALLAST]).unwrap();
    let mut command = Command::new("strace");
    // The tracer as a grandchild: the program is ours to stop. Between its look at the file's length and
    // cutting it, there would be time for the other program to append.
    command.args(["-D", "-f", "-e", "trace=truncate,ftruncate"]);
    command.args(["-e", "inject=truncate,ftruncate:delay_enter=1000000", "-o"]).arg(&trace);
    let echo = echo_server();
    let forward = format!("0:{echo}");
    let proxy = Proxy::start_in(directory, command.arg(BINARY), &[&forward], &[]);
    let file = proxy.records_file();
    let other = start(&file, echo);
    pairs(&proxy, 16);
    proxy.wait_to_hear("No space left on device");
    std::fs::remove_file(&ballast).unwrap();
    pairs(&other, 5);
    proxy.wait_to_hear("works again");
    let stopped = [other.stop(), proxy.stop()];
    for left in &stopped {
        assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    }
    let [_, left] = stopped;
    assert_eq!(left.lines.len(), 21, "{}", left.stderr);
    let mut calls = String::new();
    wait_until("the tracer has written all", || {
        calls = std::fs::read_to_string(&trace).unwrap();
        calls.contains("+++ exited with 0 +++")
    });
    assert!(!calls.contains("truncate("), "{calls}");
}

#[test]
fn a_record_that_a_full_disk_cut_short_survives_copytruncate() {
    let what = "a_record_that_a_full_disk_cut_short_survives_copytruncate";
    if !SmallDisk::available(what) || !has_tool("logrotate", what) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let _disk = SmallDisk::mount(directory.path(), 1 << 20);
    let (proxy, file, ballast) = cut_short(directory.path());
    let elsewhere = TempDir::new().unwrap();
    let (config, state) = (elsewhere.path().join("config"), elsewhere.path().join("state"));
    let rotate = format!(
        "{} {{\ncopytruncate\nrotate 1\nsu root root\nolddir {}\n}}\n",
        file.display(),
        elsewhere.path().display()
    );
    std::fs::write(&config, rotate).unwrap();
    output(Command::new("logrotate").arg("--force").arg("--state").args([&state, &config]));
    proxy.wait_to_hear("works again");
    std::fs::remove_file(ballast).unwrap();
    pairs(&proxy, 1);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    // What was cut short is the last line of the copy, if it is there.
    let copy = std::fs::read(elsewhere.path().join("records.ndjson.1")).unwrap();
    let mut found = BTreeMap::<u64, usize>::new();
    let copied = conniver::record::read(&copy[..]).filter_map(Result::ok);
    for line in copied.chain(read_lines(&file)) {
        let Line::Close(record) = line else { panic!("{line:?}") };
        *found.entry(record.seq).or_default() += 1;
    }
    assert_eq!(found, (1..=17).map(|seq| (seq, 1)).collect());
}

#[test]
fn after_a_kill_in_the_middle_of_a_line_others_begin_on_lines_of_their_own() {
    let what = "after_a_kill_in_the_middle_of_a_line_others_begin_on_lines_of_their_own";
    if !SmallDisk::available(what) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let _disk = SmallDisk::mount(directory.path(), 1 << 20);
    let (killed, file, ballast) = cut_short(directory.path());
    let other = start(&file, echo_server());
    pairs(&other, 5);
    killed.signal(Signal::SIGKILL);
    std::fs::remove_file(ballast).unwrap();
    let left = other.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = conniver::record::read(text.as_bytes()).collect();
    let bad = lines.iter().filter(|line| line.is_err()).count();
    assert!(bad <= 1, "{bad} bad lines");
    let mut whole: Vec<u64> = lines
        .into_iter()
        .flatten()
        .map(|line| match line {
            Line::Close(record) => record.seq,
            other => panic!("{other:?}"),
        })
        .collect();
    // A pair may be recorded when the next one has begun.
    let others = whole.len() - 5;
    whole[others..].sort_unstable();
    assert_eq!(whole[others..], [1, 2, 3, 4, 5]);
}

#[test]
fn a_lock_that_somebody_keeps_holds_records_up_for_a_moment() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("records.ndjson");
    let proxy = start(&file, echo_server());
    let held = OpenOptions::new().read(true).open(&file).unwrap();
    held.lock().unwrap();
    pairs(&proxy, 3);
    proxy.wait_to_hear("locked by another process");
    wait_until("they are written all the same", || read_lines(&file).len() == 3);
    pairs(&proxy, 3);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert_eq!(checked(&file), (vec![], 6));
    assert_eq!(left.stderr.matches("locked by another process").count(), 1, "{}", left.stderr);
}
