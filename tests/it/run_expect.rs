//! `conniver run --expect`: what the connections of COMMAND are to be like.

use std::process::{Command, Output};
use std::time::Duration;

use crate::curl;
use crate::harness::clients::without_proxies;
use crate::harness::has_tool;
use crate::harness::peers::{Upstream, deaf_port, noise};
use crate::harness::program::BINARY;
use crate::run::{page_on, stderr};

/// Runs a shell script with these expectations, without a file of records.
fn run(expected: &[&str], options: &[&str], script: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("run").args(options);
    for expected in expected {
        command.args(["--expect", expected]);
    }
    command.args(["--", "sh", "-c", script]);
    without_proxies(&mut command).output().unwrap()
}

/// The lines on broken expectations, of which the last one is the end.
fn broken(output: &Output) -> Vec<String> {
    let said = stderr(output);
    let lines = said.lines().skip_while(|line| !line.starts_with("expected "));
    lines.map(str::to_owned).collect()
}

#[test]
fn expectations_that_are_met_leave_the_status_alone() {
    let name = "expectations_that_are_met_leave_the_status_alone";
    if !has_tool("curl", name) {
        return;
    }
    let (one, two) = (page_on("127.0.0.1:0"), page_on("127.0.0.2:0"));
    let (to_one, to_two) = (one.address, two.address);
    let of_one = format!("{to_one} connections=1");
    let expected = [
        "connections=2",
        &of_one,
        "127.0.0.1:1 connections=0",
        "failed=0",
        "lost=0",
        "resets = 0",
        "connect.max<5s",
        "turns.wait.max<=20s",
        "turns.wait.p50>0ns",
        "outcome=ok",
        "endedBy!=proxy",
        "received>=20kB",
    ];
    let script = format!(
        "curl -sSp -o /dev/null http://{to_one}/ && curl -sSp -o /dev/null http://{to_two}/"
    );
    let output = run(&expected, &[], &script);
    assert_eq!((output.status.code(), broken(&output)), (Some(0), Vec::new()), "{output:?}");
    one.join();
    two.join();
}

#[test]
fn broken_expectations_name_the_connections_and_end_with_a_status_of_their_own() {
    let name = "broken_expectations_name_the_connections_and_end_with_a_status_of_their_own";
    if !has_tool("curl", name) {
        return;
    }
    let slow = Upstream::once(|stream| {
        std::thread::sleep(Duration::from_millis(60));
        curl::serve(stream, &noise(10))
    });
    let (_held, deaf) = deaf_port();
    let answering = slow.address;
    let script = format!("curl -sSp http://{answering}/ >/dev/null; curl -sp http://{deaf}/; true");
    let nobody = "db:5432 lost=0";
    let expected = [
        "connections=3",
        "failed=0",
        "outcome=ok",
        "turns.wait.max<50ms",
        "turns.wait.p99>=30s",
        "connect.max>=30s",
        nobody,
        "lost=0",
    ];
    let output = run(&expected, &["--expect-status", "77", "-q"], &script);
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let lines = broken(&output);
    let (last, lines) = lines.split_last().unwrap();
    assert_eq!(last, "conniver: expectation failed (7 of 8)");
    let begins = [
        format!("expected connections=3: there were 2: #1 to {answering}, #2 to {deaf}"),
        format!("expected failed=0: #2 to {deaf} refused (ECONNREFUSED)"),
        format!("expected outcome=ok: #2 to {deaf} refused (ECONNREFUSED)"),
        format!("expected turns.wait.max<50ms: #1 to {answering} waited "),
        format!("expected turns.wait.p99>=30s: #1 to {answering} waited "),
        "expected connect.max>=30s: the longest: #".to_owned(),
        format!("expected {nobody}: nobody connected to db:5432; there were connections to "),
    ];
    assert_eq!(lines.len(), begins.len(), "{lines:#?}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(&begin), "{line}\n{begin}");
    }
    slow.join();
}

#[test]
fn expectations_that_cannot_be_judged_are_broken() {
    let name = "expectations_that_cannot_be_judged_are_broken";
    if !has_tool("curl", name) {
        return;
    }
    let output = run(&["lost=0", "connections=0", "connections>0"], &[], "true");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let lines = [
        "expected lost=0: there were no connections",
        "expected connections>0: there were 0",
        "conniver: expectation failed (2 of 3)",
    ];
    assert_eq!(broken(&output), lines);

    let (_held, deaf) = deaf_port();
    let output = run(&["turns.wait.max<1s"], &[], &format!("curl -sp http://{deaf}/; true"));
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = "expected turns.wait.max<1s: cannot be judged: no connection had a request";
    assert_eq!(broken(&output)[0], said);
}

#[test]
fn the_failure_of_the_program_wins() {
    let output = run(&["connections=1"], &[], "exit 7");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let last = "conniver: expectation failed (1 of 1)";
    assert_eq!(broken(&output), ["expected connections=1: there were 0", last]);
    let output = run(&["connections=1"], &["-o", "/no/such/file"], "true");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
}

#[test]
fn what_is_no_expectation_is_wrong_usage_and_names_what_there_is() {
    for (expected, said) in [
        ("los=0", "the metrics are connections, failed, resets, lost, retransmits"),
        ("lost", "it has no operator"),
        ("connect.max<50", "expected one with its unit, such as 300ms"),
        ("endedBy=server", "client, upstream, proxy, resolver, network"),
        ("db lost=0", "the port is missing"),
    ] {
        let output = run(&[expected], &[], "echo it ran");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let text = stderr(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(said), "{text}");
    }
    let output = run(&[], &["--expect-status", "4"], "true");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    for status in ["0", "256"] {
        let output = run(&["lost=0"], &["--expect-status", status], "true");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
