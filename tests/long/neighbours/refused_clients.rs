//! Clients that may not connect, as fast as they can, beside one that may; records on a small disk.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use conniver::record::Record;
use serde::Deserialize;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::window::{Probe, forwarded, measure};
use super::{Findings, QUIET, RUNS, Series};
use crate::harness::outputs::SmallDisk;
use crate::harness::peers::echo_server;
use crate::harness::program::{BINARY, Proxy};
use crate::harness::run;

const REFUSED: usize = 20_000;

const THREADS: u8 = 4;

const ALLOWED: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Of the disk; each run has its own.
const DISK: u32 = 20_000_000;

/// When the proxy no longer accepts, the rest of the refused clients is given up.
const BURST: Duration = Duration::from_secs(8);

const ANSWER: Duration = Duration::from_secs(2);

/// One connection from a client that no `--allow-from` names, until the proxy has ended it.
fn be_refused(client: [u8; 4], proxy: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((client, 0)).into())?;
    socket.set_read_timeout(Some(ANSWER))?;
    // For connecting, too.
    socket.set_write_timeout(Some(ANSWER))?;
    let end = socket.connect(&proxy.into()).and_then(|()| (&socket).read(&mut [0; 64]));
    match end {
        Ok(0) => Ok(()),
        Ok(_) => Err(io::Error::other("it got an answer")),
        // A reset may be there before the system call that connects has returned.
        Err(error) => match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Ok(()),
            _ => Err(error),
        },
    }
}

/// What became of the refused clients of one run.
#[derive(Default)]
struct Burst {
    refused: usize,
    failures: Vec<String>,
    took: Duration,
}

fn be_many(proxy: SocketAddr) -> Burst {
    let (began, next) = (Instant::now(), AtomicUsize::new(0));
    let client = |number: u8| {
        let (mut refused, mut failures) = (0, Vec::new());
        // An address a thread: one has too few ports for so many at once.
        while next.fetch_add(1, Ordering::Relaxed) < REFUSED && began.elapsed() < BURST {
            match be_refused([127, 0, 0, 2 + number], proxy) {
                Ok(()) => refused += 1,
                Err(error) => failures.push(error.to_string()),
            }
        }
        (refused, failures)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|number| scope.spawn(move || client(number))).collect();
        let mut burst = Burst::default();
        for thread in threads {
            let (refused, failures) = thread.join().unwrap();
            burst.refused += refused;
            burst.failures.extend(failures);
        }
        burst.took = began.elapsed();
        burst
    })
}

/// Of a record, only whose it is.
#[derive(Deserialize)]
struct Line {
    client: Option<Client>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    remote_addr: Option<SocketAddr>,
}

/// How many lines there are about refused clients, or nobody in particular, and their bytes.
fn lines_of_others(all: &str) -> (usize, usize) {
    let is_of_others = |line: &&str| {
        let client = serde_json::from_str::<Line>(line).unwrap().client;
        client.and_then(|client| client.remote_addr).is_none_or(|it| it.ip() != ALLOWED)
    };
    let others = all.lines().filter(is_of_others).map(|line| line.len() + 1);
    others.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
}

/// What one run left behind.
struct Run {
    burst: Burst,
    records: Vec<Record>,
    log_bytes: usize,
    /// Those that are not the quiet client's, and their bytes.
    lines: (usize, usize),
    problems: Vec<String>,
}

fn one_run(series: &mut Series, forward: &str) -> Run {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let disk = SmallDisk::mount(&path, DISK);
    let args = ["--allow-from", "127.0.0.1/32"];
    let proxy = Proxy::start_in(directory, &mut Command::new(BINARY), &[forward], &args);
    let address = proxy.address();
    let probe: Probe<'_> = &|| forwarded(address);
    series.quiet.extend(measure(&[probe], || std::thread::sleep(QUIET)));
    let mut burst = Burst::default();
    series.loud.extend(measure(&[probe], || burst = be_many(address)));
    // What waits to be written shall not be lost because of this check.
    run("mount", &["-o", "remount,size=1g", path.to_str().unwrap()]);
    // It can still be read when its directory is gone.
    let mut file = File::open(proxy.records_file()).unwrap();
    let left = proxy.stop();
    let mut all = String::new();
    file.read_to_string(&mut all).unwrap();
    drop((file, disk));
    // Mounted on, it could not be removed with the proxy.
    let _ = std::fs::remove_dir(&path);

    let mut problems = Vec::new();
    if left.stderr.contains("No space left on device") {
        problems.push(format!("the disk of {DISK} bytes was full"));
    }
    if burst.refused < REFUSED {
        problems.push(format!(
            "{} of {REFUSED} clients were refused in {:.1?}, {} failed otherwise, such as {:?}",
            burst.refused,
            burst.took,
            burst.failures.len(),
            burst.failures.first()
        ));
    }
    if left.status.code() != Some(0) {
        let end: Vec<_> = left.stderr.lines().rev().take(5).collect();
        problems.push(format!("the proxy ended with {}, last words first: {end:#?}", left.status));
    }
    let (log_bytes, lines) = (left.stderr.len(), lines_of_others(&all));
    Run { burst, records: left.records(), log_bytes, lines, problems }
}

pub(crate) fn refused_clients() -> String {
    assert!(SmallDisk::available("refused_clients"));
    let forward = format!("0:{}", echo_server());
    let mut series = Series::new(format!("a client beside {REFUSED} refused ones"));
    let runs: Vec<Run> = (0..RUNS).map(|_| one_run(&mut series, &forward)).collect();
    let mut findings = Findings::default();
    findings.judge(&series);
    let windows = series.quiet.iter().zip(&series.loud);
    let mut probes_and_records = Vec::new();
    for (number, (run, (quiet, loud))) in runs.iter().zip(windows).enumerate() {
        let Run { burst, log_bytes, lines: (count, bytes), .. } = run;
        println!(
            "run {}: {} refused in {:.1?}; {count} lines of {bytes} bytes about them, {log_bytes} \
             bytes of log",
            number + 1,
            burst.refused,
            burst.took
        );
        for problem in &run.problems {
            findings.problem(format!("run {}: {problem}", number + 1));
        }
        probes_and_records.push((quiet.clients.iter().chain(&loud.clients), &run.records));
    }
    for (probes, records) in probes_and_records {
        findings.compare_records(probes.copied(), records);
    }
    let sum = |figure: fn(&Run) -> usize| runs.iter().map(figure).sum::<usize>();
    let refused = sum(|run| run.burst.refused).max(1);
    findings.figure(format!(
        "{} bytes of records and {} of log for each refused one",
        sum(|run| run.lines.1) / refused,
        sum(|run| run.log_bytes) / refused
    ));
    findings.note()
}
