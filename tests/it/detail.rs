//! How much a line tells: `brief` is a part of `normal`, and `normal` of `full`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use conniver::record::{self, BriefLine, Line};
use conniver::tcp_info::LinuxInfo;
use serde_json::Value;

use crate::connect::tunnel;
use crate::contract::assert_keys;
use crate::harness::peers::{
    Upstream, deaf_port, echo_server, exchange, read_all, read_until_reset, reset,
};
use crate::harness::program::{BINARY, Proxy, wait_until};
use crate::harness::{has_tool, run};
use crate::observed::client_hello;

const BRIEF: &str = "event schema time host labels runId seq line id mode listener target outcome duration phases \
    client upstream delivery ending verdict turns tls process warnings delta";
const BRIEF_LEG: &str = "remoteAddr rxBytes txBytes writeBlocked lost eofInfo closedInfo";
const SYS_INFO_AT_CLOSE: &str = "os minRTT txWindow bytesAcked bytesReceived bytesSent bytesRetrans dataSegsOut \
    dataSegsIn rxOutOfOrder totalRTO deliveryRate busyTime rxWindowLimited txBufferLimited";

/// The lines of a run with a pair of each kind: one that a TLS client goes on with, two that
/// ask for their targets, one that the upstream resets, one that it refuses.
fn a_run(args: &[&str]) -> (Vec<u8>, Vec<Value>) {
    let echo = echo_server();
    let (_held, deaf) = deaf_port();
    let resetting = Upstream::once(reset);
    let forwards = [echo, deaf, resetting.address].map(|target| format!("0:{target}"));
    let args = [&["-vv", "-D", "0", "--events", "start,open,close"], args].concat();
    let proxy =
        Proxy::start(&mut Command::new(BINARY), &forwards.each_ref().map(String::as_str), &args);
    let &[to_echo, to_deaf, to_resetting, dynamic] = proxy.addresses() else { panic!() };

    let mut client = TcpStream::connect(to_echo).unwrap();
    exchange(&mut client, &client_hello());
    proxy.wait_to_hear("the client ");
    drop(client);
    exchange(&mut tunnel(TcpStream::connect(dynamic).unwrap(), echo), b"x");
    // The echo of a request is no response: there is something to warn of.
    let mut client = TcpStream::connect(dynamic).unwrap();
    write!(client, "GET http://{echo}/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    read_all(&mut client);
    drop(client);
    for address in [to_deaf, to_resetting] {
        read_until_reset(&mut TcpStream::connect(address).unwrap());
    }

    let mut bytes = Vec::new();
    let mut lines = Vec::new();
    wait_until("all pairs have ended", || {
        bytes = std::fs::read(proxy.records_file()).unwrap();
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
        let parsed = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines = parsed.map(|line| serde_json::from_slice(line).unwrap()).collect();
        lines.iter().filter(|line: &&Value| line["event"] == "close").count() == 5
    });
    (bytes, lines)
}

/// Every path of these values, with what stands there.
fn paths(value: &Value, at: &str, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                paths(value, &format!("{at}.{key}"), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                paths(value, &format!("{at}[{index}]"), found);
            }
        }
        leaf => _ = found.insert(at.to_owned(), leaf.clone()),
    }
}

/// The paths of all pairs' lines, whatever their index in an array; null proves no path below it.
fn paths_of(lines: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeMap::new();
    for line in lines.iter().filter(|line| line["event"] != "start") {
        paths(line, "", &mut found);
    }
    found.into_keys().map(|path| without_indices(&path)).collect()
}

/// `.attempts[0].addr` as `.attempts[].addr`.
fn without_indices(path: &str) -> String {
    let parts = path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest));
    parts.collect::<Vec<_>>().join("[]")
}

fn skipped(what: &str) -> bool {
    !has_tool("openssl", what)
}

#[test]
fn every_path_of_brief_is_in_normal_and_every_path_of_normal_is_in_full() {
    if skipped("every_path_of_brief_is_in_normal_and_every_path_of_normal_is_in_full") {
        return;
    }
    let [brief, normal, full] =
        ["brief", "normal", "full"].map(|detail| paths_of(&a_run(&["--detail", detail]).1));
    for (less, more) in [(&brief, &normal), (&normal, &full)] {
        // What is null here may be an object there: a program may have ended before it was found.
        let is_object =
            |path: &str| more.iter().any(|other| other.starts_with(&format!("{path}.")));
        let missing: Vec<_> = less.difference(more).filter(|path| !is_object(path)).collect();
        assert_eq!(missing, [""; 0]);
        assert!(less.len() < more.len());
    }
    // What was recorded has every part: a path below null would be seen by nobody.
    for path in [
        ".process.name",
        ".tls.serverName",
        ".ending.errorCode",
        ".upstream.eofInfo.rtt",
        ".warnings[].code",
    ] {
        assert!(brief.contains(path), "{path}");
    }
}

