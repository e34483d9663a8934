//! What comes with the program: manual pages, and completions for shells.

use std::process::Command;

use crate::harness::program::BINARY;
use crate::harness::{has_tool, run};

#[test]
fn every_command_has_a_manual_page_with_its_options() {
    let directory = tempfile::TempDir::new().unwrap();
    let pages = directory.path().join("share/man/man1");
    assert_eq!(run(BINARY, &["man", pages.to_str().unwrap()]), "");
    for (command, part) in [
        ("conniver", "conniver\\-proxy(1)"),
        ("conniver-proxy", "\\-\\-allow\\-from"),
        ("conniver-run", "\\-\\-intercept"),
        ("conniver-stat", "\\-\\-max\\-time"),
        ("conniver-demo", "conniver\\-demo"),
        ("conniver-report", "\\-\\-against"),
        ("conniver-check", "conniver\\-check"),
        ("conniver-rules", "conniver\\-rules"),
        ("conniver-schema", "\\-\\-detail"),
        ("conniver-man", "conniver\\-man"),
        ("conniver-completions", "conniver\\-completions"),
    ] {
        let page = std::fs::read_to_string(pages.join(format!("{command}.1"))).unwrap();
        assert!(page.contains(part), "{command}.1 has no {part}:\n{page}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_said() {
    let output = Command::new(BINARY).args(["man", "/dev/null/man1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot write manual pages to '/dev/null/man1': "), "{said}");
}

#[test]
fn bash_completes_commands_and_options() {
    if !has_tool("bash", "bash_completes_commands_and_options") {
        return;
    }
    let completed = |words: &str| {
        let script = format!(
            "source <({BINARY} completions bash); COMP_WORDS=({words}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _conniver conniver ${{COMP_WORDS[COMP_CWORD]}} ${{COMP_WORDS[COMP_CWORD - 1]}}; echo ${{COMPREPLY[@]}}"
        );
        run("bash", &["-c", &script])
    };
    assert_eq!(completed("conniver sche").trim(), "schema");
    assert_eq!(completed("conniver proxy --sample-i").trim(), "--sample-interval");
    assert_eq!(completed("conniver stat --max-t").trim(), "--max-time");
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(run(BINARY, &["completions", shell]).contains("sample-interval"), "{shell}");
    }
}
