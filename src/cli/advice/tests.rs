//! Whether the tips are true.

use super::habits::{COMMANDS, CONFLICTS, HABITS};
use super::{command_of, stray};

/// The options that a text names, each with the subcommand that it stands for: the last one that is named before it, or
/// else `own`. What follows `--` is another program's.
fn named<'t>(own: &'t str, text: &'t str) -> Vec<(&'t str, String)> {
    let mut found = Vec::new();
    let mut command = own;
    let mut previous = "";
    let trim = |word: &'t str| word.trim_matches(['(', ')', ',', ';', ':', '.', '\'']);
    let mut is_ours = true;
    for word in text.split_whitespace().map(trim) {
        if word == "--" {
            break;
        }
        // Another program follows in a shell's command.
        is_ours = word == "conniver" || is_ours && !["|", "&&"].contains(&word);
        if previous == "conniver" && !word.starts_with('-') {
            command = word;
        } else if is_ours
            && let Some(name) = word.strip_prefix('-')
            && name.trim_start_matches('-').starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            found.push((command, word.split('=').next().unwrap().to_owned()));
        }
        previous = word;
    }
    found
}

fn has(command: &clap::Command, option: &str) -> bool {
    command.get_arguments().any(|argument| match option.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        // -vv is -v twice.
        None => argument.get_short() == option.chars().nth(1),
    })
}

/// Whether this is in the program: `stat` may not be.
fn exists(path: &[&str]) -> bool {
    command_of(&[]).find_subcommand(path[0]).is_some()
}

/// That each option which a text names exists where the text is said, or in the subcommand that it names.
pub(in crate::cli) fn assert_options_exist(path: &[&str], text: &str) {
    for (command, option) in named("", text) {
        let path = match command {
            "" => path.to_vec(),
            "rules" => vec!["rules", "redirect"],
            command => vec![command],
        };
        let is_there = path.is_empty() || exists(&path);
        let path = &path[..];
        let known = has(&command_of(path), &option);
        assert!(known || !is_there, "{path:?} has no {option}: {text}");
    }
}

#[test]
fn every_option_in_a_tip_exists_where_it_is_said() {
    for (command, options, tip) in HABITS.iter().filter(|(command, ..)| exists(&[command])) {
        // The options of rules belong to its subcommands.
        let paths: &[&[&str]] = match *command {
            "rules" => &[&["rules", "redirect"], &["rules", "tproxy"]],
            command => &[&[command]],
        };
        for path in paths {
            assert_options_exist(path, tip);
        }
        for option in *options {
            assert!(!has(&command_of(&[command]), option), "{command} has {option}: {tip}");
        }
    }
    for (_, tip) in COMMANDS {
        assert_options_exist(&[], tip);
    }
    let all = command_of(&[]);
    for command in all.get_subcommands() {
        let name = command.get_name();
        for path in [&[name, "x"][..], &[name, "redirect", "x"]] {
            if let Some(tip) = stray::tip(path, "x") {
                let path = if name == "rules" { &["rules", "redirect"][..] } else { &path[..1] };
                assert_options_exist(path, &tip);
            }
        }
    }
}

#[test]
fn every_option_in_a_tip_on_a_conflict_exists_where_both_do() {
    let all = command_of(&[]);
    let rules = all.find_subcommand("rules").unwrap();
    let commands = all.get_subcommands().chain(rules.get_subcommands());
    let mut met = 0;
    for command in commands {
        for (pair, tip) in CONFLICTS.iter().filter(|(pair, _)| pair.iter().all(|o| has(command, o)))
        {
            met += 1;
            for (_, option) in named("", tip) {
                assert!(has(command, &option), "{} has no {option}: {tip}", command.get_name());
            }
            assert!(pair[0] != pair[1]);
        }
    }
    assert!(met >= CONFLICTS.len() || !exists(&["stat"]), "each has a subcommand");
}

#[test]
fn options_are_found_in_texts_with_their_subcommands() {
    let text = "use -n N (--json), 'conniver top -d', or --x=1: conniver run -- sh -c 'a'";
    let expected = [("stat", "-n"), ("stat", "--json"), ("top", "-d"), ("top", "--x")];
    let found = named("stat", text);
    assert_eq!(found, expected.map(|(command, option)| (command, option.to_owned())));
}
