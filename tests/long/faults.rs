//! An output that fails or stands still for ten seconds under load: no record is lost.

use std::io::pipe;
use std::process::Command;
use std::time::Duration;

use conniver::record::Line;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::outputs::{Reader, SmallDisk};
use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{BINARY, Proxy, closed, read_lines};

const PAIRS: usize = 4000;
const CLIENTS: usize = 4;
const OUTAGE: Duration = Duration::from_secs(10);

/// Pairs as fast as they can come, while `work` is done.
fn under_load(proxy: &Proxy, work: impl FnOnce()) {
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..PAIRS / CLIENTS {
                    exchange(&mut proxy.connect(), b"x");
                }
            });
        }
        work();
    });
}

/// Every pair has its record, once, with the byte that its client sent and got back.
fn figures(lines: Vec<Line>, said: &str) -> String {
    let records = closed(lines);
    let mut seqs: Vec<u64> = records.iter().map(|record| record.seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=PAIRS as u64).collect::<Vec<_>>());
    for record in &records {
        let legs = [&record.client, record.upstream.as_ref().unwrap()];
        assert_eq!(legs.map(|leg| (leg.rx_bytes, leg.tx_bytes)), [(1, 1); 2]);
    }
    let waited = said.matches("new connections wait").count();
    format!("{PAIRS} pairs, {} records, queue full {waited} times", records.len())
}

pub(crate) fn ten_seconds_of_a_full_disk() -> String {
    assert!(SmallDisk::available("ten seconds of a full disk"));
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let _disk = SmallDisk::mount(&path, 128 << 20);
    let ballast = path.join("ballast");
    std::fs::write(&ballast, vec![0; 124 << 20]).unwrap();
    let forward = format!("0:{}", echo_server());
    let args = ["--queue", "8MiB"];
    let proxy = Proxy::start_in(directory, &mut Command::new(BINARY), &[&forward], &args);
    under_load(&proxy, || {
        proxy.wait_to_hear("No space left on device");
        std::thread::sleep(OUTAGE);
        std::fs::remove_file(&ballast).unwrap();
        proxy.wait_to_hear("works again");
    });
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    figures(left.lines, &left.stderr)
}

pub(crate) fn ten_seconds_of_a_stopped_reader() -> String {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("read.ndjson");
    let (theirs, ours) = pipe().unwrap();
    let reader = Reader::start(theirs, &file);
    let forward = format!("0:{}", echo_server());
    let proxy = Proxy::start_printing(ours, &[&forward], &["--queue", "8MiB"]);
    under_load(&proxy, || {
        reader.signal(Signal::SIGSTOP);
        std::thread::sleep(OUTAGE);
        reader.signal(Signal::SIGCONT);
    });
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    reader.join();
    figures(read_lines(&file), &left.stderr)
}
