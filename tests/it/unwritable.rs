//! Records that cannot be written for a while: they wait, and all of them arrive.

use std::collections::BTreeSet;
use std::io::{Read, pipe};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use conniver::record::{self, Line};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::output::line_number;
use crate::harness::outputs::{Reader, SmallDisk};
use crate::harness::peers::{echo_server, exchange, read_all};
use crate::harness::program::{BINARY, Proxy, read_lines, wait_until};
use crate::harness::{has_tool, run};

/// Pairs, one after the other.
fn pairs(proxy: &Proxy, count: usize) {
    for _ in 0..count {
        exchange(&mut proxy.connect(), b"x");
    }
}

/// The lines' numbers, as they stand there.
fn numbers(lines: &[Line]) -> Vec<u64> {
    lines.iter().map(line_number).collect()
}

/// Each number once, in order, up to `count`.
fn assert_complete(lines: &[Line], count: u64) {
    assert_eq!(numbers(lines), (1..=count).collect::<Vec<_>>());
}

/// Makes many more pairs than a small queue holds; when it is full, what must go on goes on, and
/// `relieve` shall let everything be written. A pair is open at the end; all others are closed.
fn fill_the_queue(proxy: &Proxy, relieve: impl FnOnce()) -> (TcpStream, u64) {
    const PAIRS: usize = 200;
    let (mut open, mut ending) = (proxy.connect(), proxy.connect());
    exchange(&mut open, b"up");
    exchange(&mut ending, b"up");
    let before = proxy.descriptors();
    let made = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..PAIRS {
                exchange(&mut proxy.connect(), b"x");
                made.fetch_add(1, Ordering::Relaxed);
            }
        });
        proxy.wait_to_hear("new connections wait");
        assert_eq!(exchange(&mut open, b"goes on"), b"goes on");
        ending.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut ending), b"", "an open pair ends as it would have ended");
        wait_until("nothing is held for what waits to be written", || proxy.descriptors() < before);
        assert!(made.load(Ordering::Relaxed) < PAIRS / 2, "new connections wait");
        relieve();
    });
    (open, PAIRS as u64 + 2)
}

/// Some twenty records.
const SMALL_QUEUE: [&str; 2] = ["--queue", "200kB"];

#[test]
fn a_reader_that_stops_costs_no_byte_and_no_descriptor_and_no_open_connection() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("read.ndjson");
    let (theirs, ours) = pipe().unwrap();
    let reader = Reader::start(theirs, &file);
    let proxy = Proxy::start_printing(ours, &[&format!("0:{}", echo_server())], &SMALL_QUEUE);
    pairs(&proxy, 1);
    reader.signal(Signal::SIGSTOP);
    let (open, count) = fill_the_queue(&proxy, || reader.signal(Signal::SIGCONT));
    drop(open);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    reader.join();
    assert_complete(&read_lines(&file), count + 1);
}

#[test]
fn a_stopped_reader_is_waited_for_at_the_end() {
    let (mut theirs, ours) = pipe().unwrap();
    let proxy = Proxy::start_printing(ours, &[&format!("0:{}", echo_server())], &["-v"]);
    pairs(&proxy, 30);
    let address = proxy.address();
    proxy.signal(Signal::SIGTERM);
    wait_until("it listens no more", || TcpStream::connect(address).is_err());
    let mut read = Vec::new();
    theirs.read_to_end(&mut read).unwrap();
    let left = proxy.wait();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    let last = left.stderr.lines().last().unwrap();
    let lines: Vec<Line> = record::read(&read[..]).map(Result::unwrap).collect();
    assert!(last.ends_with(&format!("{} lines were written, 0 lost", lines.len())), "{last}");
    assert!(lines.len() >= 30);
    assert_complete(&lines, lines.len() as u64);
}

#[test]
fn a_second_signal_leaves_the_writer_a_second_and_says_what_was_not_written() {
    let (mut theirs, ours) = pipe().unwrap();
    let proxy = Proxy::start_printing(ours, &[&format!("0:{}", echo_server())], &[]);
    pairs(&proxy, 30);
    proxy.signal(Signal::SIGTERM);
    proxy.signal(Signal::SIGINT);
    let left = proxy.wait();
    assert_eq!(left.status.code(), Some(1), "{}", left.stderr);
    let mut read = Vec::new();
    theirs.read_to_end(&mut read).unwrap();
    let whole = read.iter().filter(|&&byte| byte == b'\n').count();
    let last = left.stderr.lines().last().unwrap();
    assert_eq!(last, format!("conniver: {} records were not written", 30 - whole));
}

#[test]
fn a_standard_output_that_does_not_block_gets_every_line_whole() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("read.ndjson");
    let (theirs, ours) = pipe().unwrap();
    rustix::io::ioctl_fionbio(&ours, true).unwrap();
    let reader = Reader::start(theirs, &file);
    reader.signal(Signal::SIGSTOP);
    let proxy = Proxy::start_printing(ours, &[&format!("0:{}", echo_server())], &SMALL_QUEUE);
    let (open, count) = fill_the_queue(&proxy, || reader.signal(Signal::SIGCONT));
    drop(open);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    reader.join();
    assert_complete(&read_lines(&file), count);
}

