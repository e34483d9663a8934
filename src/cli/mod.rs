//! The command line: what was typed, turned into settings; one file a subcommand.

mod advice;
mod check;
mod circles;
mod completions;
mod demo;
mod descriptors;
mod diagnostics;
mod exit;
mod help;
mod inherited;
mod limits;
mod man;
mod output_watch;
mod pair;
mod parent;
mod proxy;
mod reference;
mod requirements;
mod rules;
mod run;
mod service;
mod signals;
#[cfg(feature = "stat")]
mod stat;
mod terminal;
mod units;
mod usage;
mod values;
mod wrap;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use exit::Failure;

/// Tells what the network did to your TCP connections, without changing the program that made them.
#[derive(Debug, Parser)]
#[command(name = "conniver", version, max_term_width = 100)]
#[command(arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy: take connections, write one record per connection pair
    Proxy(Box<proxy::ProxyArgs>),
    /// Run a program with the proxy around it, and say at its end what its connections met
    Run(Box<run::RunArgs>),
    /// Ask for one URL, and show its phases and what TCP did
    #[cfg(feature = "stat")]
    Stat(Box<stat::StatArgs>),
    /// Show the whole thing on this machine alone: an upstream, a proxy, a client, and the record
    Demo(demo::DemoArgs),
    /// Look for torn, missing and repeated lines in files of records, and for pairs that never ended
    Check(check::CheckArgs),
    /// Print a script of the kernel's rules that divert connections to the proxy (Linux, nftables)
    Rules(rules::RulesArgs),
    /// Print the JSON Schema of a line
    Schema(SchemaArgs),
    /// Write the manual pages of all commands
    Man(man::ManArgs),
    /// Print completions of commands and options for a shell
    Completions(completions::CompletionsArgs),
}

#[derive(Debug, Args)]
struct SchemaArgs {
    /// The --detail of the line
    #[arg(long, value_name = "LEVEL", default_value = "full")]
    detail: pair::DetailArg,

    /// Print tables of its fields in Markdown instead
    #[arg(long)]
    markdown: bool,
}

/// How much is said on standard error.
#[derive(Debug, Args)]
struct Verbosity {
    /// Say more on standard error; twice for everything. RUST_LOG overrides it
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

/// Runs the command line of this process; wrong usage ends it with status 2.
pub(crate) fn main() -> ExitCode {
    let result = match advice::parse().command {
        Command::Proxy(args) => proxy::run(*args),
        // Its status is the program's.
        Command::Run(args) => return run::run(&args),
        #[cfg(feature = "stat")]
        Command::Stat(args) => return stat::run(&args),
        Command::Demo(args) => demo::run(args),
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
    let failed = |error| Failure::new(format!("printing the schema: {error}"));
    let schema = conniver::record::json_schema(args.detail.into());
    if args.markdown {
        return exit::print(reference::of(schema.as_value()).trim_end());
    }
    exit::print(&serde_json::to_string_pretty(&schema).map_err(failed)?)
}
