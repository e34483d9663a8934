//! `conniver report`: its figures are those of the file, and its page fits.

mod expectations;
mod files;
mod findings;
mod forms;
mod html;
mod page;
mod sockets;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::program::BINARY;

/// The report on these lines, with further arguments.
fn report(lines: &[Value], args: &[&str]) -> Output {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    report_text(text.as_bytes(), args)
}

/// The report on this text as standard input.
fn report_text(text: &[u8], args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("report").args(args).arg("-").env("TZ", "UTC");
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // It may have ended without reading, for wrong usage.
        scope.spawn(move || _ = stdin.write_all(text));
        child.wait_with_output().unwrap()
    })
}

/// The same as JSON.
fn figures(lines: &[Value], args: &[&str]) -> Value {
    let output = report(lines, &[&["--json"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Copies of a record, each with an id of its own, which `edit` changes by their numbers.
fn copies(record: &Value, count: u64, edit: impl Fn(&mut Value, u64)) -> Vec<Value> {
    let copy = |number: u64| {
        let mut copy = record.clone();
        number_as(&mut copy, number);
        edit(&mut copy, number);
        copy
    };
    (1..=count).map(copy).collect()
}

fn number_as(record: &mut Value, number: u64) {
    record["id"] = format!("01a2282e-b346-77eb-b828-ce49454761db-{number}").into();
    record["seq"] = number.into();
}

/// Copies of several records together, each with an id of its own.
fn joined(copies: &[&[Value]]) -> Vec<Value> {
    let mut lines = copies.concat();
    lines.iter_mut().zip(1..).for_each(|(line, number)| number_as(line, number));
    lines
}
