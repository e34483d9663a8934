//! The record's contract, written down a second time: what a filter may count on.

use std::collections::BTreeSet;
use std::process::Command;

use conniver::record::Line;
use serde_json::Value;

use crate::harness::peers::{deaf_port, echo_server, exchange};
use crate::harness::program::{BINARY, Left, Proxy, wait_until};
use crate::harness::run;
use crate::harness::watching::Watching;

const RECORD: &str = "event schema time host labels runId seq line id mode listener clientHost clientPort \
    target targetHost targetPort via outcome openedAt closedAt duration phases resolveSource attempts attemptsOmitted \
    client upstream delivery ending verdict turns tls http process previous warnings delta";
const LEG: &str = "localAddr remoteAddr openedAt closedAt firstRxAt firstTxAt lastRxAt lastTxAt rxEofAt \
    rxBytes txBytes ownRxBytes ownTxBytes rxErr rxErrCode txErr txErrCode infoErr infoErrCode \
    reconnects writeBlocked lost openedInfo eofInfo closedInfo warnings";
const INFO: &str = "state txOptions rxOptions txMSS rxMSS rtt rttVar rto ato lastTxAt lastRxAt lastTxAckAt \
    lastRxAckAt rxWindow txSSThreshold rxSSThreshold txCWindowBytes txCWindowSegs retransmits \
    sysInfoLength sysInfo";
const EOF_INFO: &str =
    "rtt rttVar minRTT busyTime rxWindowLimited txBufferLimited unAcked notSentBytes state";
const PHASES: &str = "acceptQueue request resolve connect firstByte response";
const ATTEMPT: &str = "addr startedAfter duration outcome synRetransmits error errorCode";
const ENDING: &str = "phase firstBy firstHow secondBy secondHow gap error errorCode";
const VERDICT: &str = "limitedBy share direction active time basis evidence";
const VERDICT_TIME: &str = "resolver client upstream networkClient networkUpstream proxy idle";
const EVIDENCE: &str = "starved starvedByPath blocked blockedByWindow doubtful busyTime \
    rxWindowLimited txBufferLimited retransmits rxOutOfOrder receivedCE";
const TURNS: &str = "count unanswered request wait answer shape crossed slowest";
const TURN: &str = "at duration wait network requestBytes answerBytes limitedBy";
/// Lines of `conniver watch`.
const SOCKET_HEADER: &str = "event schema time host labels runId seq line id origin listener process duration seenAfter delta socket";
const SOCKET: &str = "openedAt closedAt source delivery ending warnings";
const SOCKET_LEG: &str = "localAddr remoteAddr rxBytes txBytes lost openedInfo eofInfo closedInfo";
const SOCKET_ENDING: &str = "state finSent finReceived how";
const SAMPLED_SOCKET: &str = "localAddr remoteAddr rxBytes txBytes lost info";
const OVERFLOW: &str = "event schema time host labels runId overflows lastSeen neverSeen line";
const DELIVERED: &str = "written acked undelivered";
const HTTP: &str = "method host status";
pub(crate) const PROCESS: &str = "pid uid name exe cgroup";
pub(crate) const TLS: &str = "serverName alpn alpnOffered version versionsOffered cipher encryptedClientHello \
    handshake";

pub(crate) fn assert_keys(value: &Value, expected: &str, what: &str) {
    let found: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = expected.split_whitespace().collect();
    assert_eq!(found, expected, "keys of {what}");
}

