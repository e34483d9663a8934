//! Wrong usage: what is said of it, and the end of the program with status 2.

use std::fmt;
use std::io::Write;

use clap::CommandFactory;
use clap::error::ErrorKind;
use conniver::record::Printable;

use super::wrap::{columns, wrap, wrap_message};
use super::{Cli, exit};

/// Ends the program where what was typed for the subcommand of this path makes no sense
/// together. Exit status 2.
pub(super) fn wrong_usage(path: &[&str], sentence: &str) -> ! {
    end(&usage_error(path, sentence))
}

/// Ends the program for a malformed value, which is not repeated: it may have a password.
/// Exit status 2.
pub(super) fn invalid_value(of: &str, why: impl fmt::Display) -> ! {
    let text = format!("invalid value for '{of}': {why}\n\nFor more information, try '--help'.\n");
    end(&clap::Error::raw(ErrorKind::ValueValidation, text))
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

/// Lines without what a terminal would take for a command.
fn printable(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| Printable(line).to_string()).collect();
    lines.join("\n")
}