#[test]
fn lines_of_every_detail_are_valid_by_its_schema_and_read_back_as_the_same() {
    if skipped("lines_of_every_detail_are_valid_by_its_schema_and_read_back_as_the_same") {
        return;
    }
    for detail in ["brief", "normal", "full"] {
        let schema = run(BINARY, &["schema", "--detail", detail]);
        let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
        for raw in [&[][..], &["--raw"]] {
            let (bytes, lines) = a_run(&[&["--detail", detail], raw].concat());
            for line in &lines {
                if let Err(error) = validator.validate(line) {
                    panic!("{detail} {}: at {}: {error}", line["event"], error.instance_path());
                }
            }
            let read: Vec<Value> = match detail {
                "brief" => record::read_brief(&*bytes)
                    .map(|line| serde_json::to_value(line.unwrap()).unwrap())
                    .collect(),
                _ => record::read(&*bytes)
                    .map(|line| serde_json::to_value(line.unwrap()).unwrap())
                    .collect(),
            };
            assert_eq!(read, lines, "{detail}");
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("records.ndjson");
            std::fs::write(&file, &bytes).unwrap();
            let said = run(BINARY, &["check", file.to_str().unwrap()]);
            assert!(said.contains("no findings"), "{detail}: {said}");
        }
    }
}

#[test]
fn the_brief_schema_refuses_a_line_that_lacks_any_key() {
    if skipped("the_brief_schema_refuses_a_line_that_lacks_any_key") {
        return;
    }
    let schema = run(BINARY, &["schema", "--detail", "brief"]);
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    for line in a_run(&["--detail", "brief"]).1 {
        for key in line.as_object().unwrap().keys() {
            let mut lacking = line.clone();
            lacking.as_object_mut().unwrap().remove(key);
            assert!(!validator.is_valid(&lacking), "{} line without {key}", line["event"]);
        }
    }
}

#[test]
fn a_brief_line_says_what_the_full_one_says_and_has_exactly_its_keys() {
    if skipped("a_brief_line_says_what_the_full_one_says_and_has_exactly_its_keys") {
        return;
    }
    let (bytes, lines) = a_run(&["--raw"]);
    let in_brief: Vec<BriefLine<'_>> = record::read_brief(&*bytes).map(Result::unwrap).collect();
    let read: Vec<Line> = record::read(&*bytes).map(Result::unwrap).collect();
    for ((full, in_brief), line) in lines.iter().zip(in_brief).zip(&read) {
        assert_eq!(BriefLine::from(line), in_brief, "made of the line, and read from it");
        let in_brief = serde_json::to_value(in_brief).unwrap();
        let (mut all, mut some) = (BTreeMap::new(), BTreeMap::new());
        paths(full, "", &mut all);
        paths(&in_brief, "", &mut some);
        for (path, value) in some {
            assert_eq!(all.get(&path), Some(&value), "{path}");
        }
        if in_brief["event"] != "start" {
            assert_keys(&in_brief, BRIEF, "a brief record");
            assert_keys(&in_brief["client"], BRIEF_LEG, "a brief leg");
        }
    }
}

#[test]
fn normal_keeps_of_the_structure_what_is_promised() {
    if skipped("normal_keeps_of_the_structure_what_is_promised") {
        return;
    }
    let lines = a_run(&["--detail", "normal"]).1;
    for line in lines.iter().filter(|line| line["event"] == "close") {
        for leg in ["client", "upstream"].map(|leg| &line[leg]).into_iter().filter(|l| !l.is_null())
        {
            assert_keys(&leg["openedInfo"]["sysInfo"], "os ccAlgorithm", "sysInfo at open");
            assert_keys(&leg["closedInfo"]["sysInfo"], SYS_INFO_AT_CLOSE, "sysInfo at close");
        }
    }
}

#[test]
fn raw_adds_the_bytes_that_the_figures_were_read_from() {
    if skipped("raw_adds_the_bytes_that_the_figures_were_read_from") {
        return;
    }
    let lines = a_run(&["--raw"]).1;
    for line in lines.iter().filter(|line| line["event"] == "close") {
        for info in ["openedInfo", "closedInfo"].map(|info| &line["client"][info]) {
            let hex = info["sysInfoRaw"].as_str().unwrap();
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            assert_eq!(bytes.len() as u64, info["sysInfoLength"].as_u64().unwrap());
            let decoded = LinuxInfo::decode(&bytes);
            let decoded = serde_json::to_value(decoded).unwrap();
            for (key, value) in decoded.as_object().unwrap() {
                assert_eq!(&info["sysInfo"][key], value, "{key}");
            }
        }
        let eof_info = &line["client"]["eofInfo"];
        assert!(eof_info.is_null() || eof_info["sysInfoRaw"].is_string());
    }
}
