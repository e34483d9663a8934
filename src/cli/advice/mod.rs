//! A command line that is not understood: what was probably meant.

mod habits;
mod meant;
mod stray;

use std::ffi::OsString;
use std::io::Write;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use conniver::record::Printable;

use super::terminal::shorten_middle;
use super::wrap::{columns, wrap, wrap_message};
use super::{Cli, exit, help, requirements};
pub(super) use meant::quoted;

/// The command line of this process, as what it means. Help, and wrong usage with what was probably
/// meant, end the process as clap does.
pub(super) fn parse() -> Cli {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let words = typed.get(1..).unwrap_or_default();
    let parsed = help::command().try_get_matches_from(&typed).and_then(|matches| {
        requirements::check(&matches)?;
        Cli::from_arg_matches(&matches)
    });
    parsed.unwrap_or_else(|error| end(&explain(error, words)))
}

/// Ends the program as clap does, with lines that fit.
pub(super) fn end(error: &clap::Error) -> ! {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help || !error.use_stderr() {
        error.exit();
    }
    // That nobody may be there to read it is no failure.
    let _ = write!(anstream::stderr(), "{}", fitted(error, exit::message_width()));
    std::process::exit(error.exit_code())
}

/// The text of an error, styled, in lines of so many columns. Where a value and what was expected in
/// its place do not fit into one line, each has its own.
fn fitted(error: &clap::Error, width: usize) -> String {
    let text =
        match std::env::args_os().any(|word| word.to_string_lossy().contains(char::is_control)) {
            // The reason why a value is not understood may repeat it.
            true => printable(&error.render().to_string()),
            false => error.render().ansi().to_string(),
        };
    let first = text.lines().next().unwrap_or_default();
    if error.kind() == ErrorKind::ValueValidation
        && columns(first) > width
        && let Some(option) = first.find(" for '")
        && let Some(end) = first[option..].find("': ").map(|end| option + end + "': ".len())
    {
        let (value, reason) = text.split_at(end);
        let (value, reason) = (value.trim_end(), format!("    {reason}"));
        return format!("{}\n{}", wrap_message(value, width), wrap(&reason, width));
    }
    wrap_message(&text, width)
}

/// An error of wrong usage at the subcommand of this path, with its usage line.
pub(super) fn usage_error(path: &[&str], sentence: &str) -> clap::Error {
    let mut command = Cli::command();
    command.build();
    for name in path {
        command = command.find_subcommand(name).cloned().unwrap_or(command);
    }
    command.error(ErrorKind::MissingRequiredArgument, sentence)
}

/// What is said where no way in was given.
const NO_LISTENER: &str = "nothing to listen on: give -D PORT, -L PORT:HOST:HOSTPORT, --redirect PORT \
    or --tproxy PORT";

/// Whether what is missing is the group of ways in.
fn has_no_listener(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(missing)) => missing.iter().any(|what| what.contains("-L <")),
        _ => false,
    }
}

/// Lines without what a terminal would take for a command.
fn printable(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| Printable(line).to_string()).collect();
    lines.join("\n")
}

/// The most that is repeated of what was typed, in characters.
const REPEATED: usize = 60;

/// Adds what was probably meant, and takes away what is not for others.
fn explain(mut error: clap::Error, typed: &[OsString]) -> clap::Error {
    let words: Option<Vec<&str>> = typed.iter().map(|word| word.to_str()).collect();
    let kind = error.kind();
    let is_unknown = matches!(kind, ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
    let is_missing = kind == ErrorKind::MissingRequiredArgument;
    let is_proxy = words.as_ref().is_some_and(|words| words.first() == Some(&"proxy"));
    if is_missing && is_proxy && has_no_listener(&error) {
        // The group has no name that could be shown.
        error = usage_error(&["proxy"], NO_LISTENER);
    }
    if is_unknown {
        // That an option may be a value, behind `--`, is hardly ever what was meant.
        error.remove(ContextKind::Suggested);
    }
    if let Some(words) = words.filter(|_| is_unknown || is_missing)
        && let Some(tip) = meant::tip(&error, &words)
    {
        // What clap finds similar is further away.
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand, ContextKind::InvalidValue]
    {
        if let Some(ContextValue::String(text)) = error.get(kind) {
            let text = Printable(without_credentials(text)).to_string();
            let text = shorten_middle(&text, REPEATED).into_owned();
            error.insert(kind, ContextValue::String(text));
        }
    }
    error
}

/// A URL without the user and password that it may have.
fn without_credentials(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((credentials, rest)) if credentials.contains(':') => {
            let scheme = credentials.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
            format!("{}…@{rest}", scheme.unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}
