//! Options of `conniver run` behind COMMAND, which gets them as arguments.

use std::ffi::OsString;

/// Options that hardly any other program has.
const OWN: [&str; 5] = ["--expect", "--expect-status", "--fresh", "--intercept", "--url-var"];

/// What is said of such an option, unless `--` stands in front of COMMAND or of the option. `typed` is the whole
/// command line, which ends with the words of COMMAND.
pub(super) fn note(typed: &[OsString], command: &[OsString]) -> Option<String> {
    let before = typed.len().checked_sub(command.len() + 1).and_then(|at| typed.get(at));
    if before.is_some_and(|word| word == "--") {
        return None;
    }
    let (program, arguments) = command.split_first()?;
    let mut words =
        arguments.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    let own = words.find_map(|word| {
        let name = word.split('=').next().unwrap_or_default();
        OWN.into_iter().find(|own| *own == name)
    })?;
    let program = program.to_string_lossy();
    let form = format!("conniver run {own} … -- {program} …");
    Some(format!(
        "{own} behind {program} is an argument of {program}; options of conniver go before it: {form}"
    ))
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
            ("conniver run -- curl --expect lost=0", 3, None),
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
