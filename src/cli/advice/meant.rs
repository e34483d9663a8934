//! What was probably meant: command lines near the one that was typed, of which those are shown that
//! are understood.

use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use conniver::ingress::{Forward, Target};

use super::dashes::{typography, with_two_hyphens};
use super::habits::{COMMANDS, CONFLICTS, HABITS, REPEATED};
use super::words::{is_program, quoted, reading_a_page};
use super::{switches, without_credentials};
use crate::cli::Cli;
use crate::cli::files::is_piped_in;
use crate::cli::wrap::unbroken;

/// What to do instead of what was typed.
pub(super) fn tip(error: &clap::Error, words: &[&str]) -> Option<String> {
    if error.kind() == ErrorKind::ArgumentConflict {
        return conflict(error).map(str::to_owned);
    }
    if error.kind() == ErrorKind::TooManyValues {
        return switches::with_value(error);
    }
    if let Some(tip) = typography(words) {
        return Some(tip);
    }
    if error.kind() == ErrorKind::MissingRequiredArgument {
        let is_positional = matches!(
            error.get(ContextKind::InvalidArg),
            Some(ContextValue::Strings(missing)) if missing.iter().all(|what| what.starts_with('<'))
        );
        let tip = without_value(words)
            .or_else(|| on_input(words))
            .or_else(|| behind_against(words))
            .or_else(|| swallowed(words));
        return tip.filter(|_| is_positional);
    }
    let unknown =
        [ContextKind::InvalidArg, ContextKind::InvalidSubcommand].map(|kind| error.get(kind));
    let unknown = match unknown.into_iter().flatten().next() {
        Some(ContextValue::String(unknown)) => unknown.as_str(),
        _ => "",
    };
    if let ["help", topic @ ..] = words {
        let command = similar_command(topic)?;
        let known = topic.iter().take_while(|word| **word != unknown).copied();
        let path: Vec<_> = known.chain([&*command]).collect();
        return Some(format!("did you mean: conniver help {}", path.join(" ")));
    }
    let command =
        COMMANDS.iter().find(|(names, _)| words.first().is_some_and(|w| names.contains(w)));
    if let Some((_, tip)) = command {
        return Some((*tip).to_owned());
    }
    if let Some(tip) = with_two_hyphens(words) {
        return Some(tip);
    }
    let habit = HABITS
        .iter()
        .find(|(command, options, _)| words.first() == Some(command) && options.contains(&unknown));
    if let Some((_, _, tip)) = habit {
        return Some((*tip).to_owned());
    }
    if let ["-v"] = words {
        return Some("to print the version, use conniver --version".to_owned());
    }
    if let Some(option) = option_before_negative(words, unknown) {
        return Some(format!("the value of {option} cannot be negative"));
    }
    if let Some(tip) = switches::with_one_hyphen(words, unknown) {
        return Some(tip);
    }
    if let Some(command) = command_with(words.first()?, unknown) {
        return Some(format!("{unknown} is an option of conniver {command}"));
    }
    let guesses = super::stray::guesses(words, unknown).into_iter().chain(guesses(words, unknown));
    let meant = guesses.into_iter().find(|guess| {
        let typed = ["conniver"].into_iter().chain(guess.iter().map(String::as_str));
        Cli::command().try_get_matches_from(typed).is_ok()
    });
    let Some(meant) = meant else {
        if let Some(tip) = switches::before_value(words, unknown) {
            return Some(tip);
        }
        if words.first() == Some(&"-L") {
            return Some("forward a port with: conniver proxy -L PORT:HOST:HOSTPORT".to_owned());
        }
        // What clap finds similar is nearer than a general word.
        let is_similar = error.get(ContextKind::SuggestedSubcommand).is_some();
        return super::stray::tip(words, unknown).filter(|_| !is_similar);
    };
    let shown: Vec<_> = meant.iter().map(|word| quoted(&without_credentials(word))).collect();
    Some(format!("did you mean: {}", unbroken(&format!("conniver {}", shown.join(" ")))))
}

/// What is said of two options that exclude each other, or of one that was given twice.
fn conflict(error: &clap::Error) -> Option<&'static str> {
    let shown = |kind| match error.get(kind) {
        Some(ContextValue::String(one)) => Some(one.clone()),
        Some(ContextValue::Strings(several)) => several.first().cloned(),
        _ => None,
    };
    let (one, other) = (shown(ContextKind::InvalidArg)?, shown(ContextKind::PriorArg)?);
    let is_of = |shown: &str, name: &str| shown.split(' ').next() == Some(name);
    if one == other {
        return REPEATED.iter().find(|(name, _)| is_of(&one, name)).map(|(_, tip)| *tip);
    }
    let found = CONFLICTS.iter().find(|([first, second], _)| {
        is_of(&one, first) && is_of(&other, second) || is_of(&one, second) && is_of(&other, first)
    });
    found.map(|(_, tip)| *tip)
}

