//! Files that are given twice, damaged, or something else; connections that no condition fits.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{copies, figures, report, report_text};
use crate::arguments::{refused, unwrapped};
use crate::harness::has_tool;
use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{BINARY, Proxy, wait_until};

/// A real record.
fn record() -> Value {
    let demo = Command::new(BINARY).arg("demo").output().unwrap();
    serde_json::from_slice(&demo.stdout).unwrap()
}

fn text_of(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The report in a directory.
fn report_in(directory: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.current_dir(directory).arg("report").args(args).env("TZ", "UTC").output().unwrap()
}

fn stdout(output: &Output) -> String {
    unwrapped(&String::from_utf8(output.stdout.clone()).unwrap())
}

fn stderr(output: &Output) -> String {
    unwrapped(&String::from_utf8(output.stderr.clone()).unwrap())
}

/// What a program makes of these bytes.
fn filtered(program: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let streams = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = streams.stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || _ = stdin.write_all(bytes));
        child.wait_with_output().unwrap().stdout
    })
}

#[test]
fn a_connection_in_two_files_counts_once() {
    let directory = TempDir::new().unwrap();
    let mut lines = copies(&record(), 30, |_, _| {});
    lines.push(json!({"event": "refused", "runId": "01a2282e-b346-77eb-b828-ce49454761db", "count": 4, "line": 31}));
    fs::write(directory.path().join("records.ndjson"), text_of(&lines)).unwrap();
    fs::write(directory.path().join("records.ndjson.1"), text_of(&lines[..10])).unwrap();
    let once = report_in(directory.path(), &["--json", "records.ndjson"]);
    let twice =
        ["--json", "records.ndjson.1", "records.ndjson", "records.ndjson", "records.ndjson.1"];
    let twice = report_in(directory.path(), &twice);
    let [once, twice]: [Value; 2] =
        [once, twice].map(|output| serde_json::from_slice(&output.stdout).unwrap());
    assert_eq!(once["totals"], twice["totals"]);
    assert_eq!((&twice["lines"]["refused"], &twice["lines"]["repeated"]), (&4.into(), &50.into()));
    let text = stdout(&report_in(directory.path(), &["records.ndjson", "records.ndjson.1"]));
    assert!(text.contains("note: 10 lines of connections that were already read"), "{text}");
    let id = lines[0]["id"].as_str().unwrap();
    let one = report_in(directory.path(), &["--id", id, "records.ndjson", "records.ndjson.1"]);
    assert!(one.status.success(), "{one:?}");
}

#[test]
fn all_that_can_be_decompressed_is_in_the_report() {
    for (program, args) in [("gzip", ["-c"]), ("zstd", ["-c"])] {
        if !has_tool(program, "all_that_can_be_decompressed_is_in_the_report") {
            continue;
        }
        let lines = copies(&record(), 400, |line, number| line["clientPort"] = number.into());
        let whole = filtered(program, &args, text_of(&lines).as_bytes());
        for part in 1..12 {
            let cut = &whole[..whole.len() * part / 12];
            let plain = filtered(program, &["-dc"], cut);
            let readable = plain.iter().filter(|byte| **byte == b'\n').count() as u64;
            let output = report_text(cut, &["--json"]);
            let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
            let read = figures["totals"]["connections"].as_u64().unwrap();
            assert!(read >= readable, "{program}: {read} of {readable}, {part} twelfths");
            assert!(read < 400 && figures["files"][0]["truncated"] == program, "{figures}");
        }
    }
}

