//! `conniver completions`: what the shell needs to complete commands and options.

use clap::Args;
use clap_complete::Shell;

use super::exit::{self, Failure};
use super::help;

#[derive(Debug, Args)]
#[command(after_help = "Load them with: source <(conniver completions bash)")]
pub(crate) struct CompletionsArgs {
    /// Shell to print completions for
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "conniver", &mut script);
    exit::print(String::from_utf8_lossy(&script).trim_end())
}
