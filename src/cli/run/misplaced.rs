//! Options of `conniver run` behind COMMAND, which gets them as arguments.

use std::ffi::OsString;
use std::path::Path;

use conniver::expect::Expectation;

/// Options that hardly any other program has.
const OWN: [&str; 5] = ["--expect", "--expect-status", "--fresh", "--intercept", "--url-var"];

/// What is said of such an option, unless `--` stands in front of it. Where `--` stands in front of COMMAND, its
/// arguments are meant to be its own: then the option's value must be one that only conniver takes. `typed` is the whole
/// command line, which ends with the words of COMMAND.
pub(super) fn note(typed: &[OsString], command: &[OsString]) -> Option<String> {
    let before = typed.len().checked_sub(command.len() + 1).and_then(|at| typed.get(at));
    let is_separated = before.is_some_and(|word| word == "--");
    let words: Vec<&str> = command
        .iter()
        .map_while(|word| word.to_str())
        .take_while(|word| *word != "--" && !is_conniver(word))
        .collect();
    let (program, arguments) = words.split_first()?;
    let own = arguments.iter().enumerate().find_map(|(at, word)| {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (*word, arguments.get(at + 1).copied()),
        };
        let own = OWN.into_iter().find(|own| *own == name)?;
        (!is_separated || value.is_some_and(|value| is_value(own, value))).then_some(own)
    })?;
    let form = format!("conniver run {own} … -- {program} …");
    Some(format!(
        "{own} behind {program} is an argument of {program}; options of conniver go before it: {form}"
    ))
}

/// Whether this program is run, whose options these are.
fn is_conniver(word: &str) -> bool {
    Path::new(word).file_stem().is_some_and(|name| name == "conniver")
}

/// Whether this is a value of the option that hardly any other program takes.
fn is_value(option: &str, value: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    match option {
        "--expect" => value.parse::<Expectation>().is_ok(),
        "--url-var" => !value.is_empty() && value.bytes().all(is_of_name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(typed: &str, words: usize) -> Option<String> {
        let typed: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
        note(&typed, &typed[typed.len() - words..])
    }

    #[test]
    fn own_options_behind_the_command_are_noted_unless_hyphens_separate_them() {
        for (typed, words, option) in [
            ("conniver run curl h --expect lost=0", 4, Some("--expect")),
            ("conniver run curl --fresh", 2, Some("--fresh")),
            ("conniver run -q curl --url-var=A h", 3, Some("--url-var")),
            ("conniver run --fresh curl h", 2, None),
            ("conniver run -- curl h --expect lost=0", 4, Some("--expect")),
            ("conniver run -- curl --expect=lost=0", 2, Some("--expect")),
            ("conniver run -- curl --url-var DB_URL h", 4, Some("--url-var")),
            ("conniver run -- curl --expect h", 3, None),
            ("conniver run -- curl --expect", 2, None),
            ("conniver run -- curl --fresh", 2, None),
            ("conniver run -- curl -- --expect lost=0", 4, None),
            ("conniver run -- sudo conniver run --expect lost=0 true", 6, None),
            ("conniver run sh -- --intercept", 3, None),
            ("conniver run curl --expect100-timeout 1", 3, None),
            ("conniver run true", 1, None),
        ] {
            let note = noted(typed, words);
            assert_eq!(note.is_some(), option.is_some(), "{typed}: {note:?}");
            let begin = option.map(|option| format!("{option} behind curl is an argument of curl"));
            assert!(note.unwrap_or_default().starts_with(&begin.unwrap_or_default()), "{typed}");
        }
    }
}
