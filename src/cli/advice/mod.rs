//! A command line that is not understood: what was probably meant.

mod dashes;
mod habits;
mod meant;
mod stray;
mod switches;
#[cfg(test)]
mod tests;
mod words;

use std::ffi::OsString;

use clap::FromArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use conniver::columns::shorten_middle;
use conniver::record::Printable;

use super::usage::{end, usage_error};
use super::{Cli, Command, doubtful, help, requirements};
pub(super) use dashes::{typography, with_hyphens};
#[cfg(test)]
pub(super) use tests::assert_options_exist;
pub(super) use words::quoted;

/// The command line of this process, as what it means. Help, and wrong usage with what was probably
/// meant, end the process as clap does.
pub(super) fn parse() -> Cli {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let words = typed.get(1..).unwrap_or_default();
    let parsed = help::command().try_get_matches_from(&typed).and_then(|matches| {
        requirements::check(&matches)?;
        let mut cli = Cli::from_arg_matches(&matches)?;
        let Some((name, of_command)) = matches.subcommand() else { return Ok(cli) };
        if let Command::Proxy(args) = &mut cli.command {
            args.given_of_records = requirements::given_of_records(of_command);
        }
        if let Some(verbosity) = cli.command.verbosity_mut() {
            verbosity.warnings = doubtful::warnings(name, of_command);
        }
        Ok(cli)
    });
    parsed.unwrap_or_else(|error| end(&explain(error, words)))
}

/// What is said where no way in was given.
const NO_LISTENER: &str = "no listener: give -D PORT, -L PORT:HOST:HOSTPORT, --redirect PORT or \
                           --tproxy PORT";

/// Whether what is missing is the group of ways in.
fn has_no_listener(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(missing)) => missing.iter().any(|what| what.contains("-L <")),
        _ => false,
    }
}

/// The subcommand that these words are for, or the whole program.
fn command_of(words: &[&str]) -> clap::Command {
    let mut command = help::command();
    command.build();
    for word in words {
        match command.find_subcommand(word) {
            Some(found) => command = found.clone(),
            None => break,
        }
    }
    command
}

/// The most that is repeated of what was typed, in characters.
const REPEATED: usize = 60;

/// Adds what was probably meant, and takes away what is not for others.
fn explain(mut error: clap::Error, typed: &[OsString]) -> clap::Error {
    let words: Option<Vec<&str>> = typed.iter().map(|word| word.to_str()).collect();
    let kind = error.kind();
    let is_unknown = matches!(kind, ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
    let is_missing = kind == ErrorKind::MissingRequiredArgument;
    let is_conflict = kind == ErrorKind::ArgumentConflict;
    let is_proxy = words.as_ref().is_some_and(|words| words.first() == Some(&"proxy"));
    if is_missing && is_proxy && has_no_listener(&error) {
        // The group has no name that could be shown.
        error = usage_error(&["proxy"], NO_LISTENER);
    }
    let is_excess = kind == ErrorKind::TooManyValues;
    if let Some(words) = &words
        && error.get(ContextKind::Usage).is_some()
        && kind != ErrorKind::InvalidSubcommand
    {
        // clap's has only what was given and what is missing.
        let usage = command_of(words).render_usage();
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
    if is_unknown {
        // That an option may be a value, behind `--`, is hardly ever what was meant.
        error.remove(ContextKind::Suggested);
    }
    let is_invalid = matches!(kind, ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    if let Some(words) = words
        && let Some(tip) = match is_invalid {
            true => typography(&words).or_else(|| meant::value_tip(&error, &words)),
            false if is_unknown || is_missing || is_conflict || is_excess => {
                meant::tip(&error, &words)
            }
            false => None,
        }
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
pub(super) fn without_credentials(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((credentials, rest)) if credentials.contains(':') => {
            let scheme = credentials.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
            format!("{}…@{rest}", scheme.unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}
