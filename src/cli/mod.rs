//! The command line: what was typed, turned into settings; one file a subcommand.

mod advice;
mod check;
mod completions;
mod conflicts;
mod demo;
mod descriptors;
mod diagnostics;
mod doubtful;
mod exit;
mod expectations;
mod files;
mod folded_json;
mod help;
mod inherited;
mod limits;
mod lines;
mod man;
mod output_watch;
mod page_file;
mod parent;
mod proxy;
mod recording;
mod reference;
mod report;
mod requirements;
mod rules;
mod run;
mod selection;
mod service;
mod shared_options;
mod signals;
#[cfg(feature = "stat")]
mod stat;
mod table;
mod terminal;
mod top;
mod usage;
mod values;
mod watch;
mod wrap;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use exit::Failure;

/// Shows what the network did to your TCP connections, without changing the program that made them.
#[derive(Debug, Parser)]
#[command(name = "conniver", version, max_term_width = 100)]
#[command(arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy: accept and relay connections, and write a record of each
    Proxy(Box<proxy::ProxyArgs>),
    /// Run a program through the proxy, and print a summary of its connections
    Run(Box<run::RunArgs>),
    /// Fetch a URL, and show how long each phase took and what TCP did
    #[cfg(feature = "stat")]
    Stat(Box<stat::StatArgs>),
    /// Watch this machine's TCP connections without a proxy, and write a record of each (Linux)
    Watch(Box<watch::WatchArgs>),
    /// Run an upstream, a proxy and a client on this machine, and show what they did
    Demo(demo::DemoArgs),
    /// Report on files of records: totals, slow and failed connections, findings in words
    Report(Box<report::ReportArgs>),
    /// Show this machine's TCP connections live, or those of a running proxy and who waits for whom
    Top(top::TopArgs),
    /// Check files of records for truncated, missing and duplicate lines, and for unclosed
    /// connections
    Check(check::CheckArgs),
    /// Print a shell script with nftables rules that divert connections to the proxy (Linux)
    Rules(rules::RulesArgs),
    /// Print the JSON Schema of the lines that conniver writes
    Schema(SchemaArgs),
    /// Write the manual pages of all commands
    Man(man::ManArgs),
    /// Print shell completions
    Completions(completions::CompletionsArgs),
}

#[derive(Debug, Args)]
struct SchemaArgs {
    /// Level of detail of the lines
    #[arg(long, value_name = "LEVEL", default_value = "full")]
    detail: shared_options::DetailArg,

    /// Print the keys as Markdown tables instead
    #[arg(long)]
    markdown: bool,
}

/// How much is said on standard error.
#[derive(Debug, Args)]
struct Verbosity {
    /// Log more to standard error: -v adds informational, -vv debug messages. RUST_LOG overrides it
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Log errors only, and print no summary
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// What to warn of as soon as anything is logged.
    #[arg(skip)]
    warnings: Vec<String>,
}

impl Command {
    /// Of the commands that log.
    fn verbosity_mut(&mut self) -> Option<&mut Verbosity> {
        match self {
            Self::Proxy(args) => Some(&mut args.verbosity),
            Self::Run(args) => Some(&mut args.verbosity),
            #[cfg(feature = "stat")]
            Self::Stat(args) => Some(&mut args.verbosity),
            Self::Watch(args) => Some(&mut args.verbosity),
            _ => None,
        }
    }
}

/// Runs the command line of this process; wrong usage ends it with status 2.
pub(crate) fn main() -> ExitCode {
    let result = match advice::parse().command {
        Command::Proxy(args) => proxy::run(*args),
        // Its status is the program's.
        Command::Run(args) => return run::run(&args),
        #[cfg(feature = "stat")]
        Command::Stat(args) => return stat::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Report(args) => return report::run(&args),
        Command::Top(args) => top::run(args),
        // 1 also means that something was found.
        Command::Check(args) => return check::run(&args),
        Command::Rules(args) => rules::run(args),
        Command::Schema(args) => schema(&args),
        Command::Man(args) => man::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(1),
    }
}

fn schema(args: &SchemaArgs) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot print the schema: {error}"));
    let schema = conniver::record::json_schema(args.detail.into());
    if args.markdown {
        return exit::print(reference::of(schema.as_value()).trim_end());
    }
    exit::print(&serde_json::to_string_pretty(&schema).map_err(failed)?)
}
