//! One client beside many that keep the proxy busy: how long it waits, and whether its records are
//! all there.
//!
//! Each check has [`RUNS`] runs. A run is a quiet window and a loud one, one after the other, so that
//! whatever else the machine does falls on both. In each window the quiet client asks at a fixed
//! rate; its 99th percentile is taken of each window, and of those the median.
//!
//! The load comes from a few threads of this process or one of its roles, at the same priority. Where
//! the scenario names a rate or a number, that is the load; elsewhere it is paced so that making it
//! takes well below half a core, for otherwise a machine with two cores would be measured, not the
//! proxy.

mod foreign_user;
mod metrics_clients;
mod names;
mod refused_clients;
mod window;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use conniver::record::{Outcome, Record};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

pub(crate) use foreign_user::{burst, foreign_user, measure_as_told};
pub(crate) use metrics_clients::metrics_clients;
pub(crate) use names::{
    silent_names, unanswered_lookups_of_many_clients, unanswered_lookups_of_one_client,
};
pub(crate) use refused_clients::refused_clients;
use window::Window;

use crate::harness::program::{Left, PATIENCE};

const RUNS: usize = 5;

/// A quiet window.
const QUIET: Duration = Duration::from_secs(4);

/// A loud 99th percentile below this is good, however short the quiet one is.
const GOOD: Duration = Duration::from_millis(10);

/// What one quiet client measured in all runs.
struct Series {
    what: String,
    quiet: Vec<Window>,
    loud: Vec<Window>,
}

impl Series {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), quiet: Vec::new(), loud: Vec::new() }
    }

    /// Adds one run's windows, each to the series of its probe.
    fn add_run(all: &mut [Self], quiet: Vec<Window>, loud: Vec<Window>) {
        for ((series, quiet), loud) in all.iter_mut().zip(quiet).zip(loud) {
            series.quiet.push(quiet);
            series.loud.push(loud);
        }
    }

    /// Every probe that succeeded, by its client's address.
    fn clients(&self) -> impl Iterator<Item = SocketAddr> {
        self.quiet.iter().chain(&self.loud).flat_map(|window| window.clients.iter().copied())
    }
}

/// What a check has found: figures for its note, and what is wrong.
#[derive(Default)]
struct Findings {
    figures: Vec<String>,
    problems: Vec<String>,
    /// Of the quiet clients: how many there are, and how many there should be.
    records: (usize, usize),
}

impl Findings {
    fn figure(&mut self, figure: String) {
        self.figures.push(figure);
    }

    fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// The rule: a loud p99 is at most twice the quiet one, or [`GOOD`]; and every probe succeeds.
    fn judge(&mut self, series: &Series) {
        let Series { what, quiet, loud } = series;
        let [before, with] = [quiet, loud].map(|windows| median(windows, |window| window.p(99)));
        let limit = GOOD.max(2 * before);
        let figure = format!("{what}: p99 {before:.2?} quiet, {with:.2?} loud");
        let medians = [quiet, loud].map(|windows| median(windows, |window| window.p(50)));
        println!(
            "{what}: p50 {:.2?} quiet, {:.2?} loud; limit {limit:.2?}",
            medians[0], medians[1]
        );
        for (kind, windows) in [("quiet", quiet), ("loud", loud)] {
            for (run, window) in windows.iter().enumerate() {
                println!("{what}, run {}, {kind}: {window}", run + 1);
                for failure in &window.failures {
                    let run = run + 1;
                    self.problems.push(format!("{what}, run {run}, {kind}: {failure}"));
                }
            }
        }
        if with > limit {
            self.problem(format!("{figure}; the limit is {limit:.2?}"));
        }
        if before > GOOD {
            let load = std::fs::read_to_string("/proc/loadavg").unwrap();
            println!(
                "{what}: this machine has other work, the figures are not the proxy's: {load}"
            );
        }
        self.figure(figure);
    }

    /// Each probe that succeeded has its record, and the record says so. For each proxy once.
    fn compare_records(&mut self, probes: impl Iterator<Item = SocketAddr>, records: &[Record]) {
        let mut left = BTreeMap::<SocketAddr, usize>::new();
        for record in records.iter().filter(|record| record.outcome == Some(Outcome::Ok)) {
            if let Some(client) = record.client.remote_addr {
                *left.entry(client).or_default() += 1;
            }
        }
        let (mut made, mut lost) = (0, Vec::new());
        for client in probes {
            made += 1;
            match left.get_mut(&client) {
                Some(count) if *count > 0 => *count -= 1,
                _ => lost.push(client),
            }
        }
        self.records.0 += made - lost.len();
        self.records.1 += made;
        if !lost.is_empty() {
            let some: Vec<_> = lost.iter().take(5).collect();
            self.problem(format!("{} records of {made} are not there: {some:?}…", lost.len()));
        }
    }

    /// The proxy's end, which should be a good one.
    fn judge_end(&mut self, left: &Left) {
        if left.status.code() != Some(0) {
            self.problem(format!("the proxy ended with {}:\n{}", left.status, left.stderr));
        }
    }

    /// Waits until `is_so`, before the next run.
    fn settle(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            if began.elapsed() > PATIENCE {
                return self.problem(format!("waited in vain until {what}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The figures; fails when something is wrong, with all of it.
    fn note(self) -> String {
        let (found, made) = self.records;
        let figures = format!("{}; {found} of {made} records", self.figures.join("; "));
        assert!(self.problems.is_empty(), "{}\n\nall figures: {figures}", self.problems.join("\n"));
        figures
    }
}

/// Of some figure of each window.
fn median<T: Ord>(windows: &[Window], figure: impl Fn(&Window) -> T) -> T {
    let mut all: Vec<T> = windows.iter().map(figure).collect();
    all.sort_unstable();
    let middle = all.len() / 2;
    all.swap_remove(middle)
}

/// Does `work` while `load` is under way on a thread; ends the load then, with all that it has open.
fn beside<T>(load: impl Future<Output = ()> + Send, work: impl FnOnce() -> T) -> T {
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = async { load.await; std::future::pending().await } => {}
                    _ = stopped => {}
                }
            });
        });
        let result = work();
        // The load may have failed, which its thread says when the scope ends.
        let _ = stop.send(());
        result
    })
}

/// A connection whose client has this address.
async fn connect_from(client: [u8; 4], proxy: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((client, 0).into())?;
    socket.connect(proxy).await
}
