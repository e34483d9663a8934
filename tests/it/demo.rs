//! `conniver demo` and `conniver schema`, as a new user runs them.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use conniver::record::{Line, Outcome};
use serde_json::Value;

use crate::harness::program::BINARY;
use crate::harness::terminal::Terminal;
use crate::harness::{has_tool, run};

#[test]
fn the_demo_prints_one_record_that_the_schema_validates() {
    let output = Command::new(BINARY).args(["demo", "--size", "3"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the client sent 3145728 bytes and received 3145728"), "{said}");

    let lines: Vec<&[u8]> = output.stdout.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(lines.len(), 1, "one record, one line");
    assert!(lines[0].ends_with(b"}\n"));
    let json: Value = serde_json::from_slice(lines[0]).unwrap();
    let schema: Value = serde_json::from_str(&run(BINARY, &["schema"])).unwrap();
    if let Err(error) = jsonschema::validate(&schema, &json) {
        panic!("the schema refuses the record at {}: {error}", error.instance_path());
    }

    let Line::Close(record) = serde_json::from_value(json).unwrap() else {
        panic!("the demo prints a close line");
    };
    assert_eq!(record.outcome, Some(Outcome::Ok));
    assert_eq!((record.client.rx_bytes, record.client.tx_bytes), (3 << 20, 3 << 20));
    let to_client = record.delivery.to_client.unwrap();
    assert_eq!((to_client.acked, to_client.undelivered), (Some(3 << 20), Some(0)));
}

#[test]
fn jq_accepts_the_demos_record() {
    if !has_tool("jq", "jq_accepts_the_demos_record") {
        return;
    }
    let mut demo = Command::new(BINARY)
        .args(["demo", "--size", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let jq = Command::new("jq")
        .args(["-e", ".outcome == \"ok\" and .delivery.toUpstream.undelivered == 0"])
        .stdin(demo.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(jq.status.success(), "{}", String::from_utf8_lossy(&jq.stdout));
    assert!(demo.wait().unwrap().success());
}

#[test]
fn the_demo_hints_at_the_program_as_it_was_called() {
    for called in ["conniver", "target/release/conniver"] {
        let demo = || {
            let mut command = Command::new(BINARY);
            command.arg0(called).args(["demo", "--size", "1"]);
            command
        };
        let output = demo().output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "the record is on standard output; try: {called} demo | jq '.phases, .delivery'"
        );
        assert_eq!(said.lines().last(), Some(&*expected), "{said}");

        let (_, shown) = Terminal::start(80, &mut demo()).wait();
        let expected = format!("the whole record has more: {called} demo | jq .");
        assert_eq!(shown.trim_end().lines().last(), Some(&*expected), "{shown}");
    }
}
