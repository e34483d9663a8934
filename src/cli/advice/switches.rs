//! Options of the wrong form: with a value where they take none, or with two hyphens before a letter.

use clap::ArgAction;
use clap::error::{ContextKind, ContextValue};

use super::command_of;

/// What to do about `--json=yes`.
pub(super) fn with_value(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    // What may be repeated is shown so.
    let option = option.trim_end_matches('.');
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    let no = ["false", "no", "off", "0"].iter().any(|no| value.eq_ignore_ascii_case(no));
    Some(match no {
        true => format!("omit {option}: it is off by default"),
        false => format!("write {option} alone: it takes no value"),
    })
}

/// What to do about `--json yes`: the word behind the option, or one behind that, is what nothing takes.
pub(super) fn before_value(words: &[&str], unknown: &str) -> Option<String> {
    // A URL or a file may well follow.
    let is_value = |word: &str| {
        !word.starts_with('-') && !word.contains(['.', ':', '/', '@']) && word != "localhost"
    };
    let own = words.iter().position(|word| *word == "--").unwrap_or(words.len());
    let mut pairs = words.get(..own)?.windows(2);
    let option = pairs.find_map(|pair| match pair {
        [option, word] if is_value(word) && is_switch(words, option) => Some(*option),
        _ => None,
    });
    option.filter(|_| !unknown.starts_with('-')).map(|option| format!("{option} takes no value"))
}

/// What to do about `--D`.
pub(super) fn with_one_hyphen(words: &[&str], unknown: &str) -> Option<String> {
    let name = unknown.strip_prefix("--").filter(|name| name.len() == 1)?;
    let command = command_of(words);
    let is_known =
        command.get_arguments().any(|argument| argument.get_short() == name.chars().next());
    is_known.then(|| format!("write -{name}: options of one letter have one hyphen"))
}

/// Whether the subcommand of these words has this option, and it takes no value.
pub(super) fn is_switch(words: &[&str], option: &str) -> bool {
    command_of(words).get_arguments().any(|argument| {
        let long = argument.get_long().map(|long| format!("--{long}"));
        let short = argument.get_short().map(|short| format!("-{short}"));
        let is_named = [long, short].iter().flatten().any(|name| name == option);
        is_named && matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::Count)
    })
}
