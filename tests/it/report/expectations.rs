//! `conniver report --expect`: what the connections of files are to be like.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::page::{a_run, closed};
use super::{copies, report, report_text, sockets};
use crate::harness::clients::without_proxies;
use crate::harness::has_tool;
use crate::harness::peers::deaf_port;
use crate::harness::program::BINARY;
use crate::run::page_on;

/// The report on these lines; each of `expected` is an expectation.
fn judged(lines: &[Value], expected: &[&str], args: &[&str]) -> Output {
    let expected = expected.iter().flat_map(|expected| ["--expect", expected]);
    report(lines, &expected.chain(args.iter().copied()).collect::<Vec<_>>())
}

/// What is said on standard error.
fn said(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).unwrap().lines().map(str::to_owned).collect()
}

/// Copies of the record of a good connection to `db:5432`, the second of which was refused.
fn to_database(count: u64) -> Vec<Value> {
    let (lines, _) = a_run("full");
    copies(&closed(&lines)[0], count, |record, number| {
        record["target"] = "db:5432".into();
        if number == 2 {
            record["outcome"] = "refused".into();
            record["ending"]["errorCode"] = "ECONNREFUSED".into();
        }
    })
}

#[test]
fn the_file_of_a_run_breaks_the_expectations_that_the_run_broke() {
    if !has_tool("curl", "the_file_of_a_run_breaks_the_expectations_that_the_run_broke") {
        return;
    }
    let expected = [
        "connections=3",
        "connections=2",
        "failed=0",
        "resets>0",
        "lost>5",
        "retransmits<1000",
        "warnings>100",
        "sent<10",
        "received>1MB",
        "turns.count=1",
        "turns.unanswered>0",
        "resolve.max<1s",
        "connect.max>=30s",
        "firstByte.max<1ns",
        "duration.max>=1m",
        "turns.wait.max<1ns",
        "turns.wait.p50<1ns",
        "turns.wait.p99<1ns",
        "turns.wait.total>=1h",
        "outcome=ok",
        "endedBy!=upstream",
        "limitedBy=network-client",
        "db:5432 lost=0",
    ];
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("records.ndjson");
    for detail in ["brief", "normal", "full"] {
        let page = page_on("127.0.0.1:0");
        let (_held, deaf) = deaf_port();
        let script = format!(
            "curl -sSp -o /dev/null http://{}/; curl -sp http://{deaf}/; true",
            page.address
        );
        let options = expected.iter().flat_map(|expected| ["--expect", expected]);
        let options: Vec<_> = options.collect();
        let mut run = Command::new(BINARY);
        run.args(["run", "-q", "--fresh", "--detail", detail, "-o"]).arg(&file).args(&options);
        let run = without_proxies(run.args(["--", "sh", "-c", &script])).output().unwrap();
        page.join();
        let of_file =
            Command::new(BINARY).arg("report").arg(&file).args(&options).output().unwrap();
        assert_eq!(run.status.code(), Some(3), "{run:?}");
        assert_eq!(of_file.status.code(), Some(3), "{of_file:?}");
        let text = fs::read_to_string(&file).unwrap();
        let record: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let id = record["runId"].as_str().unwrap();
        let name = format!("{}-", &id[id.len() - 4..]);
        let of_run: Vec<_> = said(&run).iter().map(|line| line.replace('#', &name)).collect();
        assert!(of_run.len() > 15, "{of_run:#?}");
        assert_eq!(said(&of_file), of_run, "{detail}");
    }
}

