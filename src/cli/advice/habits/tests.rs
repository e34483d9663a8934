use std::ffi::OsString;

use super::super::{explain, help};
use super::*;

/// What is said of this command line, up to its usage line, without styles.
fn said(words: &[&str]) -> String {
    let typed: Vec<OsString> = words.iter().map(OsString::from).collect();
    let all = ["conniver"].into_iter().chain(words.iter().copied());
    let error = help::command().try_get_matches_from(all).unwrap_err();
    let text = explain(error, &typed).render().to_string();
    text.split("\n\nUsage: conniver").next().unwrap().to_owned()
}

#[test]
fn every_habit_of_other_programs_is_answered_with_its_tip() {
    let mut wrong = Vec::new();
    for (command, options, tip) in HABITS {
        for option in *options {
            let expected = format!("error: unexpected argument '{option}' found\n\n  tip: {tip}");
            let said = said(&[command, option]);
            if said != expected {
                wrong.push(format!("conniver {command} {option}: {said}"));
            }
        }
    }
    for (words, tip) in COMMANDS {
        for word in *words {
            let expected = format!("error: unrecognized subcommand '{word}'\n\n  tip: {tip}");
            let said = said(&[word]);
            if said != expected {
                wrong.push(format!("conniver {word}: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