/// The subcommand that the last word of this path is nearly the name of.
fn similar_command(path: &[&str]) -> Option<String> {
    let typed = ["conniver"].iter().chain(path);
    let error = Cli::command().try_get_matches_from(typed).err()?;
    match error.get(ContextKind::SuggestedSubcommand)? {
        ContextValue::String(name) => Some(name.clone()),
        ContextValue::Strings(names) => names.first().cloned(),
        _ => None,
    }
}

/// What to give to a subcommand that takes one value.
fn without_value(words: &[&str]) -> Option<String> {
    match words {
        ["completions"] => {
            let shells = Shell::value_variants().iter().map(ToString::to_string);
            let shells = shells.collect::<Vec<_>>().join(", ");
            Some(format!("give one of {shells}, as in conniver completions bash"))
        }
        ["man"] => Some(format!(
            "give a directory for all manual pages; to read one: {}",
            reading_a_page()
        )),
        ["report"] if !is_piped_in() => {
            Some("give files of records, as conniver proxy -o FILE writes them".to_owned())
        }
        _ => None,
    }
}

/// What to give instead of a value that is none.
pub(super) fn value_tip(error: &clap::Error, words: &[&str]) -> Option<String> {
    let has = |kind, wanted: &[&str]| {
        let text = match error.get(kind) {
            Some(ContextValue::String(text)) => text.as_str(),
            _ => "",
        };
        wanted.contains(&text)
    };
    let is_event = words.first() == Some(&"watch")
        && has(ContextKind::InvalidArg, &["--events <LIST>"])
        && has(ContextKind::InvalidValue, &["open", "close", "turn", "refused"]);
    is_event.then(|| {
        "that is a line of conniver proxy; conniver watch writes socket when a connection has ended, and \
         sample while it is open"
            .to_owned()
    })
}

/// How standard input is read.
fn on_input(words: &[&str]) -> Option<String> {
    let (command, rest) = words.split_first()?;
    let is_short = rest.is_empty() && *command == "check";
    let reads = matches!(*command, "check" | "report") && !rest.contains(&"--against");
    // A file would be the value of the option before it.
    let is_piped = is_piped_in() && !rest.last().is_some_and(|last| Path::new(last).is_file());
    (reads && (is_short || is_piped)).then(|| {
        let rest = rest.iter().map(|word| format!(" {}", quoted(word))).collect::<String>();
        let what = if *command == "check" { "check" } else { "report on" };
        format!("to {what} standard input: {}", unbroken(&format!("conniver {command} -{rest}")))
    })
}

/// The files to report on, where all are behind `--against`.
fn behind_against(words: &[&str]) -> Option<String> {
    let ["report", before @ ..] = words else { return None };
    let at = before.iter().position(|word| *word == "--against")?;
    let (front, behind) = (before.get(..at)?, before.get(at + 1..)?);
    let count = behind.iter().take_while(|word| !word.starts_with('-')).count();
    let (files, rest) = behind.split_at_checked(count)?;
    let (file, older) = match files {
        [] => return None,
        [only] => ("FILE", vec![*only]),
        [older @ .., last] => (*last, older.to_vec()),
    };
    let line = [&["conniver", "report"][..], front, &[file, "--against"], &older, rest].concat();
    let line: Vec<_> = line.iter().map(|word| quoted(word)).collect();
    let line = unbroken(&line.join(" "));
    Some(format!("--against takes all files that follow it; write: {line}"))
}

/// What is missing may have been taken for the value of an option. It may be a secret, and is not
/// repeated.
fn swallowed(words: &[&str]) -> Option<String> {
    let [_, .., option, value] = words else { return None };
    let takes_it = option.starts_with('-') && !option.contains('=') && !value.starts_with('-');
    takes_it.then(|| {
        format!(
            "the last word was taken as the value of {option}; that value may be \
                          missing"
        )
    })
}

/// The option in front of a negative number, which clap takes for an option.
fn option_before_negative<'w>(words: &[&'w str], unknown: &str) -> Option<&'w str> {
    let is_negative = unknown.strip_prefix('-')?.starts_with(|c: char| c.is_ascii_digit());
    // Of -5s clap takes -5 for an option.
    let at = words.iter().position(|word| word.starts_with(unknown))?;
    let option = words.get(at.checked_sub(1)?)?;
    (is_negative && option.starts_with('-')).then_some(option)
}

