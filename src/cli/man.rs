//! `conniver man`: manual pages of the commands.

use std::path::PathBuf;

use clap::{Args, Command};

use super::exit::{self, Failure};
use super::wrap::unbroken;
use super::{files, help};

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
    if files::is_stdin(directory) {
        return Err(Failure::new(format!(
            "the manual pages are several files, which cannot be written to standard output; to read one: {}",
            reading(&[])
        )));
    }
    if let Some(words) = directory.to_str().and_then(page).filter(|_| !directory.exists()) {
        // A directory of that name can be asked for as ./proxy.
        return Err(Failure::new(format!(
            "'{}' is taken as a directory for all manual pages, but names one; for its help, run: {}; to read \
             the page: {}",
            directory.display(),
            unbroken(&[&["conniver", "help"][..], &words].concat().join(" ")),
            reading(&words)
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

/// The words of the command whose page this is: `conniver-proxy.1`, `conniver-proxy` or `proxy`.
fn page(name: &str) -> Option<Vec<&str>> {
    let name = name.strip_suffix(".1").unwrap_or(name);
    let words: Vec<_> = match name.strip_prefix("conniver") {
        Some("") => Vec::new(),
        Some(rest) => rest.strip_prefix('-')?.split('-').collect(),
        None => name.split('-').collect(),
    };
    let all = help::command();
    let mut command = &all;
    for word in &words {
        command = command.find_subcommand(word)?;
    }
    Some(words)
}

/// How the page of a command is read.
fn reading(words: &[&str]) -> String {
    let page = [&["conniver"][..], words].concat().join("-");
    unbroken(&format!("conniver man DIR && man -l DIR/{page}.1"))
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