/// A run with all kinds of lines: a pair that went well, one that failed.
fn a_run() -> (Left, Vec<Value>) {
    let (_held, deaf) = deaf_port();
    let echo = echo_server();
    let forwards = [format!("0:{echo}"), format!("0:{deaf}")];
    let proxy = Proxy::start(
        &mut Command::new(BINARY),
        &[&forwards[0], &forwards[1]],
        &[
            "--events",
            "start,open,turn,close,stop",
            "--label",
            "site=a b",
            "--label",
            "x=",
            "--host",
            "here",
        ],
    );
    exchange(&mut proxy.connect(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    drop(std::net::TcpStream::connect(proxy.addresses()[1]).unwrap());
    proxy.wait_for_records(2);
    let file = proxy.records_file();
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    let mut text = String::new();
    wait_until("the last line is written", || {
        text = std::fs::read_to_string(&file).unwrap();
        text.contains("\"event\":\"stop\"") && text.ends_with('\n')
    });
    let left = proxy.wait();
    let values = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (left, values)
}

#[test]
fn every_line_is_valid_by_the_printed_schema_and_has_exactly_its_keys() {
    let (_, values) = a_run();
    let schema: Value = serde_json::from_str(&run(BINARY, &["schema"])).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for value in &values {
        if let Err(error) = validator.validate(value) {
            panic!("{} line: at {}: {error}", value["event"], error.instance_path());
        }
    }
    let of = |event: &str| values.iter().filter(|v| v["event"] == event).collect::<Vec<_>>();
    assert_eq!(
        (of("start").len(), of("open").len(), of("close").len(), of("stop").len()),
        (1, 1, 2, 1)
    );

    for value in of("open").into_iter().chain(of("close")) {
        assert_keys(value, RECORD, "a record");
        assert_eq!(
            value["target"],
            format!("{}:{}", value["targetHost"].as_str().unwrap(), value["targetPort"])
        );
        assert_keys(&value["phases"], PHASES, "phases");
        assert_keys(&value["delivery"], "toUpstream toClient", "delivery");
        assert_keys(&value["delta"], "toUpstream toClient", "delta");
        assert_keys(&value["delivery"]["toClient"], DELIVERED, "delivery.toClient");
        assert_keys(&value["attempts"][0], ATTEMPT, "an attempt");
        for leg in
            ["client", "upstream"].map(|leg| &value[leg]).into_iter().filter(|leg| !leg.is_null())
        {
            assert_keys(leg, LEG, "a leg");
            assert_keys(&leg["openedInfo"], INFO, "openedInfo");
            if value["event"] == "close" {
                assert_keys(&leg["eofInfo"], EOF_INFO, "eofInfo");
                assert_keys(&leg["closedInfo"], INFO, "closedInfo");
            }
        }
    }
    let closed = of("close");
    assert_keys(&closed[0]["ending"], ENDING, "ending");
    let verdicts = closed.iter().map(|value| &value["verdict"]);
    for verdict in verdicts {
        assert_keys(verdict, VERDICT, "verdict");
        assert_keys(&verdict["time"], VERDICT_TIME, "verdict.time");
        assert_keys(&verdict["evidence"], EVIDENCE, "verdict.evidence");
    }
    // The pair that failed has none.
    let turns: Vec<_> =
        closed.iter().map(|value| &value["turns"]).filter(|t| !t.is_null()).collect();
    assert_eq!(turns.len() + 1, closed.len());
    for turns in turns {
        assert_keys(turns, TURNS, "turns");
        assert_keys(&turns["wait"], "total p50 p99 max maxAt", "turns.wait");
        assert_keys(&turns["request"], "total max", "turns.request");
        assert_keys(&turns["slowest"][0], TURN, "a turn");
    }
    let with_http = closed.into_iter().find(|value| !value["http"].is_null()).unwrap();
    assert_keys(&with_http["http"], HTTP, "http");
}

#[test]
fn the_schema_refuses_a_line_that_lacks_any_key() {
    let (_, values) = a_run();
    let schema: Value = serde_json::from_str(&run(BINARY, &["schema"])).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for value in values {
        for key in value.as_object().unwrap().keys() {
            let mut lacking = value.clone();
            lacking.as_object_mut().unwrap().remove(key);
            assert!(!validator.is_valid(&lacking), "{} line without {key}", value["event"]);
        }
    }
}

/// All lines of a watch: of a connection that went well, and an overflow.
fn lines_of_a_watch() -> Vec<Value> {
    let watch = Watching::start(&["--interval", "20ms", "--events", "start,socket,sample,stop"]);
    let mut client = std::net::TcpStream::connect(echo_server()).unwrap();
    exchange(&mut client, b"x");
    let port = client.local_addr().unwrap().port();
    watch.sampled(port);
    drop(client);
    watch.ended(port);
    let file = watch.file();
    let mut text = String::new();
    watch.ask_to_stop();
    wait_until("the stop line is there", || {
        text = std::fs::read_to_string(&file).unwrap();
        text.contains("\"event\":\"stop\"") && text.ends_with('\n')
    });
    let mut values: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut overflow = values[0].clone();
    let keys = overflow.as_object_mut().unwrap();
    for key in ["version", "pid", "listeners"] {
        keys.remove(key);
    }
    keys.insert("event".to_owned(), "overflow".into());
    keys.insert("overflows".to_owned(), 1.into());
    keys.insert("lastSeen".to_owned(), 0.into());
    keys.insert("neverSeen".to_owned(), Value::Null);
    values.push(overflow);
    values
}

#[test]
fn lines_of_a_watch_are_valid_by_the_schema_and_read_back_the_same() {
    let values = lines_of_a_watch();
    for detail in ["full", "brief"] {
        let schema = run(BINARY, &["schema", "--detail", detail]);
        let schema: Value = serde_json::from_str(&schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for value in &values {
            if let Err(error) = validator.validate(value) {
                panic!("{} line: at {}: {error}", value["event"], error.instance_path());
            }
            for key in value.as_object().unwrap().keys() {
                let mut lacking = value.clone();
                lacking.as_object_mut().unwrap().remove(key);
                assert!(!validator.is_valid(&lacking), "{} line without {key}", value["event"]);
            }
        }
    }
    for value in &values {
        let line: Line = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&line).unwrap(), *value);
        match value["event"].as_str().unwrap() {
            "socket" => {
                assert_keys(value, &[SOCKET_HEADER, SOCKET].join(" "), "a socket");
                assert_keys(&value["socket"], SOCKET_LEG, "socket");
                assert_keys(&value["ending"], SOCKET_ENDING, "ending");
                assert_keys(&value["delivery"], DELIVERED, "delivery");
                assert_keys(&value["delta"], "rx tx", "delta");
                assert_keys(&value["socket"]["closedInfo"], INFO, "closedInfo");
                let lasted =
                    value["closedAt"].as_i64().unwrap() - value["openedAt"].as_i64().unwrap();
                assert_eq!(value["duration"], lasted);
            }
            "socketSample" => {
                assert_keys(value, &[SOCKET_HEADER, "reason"].join(" "), "a sample of a socket");
                assert_keys(&value["socket"], SAMPLED_SOCKET, "socket of a sample");
            }
            "overflow" => assert_keys(value, OVERFLOW, "an overflow"),
            "start" | "stop" => {}
            other => panic!("{other}"),
        }
    }
    let count = |event: &str| values.iter().filter(|value| value["event"] == event).count();
    assert!(count("socket") >= 1 && count("socketSample") >= 1);
    assert_eq!((count("start"), count("stop")), (1, 1));
}

#[test]
fn identity_labels_and_numbers_are_as_promised() {
    let (left, values) = a_run();
    assert_eq!(left.status.code(), Some(0));
    let run_id = values[0]["runId"].as_str().unwrap();
    assert_eq!(run_id.as_bytes()[14], b'7', "a UUIDv7: {run_id}");
    for (index, value) in values.iter().enumerate() {
        assert_eq!(value["line"], index + 1);
        assert_eq!((&value["schema"], &value["host"]), (&1.into(), &"here".into()));
        assert_eq!(value["runId"], run_id);
        assert_eq!(value["labels"], serde_json::json!({"site": "a b", "x": ""}));
        let time = value["time"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z') && &time[19..20] == ".", "{time}");
        if let Some(seq) = value["seq"].as_u64() {
            assert_eq!(value["id"], format!("{run_id}-{seq}"));
        }
    }
}

#[test]
fn differences_of_instants_are_durations() {
    let (left, _) = a_run();
    for record in left.records() {
        let lasted = record.closed_at.unwrap() - record.opened_at;
        assert_eq!(u128::try_from(lasted).unwrap(), record.duration.as_nanos());
        assert_eq!(record.client.opened_at, record.opened_at);
        let Some(upstream) = record.upstream else {
            continue;
        };
        let first_byte = upstream.first_rx_at.unwrap() - upstream.opened_at;
        assert_eq!(
            u128::try_from(first_byte).unwrap(),
            record.phases.first_byte.unwrap().as_nanos()
        );
    }
}

#[test]
fn what_was_written_reads_back_as_the_same_line() {
    let (_, values) = a_run();
    for value in values {
        let line: Line = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&line).unwrap(), value);
    }
}

#[test]
fn a_bad_line_stops_no_reader() {
    let (_, values) = a_run();
    let good = values[0].to_string();
    let text =
        format!("{good}\n{{\"event\":\n\nnonsense\n{good}\n{{\"event\":\"unheard of\"}}\n{good}");
    let lines: Vec<_> = conniver::record::read(text.as_bytes()).map(|line| line.is_ok()).collect();
    assert_eq!(lines, [true, false, false, true, false, true]);
}
