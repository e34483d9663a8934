//! `scripts/check-dependencies`: what it says where the database of advisories cannot be had.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/check-dependencies");

/// In place of cargo: writes down what it is asked for, and fails where the variables say so.
const CARGO: &str = "#!/bin/sh
echo \"$*\" >>\"$LOG\"
case $* in
*' fetch db') exit $FETCHED ;;
*' advisories') exit $ADVISORIES ;;
esac
";

/// Whether the check succeeds, the last line that it prints, and whether it asks for advisories.
fn check(fetched: &str, advisories: &str) -> (bool, String, bool) {
    let directory = TempDir::new().unwrap();
    let cargo = directory.path().join("cargo");
    std::fs::write(&cargo, CARGO).unwrap();
    std::fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let log = directory.path().join("log");
    let mut command = Command::new(SCRIPT);
    command.env("PATH", path).env("LOG", &log);
    let output = command.env("FETCHED", fetched).env("ADVISORIES", advisories).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let asked = std::fs::read_to_string(log).unwrap();
    assert!(asked.contains("check licenses bans sources\n"), "{asked}");
    let last = printed.lines().last().unwrap_or_default().to_owned();
    (output.status.success(), last, asked.contains(" advisories"))
}

#[test]
fn advisories_are_checked_where_their_database_can_be_had() {
    let (succeeds, last, asks) = check("0", "0");
    assert!(succeeds && asks && last.contains("and advisories are as they should be"), "{last}");
    let (succeeds, _, asks) = check("0", "1");
    assert!(!succeeds && asks, "a vulnerability fails the check");
}

#[test]
fn where_advisories_were_not_checked_the_last_line_says_so() {
    let (succeeds, last, asks) = check("1", "1");
    assert!(succeeds && !asks && last.contains("ADVISORIES WERE NOT CHECKED"), "{last}");
}
