//! `conniver man`: manual pages of the commands.

use std::path::PathBuf;

use clap::{Args, Command};

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
    clap_mangen::generate_to(pages(), directory).map_err(failed)?;
    exit::say(&format!(
        "the manual pages are in '{0}'; read one: man -l '{0}/conniver.1'",
        directory.display()
    ));
    Ok(())
}

/// The command line as its pages show it: with the text of each option. One that -h leaves out would have none there.
fn pages() -> Command {
    whole(help::command())
}

fn whole(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_short_help(false)).mut_subcommands(whole)
}

#[cfg(test)]
mod tests {
    use clap::builder::StyledStr;

    use super::*;

    /// Letters and figures alone: roff has its own ways to write the rest, and where lines end.
    fn bare(text: &str) -> String {
        text.chars().filter(|c| c.is_ascii_alphanumeric()).collect()
    }

    fn assert_texts(command: &Command) {
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut page).unwrap();
        // An apostrophe is a string of roff.
        let page = bare(&String::from_utf8(page).unwrap().replace(r"\*(Aq", ""));
        // What clap says of --help is one text for -h and another one for the page.
        for arg in command.get_arguments().filter(|arg| arg.get_id() != "help") {
            let name = format!("{} of {}", arg.get_id(), command.get_name());
            let help = arg.get_help().map(StyledStr::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "{name} has no help");
            assert!(page.contains(&bare(&help)), "the page has no text for {name}");
        }
        for subcommand in command.get_subcommands() {
            let about = subcommand.get_about().map(StyledStr::to_string).unwrap_or_default();
            assert!(!about.is_empty(), "{} has no text", subcommand.get_name());
            assert_texts(subcommand);
        }
    }

    #[test]
    fn every_argument_has_its_text_in_help_and_manual() {
        let mut command = pages();
        command.build();
        assert_texts(&command);
    }
}
