//! `conniver completions`: what the shell needs to complete commands and options.

use std::ffi::OsStr;
use std::path::Path;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::{Arg, Args, Command, ValueEnum};
use clap_complete::Shell;

use super::exit::{self, Failure};
use super::help;

#[derive(Debug, Args)]
#[command(after_help = "Load them with: source <(conniver completions bash)")]
pub(crate) struct CompletionsArgs {
    /// Shell to print completions for
    #[arg(ignore_case = true, value_parser = ShellParser)]
    shell: Shell,
}

/// A shell by its name, or by its file as in $SHELL.
#[derive(Debug, Clone)]
struct ShellParser;

impl TypedValueParser for ShellParser {
    type Value = Shell;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Shell, clap::Error> {
        let name = Path::new(value).file_name().unwrap_or(value);
        EnumValueParser::<Shell>::new().parse_ref(command, arg, name)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = Shell::value_variants().iter();
        Some(Box::new(values.filter_map(Shell::to_possible_value)))
    }
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "conniver", &mut script);
    exit::print(String::from_utf8_lossy(&script).trim_end())
}
