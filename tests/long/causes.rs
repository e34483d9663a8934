//! Every cause of the laboratory twenty times: each must be told rightly every time. `CAUSE=WORDS` in the
//! environment keeps to the causes that have these words in their name, `ROUNDS=N` to so many rounds, and
//! with `CAUSE_VERBOSE=1` the records that are wrong are printed.

use crate::harness::cause;
use crate::harness::namespace::available;

const ROUNDS: usize = 20;

pub(crate) fn twenty_times_each() -> String {
    if !available("causes_twenty_times_each") {
        std::process::exit(1);
    }
    let wanted = std::env::var("CAUSE").unwrap_or_default();
    let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let (table, wrong) = cause::all(rounds, &wanted);
    println!("\n{table}");
    assert_eq!(wrong, 0, "causes that were not told rightly every time");
    format!("{} causes, {rounds} times each, always told rightly", table.lines().count() - 1)
}
