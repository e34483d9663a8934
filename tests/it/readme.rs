//! The README says what is.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::harness::peers::{deaf_port, echo_server, exchange};
use crate::harness::program::{BINARY, Proxy};
use crate::harness::{has_tool, run};

#[test]
fn the_help_in_the_readme_is_the_programs() {
    let readme = include_str!("../../README.md");
    for command in ["proxy", "run", "stat"] {
        let asked = format!("$ conniver {command} --help\n");
        let pasted = readme.split(&asked).nth(1).unwrap().split("```").next().unwrap();
        assert_eq!(pasted, run(BINARY, &[command, "--help"]));
    }
}

#[test]
fn the_reference_of_keys_in_the_readme_is_made_of_the_documented_types() {
    let readme = include_str!("../../README.md");
    let pasted = readme.split("<summary>Every key of every line</summary>").nth(1).unwrap();
    let pasted = pasted.split("</details>").next().unwrap().trim();
    let printed = run(BINARY, &["schema", "--markdown"]);
    // It goes on with the systems' own structures.
    let printed = printed.split("`client.openedInfo.sysInfo` with").next().unwrap().trim();
    assert!(pasted == printed, "paste what `conniver schema --markdown` prints:\n{printed}");
}

#[test]
fn every_key_that_may_be_null_says_when() {
    let printed = run(BINARY, &["schema", "--markdown"]);
    let lines = printed.split("`client.openedInfo.sysInfo` with").next().unwrap().lines();
    let nullable: Vec<_> = lines.filter(|line| line.contains(" or null | ")).collect();
    assert!(nullable.len() > 60, "{nullable:?}");
    // Where only some systems tell, it is null on others.
    let says_when = ["Null", "null ", "null,", "null.", "Linux", "FreeBSD", "Windows", "No system"];
    for line in nullable {
        let meaning = line.split(" or null | ").nth(1).unwrap();
        assert!(says_when.iter().any(|when| meaning.contains(when)), "{line}");
    }
}

/// The names of all tests in a directory's sources.
fn tests_in(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let after =
                source.split("#[test]").skip(1).chain(source.split("#[tokio::test").skip(1));
            let name = |text: &str| Some(text.split("fn ").nth(1)?.split('(').next()?.to_owned());
            names.extend(after.filter_map(name));
        }
    }
}

#[test]
fn every_test_that_the_tables_of_the_go_package_name_exists() {
    let mut tests = BTreeSet::new();
    for directory in ["src", "tests/it"] {
        tests_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut tests);
    }
    let readme = include_str!("../../README.md");
    for (table, least) in [("What it has, and what here", 40), ("Where it errs", 15)] {
        let table = readme.split(&format!("<summary>{table}")).nth(1).unwrap();
        let table = table.split("</details>").next().unwrap();
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).collect();
        assert!(rows.len() >= least, "{}", rows.len());
        assert!(rows[0].ends_with(" | test |") && rows[1].starts_with("| --- |"), "{rows:?}");
        for row in &rows[2..] {
            let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            let named: Vec<_> = last.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty(), "no test: {row}");
            for name in named {
                assert!(tests.contains(name), "no such test: {name}");
            }
        }
    }
}

/// The README's jq commands, run on a file with a good pair, a failed one, and all other lines.
#[test]
fn the_jq_commands_in_the_readme_take_every_line_that_the_program_writes() {
    if !has_tool("jq", "the_jq_commands_in_the_readme_take_every_line_that_the_program_writes") {
        return;
    }
    if !has_tool("bash", "the_jq_commands_in_the_readme_take_every_line_that_the_program_writes") {
        return;
    }
    let (_held, deaf) = deaf_port();
    let forwards = [
        format!("0:{}", echo_server()),
        format!("0:{deaf}"),
        "0:no-such-host.invalid:80".to_owned(),
    ];
    let forwards = forwards.each_ref().map(String::as_str);
    let proxy =
        Proxy::start(&mut Command::new(BINARY), &forwards, &["--events", "start,open,close,stop"]);
    for &address in proxy.addresses() {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        if address == proxy.address() {
            exchange(&mut client, b"x");
        }
    }
    proxy.wait_for_records(3);
    let file = proxy.records_file().display().to_string();
    let readme = include_str!("../../README.md");
    let commands: Vec<&str> = readme.lines().filter(|line| line.starts_with("jq ")).collect();
    assert!(commands.len() >= 4);
    for command in commands {
        let command = command.replace("records.ndjson", &file);
        let script = format!("set -o pipefail; {command}");
        run("bash", &["-c", &script]);
    }
}
