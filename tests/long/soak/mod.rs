//! A mixed load for a long time: every pair has its record, every byte is counted, and nothing is
//! left behind.

mod client;
mod counted;
mod origin;
mod plan;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conniver::record::{Line, Mode, Outcome, Record, Verdict, VerdictTime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::noise::Noise;
use crate::harness::peers::deaf_port;
use crate::harness::program::{BINARY, address_in, wait_for, wait_until};
use client::Places;
use counted::Count;

/// Pairs that begin in a second.
const RATE: u32 = 300;

/// Pairs at once; on a machine that is too slow for the rate, the next ones wait.
const AT_ONCE: usize = 256;

/// How much memory may have grown from the end of the rush to the end.
const GROWTH: f64 = 0.02;

/// Longest rush, seconds: at the beginning pairs come as fast as they can, so that memory has been
/// at its most before it is looked at.
const RUSH: u64 = 30;

/// What pairs came to, as their ends or as their records tell.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    pairs: BTreeMap<(String, String), u64>,
    client: Count,
    upstream: Count,
}

impl Tally {
    fn add(&mut self, mode: Option<Mode>, outcome: Option<Outcome>) {
        let word = |word: Option<String>| word.unwrap_or_else(|| "null".to_owned());
        let key = (word(mode.map(|m| m.to_string())), word(outcome.map(|o| o.to_string())));
        *self.pairs.entry(key).or_default() += 1;
    }

    fn add_record(&mut self, record: &Record) {
        self.add(record.mode, record.outcome);
        if let Some(verdict) = &record.verdict {
            assert_all_time_is_charged_once(verdict, record.duration);
        }
        let count = |leg: &conniver::Report| Count { sent: leg.rx_bytes, received: leg.tx_bytes };
        self.client.add(count(&record.client));
        if let Some(upstream) = &record.upstream {
            self.upstream.add(count(upstream));
        }
    }

    fn all(&self) -> u64 {
        self.pairs.values().sum()
    }
}

/// The times that are somebody's make up the active one, and what is nobody's fits into the rest.
fn assert_all_time_is_charged_once(verdict: &Verdict, lasted: Duration) {
    let time = &verdict.time;
    let VerdictTime { resolver, client, upstream, network_client, network_upstream, proxy, .. } =
        time;
    let sum = *resolver + *client + *upstream + *network_client + *network_upstream + *proxy;
    assert_eq!(sum, verdict.active, "{verdict:?}");
    assert!(verdict.active + time.idle <= lasted, "{lasted:?}: {verdict:?}");
}

/// The proxy, whose records are read as they come.
struct Proxy {
    child: Child,
    recorded: Arc<Mutex<Tally>>,
    reader: JoinHandle<()>,
}

