//! What is said by the subcommands that read records, watch, or print what belongs to the program.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::assert_wrong_usage;
use crate::arguments::{refused, unwrapped};
use crate::harness::program::BINARY;

const WATCH: &str = "conniver watch [OPTIONS]";

/// Exit status and standard error, where it runs in this directory.
fn said_in(directory: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.current_dir(directory).args(args).stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), unwrapped(&String::from_utf8(output.stderr).unwrap()))
}

#[test]
fn one_process_can_be_selected_and_that_is_said_of_several() {
    let one = "expected one PID, such as 4711; several processes can be selected by their --cgroup";
    for command in ["watch", "top"] {
        for (value, expected) in [
            ("1,2", one),
            ("nginx", "expected a number such as 4711; pgrep shows the PIDs of a program"),
            ("0", "expected a whole number from 1 to 4294967295, such as 4711"),
        ] {
            let (status, said) = refused(&[command, "--pid", value]);
            let expected = format!(
                "error: invalid value '{value}' for '--pid <PID>': {expected}\n\nFor more \
                 information, try '--help'.\n"
            );
            assert_eq!((status, said), (Some(2), expected));
        }
    }
    assert_wrong_usage(
        "watch --pid 1 --pid 2",
        "the argument '--pid <PID>' cannot be used multiple times\n\n  tip: several processes can be \
         selected by their --cgroup",
        WATCH,
    );
}

#[test]
fn a_service_is_told_with_the_path_of_its_cgroup() {
    let expected = "conniver: cannot read the cgroup 'no-such.service': No such file or directory; \
                    expected a path below the mount of cgroup version 2, as in /proc/PID/cgroup, such \
                    as /system.slice/no-such.service\n";
    let said = said_in(Path::new("/"), &["watch", "--cgroup", "no-such.service"]);
    assert_eq!(said, (Some(1), expected.to_owned()));
}

#[test]
fn the_name_of_a_manual_page_is_no_directory() {
    let directory = TempDir::new().unwrap();
    for (name, page, help) in [
        ("conniver-proxy", "conniver-proxy", "conniver help proxy"),
        ("conniver-rules-redirect.1", "conniver-rules-redirect", "conniver help rules redirect"),
        ("conniver", "conniver", "conniver help"),
        ("report", "conniver-report", "conniver help report"),
    ] {
        let expected = format!(
            "conniver: '{name}' is taken as a directory for all manual pages, but names one; for its \
             help, run: {help}; to read the page: conniver man DIR && man -l DIR/{page}.1\n"
        );
        assert_eq!(said_in(directory.path(), &["man", name]), (Some(1), expected));
    }
    let stdout = "conniver: the manual pages are several files, which cannot be written to standard \
                  output; to read one: conniver man DIR && man -l DIR/conniver.1\n";
    assert_eq!(said_in(directory.path(), &["man", "-"]), (Some(1), stdout.to_owned()));
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    // One that is there, or has another name, is a directory.
    std::fs::create_dir(directory.path().join("proxy")).unwrap();
    for name in ["proxy", "./conniver-proxy", "conniver-pages"] {
        let mut command = Command::new(BINARY);
        let output = command.current_dir(&directory).args(["man", name]).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        assert!(directory.path().join(name).join("conniver-proxy.1").is_file(), "{name}");
    }
}

