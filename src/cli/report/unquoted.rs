//! Values of several words that were typed without quotes, so that their further words became files.

use std::path::Path;

use conniver::report::Condition;

use super::time;
use crate::cli::advice::{quoted, typography};
use crate::cli::usage::wrong_usage;
use crate::cli::wrap::unbroken;

/// Ends the program if the value of an option continues in words that are no files.
pub(super) fn check() {
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(sentence) = fault(&words, |word| Path::new(word).exists()) {
        // Such quotes do not hold it together.
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        wrong_usage(&["report"], &typography(&words).unwrap_or(sentence));
    }
}

/// What to write instead.
fn fault(words: &[String], is_file: impl Fn(&str) -> bool) -> Option<String> {
    let mut own = words.iter().take_while(|word| *word != "--");
    while let Some(word) = own.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (word.as_str(), None),
        };
        let is_stray = match option {
            "--where" => is_part_of_condition,
            "--since" | "--until" => is_part_of_time,
            _ => continue,
        };
        let Some(value) = value.or_else(|| own.next().map(String::as_str)) else { continue };
        let further: Vec<&str> = own
            .clone()
            .map(String::as_str)
            .take_while(|word| !word.starts_with('-') && !is_file(word))
            .collect();
        if !further.first().is_some_and(|first| is_stray(first)) {
            continue;
        }
        let meant = (1..=further.len()).rev().find_map(|count| {
            let value = [&[value], further.get(..count)?].concat().join(" ");
            is_value(option, &value).then_some(value)
        });
        let meant = match &meant {
            Some(meant) => format!("{option} {}", quoted(meant)),
            None => match option {
                "--where" => "--where 'target=db* and outcome!=ok'".to_owned(),
                _ => format!("{option} '2026-11-29 14:00'"),
            },
        };
        let meant = unbroken(&meant);
        return Some(format!(
            "the value of {option} ends at the first space, and what follows was taken for files; quote \
             it: {meant}"
        ));
    }
    None
}

fn is_value(option: &str, text: &str) -> bool {
    match option {
        "--where" => Condition::parse_all(text).is_ok(),
        _ => time::parse(text).is_ok(),
    }
}

fn is_part_of_condition(word: &str) -> bool {
    matches!(&*word.to_ascii_lowercase(), "and" | "or" | "&&" | "||") || word.contains('=')
}

fn is_part_of_time(word: &str) -> bool {
    word == "ago" || word.contains(':') && time::parse(word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_continue_in_files_are_shown_with_quotes() {
        let fault = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            fault(&words, |word| word == "a.ndjson")
        };
        for (line, meant) in [
            (
                "report a.ndjson --where target=a and outcome=ok",
                "--where 'target=a and outcome=ok'",
            ),
            (
                "report --where target=a AND outcome!=ok a.ndjson",
                "--where 'target=a AND outcome!=ok'",
            ),
            ("report --where target = a a.ndjson --json", "--where 'target = a'"),
            ("report --where=target=a and id=*-7 a.ndjson", "--where 'target=a and id=*-7'"),
            (
                "report --where target=a or target=b a.ndjson",
                "--where 'target=db* and outcome!=ok'",
            ),
            ("report --since 2026-11-29 14:00 a.ndjson", "--since '2026-11-29 14:00'"),
            ("report a.ndjson --until 10m ago", "--until '10m ago'"),
        ] {
            let said = fault(line).unwrap_or_default();
            assert!(said.ends_with(&*unbroken(meant)), "{line}: {said}");
        }
        for line in [
            "report --where target=a a.ndjson",
            "report --where target=a missing.ndjson",
            "report --since 14:00 missing.ndjson",
            "report a.ndjson -- --where target=a and",
        ] {
            assert_eq!(fault(line), None, "{line}");
        }
    }
}
