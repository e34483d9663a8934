//! What is said about a command line that is not followed, word for word.

mod doubtful;
mod effects;
mod failures;
mod formats;
mod forwarded;
mod habits;
mod meant;
mod parents;
mod reaching;
mod readers;
mod starting;
mod values;

use crate::arguments::refused;

const PROXY: &str = "conniver proxy [OPTIONS] <-L ...|-D ...|--redirect ...|--tproxy ...>";
const RUN: &str = "conniver run [OPTIONS] -- COMMAND [ARG]...";
const STAT: &str = "conniver stat [OPTIONS] URL";
const ANY: &str = "conniver <COMMAND>";

/// These words, separated by spaces, are wrong usage: what is said of them, and the usage line.
fn assert_wrong_usage(typed: &str, said: &str, usage: &str) {
    let (status, text) = refused(&typed.split(' ').collect::<Vec<_>>());
    let expected =
        format!("error: {said}\n\nUsage: {usage}\n\nFor more information, try '--help'.\n");
    assert_eq!((status, text), (Some(2), expected), "conniver {typed}");
}