#[test]
fn what_is_not_met_is_said_after_the_report_and_has_a_status() {
    let lines = to_database(3);
    let plain = report(&lines, &[]);
    let met = judged(&lines, &["connections=3", "lost>=0", "DB.:5432 failed<=1"], &[]);
    assert_eq!((met.status.code(), said(&met)), (Some(0), Vec::new()));
    assert_eq!(met.stdout, plain.stdout);
    let refused = "61db-2 to db:5432 refused (ECONNREFUSED)";
    let broken = [
        format!("expected failed=0: {refused}"),
        format!("expected db:5432 outcome=ok: {refused}"),
        "expected api:443 connections=1: there were 0; there were connections to db:5432"
            .to_owned(),
        "conniver: expectation failed (3 of 4)".to_owned(),
    ];
    let expected = ["failed=0", "db:5432 outcome=ok", "api:443 connections=1", "connections=3"];
    for (args, status) in [(&[][..], 3), (&["--expect-status", "77"], 77)] {
        let output = judged(&lines, &expected, args);
        assert_eq!((output.status.code(), said(&output)), (Some(status), broken.to_vec()));
        assert_eq!(output.stdout, plain.stdout);
    }
    let json = judged(&lines, &expected[2..], &["--json"]);
    assert_eq!((json.status.code(), said(&json).len()), (Some(3), 2));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let reason = "there were 0; there were connections to db:5432";
    let of_json = json!([
        {"expectation": "api:443 connections=1", "isMet": false, "reasons": [reason]},
        {"expectation": "connections=3", "isMet": true, "reasons": []},
    ]);
    assert_eq!(json["expectations"], of_json);
    let page = judged(&lines, &["failed=0"], &["--html", "-"]);
    assert_eq!((page.status.code(), said(&page).len()), (Some(3), 2));
    assert_eq!(page.stdout, report(&lines, &["--html", "-"]).stdout);
}

#[test]
fn a_broken_expectation_names_ten_connections() {
    let lines = copies(&to_database(2)[1], 30, |_, _| {});
    let output = judged(&lines, &["failed=0", "connections=1"], &[]);
    let said = said(&output);
    let named: Vec<_> = (1..=10).map(|number| format!("61db-{number} to db:5432")).collect();
    for (line, name) in said.iter().zip(&named) {
        assert_eq!(*line, format!("expected failed=0: {name} refused (ECONNREFUSED)"));
    }
    let rest = [
        "expected failed=0: and 20 more connections".to_owned(),
        format!(
            "expected connections=1: there were 30: {}, and 20 more connections",
            named.join(", ")
        ),
        "conniver: expectation failed (2 of 2)".to_owned(),
    ];
    assert_eq!(said[10..], rest);
}

#[test]
fn expectations_are_about_the_connections_in_the_report() {
    let lines = to_database(3);
    let at = |number: usize| {
        let nanos = lines[number]["openedAt"].as_i64().unwrap();
        jiff::Timestamp::from_nanosecond(nanos.into()).unwrap().to_string()
    };
    let status = |expected: &[&str], args: &[&str]| {
        let output = judged(&lines, expected, args);
        (output.status.code(), said(&output))
    };
    let met = (Some(0), Vec::new());
    assert_eq!(status(&["connections=2", "failed=0"], &["--where", "outcome=ok"]), met);
    assert_eq!(status(&["connections=3"], &["--by", "outcome", "--since", &at(0)]), met);
    let none = |line: &str| {
        (Some(3), vec![line.to_owned(), "conniver: expectation failed (1 of 1)".to_owned()])
    };
    let nothing = none("expected lost=0: there were no connections");
    assert_eq!(status(&["lost=0"], &["--until", &at(0)]), nothing);
    let elsewhere =
        none("expected db:5432 lost=0: nobody connected to db:5432; there were no connections");
    assert_eq!(status(&["db:5432 lost=0"], &["--where", "target=api*"]), elsewhere);

    // Each connection counts once, and those of --against do not count.
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("records.ndjson");
    fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(status(&["connections=3"], &[file]), met);
    assert_eq!(status(&["connections=3"], &["--against", file, "--"]), met);
    let broken = status(&["failed=0"], &["--against", file, "--"]);
    assert_eq!(broken.1.len(), 2, "{broken:?}");
}