#[test]
fn an_output_that_is_there_keeps_its_permissions_and_that_is_said() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("r");
    // It ends because there is no such cgroup, after it has opened its output.
    let kept = |mode: &str| {
        let mut command = Command::new(BINARY);
        command.current_dir(&directory).args(["watch", "--cgroup", "/no/such", "-o", "r"]);
        let output = command.args(["--output-mode", mode]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        said.lines().find_map(|line| line.split_once("WARN ")).map(|(_, said)| said.to_owned())
    };
    let set = |mode: u32| {
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    assert_eq!(kept("0644"), None);
    set(0o600);
    assert_eq!(
        kept("0640").as_deref(),
        Some(
            "--output-mode is for new files: 'r' exists and keeps its permissions 0600; to change \
             them: chmod 0640 r"
        )
    );
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(kept("0600"), None);
    set(0o644);
    assert!(kept("600").unwrap().ends_with("chmod 0600 r"));
    assert_wrong_usage(
        "watch --output-mode 0644",
        "--output-mode has no effect without an output file: add -o FILE",
        WATCH,
    );
}

#[test]
fn an_endpoint_that_is_none_is_told_what_it_lacks() {
    let port = |port: &str| {
        format!(
            "'{port}' is not a port; expected a number from 1 to 65535, or a range such as 8000-8999"
        )
    };
    let pattern = |text: &str| {
        format!(
            "'{text}' is a pattern, but a name is looked up; give one name, an address or a network \
             such as 10.0.0.0/8"
        )
    };
    for (value, expected) in [
        (":https", port("https")),
        ("127.0.0.1:http", port("http")),
        ("*:https", port("https")),
        (":9000-8000", port("9000-8000")),
        ("*.example.com", pattern("*.example.com")),
        ("db*:5432", pattern("db*:5432")),
        ("*", "'*' is every endpoint; omit the option".to_owned()),
        ("8000-9000", "'8000-9000' has no colon; write :8000-9000 for ports".to_owned()),
        (
            "https://example.com",
            "'https://example.com' is a URL; write its host and port, such as example.com:443"
                .to_owned(),
        ),
        (
            "a:b:c",
            "'a:b:c' is not an endpoint; expected HOST:PORT, HOST, :PORT or a network such as \
             10.0.0.0/8, with an IPv6 address before a port in brackets"
                .to_owned(),
        ),
    ] {
        for (command, option) in [("watch", "--to"), ("top", "--from")] {
            let (status, said) = refused(&[command, option, &format!(":1,{value}")]);
            let expected = format!(
                "error: invalid value '{value}' for '{option} <ENDPOINT>': {expected}\n\nFor more \
                 information, try '--help'.\n"
            );
            assert_eq!((status, said), (Some(2), expected));
        }
    }
}

#[test]
fn a_line_that_lacks_a_key_is_told_with_it() {
    let directory = TempDir::new().unwrap();
    let check = |lines: &[Value]| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(directory.path().join("f"), text).unwrap();
        let output =
            Command::new(BINARY).current_dir(&directory).args(["check", "f"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
    };
    let run = "01a2282e-b346-77eb-b828-ce49454761db";
    let stop = json!({
        "event": "stop", "schema": 1, "time": "2026-01-01T00:00:00Z", "host": "", "labels": {},
        "runId": run, "duration": 0, "pairs": 0, "linesLost": 0, "line": 1,
    });
    let short = json!({"event": "socketSample", "schema": 1});
    assert_eq!(
        check(std::slice::from_ref(&short)),
        "f: not a file of records: its only line is not the JSON of a record: it has no 'duration'"
    );
    assert_eq!(
        check(&[stop.clone(), short]),
        "f:2: the line is not a record: it has no 'duration'"
    );
    assert_eq!(check(&[stop, json!({"a": 1})]), "f:2: the line is not a record");
}

#[test]
fn what_is_missing_is_told_with_an_example() {
    for (typed, missing, tip, usage) in [
        (
            "man",
            "<DIR>",
            "give a directory for all manual pages; to read one: conniver man DIR && man -l \
             DIR/conniver.1",
            "conniver man <DIR>",
        ),
        (
            "completions",
            "<SHELL>",
            "give one of bash, elvish, fish, powershell, zsh, as in conniver completions bash",
            "conniver completions <SHELL>",
        ),
    ] {
        let said = format!(
            "the following required arguments were not provided:\n  {missing}\n\n  tip: {tip}"
        );
        assert_wrong_usage(typed, &said, usage);
    }
    let (status, said) = said_in(Path::new("/"), &["report"]);
    let tip = "\n\n  tip: give files of records, as conniver proxy -o FILE writes them\n\n";
    assert!(status == Some(2) && said.contains(tip), "{said}");
}

#[test]
fn a_shell_may_be_named_as_in_the_environment() {
    let script = |shell| crate::harness::run(BINARY, &["completions", shell]);
    let bash = script("bash");
    assert!(bash.contains("_conniver()"), "{bash}");
    for name in ["/usr/bin/bash", "BASH"] {
        assert!(script(name) == bash, "{name}");
    }
    let (status, said) = refused(&["completions", "tcsh"]);
    let values = "[possible values: bash, elvish, fish, powershell, zsh]";
    assert!(status == Some(2) && said.contains(values), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_told_by_its_name() {
    let directory = TempDir::new().unwrap();
    for name in ["a", "b"] {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    for (name, tip) in [
        (
            "https://h/f",
            "records are read from files; to fetch them: curl -s URL | conniver report -",
        ),
        ("a,b", "separate files by spaces"),
        ("a,c", "check the name, or give '-' for standard input"),
        ("*.ndjson", "it is a pattern: no file fits it, or it was quoted"),
    ] {
        let expected = format!(
            "conniver: cannot read records from '{name}': No such file or directory; {tip}\n"
        );
        assert_eq!(said_in(directory.path(), &["report", name]), (Some(1), expected));
    }
    let (status, said) = said_in(directory.path(), &["report", "a", "target=db*"]);
    let expected = "error: there is no file 'target=db*'; to choose connections, write --where \
                    'target=db*'\n\nUsage: conniver report [OPTIONS] <FILE>...\n\nFor more \
                    information, try '--help'.\n";
    assert_eq!((status, &*said), (Some(2), expected));
    let page = said_in(directory.path(), &["report", "a", "--html", "."]);
    let expected = "conniver: cannot write the page to '.': is a directory; name a file in it\n";
    assert_eq!(page, (Some(1), expected.to_owned()));
    let (status, said) = refused(&["report", "f", "--id", ""]);
    let expected = "error: a value is required for '--id <ID>' but none was supplied\n\nFor more \
                    information, try '--help'.\n";
    assert_eq!((status, &*said), (Some(2), expected));
}
