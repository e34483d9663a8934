//! Another user's program that connects again and again to the listener of `conniver run`, beside the
//! program that it runs.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::window::{Probe, Window, measure, tunnelled};
use super::{Findings, QUIET, RUNS, Series};
use crate::harness::clients::without_proxies;
use crate::harness::peers::echo_server;
use crate::harness::program::{BINARY, closed, read_lines, wait_for};
use crate::harness::skip;
use crate::role::Role;

const CONNECTIONS: usize = 4000;

/// 1,000 connections a second: to make them takes a tenth of a core or so.
const PACE: Duration = Duration::from_millis(1);

/// Connections at a time; where the proxy is slower than the pace, it sets the pace.
const AT_ONCE: usize = 256;

/// The burst is given up after this.
const BURST: Duration = Duration::from_secs(6);

const ANSWER: Duration = Duration::from_secs(5);

const NOBODY: u32 = 65_534;

/// The role of the foreign user's program: connects, and says how many were cut off in time.
pub(crate) fn burst(proxy: SocketAddr, say: impl Fn(&str)) {
    setgroups(&[]).unwrap();
    setgid(Gid::from_raw(NOBODY)).unwrap();
    setuid(Uid::from_raw(NOBODY)).unwrap();
    say("begins");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cut_off = runtime.block_on(async {
        let (began, places) = (Instant::now(), Semaphore::new(AT_ONCE));
        let places = std::sync::Arc::new(places);
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            ticks.tick().await;
            let place = std::sync::Arc::clone(&places).acquire_owned().await.unwrap();
            if began.elapsed() > BURST {
                break;
            }
            clients.spawn(async move {
                let _place = place;
                let Ok(mut stream) = TcpStream::connect(proxy).await else { return false };
                let mut answer = Vec::new();
                let end = timeout(ANSWER, stream.read_to_end(&mut answer)).await;
                // An end, or a reset, and no word.
                end.is_ok() && answer.is_empty()
            });
        }
        let left = BURST.saturating_sub(began.elapsed()) + ANSWER;
        let all = async {
            let mut cut_off = 0;
            while let Some(client) = clients.join_next().await {
                cut_off += usize::from(client.unwrap());
            }
            cut_off
        };
        timeout(left, all).await.unwrap_or_default()
    });
    say(&cut_off.to_string());
}

/// The role of the program that `conniver run` runs: for each line that it is told, measures until it
/// is told the next one, and says what it found.
pub(crate) fn measure_as_told(target: &str, say: impl Fn(&str)) {
    let proxy = std::env::var("http_proxy").unwrap();
    let proxy: SocketAddr =
        proxy.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    say(&proxy.to_string());
    let mut told = std::io::stdin().lines();
    let probe: Probe<'_> = &|| tunnelled(proxy, target);
    while told.next().is_some() {
        let windows = measure(&[probe], || drop(told.next()));
        say(&serde_json::to_string(&windows[0]).unwrap());
    }
}

/// `conniver run` around the program that measures.
struct Measuring {
    run: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Measuring {
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.run.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    /// What the program measures while `work` is done.
    fn window(&mut self, work: impl FnOnce()) -> Window {
        self.tell("begin");
        work();
        self.tell("end");
        serde_json::from_str(&self.hear()).unwrap()
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        // It may have ended long ago; the program ends when its standard input does.
        let _ = self.run.kill();
        let _ = self.run.wait();
    }
}

pub(crate) fn foreign_user() -> String {
    if !geteuid().is_root() {
        skip("foreign_user", "it becomes another user, which needs root");
        return "skipped".to_owned();
    }
    let directory = TempDir::new().unwrap();
    let records = directory.path().join("records.ndjson");
    let stderr = directory.path().join("stderr");
    let mut command = Command::new(BINARY);
    command.args(["run", "-o"]).arg(&records).arg("--").arg(std::env::current_exe().unwrap());
    command.args(["role", "measuring", &echo_server().to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(std::fs::File::create(&stderr).unwrap());
    let mut run = without_proxies(&mut command).spawn().unwrap();
    let said = BufReader::new(run.stdout.take().unwrap());
    let mut measuring = Measuring { run, said };
    let proxy = measuring.hear();

    let mut series = Series::new("a request of COMMAND");
    let mut bursts = Vec::new();
    for _ in 0..RUNS {
        series.quiet.push(measuring.window(|| std::thread::sleep(QUIET)));
        series.loud.push(measuring.window(|| {
            let began = Instant::now();
            let mut foreign = Role::start(&["burst", &proxy]);
            let cut_off: usize = foreign.hear().parse().unwrap();
            bursts.push((cut_off, began.elapsed()));
            foreign.end();
        }));
    }
    drop(measuring.run.stdin.take());
    let status = wait_for(&mut measuring.run);
    let said = std::fs::read_to_string(&stderr).unwrap();

    let mut findings = Findings::default();
    findings.judge(&series);
    if status.code() != Some(0) {
        findings.problem(format!("'conniver run' ended with {status}:\n{said}"));
    }
    for (number, (cut_off, took)) in bursts.iter().enumerate() {
        let run = number + 1;
        println!("run {run}: {cut_off} of {CONNECTIONS} foreign connections cut off in {took:.1?}");
    }
    let bytes = std::fs::metadata(&records).unwrap().len();
    findings.compare_records(series.clients(), &closed(read_lines(&records)));
    let cut_off = bursts.iter().map(|(cut_off, _)| cut_off).sum::<usize>() / RUNS;
    findings.figure(format!(
        "{cut_off} of {CONNECTIONS} foreign connections a run cut off, {bytes} bytes of records and {} of log in all",
        said.len()
    ));
    findings.note()
}