/// Another subcommand that has this option.
fn command_with(typed: &str, option: &str) -> Option<String> {
    let mut command = Cli::command();
    command.build();
    // It has options in front of a subcommand, or of none.
    command.find_subcommand(typed)?;
    let has = |command: &&clap::Command| {
        command.get_arguments().any(|argument| {
            let long = argument.get_long().map(|long| format!("--{long}"));
            let short = argument.get_short().map(|short| format!("-{short}"));
            [long, short].iter().flatten().any(|name| name == option)
        })
    };
    // "proxy" is what most of them belong to, and comes first.
    command.get_subcommands().find(has).map(|found| found.get_name().to_owned())
}

/// Command lines that may have been meant; most are none.
fn guesses(words: &[&str], unknown: &str) -> Vec<Vec<String>> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match words {
        // The subcommand was left out, or options stand in front of it.
        [option, ..] if option.starts_with('-') => {
            let is_command = |word: &&str| Cli::command().find_subcommand(word).is_some();
            let at = words.iter().position(is_command);
            let behind = at.map(|at| {
                let (options, rest) = words.split_at(at);
                owned(&[&rest[..1], options, &rest[1..]].concat())
            });
            // A number is no URL.
            let is_port = words.last().is_some_and(|word| word.parse::<u16>().is_ok());
            let left_out = match (at, is_port) {
                // Behind a subcommand, another one would take the name for a program to run.
                (Some(_), _) => &[][..],
                (None, true) => &["proxy", "run"],
                (None, false) => &["proxy", "run", "stat"],
            };
            let with = left_out.iter().map(|command| owned(&[&[*command], words].concat()));
            behind.into_iter().chain(with).collect()
        }
        ["proxy", rest @ ..] => {
            let Some(at) = rest.iter().position(|word| *word == unknown) else { return Vec::new() };
            // -L PORT HOST:PORT.
            if let [.., "-L", port] = rest[..at] {
                let forward = format!("{port}:{unknown}");
                let before = &rest[..at - 1];
                return vec![owned(&[&["proxy"], before, &[&forward], &rest[at + 1..]].concat())];
            }
            let (meant, after) = meaning_of_first(&rest[at..]);
            match meant.as_deref() {
                Some([command, option, forward]) if command == "proxy" => {
                    let meant = [option.as_str(), forward.as_str()];
                    vec![owned(&[&["proxy"], &rest[..at], &meant, after].concat())]
                }
                // What follows a program is its own.
                Some(other) if other.first().is_some_and(|command| command == "run") => {
                    vec![[other.to_vec(), owned(&rest[at + 1..])].concat()]
                }
                Some(other) => vec![other.to_vec()],
                None => Vec::new(),
            }
        }
        [command, ..] if Cli::command().find_subcommand(command).is_some() => Vec::new(),
        [command, rest @ ..]
            if Cli::command().find_subcommand(command.to_ascii_lowercase()).is_some() =>
        {
            vec![[vec![command.to_ascii_lowercase()], owned(rest)].concat()]
        }
        [_, ..] => {
            let (meant, after) = meaning_of_first(words);
            meant.map(|meant| [meant, owned(after)].concat()).into_iter().collect()
        }
        [] => Vec::new(),
    }
}

/// What the first of these words means, or the first two as a host and its port, and the words behind.
fn meaning_of_first<'w>(words: &'w [&'w str]) -> (Option<Vec<String>>, &'w [&'w str]) {
    if let [host, port, after @ ..] = words
        && is_host(host)
        && !is_program(host)
        && port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        return (meaning(&format!("{host}:{port}")), after);
    }
    let (first, after) = words.split_first().map_or(("", words), |(first, after)| (*first, after));
    (meaning(first), after)
}

/// The beginning of a command line that does what somebody wants who types this word alone.
fn meaning(word: &str) -> Option<Vec<String>> {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    // A free port is likelier beyond the well-known ones.
    let near = |port: u16| port.checked_add(10_000).unwrap_or(0);
    if word.parse::<Forward>().is_ok() {
        return words(&["proxy", "-L", word]);
    }
    if let Ok(port @ 1..) = word.parse::<u16>() {
        return words(&["proxy", "-L", &format!("{}:localhost:{port}", near(port))]);
    }
    if word.starts_with("http://") || word.starts_with("https://") {
        return words(&["stat", word]);
    }
    if let Ok(target) = word.parse::<Target>() {
        return words(&["proxy", "-L", &format!("{}:{target}", near(target.port()))]);
    }
    if is_program(word) {
        return words(&["run", "--", word]);
    }
    if Path::new(word).is_file() {
        return words(&["report", word]);
    }
    if is_host(word.split('/').next().unwrap_or(word)) {
        return words(&["stat", word]);
    }
    None
}

/// Whether it is hardly anything else than a host.
fn is_host(word: &str) -> bool {
    (word == "localhost" || word.contains('.')) && Target::new(word, 80).is_ok()
}
