//! The laboratory of causes: each makes one part of a connection slow and knows how slow.
//!
//! A [`Cause`] imposes something and returns a [`Case`]: the record of the connection, as raw JSON, and
//! what was [`Imposed`], measured by its own clock in the server, the client and the path between them.
//! [`Case::judge`] compares the two, and [`all`] does so for every cause, several times each.

mod imposed;
mod interleaved;
mod judge;
mod lab;
mod near;
mod paced;
mod paths;
mod programs;
mod stalls;
mod stuck;
mod talk;
mod tls;
mod tls_servers;
mod transfers;
mod unanswered;
mod web;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

pub(crate) use imposed::{Imposed, Turns, Who};
pub(crate) use judge::Judgment;
use serde_json::Value;
use stalls::Stalls;

/// One thing that makes a connection slow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause {
    pub(crate) name: &'static str,
    /// Does it once.
    pub(crate) impose: fn() -> Case,
    /// How many rounds may run beside each other without disturbing one another.
    pub(crate) at_once: usize,
    /// The programs that it needs.
    pub(crate) tools: &'static [&'static str],
}

/// A connection that a cause was imposed on.
#[derive(Debug)]
pub(crate) struct Case {
    /// The connection's close line.
    pub(crate) record: Value,
    pub(crate) imposed: Imposed,
}

const fn cause(name: &'static str, impose: fn() -> Case) -> Cause {
    Cause { name, impose, at_once: 1, tools: &[] }
}

impl Cause {
    /// It works now and then.
    const fn quiet(self) -> Self {
        Self { at_once: 4, ..self }
    }

    /// It does nothing but wait.
    const fn idle(self) -> Self {
        Self { at_once: 20, ..self }
    }

    const fn needs(self, tools: &'static [&'static str]) -> Self {
        Self { tools, ..self }
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Every cause there is.
pub(crate) fn causes() -> Vec<Cause> {
    [
        stuck::CAUSES,
        unanswered::CAUSES,
        paced::CAUSES,
        paths::CAUSES,
        near::CAUSES,
        tls::CAUSES,
        programs::CAUSES,
        transfers::CAUSES,
        web::CAUSES,
        interleaved::CAUSES,
    ]
    .concat()
}

/// Each cause that has these words in its name, so many times; a table, and how many causes were not
/// told rightly every time.
///
/// The table has for each cause how often a right one was named, how often all was right, the longest
/// stall of the machine meanwhile, which tells how far the figures can be trusted, how far what was
/// charged to each was off at worst, and who was named how often.
pub(crate) fn all(rounds: usize, wanted: &str) -> (String, usize) {
    let heads = ["named", "right", "stall"].map(|head| format!("{head:>7}")).join(" ");
    let mut table = format!("{:62} {heads}  worst deviations, ms\n", "cause");
    let mut wrong = 0;
    for cause in causes().into_iter().filter(|cause| cause.name.contains(wanted)) {
        if let Some(tool) = cause.tools.iter().find(|tool| !is_installed(tool, cause.name)) {
            table += &format!("{:62} SKIPPED: {tool} is not installed\n", cause.name);
            continue;
        }
        let stalls = Stalls::watch();
        let mut judgments = Vec::new();
        while judgments.len() < rounds {
            let running: Vec<_> = (judgments.len()..rounds)
                .take(cause.at_once)
                .map(|_| thread::spawn(move || (cause.impose)().judge()))
                .collect();
            // What went wrong stands on standard error.
            let ended = running.into_iter().map(|round| round.join());
            judgments.extend(ended.map(|ended| ended.unwrap_or_else(|_| Judgment::panicked())));
        }
        let row = row(cause.name, &judgments, stalls.longest());
        print!("{row}");
        // Each complaint once, with how often it was made.
        let mut complaints = BTreeMap::<&str, usize>::new();
        for complaint in judgments.iter().flat_map(|judgment| &judgment.complaints) {
            *complaints.entry(complaint).or_default() += 1;
        }
        for (complaint, times) in complaints {
            println!("    {times} x {complaint}");
        }
        table += &row;
        wrong += usize::from(judgments.iter().any(|judgment| !judgment.complaints.is_empty()));
    }
    (table, wrong)
}

/// Says so when it is not.
fn is_installed(tool: &str, cause: &str) -> bool {
    // Where PostgreSQL is not concerned, it is the tool's own name.
    super::has_tool(super::postgres::program(tool).to_str().unwrap(), cause)
}

fn row(name: &str, judgments: &[Judgment], stall: Duration) -> String {
    let rounds = judgments.len();
    let named = judgments.iter().filter(|judgment| judgment.is_named_right).count();
    let right = judgments.iter().filter(|judgment| judgment.complaints.is_empty()).count();
    let mut names = BTreeMap::<&str, usize>::new();
    for judgment in judgments {
        *names.entry(&judgment.limited_by).or_default() += 1;
    }
    let worst = Who::ALL.iter().filter_map(|who| {
        let deviations = judgments.iter().filter_map(|judgment| judgment.deviation(*who));
        let worst = deviations.max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
        Some(format!("{} {worst:+.0}", who.key()))
    });
    let worst = worst.collect::<Vec<_>>().join(", ");
    let named = format!("{named}/{rounds}");
    let right = format!("{right}/{rounds}");
    let stall = format!("{} ms", stall.as_millis());
    format!("{name:62} {named:>7} {right:>7} {stall:>7}  {worst}  {names:?}\n")
}