#[test]
fn a_file_of_something_else_is_an_error_and_the_others_are_read() {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, text: &[u8]| fs::write(directory.path().join(name), text).unwrap();
    write("good", text_of(&copies(&record(), 3, |_, _| {})).as_bytes());
    write("indented", serde_json::to_string_pretty(&record()).unwrap().as_bytes());
    write("text", b"one\ntwo\n");
    write("log", b"{\"event\":\"login\",\"user\":\"x\"}\n");
    write("empty", b"");
    let mut tar = vec![b'x'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    write("tar", &tar);
    write("utf16", b"\xff\xfe{\0\"\0");
    write("marked", &[b"\xef\xbb\xbf", text_of(&[record()]).as_bytes()].concat());
    for (file, words) in [
        (
            "indented",
            "line 1 is truncated; if it is JSON on several lines, write each object on one line: jq -c . FILE",
        ),
        ("text", "text: not a file of records: none of its 2 lines is a record"),
        ("log", "log: not a file of records: its only line is not the JSON of a record"),
        ("tar", "it is a tar archive; "),
        ("utf16", "it is UTF-16 text; "),
    ] {
        let output = report_in(directory.path(), &[file]);
        let said = stderr(&output);
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]), "{said}");
        assert!(said.contains(words), "{said}");
        for args in [[file, "good"], ["good", file]] {
            let output = report_in(directory.path(), &args);
            assert_eq!(output.status.code(), Some(1));
            assert!(stdout(&output).starts_with("3 connections"), "{output:?}");
            assert!(stderr(&output).contains(words), "{output:?}");
        }
        let output = report_in(directory.path(), &["good", "--against", file]);
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]));
        assert!(stderr(&output).contains(words), "{output:?}");
    }
    let output = report_in(directory.path(), &["good", "--against", "empty"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is nothing to compare with"), "{output:?}");
    for file in ["marked", "empty"] {
        assert!(report_in(directory.path(), &[file]).status.success(), "{file}");
    }
    assert!(stdout(&report_in(directory.path(), &["marked"])).starts_with("1 connection,"));
}

#[test]
fn what_stands_around_records_is_said_with_what_removes_it() {
    let directory = TempDir::new().unwrap();
    // As it is written: a Value has its keys in another order.
    let demo = Command::new(BINARY).arg("demo").output().unwrap();
    let line = String::from_utf8(demo.stdout).unwrap().trim().to_owned();
    let compose = format!("web-1  | conniver: a diagnostic\nweb-1  | {line}\nweb-1  | {line}\n");
    let docker = json!({"log": format!("{line}\n"), "stream": "stdout"}).to_string();
    let [sorted, quoted] =
        [record(), json!({"log": record().to_string()})].map(|line| format!("{line}\n"));
    let sorted = format!("Nov 29 14:00:00 web1 conniver[7]: {sorted}");
    let capture = &b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00"[..];
    for (file, text, words) in [
        ("compose", compose.as_bytes(), "remove these first with sed -n 's/^[^{]*{/{/p' FILE"),
        ("docker", docker.as_bytes(), "take these out first with jq -r .log FILE"),
        ("sorted", sorted.as_bytes(), "remove these first with sed -n 's/^[^{]*{/{/p' FILE"),
        ("sorted in docker", quoted.as_bytes(), "take these out first with jq -r .log FILE"),
        ("array", format!("[{line}]").as_bytes(), "it is a JSON array; "),
        ("capture", capture, "it is a capture of packets, "),
    ] {
        fs::write(directory.path().join(file), text).unwrap();
        for (command, status) in [("report", 1), ("check", 2), ("top", 1)] {
            let mut program = Command::new(BINARY);
            let output = program.current_dir(&directory).args([command, file]).output().unwrap();
            let said = stderr(&output);
            assert_eq!((output.status.code(), stdout(&output)), (Some(status), String::new()));
            assert!(said.contains(words), "{command} {file}: {said}");
        }
    }
    if has_tool("sed", "what_stands_around_records_is_said_with_what_removes_it") {
        let plain = filtered("sed", &["-n", "s/^[^{]*{/{/p"], compose.as_bytes());
        assert_eq!(String::from_utf8(plain).unwrap(), format!("{line}\n{line}\n"));
    }
}

#[test]
fn lines_of_open_connections_alone_are_said_to_be_that() {
    let line = |event: &str| json!({"event": event, "schema": 1});
    for (events, words) in [
        (&["start", "open", "open", "turn"][..], "the files have 2 open lines, 1 turn line; "),
        (&["socketSample"], "the files have 1 sample; "),
        (&["start", "stop"], "lines of a watch; conniver top FILE shows open connections"),
    ] {
        let lines: Vec<_> = events.iter().map(|event| line(event)).collect();
        let output = report(&lines, &[]);
        let text = stdout(&output);
        assert!(output.status.success(), "{output:?}");
        assert!(text.contains("note: no connection has ended yet, or --events leaves"), "{text}");
        assert!(text.contains(words), "{text}");
    }
    let text = stdout(&report(&[line("stat")], &[]));
    assert!(text.contains("note: 1 line of conniver stat left out: a report is of "), "{text}");
}

#[test]
fn a_span_without_connections_is_answered_with_theirs() {
    let mut line = record();
    line["acceptedAt"] = 1_764_417_600_000_000_000_i64.into();
    line["openedAt"] = 1_764_417_600_000_000_000_i64.into();
    let text = stdout(&report(&[line], &["--since", "10m"]));
    let words = "note: no connection fits; the files have connections of 2025-11-29 12:00:00, UTC";
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_pipe_without_a_hyphen_is_answered_with_it() {
    let mut command = Command::new(BINARY);
    command.args(["report", "--slowest", "1"]).stdin(Stdio::piped());
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let said = stderr(&output.wait_with_output().unwrap());
    assert!(said.contains("to report on standard input: conniver report - --slowest 1"), "{said}");
}

#[test]
fn what_would_print_or_read_a_stream_twice_is_wrong_usage() {
    for (args, words) in [
        (&["report", "-", "--against", "-"][..], "'-' is given twice"),
        (&["report", "-", "-"], "'-' is given twice"),
        (&["check", "-", "-"], "'-' is given twice"),
        (
            &["report", "x", "--json", "--html", "-"],
            "--json and --html - both print to standard output",
        ),
        (&["report", "--against", "a", "b"], "write: conniver report b --against a"),
        (&["report", "--against", "a"], "conniver report FILE --against a"),
    ] {
        let (status, said) = refused(args);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn where_nothing_fits_values_that_would_are_named() {
    let lines = copies(&record(), 3, |line, number| {
        line["target"] = format!("db-{number}:5432").into();
        line["labels"] = json!({"env": "jane"});
    });
    let text = stdout(&report(&lines, &["--where", "target=db and label.env=test"]));
    assert!(text.contains("no connection fits; target is, for example, db-1:5432, "), "{text}");
    assert!(text.contains("label.env is, for example, jane"), "{text}");
    let args = ["--where", "target=db and label.env=test", "--redact"];
    let text = stdout(&report(&lines, &args));
    assert!(
        text.contains("target is, for example, host-2:5432") && !text.contains("jane"),
        "{text}"
    );
}

#[test]
fn a_redacted_report_names_no_file() {
    let directory = TempDir::new().unwrap();
    let torn = format!("{}{{\"event\"", text_of(&[record()]));
    fs::write(directory.path().join("jane.ndjson"), torn).unwrap();
    for args in [&["--redact", "jane.ndjson"][..], &["--redact", "--json", "jane.ndjson"]] {
        let text = stdout(&report_in(directory.path(), args));
        assert!(text.contains("file-1") && !text.contains("jane"), "{text}");
    }
}

#[test]
fn failed_connections_are_listed_and_said_for_each_target() {
    let lines = copies(&record(), 20, |line, number| {
        // Slower than those that failed.
        line["verdict"]["active"] = (1_000_000_000 + number).into();
        if number % 5 == 0 {
            line["target"] = if number < 12 { "gone.example:80" } else { "db:1" }.into();
            line["outcome"] = if number == 5 { "dns" } else { "refused" }.into();
            line["verdict"]["active"] = 0.into();
        }
    });
    let text = stdout(&report(&lines, &[]));
    assert!(text.contains("\nfailed: 3 refused, 1 dns\n"), "{text}");
    assert!(text.contains("\n  gone.example:80: 1 dns, 1 refused\n"), "{text}");
    assert!(text.contains("\n  db:1: 2 refused\n"), "{text}");
    assert!(text.contains("\nfailed connections ") && text.contains(" 61db-5\n"), "{text}");
    let json = figures(&lines, &["--slowest", "3"]);
    assert_eq!(
        (json["failed"].as_array().unwrap().len(), &json["slowest"][2]["outcome"]),
        (3, &"ok".into())
    );
    let directory = TempDir::new().unwrap();
    let page = directory.path().join("page.html");
    let both = figures(&lines, &["--slowest", "3", "--html", page.to_str().unwrap()]);
    assert_eq!(both["slowest"], json["slowest"], "however many the page has");
}

#[test]
fn a_refused_connection_has_its_dial_and_no_wait() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::forwarding_to(gone, &[]);
    drop(proxy.connect());
    proxy.wait_for_records(1);
    let file = proxy.records_file();
    let output = report_in(Path::new("."), &["--id", "1", file.to_str().unwrap()]);
    let text = stdout(&output);
    let dial = format!("connecting to {gone} failed: Connection refused, ");
    assert!(text.contains(&dial) && !text.contains("took half"), "{text}");
}

/// By nearest rank.
fn quantile(waits: &mut [u64], percent: usize) -> u64 {
    waits.sort_unstable();
    waits[(waits.len() * percent).div_ceil(100) - 1]
}

#[test]
fn waits_are_those_of_the_turns() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--events", "turn,close"]);
    for count in [1, 2, 3, 4, 5, 31, 32, 101, 240] {
        let mut client = proxy.connect();
        (0..count).for_each(|_| _ = exchange(&mut client, b"x"));
    }
    let file = proxy.records_file();
    let mut lines = Vec::<Value>::new();
    wait_until("all connections are recorded", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.iter().filter(|line| line["event"] == "close").count() == 9
    });
    let waits = |id: &Value| -> Vec<u64> {
        let turns = lines.iter().filter(|line| line["event"] == "turn");
        let of_id = turns.filter(|line| id.is_null() || line["id"] == *id);
        of_id.map(|line| line["wait"].as_u64().unwrap()).collect()
    };
    // A record's are within 3.2 %, the report's within 1 % of these.
    let is_near = |shown: &Value, low: u64, high: u64| {
        let shown = shown.as_f64().unwrap();
        shown >= 0.957 * low as f64 && shown <= 1.043 * high as f64
    };
    let mut own = [(50, u64::MAX, 0), (99, u64::MAX, 0)];
    let records: Vec<_> = lines.iter().filter(|line| line["event"] == "close").collect();
    for record in records {
        let mut exact = waits(&record["id"]);
        let shown = &figures(std::slice::from_ref(record), &[])["totals"]["wait"];
        for (percent, least, most) in &mut own {
            let exact = quantile(&mut exact, *percent);
            assert!(is_near(&shown[format!("p{percent}")], exact, exact), "{exact}: {shown}");
            (*least, *most) = ((*least).min(exact), (*most).max(exact));
        }
    }
    let mut exact = waits(&Value::Null);
    let shown = &figures(&lines, &[])["totals"]["wait"];
    assert_eq!(shown["count"], exact.len());
    assert_eq!(shown["max"], quantile(&mut exact, 100));
    for (percent, least, most) in own {
        let exact = quantile(&mut exact, percent);
        assert!(least <= exact && exact <= most, "as the page says");
        assert!(is_near(&shown[format!("p{percent}")], least, most), "{least} to {most}: {shown}");
    }
}
