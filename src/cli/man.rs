//! `conniver man`: manual pages of the commands.

use std::path::PathBuf;

use clap::Args;

use super::exit::{self, Failure};
use super::help;

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory for the pages, such as /usr/local/share/man/man1; created if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn run(args: &ManArgs) -> Result<(), Failure> {
    let ManArgs { directory } = args;
    let failed = |error| {
        Failure::new(format!("cannot write manual pages to '{}': {error}", directory.display()))
    };
    let is_subcommand =
        directory.to_str().is_some_and(|name| help::command().find_subcommand(name).is_some());
    if is_subcommand && !directory.exists() {
        // A directory of that name can be asked for as ./proxy.
        return Err(Failure::new(format!(
            "'{0}' is taken as a directory for all manual pages, but names a subcommand; for its \
             help, run: conniver help {0}",
            directory.display()
        )));
    }
    if directory.is_file() {
        return Err(Failure::new(format!(
            "cannot write manual pages to '{}': it is a file; name a directory",
            directory.display()
        )));
    }
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(help::command(), directory).map_err(failed)?;
    exit::say(&format!(
        "the manual pages are in '{0}'; read one: man -l '{0}/conniver.1'",
        directory.display()
    ));
    Ok(())
}
