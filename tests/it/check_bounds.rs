//! `conniver check` of files that are meant to exhaust it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::harness::has_tool;
use crate::harness::program::BINARY;

/// Ways in which input may come: as it is, or compressed by a program.
const COMPRESSORS: [&str; 3] = ["cat", "gzip", "zstd"];

/// Checks what `write` writes, compressed, with 200 MB of memory, of which the program itself takes
/// some.
fn check(compressor: &str, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Output {
    let mut compressing = Command::new(compressor);
    if compressor != "cat" {
        compressing.arg("-c");
    }
    let mut compressing = compressing.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let child = Command::new("prlimit")
        .args(["--data=200000000", BINARY, "check", "-"])
        .stdin(compressing.stdout.take().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = compressing.stdin.take().unwrap();
    // When it ends early, what it says is of more interest.
    let _ = write(&mut input);
    drop(input);
    compressing.wait().unwrap();
    child.wait_with_output().unwrap()
}

/// A record, the shortest that there is.
const STOP: &str = r#"{"event":"stop","schema":1,"time":"2026-01-01T00:00:00Z","host":"","labels":{},"runId":"00000000-0000-0000-0000-000000000001","duration":0,"pairs":0,"linesLost":0,"line":1}
"#;

#[test]
fn bad_lines_beyond_a_thousand_are_counted() {
    const BLANK: usize = 3_000_000;
    for compressor in COMPRESSORS {
        let name = "bad_lines_beyond_a_thousand_are_counted";
        if !has_tool("prlimit", name) || !has_tool(compressor, name) {
            continue;
        }
        let output = check(compressor, |to| {
            to.write_all(b"nonsense\n")?;
            to.write_all(STOP.as_bytes())?;
            for _ in 0..BLANK / 1000 {
                to.write_all(&[b'\n'; 1000])?;
            }
            to.write_all(b"nonsense\n")
        });
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        let (told, rest) = (lines.len(), &lines[lines.len().saturating_sub(3)..]);
        assert_eq!(output.status.code(), Some(1), "{compressor}: {rest:?}");
        assert_eq!(told, 1004, "{compressor}: {rest:?}");
        assert_eq!(
            lines[..2],
            [
                "standard input:1: the line is not a record",
                "standard input:3: the line is truncated"
            ]
        );
        assert_eq!(
            rest,
            [
                "standard input:3000003: the line is not a record",
                "standard input: 2999000 more lines are truncated",
                "3000003 lines of 1 run, 0 connections closed: 3000002 findings",
            ]
        );
    }
}

#[test]
fn a_large_file_of_something_else_is_one_finding() {
    let name = "a_large_file_of_something_else_is_one_finding";
    if !has_tool("prlimit", name) {
        return;
    }
    let output = check("cat", |to| (0..300).try_for_each(|_| to.write_all(&b"x\n".repeat(5000))));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "standard input: not a file of records: none of its 1500000 lines is a record; line 1 is \
         not the JSON of a record\nnote: records are written by conniver proxy -o FILE, conniver \
         run -o FILE, conniver watch -o FILE and conniver stat --json\n1500000 lines of 0 runs, 0 connections closed: 1 \
         finding\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_line_without_end_takes_no_memory() {
    for compressor in COMPRESSORS {
        let name = "a_line_without_end_takes_no_memory";
        if !has_tool("prlimit", name) || !has_tool(compressor, name) {
            continue;
        }
        let output = check(compressor, |to| {
            let zeros = vec![0; 1 << 20];
            for _ in 0..300 {
                to.write_all(&zeros)?;
            }
            Ok(())
        });
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [
                "standard input:1: the line is longer than 4194304 bytes",
                "1 line of 0 runs, 0 connections closed: 1 finding"
            ],
            "{compressor}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(1));
    }
}
