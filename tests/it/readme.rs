//! The README says what is.

use std::process::Command;

use crate::harness::peers::{deaf_port, echo_server, exchange};
use crate::harness::program::{BINARY, Proxy};
use crate::harness::{has_tool, run};

#[test]
fn the_help_in_the_readme_is_the_programs() {
    let readme = include_str!("../../README.md");
    for command in ["proxy", "run"] {
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