impl Proxy {
    /// Starts it and returns where it listens. Its lines are copied to `copy` as well.
    fn start(args: &[&str], copy: Box<dyn Write + Send>) -> (Self, Vec<std::net::SocketAddr>) {
        let mut child = Command::new(BINARY)
            .args(["proxy", "--events", "close,stop"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let count = args.iter().filter(|arg| ["-L", "-D"].contains(arg)).count();
        let mut said = said.inspect(|line| eprintln!("{line}"));
        let listening = said.by_ref().take(count);
        let listeners = listening.map(|line| address_in(&line, "listening on ").unwrap()).collect();
        std::thread::spawn(move || said.for_each(drop));
        let recorded = Arc::<Mutex<Tally>>::default();
        let (stdout, tally) = (child.stdout.take().unwrap(), Arc::clone(&recorded));
        let reader = std::thread::spawn(move || read(stdout, &tally, copy));
        (Self { child, recorded, reader }, listeners)
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Memory that it occupies, KiB.
    fn memory(&self) -> u64 {
        let file = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = std::fs::read_to_string(file).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }
}

/// Every line, in its order.
fn read(stdout: ChildStdout, recorded: &Mutex<Tally>, mut copy: impl Write) {
    let mut number = 0;
    for line in BufReader::new(stdout).lines() {
        let line = line.unwrap();
        writeln!(copy, "{line}").unwrap();
        let line: Line = serde_json::from_str(&line).unwrap();
        number += 1;
        match line {
            Line::Close(record) => {
                assert_eq!(record.line, number, "lines are in their order, and none is missing");
                recorded.lock().unwrap().add_record(&record);
            }
            Line::Stop(stop) => {
                assert_eq!((stop.line, stop.lines_lost), (number, 0));
                assert_eq!(stop.pairs, recorded.lock().unwrap().all());
            }
            other => panic!("{other:?}"),
        }
    }
    copy.flush().unwrap();
}

/// Pairs for so long, one after every pause; what they came to, or what went wrong with one.
async fn load(places: Places, time: Duration, pause: Duration, seed: u64) -> Result<Tally, String> {
    let done = Arc::<Mutex<Tally>>::default();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut pairs = tokio::task::JoinSet::new();
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let began = Instant::now();
    for number in 0.. {
        if began.elapsed() >= time {
            break;
        }
        ticks.tick().await;
        let place = Arc::clone(&room).acquire_owned().await.unwrap();
        let (done, noise) = (Arc::clone(&done), Noise::seeded(seed << 32 | number));
        pairs.spawn(async move {
            let pair = client::one(places, noise).await;
            let pair = pair.map_err(|error| format!("client {number}: {error}"))?;
            let mut done = done.lock().unwrap();
            done.add(Some(pair.mode), Some(pair.outcome));
            done.client.add(pair.count);
            drop(place);
            Ok::<_, String>(())
        });
        while let Some(ended) = pairs.try_join_next() {
            ended.unwrap()?;
        }
    }
    while let Some(ended) = pairs.join_next().await {
        ended.unwrap()?;
    }
    let done = std::mem::take(&mut *done.lock().unwrap());
    Ok(done)
}

/// The load, for so many seconds; the table of what it came to. A file for the records is made anew.
pub(crate) fn soak(seconds: u64, records: Option<&Path>) -> String {
    let copy: Box<dyn Write + Send> = match records {
        Some(file) => Box::new(BufWriter::new(File::create(file).unwrap())),
        None => Box::new(io::sink()),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (origin, seen) = runtime.block_on(origin::start());
    let (_held, deaf) = deaf_port();
    let forwards = [origin, deaf].map(|target| format!("0:{target}"));
    let args = ["-L", &forwards[0], "-L", &forwards[1], "-D", "0"];
    let (mut proxy, listeners) = Proxy::start(&args, copy);
    let places = Places {
        forward: listeners[0],
        forward_refused: listeners[1],
        dynamic: listeners[2],
        origin,
        deaf,
    };
    let at_rest = proxy.descriptors();
    let mut done = Tally::default();
    let mut run = |seed: u64, seconds: u64, pause: Duration| {
        let tally = runtime.block_on(load(places, Duration::from_secs(seconds), pause, seed));
        let tally = tally.unwrap_or_else(|failure| panic!("{failure}"));
        done.client.add(tally.client);
        for (key, count) in tally.pairs {
            *done.pairs.entry(key).or_default() += count;
        }
        wait_until("every pair has its record", || {
            proxy.recorded.lock().unwrap().all() == done.all()
        });
        wait_until("all descriptors are closed", || proxy.descriptors() == at_rest);
        proxy.memory()
    };
    let began = Instant::now();
    let rush = (seconds / 3).min(RUSH);
    let before = run(1, rush, Duration::from_micros(1));
    let after = run(2, seconds - rush, Duration::from_secs(1) / RATE);
    let took = began.elapsed().as_secs_f64();

    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.failure, None);
    done.upstream = seen.count;
    let recorded = proxy.recorded.lock().unwrap();
    assert_eq!(*recorded, done, "the records, and what the ends did");
    drop(recorded);
    let growth = after as f64 / before as f64 - 1.0;
    assert!(growth <= GROWTH, "memory grew from {before} to {after} KiB");

    kill(Pid::from_raw(proxy.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(wait_for(&mut proxy.child).success());
    proxy.reader.join().unwrap();
    let reported = records.map(|file| assert_report(file, &done)).unwrap_or_default();
    table(&done, took, (before, after), at_rest) + &reported
}

/// What `conniver report` says of the records is what the ends did; how long it took.
fn assert_report(records: &Path, done: &Tally) -> String {
    let began = Instant::now();
    let output = Command::new(BINARY).args(["report", "--json"]).arg(records).output().unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let totals = &report["totals"];
    let mut outcomes = BTreeMap::<&str, u64>::new();
    for ((_, outcome), pairs) in &done.pairs {
        *outcomes.entry(outcome).or_default() += pairs;
    }
    assert_eq!(totals["outcomes"], json!(outcomes));
    assert_eq!(totals["connections"], done.all());
    assert_eq!(totals["sent"], done.upstream.received);
    assert_eq!(totals["received"], done.upstream.sent);
    let megabytes = std::fs::metadata(records).unwrap().len() / 1_000_000;
    format!("; the report of these {megabytes} MB has the same sums and took {took:.1} s")
}

fn table(done: &Tally, took: f64, memory: (u64, u64), descriptors: usize) -> String {
    let mut table = String::new();
    for ((mode, outcome), pairs) in &done.pairs {
        table.push_str(&format!("{mode:<8} {outcome:<8} {pairs:>8} pairs\n"));
    }
    let bytes =
        [done.client.sent, done.client.received, done.upstream.sent, done.upstream.received];
    let megabytes = bytes.iter().sum::<u64>() / 1_000_000;
    format!(
        "{table}{} pairs in {took:.0} s, as many records; {megabytes} MB counted alike by all ends; \
         memory {} and {} KiB, {descriptors} descriptors at both times",
        done.all(),
        memory.0,
        memory.1
    )
}