/// A disk of 4 MiB with room for a few records, and the file that takes the rest.
fn nearly_full_disk(on: &Path) -> (SmallDisk<'_>, PathBuf) {
    let disk = SmallDisk::mount(on, 4 << 20);
    let ballast = on.join("ballast");
    std::fs::write(&ballast, vec![0; 4_100_000]).unwrap();
    (disk, ballast)
}

#[test]
fn a_full_disk_loses_and_tears_no_record_whatever_happens_meanwhile() {
    let what = "a_full_disk_loses_and_tears_no_record_whatever_happens_meanwhile";
    if !SmallDisk::available(what) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let (_disk, ballast) = nearly_full_disk(&path);
    let forward = format!("0:{}", echo_server());
    let proxy = Proxy::start_in(directory, &mut Command::new(BINARY), &[&forward], &SMALL_QUEUE);
    pairs(&proxy, 20);
    assert!(proxy.wait_to_hear("No space left on device").contains("lines waiting"));
    // Opening the file anew is of no use now, and must not hurt.
    proxy.signal(Signal::SIGHUP);
    let (open, count) = fill_the_queue(&proxy, || std::fs::remove_file(&ballast).unwrap());
    proxy.wait_to_hear("works again");
    drop(open);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    for words in ["No space left on device", "works again"] {
        assert_eq!(left.stderr.matches(words).count(), 1, "it is said once: {}", left.stderr);
    }
    assert_complete(&left.lines, count + 20);
}

#[test]
fn a_full_disk_gets_room_when_the_file_of_records_is_removed() {
    let what = "a_full_disk_gets_room_when_the_file_of_records_is_removed";
    if !SmallDisk::available(what) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let _disk = SmallDisk::mount(&path, 200_000);
    let forward = format!("0:{}", echo_server());
    let proxy = Proxy::start_in(directory, &mut Command::new(BINARY), &[&forward], &[]);
    // Twice as much as fits.
    pairs(&proxy, 30);
    proxy.wait_to_hear("No space left on device");
    let removed = numbers(&read_lines(&proxy.records_file()));
    std::fs::remove_file(proxy.records_file()).unwrap();
    proxy.wait_to_hear("works again");
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    let (removed, found) =
        (BTreeSet::from_iter(removed), BTreeSet::from_iter(numbers(&left.lines)));
    assert_eq!(&removed | &found, (1..=30).collect());
}

#[test]
fn quiet_still_says_that_records_are_not_written() {
    let what = "quiet_still_says_that_records_are_not_written";
    if !SmallDisk::available(what) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let (_disk, ballast) = nearly_full_disk(&path);
    let forward = format!("0:{}", echo_server());
    let args = [&SMALL_QUEUE[..], &["-q"]].concat();
    let proxy = Proxy::start_in(directory, &mut Command::new(BINARY), &[&forward], &args);
    pairs(&proxy, 20);
    proxy.wait_to_hear("No space left on device");
    let (open, count) = fill_the_queue(&proxy, || std::fs::remove_file(&ballast).unwrap());
    proxy.wait_to_hear("works again");
    drop(open);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert_complete(&left.lines, count + 20);
}

#[test]
fn an_output_that_fails_for_good_is_given_up_with_a_count_and_no_torn_line() {
    let what = "an_output_that_fails_for_good_is_given_up_with_a_count_and_no_torn_line";
    if !SmallDisk::available(what) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let _disk = SmallDisk::mount(&path, 65_536);
    let forward = format!("0:{}", echo_server());
    let proxy = Proxy::start_in(directory, &mut Command::new(BINARY), &[&forward], &[]);
    pairs(&proxy, 20);
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

#[test]
fn a_file_that_may_not_grow_is_an_error_that_passes() {
    let what = "a_file_that_may_not_grow_is_an_error_that_passes";
    if !has_tool("prlimit", what) {
        return;
    }
    let mut command = Command::new("prlimit");
    command.args(["--fsize=50000:unlimited", BINARY]);
    let proxy = Proxy::start(&mut command, &[&format!("0:{}", echo_server())], &[]);
    pairs(&proxy, 20);
    proxy.wait_to_hear("File too large");
    run("prlimit", &["--fsize=unlimited", "--pid", &proxy.pid().to_string()]);
    proxy.wait_to_hear("works again");
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert_complete(&left.lines, 20);
}

#[test]
fn records_wait_for_a_directory_that_was_removed() {
    let outer = TempDir::new().unwrap();
    let path = outer.path().join("records");
    std::fs::create_dir(&path).unwrap();
    let inner = tempfile::Builder::new().prefix("made").tempdir_in(&path).unwrap();
    let (path, forward) = (inner.path().to_owned(), format!("0:{}", echo_server()));
    let proxy = Proxy::start_in(inner, &mut Command::new(BINARY), &[&forward], &[]);
    pairs(&proxy, 5);
    proxy.wait_for_records(5);
    std::fs::remove_dir_all(&path).unwrap();
    pairs(&proxy, 5);
    proxy.wait_to_hear("No such file or directory");
    pairs(&proxy, 5);
    std::fs::create_dir(&path).unwrap();
    proxy.wait_to_hear("works again");
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert_eq!(numbers(&left.lines), (6..=15).collect::<Vec<_>>());
}
