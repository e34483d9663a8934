//! Causes of slowness, each imposed several times: the verdict names the right one every time, what it
//! charges to each is what was imposed, and the turns are those that took place. Nothing else runs
//! meanwhile: a proxy that waits for a processor is charged with that, and rightly.
//!
//! The gate has some of them three times, `scripts/full-check` all of them twenty times. There, `CAUSE=WORDS` in the
//! environment keeps to the causes that have these words in their name, `ROUNDS=N` to so many rounds, and
//! with `CAUSE_VERBOSE=1` the records that are wrong are printed.

use crate::harness::cause;
use crate::harness::namespace::available;

const ROUNDS: usize = 20;

/// The causes of the gate, at least one of each kind.
const OF_THE_GATE: [&str; 13] = [
    "stuck client resets, loopback, cubic",
    "stuck upstream resets, 10 ms, bbr",
    "hung server after 3 answers, client leaves by FIN",
    "MTU black hole from the upstream",
    "reordering, 10 % late by 2 to 4 ms, RTT 2 ms",
    "every 5th request lost, RTT 4 ms",
    "far instant server, RTT 20 ms, 15 exchanges",
    "slow look-up, 1 s",
    "one slow query among 150",
    "late greeting",
    "proxy stopped until after a server's answer",
    "TLS 1.3 answer from rustls",
    "close_notify after 2 s, TLS 1.3, rustls",
];

pub(crate) fn of_the_gate() -> String {
    require_namespaces("causes_of_the_gate");
    let told = OF_THE_GATE.map(|name| {
        let (table, wrong) = cause::all(3, name);
        // The heading and the cause.
        assert_eq!(table.lines().count(), 2, "the name of one cause:\n{table}");
        (name, wrong == 0)
    });
    let wrong: Vec<_> = told.iter().filter(|(_, is_right)| !is_right).collect();
    assert!(wrong.is_empty(), "causes that were not told rightly every time: {wrong:?}");
    format!("{} causes, 3 times each, always told rightly", told.len())
}

pub(crate) fn twenty_times_each() -> String {
    require_namespaces("causes_twenty_times_each");
    let wanted = std::env::var("CAUSE").unwrap_or_default();
    let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let (table, wrong) = cause::all(rounds, &wanted);
    println!("\n{table}");
    assert_eq!(wrong, 0, "causes that were not told rightly every time");
    format!("{} causes, {rounds} times each, always told rightly", table.lines().count() - 1)
}

fn require_namespaces(check: &str) {
    if !available(check) {
        std::process::exit(1);
    }
}
