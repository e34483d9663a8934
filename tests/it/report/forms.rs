//! Each form of a report in a narrow terminal and in a pipe, and of files whose end is missing.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::page::{a_run, closed};
use super::{copies, report};
use crate::harness::program::BINARY;

fn lines_of(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn report_in(directory: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.current_dir(directory).arg("report").args(args).env("TZ", "UTC").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn every_form_of_the_text_fits_80_columns_and_has_no_styles_in_a_pipe() {
    let (lines, _) = a_run("full");
    let long = copies(&closed(&lines)[0], 30, |record, number| {
        record["target"] =
            format!("a-very-long-name-{number}.of.some.internal.example:65535").into();
        record["process"] = json!({"name": "fifteen-letters", "pid": 4_194_304});
        record["labels"] = json!({"team": "a team with a long name, in the words of its label"});
        record["duration"] = 999_900_000_u64.into();
    });
    let directory = TempDir::new().unwrap();
    let before = directory.path().join("before.ndjson");
    fs::write(&before, lines_of(&long)).unwrap();
    let id = long[6]["id"].as_str().unwrap();
    for args in [
        &["--by", "process"][..],
        &["--by", "label.team"],
        &["--slowest", "20", "--redact"],
        &["--id", id],
        &["--where", "target=*internal* and process=fifteen-letters", "--since", "2001-01-01"],
        &["--where", "target=x*"],
        &["--until", "2001-01-01"],
        &["--against", before.to_str().unwrap(), "--"],
    ] {
        let output = report(&long, args);
        let text = stdout(&output);
        assert!(output.status.success() && text.len() > 100, "{args:?}: {output:?}");
        assert!(!text.contains('\u{1b}'), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{args:?}: {line}\n{text}");
            assert_eq!(line, line.trim_end(), "{args:?}: {text}");
        }
    }
}

#[test]
fn an_incomplete_last_line_adds_a_note_to_the_report_of_the_others() {
    let (lines, _) = a_run("full");
    let lines = copies(&closed(&lines)[0], 20, |_, _| {});
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("records.ndjson");
    fs::write(&file, lines_of(&lines[..19])).unwrap();
    let whole = report_in(directory.path(), &["records.ndjson"]);
    let text = lines_of(&lines);
    for cut in [1, 2, 400] {
        // Without its line feed alone it is whole.
        let torn = text.trim_end().len() - cut;
        fs::write(&file, &text[..torn]).unwrap();
        let output = report_in(directory.path(), &["records.ndjson"]);
        let note = "note: records.ndjson: 1 line incomplete and left out; see conniver check\n";
        assert_eq!(stdout(&output), format!("{}\n{note}", stdout(&whole)), "{cut}");
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
    }
    fs::write(&file, text.trim_end()).unwrap();
    let output = report_in(directory.path(), &["records.ndjson"]);
    assert!(stdout(&output).starts_with("20 connections"), "{output:?}");
    assert!(!stdout(&output).contains("note:"), "{output:?}");
}

#[test]
fn an_incomplete_compressed_file_adds_a_note_to_the_report_of_its_beginning() {
    let (lines, _) = a_run("full");
    let lines = copies(&closed(&lines)[0], 40, |_, _| {});
    let directory = TempDir::new().unwrap();
    let [plain, compressed] =
        ["records.ndjson", "records.ndjson.gz"].map(|name| directory.path().join(name));
    fs::write(&plain, lines_of(&lines[..20])).unwrap();
    let beginning = report_in(directory.path(), &["records.ndjson"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines_of(&lines[..20]).as_bytes()).unwrap();
    gzip.flush().unwrap();
    let flushed = gzip.get_ref().len();
    gzip.write_all(lines_of(&lines[20..]).as_bytes()).unwrap();
    let whole = gzip.finish().unwrap();
    fs::write(&compressed, &whole).unwrap();
    let output = report_in(directory.path(), &["records.ndjson.gz"]);
    assert!(stdout(&output).starts_with("40 connections"), "{output:?}");
    assert!(!stdout(&output).contains("note:"), "{output:?}");

    fs::write(&compressed, &whole[..flushed]).unwrap();
    let output = report_in(directory.path(), &["records.ndjson.gz"]);
    let note = "note: records.ndjson.gz: the gzip data are truncated; what could be read is in\n    the report\n";
    assert_eq!(stdout(&output), format!("{}\n{note}", stdout(&beginning)));
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}

#[test]
fn head_ends_every_form_quietly() {
    let (lines, _) = a_run("full");
    let directory = TempDir::new().unwrap();
    let lines = copies(&closed(&lines)[0], 1000, |_, _| {});
    fs::write(directory.path().join("records.ndjson"), lines_of(&lines)).unwrap();
    for (args, first) in [
        ("--slowest 1000", "1000 connections, "),
        ("--slowest 1000 --json", "{"),
        ("--html -", "<!DOCTYPE html>"),
        ("--id 1", ""),
    ] {
        let script = format!("{{ {BINARY} report {args} records.ndjson; echo $? >&2; }} | head -1");
        let output = Command::new("sh").args(["-c", &script]).current_dir(&directory).output();
        let output = output.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "0\n", "{args}");
        let text = stdout(&output);
        assert!(text.starts_with(first) && text.lines().count() == 1, "{args}: {text}");
    }
}