#[test]
fn redacted_messages_have_the_stand_ins_of_the_report() {
    let lines = to_database(3);
    let expected = ["db:5432 failed=0", "db:5432 connections=3", "other.example:1 lost=0"];
    let output = judged(&lines, &expected, &["--redact", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let target = report["groups"][0]["name"].as_str().unwrap();
    assert!(target.starts_with("host-"), "{report}");
    let lines = said(&output);
    let failed = format!("expected {target} failed=0: 61db-2 to {target} refused (ECONNREFUSED)");
    assert_eq!(lines[0], failed);
    let nobody = format!("; there were connections to {target}");
    assert!(lines[1].starts_with("expected host-") && lines[1].ends_with(&nobody), "{lines:?}");
    assert_eq!(lines[2..], ["conniver: expectation failed (2 of 3)"]);
    let all = format!("{report} {lines:?}");
    assert!(!all.contains("db:5432") && !all.contains("example"), "{all}");
}

#[test]
fn sockets_of_a_watch_cannot_be_judged_by_what_they_do_not_have() {
    let lines = sockets::lines();
    let met = ["connections=10", "failed=3", "resets=3", "lost<=10", "retransmits=20", "sent=100"];
    let output = judged(&lines, &met, &[]);
    assert_eq!((output.status.code(), said(&output)), (Some(0), Vec::new()));
    let also_met = ["10.0.0.2:443 connections=9", "received=10kB", "warnings=0", "duration.max<2s"];
    assert_eq!(judged(&lines, &also_met, &[]).status.code(), Some(0));
    let reset = judged(&lines[..3], &["outcome=ok"], &[]);
    assert_eq!(said(&reset)[0], "expected outcome=ok: 61db-3 to 10.0.0.2:443 reset");
    let why =
        "a line of conniver watch does not have this; those of conniver proxy and conniver run do";
    for expected in [
        "turns.wait.max<1h",
        "turns.wait.p50<1h",
        "turns.wait.total<1h",
        "turns.count=0",
        "turns.unanswered=0",
        "resolve.max<1h",
        "connect.max<1h",
        "firstByte.max<1h",
        "endedBy!=proxy",
        "limitedBy!=proxy",
    ] {
        let output = judged(&lines[..1], &[expected], &[]);
        let line =
            format!("expected {expected}: cannot be judged by 61db-1 to 10.0.0.2:443: {why}");
        let lines = vec![line, "conniver: expectation failed (1 of 1)".to_owned()];
        assert_eq!((output.status.code(), said(&output)), (Some(3), lines));
    }
    let mut open = sockets::lines();
    open.truncate(1);
    open[0]["ending"]["how"] = Value::Null;
    let output = judged(&open, &["failed=0"], &[]);
    let line =
        "expected failed=0: cannot be judged by 61db-1 to 10.0.0.2:443: how it ended is not known";
    assert_eq!(said(&output)[0], line);
}

#[test]
fn files_that_cannot_be_read_keep_their_status() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("missing");
    let missing = missing.to_str().unwrap();
    let lines = to_database(3);
    let unread = format!("conniver: cannot read records from '{missing}'");
    // The other file is judged.
    let output = judged(&lines, &["failed=0"], &[missing]);
    let lines = said(&output);
    assert_eq!(output.status.code(), Some(1), "{lines:?}");
    assert!(lines[0].starts_with(&unread), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "conniver: expectation failed (1 of 1)");
    // There is nothing to judge.
    let output = Command::new(BINARY)
        .args(["report", "--expect", "connections=0", "--expect", "lost=0", missing])
        .output()
        .unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]));
    assert!(!said(&output).iter().any(|line| line.contains("expect")), "{output:?}");
    // An empty one is read.
    let output = report_text(b"", &["--expect", "lost=0"]);
    let lines =
        ["expected lost=0: there were no connections", "conniver: expectation failed (1 of 1)"];
    assert_eq!((output.status.code(), said(&output)), (Some(3), lines.map(str::to_owned).to_vec()));
}

#[test]
fn what_is_no_expectation_is_wrong_usage_of_the_report() {
    for (args, words) in [
        (
            &["--expect", "los=0"][..],
            "invalid value 'los=0' for '--expect <EXPR>': unknown metric 'los'; the metrics are connections, failed",
        ),
        (
            &["--expect", "*:443 lost=0"],
            "'*:443' is not one target: write HOST:PORT as it was requested, an --expect for each, or only 'lost=0' for all connections",
        ),
        (
            &["--expect", "lost=0", "--expect-status", "0"],
            "invalid value '0' for '--expect-status <N>'",
        ),
        (
            &["--expect", "lost=0", "--id", "1"],
            "the argument '--expect <EXPR>' cannot be used with '--id <ID>'",
        ),
    ] {
        let output = report_text(b"", args);
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]));
        let said = said(&output).join(" ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_reader_that_has_gone_leaves_the_status() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("records.ndjson");
    let lines = copies(&to_database(2)[1], 2000, |_, _| {});
    fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let script = format!(
        "{{ {BINARY} report --slowest 2000 --expect failed=0 {}; echo status $? >&2; }} | head -1",
        file.display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(said(&output)[11..], ["conniver: expectation failed (1 of 1)", "status 3"]);
    assert!(output.stdout.starts_with(b"2000 connections, 2000 failed"), "{output:?}");
}
