//! Findings: each is told of a file that has its cause, and not of one that lacks it.
//!
//! Records are real, of causes that the harness imposes; where it cannot impose one, a real record is
//! edited.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::{Arc, Mutex, OnceLock};

use conniver::record::Line;
use serde_json::{Value, json};

use super::{copies, figures, joined};
use crate::harness::cause::causes;
use crate::harness::namespace::available;
use crate::harness::program::Proxy;
use crate::http_kept::origin::{Client, Origin};

const NANOS: u64 = 1_000_000;

/// The record of a connection that this cause was imposed on.
fn real(name: &'static str) -> Value {
    type Records = Mutex<BTreeMap<&'static str, Arc<OnceLock<Value>>>>;
    static RECORDS: Records = Mutex::new(BTreeMap::new());
    let record = Arc::clone(RECORDS.lock().unwrap().entry(name).or_default());
    let impose = || {
        let mut causes = causes().into_iter().filter(|cause| cause.name == name);
        (causes.next().unwrap().impose)().record
    };
    record.get_or_init(impose).clone()
}

/// A connection over a path of 100 ms: 15 exchanges.
fn far() -> Value {
    real("far instant server, RTT 100 ms, 15 exchanges")
}

/// One over the same path with one exchange, of which there is nothing to say.
fn far_once() -> Value {
    real("far instant server, RTT 100 ms, 1 exchange")
}

/// One on this machine, of which there is nothing to say.
fn near() -> Value {
    real("idle client, instant server")
}

/// The rules that find something in these lines, with what is said.
fn found(lines: &[Value]) -> Vec<(String, String)> {
    let figures = figures(lines, &[]);
    let findings = figures["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| {
            for key in ["usually", "next", "seen"] {
                assert!(finding[key].as_str().unwrap().len() > 20, "{finding}");
            }
            assert!(finding["firstAt"].as_i64() < finding["lastAt"].as_i64(), "{finding}");
            assert!(!finding["examples"].as_array().unwrap().is_empty(), "{finding}");
            let text = |key: &str| finding[key].as_str().unwrap().to_owned();
            (text("rule"), text("seen"))
        })
        .collect()
}

#[track_caller]
fn assert_found(lines: &[Value], rule: &str, words: &[&str]) {
    let found = found(lines);
    let [(name, seen)] = &found[..] else { panic!("not {rule} alone: {found:?}") };
    assert_eq!(name, rule, "{seen}");
    for word in words {
        assert!(seen.contains(word), "'{word}' is not in: {seen}");
    }
}

#[track_caller]
fn assert_nothing_found(lines: &[Value]) {
    assert_eq!(found(lines), [], "{lines:?}");
}

fn set(record: &mut Value, pointer: &str, value: impl Into<Value>) {
    *record.pointer_mut(pointer).unwrap() = value.into();
}

/// Lets the connection end so much later, without data in between.
fn silent_for(record: &mut Value, millis: u64) {
    let nanos = millis * NANOS;
    for key in ["duration", "closedAt"] {
        record[key] = (record[key].as_u64().unwrap() + nanos).into();
    }
}

#[test]
fn resets_after_the_same_silence_are_an_idle_timeout() {
    if !available("resets_after_the_same_silence_are_an_idle_timeout") {
        return;
    }
    let reset = real_reset();
    let silences = |millis: fn(u64) -> u64| {
        copies(&reset, 7, move |record, number| silent_for(record, millis(number)))
    };
    let lines = silences(|number| if number < 6 { 60_000 + 40 * number } else { 9000 * number });
    assert_found(&lines, "idle-timeout", &["7 × reset by", "5 of them 60.", "after the last byte"]);
    // As many, at different times.
    assert_found(&silences(|number| 7000 * number), "resets", &["7 of 7 connections"]);
    assert_nothing_found(&silences(|_| 60_000)[..2]);
}

/// A connection that the upstream reset, on this machine.
fn real_reset() -> Value {
    let mut record = real("stuck upstream resets, loopback, cubic");
    // It had sent something just before.
    let end = record["closedAt"].clone();
    record["upstream"]["lastRxAt"] = end;
    record
}

#[test]
fn resets_are_told_of_the_side_that_reset() {
    if !available("resets_are_told_of_the_side_that_reset") {
        return;
    }
    let client = copies(&real("hung server, client leaves by reset"), 3, |_, _| {});
    assert_found(&client, "resets", &["3 of 3 connections", "by the client"]);
    let upstream = copies(&real_reset(), 3, |_, _| {});
    assert_found(&upstream, "resets", &["3 of 3 connections", "by 127.0.0.1:"]);
    // Three among very many are everyday.
    let target = &upstream[0]["target"];
    let others = copies(&near(), 400, |record, _| record["target"] = target.clone());
    assert_nothing_found(&joined(&[&others, &upstream]));
}

/// The records of clients that fetch a page and then, on the same connection, this path of a server.
fn second_requests(path: &str, clients: usize) -> Vec<Value> {
    let (origin, other, proxy) = (Origin::new("A"), Origin::new("B"), Proxy::serving(&[]));
    for _ in 0..clients {
        let mut client = Client::of(&proxy);
        client.ask(&origin.get("/", ""));
        client.send(&match path {
            "/other" => other.get("/", ""),
            path => origin.get(path, ""),
        });
        // An answer, or an end without one.
        let _ = client.0.fill_buf();
    }
    let records = proxy.wait_for_records(2 * clients).into_iter();
    records.map(|record| serde_json::to_value(Line::Close(Box::new(record))).unwrap()).collect()
}

#[test]
fn requests_that_the_proxy_sends_again_are_told_and_those_of_programs_are_not() {
    let answered = second_requests("/reset", 2);
    let words = ["2 requests to 127.0.0.1:", "sent them again on new ones, and all were answered"];
    assert_found(&answered, "repeated-request", &words);
    let failed = found(&second_requests("/down", 2));
    let [(resets, _), (repeated, seen)] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!((&**resets, &**repeated), ("resets", "repeated-request"), "{failed:?}");
    assert!(seen.ends_with("and 2 got no answer again"), "{seen}");
    // One; requests for another target; and a program that tries again, which opens a connection as for any request.
    assert_nothing_found(&second_requests("/reset", 1));
    assert_nothing_found(&second_requests("/other", 2));
    let mut again = second_requests("/down", 2);
    again.retain(|record| record["previous"].is_null());
    assert_nothing_found(&again);
}

#[test]
fn refusals_and_unknown_names_are_told() {
    let failed = |outcome: &'static str, code: &'static str| {
        copies(&near(), 3, move |record, _| {
            set(record, "/outcome", outcome);
            set(record, "/ending/errorCode", code);
            record["upstream"] = Value::Null;
            record["turns"] = Value::Null;
            record["attempts"] = json!([]);
        })
    };
    let refused = failed("refused", "ECONNREFUSED");
    assert_found(&refused, "refused", &["3 of 3 connections to 127.0.0.1:", "were refused"]);
    assert_nothing_found(&refused[..2]);
    let unknown = failed("dns", "EAI_NONAME");
    assert_found(&unknown, "unknown-name", &["3 of 3 connections", "the name does not exist"]);
    // The resolver failed.
    assert_nothing_found(&failed("dns", "EAI_AGAIN"));
}

#[test]
fn lost_syns_are_told_unless_nothing_answers_at_all() {
    if !available("lost_syns_are_told_unless_nothing_answers_at_all") {
        return;
    }
    let second = |record: &mut Value, _| {
        set(record, "/attempts/0/synRetransmits", 1);
        set(record, "/attempts/0/duration", 1_100 * NANOS);
        set(record, "/phases/connect", 1_100 * NANOS);
    };
    let lost = copies(&far_once(), 3, second);
    let whole = copies(&far_once(), 7, |_, _| {});
    let words = ["3 SYNs to 10.2.0.", "in 3 connections (30 %", "1.1 s"];
    assert_found(&joined(&[&lost, &whole]), "lost-syns", &words);
    assert_nothing_found(&joined(&[&lost[..1], &whole]));
    let silent = copies(&far_once(), 3, |record, number| {
        second(record, number);
        set(record, "/attempts/0/outcome", "error");
        set(record, "/attempts/0/errorCode", "CONNECT_TIMEOUT");
        set(record, "/outcome", "timeout");
        record["upstream"] = Value::Null;
        record["turns"] = Value::Null;
    });
    assert_found(&silent, "no-answer", &["no SYN to 10.2.0.", "was answered in 3 connections"]);
    assert_nothing_found(&silent[..1]);
    // Others were answered.
    assert_nothing_found(&joined(&[&silent, &whole]));
    // The same of a listener on this machine, where nothing is lost.
    let local = copies(&near(), 2, second);
    assert_found(&local, "accept-queue", &["127.0.0.1:", "on this machine", "in 2 connections"]);
    assert_nothing_found(&copies(&near(), 2, |_, _| {}));
}

#[test]
fn an_address_of_several_that_never_connects_is_told() {
    let with = |bad: Value| {
        copies(&near(), 4, move |record, _| {
            let good = record["attempts"][0].clone();
            record["attempts"] = json!([bad, good]);
        })
    };
    let attempt = |outcome: &str, code: Option<&str>, millis: u64| {
        json!({"addr": "192.0.2.9:443", "startedAfter": 0, "duration": millis * NANOS,
            "outcome": outcome, "synRetransmits": 0, "error": code, "errorCode": code})
    };
    let refused = with(attempt("error", Some("ECONNREFUSED"), 1));
    let words = ["192.0.2.9 of 127.0.0.1:", "none of 4 attempts connected (ECONNREFUSED)"];
    assert_found(&refused, "bad-address", &words);
    let overtaken = with(attempt("cancelled", None, 300));
    assert_found(&overtaken, "bad-address", &["(no answer in time)"]);
    // The other one was a little faster.
    assert_nothing_found(&with(attempt("cancelled", None, 30)));
    assert_nothing_found(&refused[..2]);
}

#[test]
fn look_ups_of_5_seconds_are_lost_queries() {
    if !available("look_ups_of_5_seconds_are_lost_queries") {
        return;
    }
    let record = real("slow look-up, 1 s");
    let took = |millis: u64| {
        copies(&record, 2, move |record, _| set(record, "/phases/resolve", millis * NANOS))
    };
    assert_found(
        &copies(&record, 1, |_, _| {}),
        "slow-lookup",
        &["slow.test took 1.", " s (1 of 1)"],
    );
    let lost = figures(&took(5003), &[]);
    assert!(lost["findings"][0]["usually"].as_str().unwrap().starts_with("a lost DNS query"));
    let slow = figures(&took(1900), &[]);
    assert!(slow["findings"][0]["usually"].as_str().unwrap().starts_with("a slow or overloaded"));
    assert_nothing_found(&took(400));
    // One of many.
    assert_nothing_found(&joined(&[&took(5003)[..1], &took(20), &took(20), &took(20)]));
}

#[test]
fn handshakes_that_take_longer_than_their_round_trips_are_told() {
    let record = real("TLS 1.3 answer from rustls");
    let took = |millis: u64| {
        copies(&record, 3, move |record, _| set(record, "/tls/handshake", millis * NANOS))
    };
    assert_found(&took(900), "slow-tls", &["3 of 3 TLS handshakes", "took 900 ms at the median"]);
    assert_nothing_found(&took(90));
    // The path is that long.
    let far = copies(&took(900)[0], 3, |record, _| {
        set(record, "/upstream/closedInfo/sysInfo/minRTT", 300 * NANOS);
    });
    assert_nothing_found(&far);
}

/// Takes off what stalls of this machine added to the pauses of 40 ms.
fn calm(mut record: Value, part: &str) -> Value {
    let turns = &mut record["turns"];
    let count = turns["count"].as_u64().unwrap();
    for (key, most) in [("max", 45 * NANOS), ("total", 45 * NANOS * count)] {
        let time = turns[part][key].as_u64().unwrap();
        assert!(time >= most / 2, "the halves were held: {turns}");
        turns[part][key] = time.min(most).into();
    }
    record
}

#[test]
fn nagle_against_delayed_acknowledgements_is_told_of_the_side_that_writes_in_parts() {
    let client = calm(real("delayed ACK meets Nagle at the client"), "request");
    assert_found(
        &[client],
        "delayed-ack",
        &["most requests of 1 connection", "sent by the client"],
    );
    let upstream = calm(real("delayed ACK meets Nagle at the upstream"), "answer");
    assert_found(std::slice::from_ref(&upstream), "delayed-ack", &["most answers", "sent by 127."]);
    let mut slow = upstream;
    set(&mut slow, "/turns/answer/max", 400 * NANOS);
    assert_nothing_found(&[slow]);
    assert_nothing_found(&[real("one slow query among 150")]);
}

#[test]
fn round_trips_over_a_long_path_are_told() {
    if !available("round_trips_over_a_long_path_are_told") {
        return;
    }
    let words = ["15 turns with 10.2.0.", "in 1 connection", "over a round trip of 1"];
    let mut far = far();
    // Where this machine is busy, it takes a part.
    let active = far["verdict"]["active"].as_u64().unwrap();
    far["verdict"]["active"] = active.min(2000 * NANOS).into();
    assert_found(&[far], "chatty-protocol", &words);
    assert_nothing_found(&[far_once(), real("every 3rd request lost, RTT 20 ms")]);
}

#[test]
fn a_connection_for_each_request_is_told_where_opening_costs() {
    if !available("a_connection_for_each_request_is_told_where_opening_costs") {
        return;
    }
    let churn = copies(&far_once(), 20, |_, _| {});
    let words = ["20 of 20 connections to 10.2.0.", "had a single request", "% of the time"];
    assert_found(&churn, "connection-churn", &words);
    assert_nothing_found(&churn[..19]);
    // One each of many clients.
    let clients = copies(&far_once(), 20, |record, number| {
        record["clientHost"] = format!("192.0.2.{number}").into();
    });
    assert_nothing_found(&clients);
    let near = real("slow answer, one exchange");
    assert_nothing_found(&copies(&near, 20, |_, _| {}));
}

#[test]
fn small_windows_are_told_of_the_side_that_receives() {
    if !available("small_windows_are_told_of_the_side_that_receives") {
        return;
    }
    let client = real("small buffer of the client, RTT 95 ms, cubic");
    assert_found(&[client], "small-window", &["window of the client", "in 1 connection"]);
    let upstream = real("small buffer of the upstream, RTT 95 ms, cubic");
    assert_found(&[upstream], "small-window", &["window of 10.2.0."]);
    assert_nothing_found(&[real("slow start, 0.2 MB, RTT 200 ms, cubic")]);
}

#[test]
fn mtu_black_holes_are_told_with_their_direction() {
    if !available("mtu_black_holes_are_told_with_their_direction") {
        return;
    }
    let to_client = real("MTU black hole to the client");
    let words = ["packets to the client never arrived in 1 connection"];
    assert_found(std::slice::from_ref(&to_client), "mtu-black-hole", &words);
    let from_upstream = real("MTU black hole from the upstream");
    assert_found(&[from_upstream], "mtu-black-hole", &["packets from 10.2.0."]);
    // The whole path was gone: nobody there ended the connection.
    let mut gone = to_client;
    for key in ["/ending/firstBy", "/ending/secondBy"] {
        set(&mut gone, key, "proxy");
    }
    assert_nothing_found(&[gone]);
    assert_nothing_found(&[real("reordering, 10 % late by 2 to 4 ms, RTT 20 ms")]);
}

#[test]
fn a_large_share_of_segments_sent_again_is_a_storm() {
    if !available("a_large_share_of_segments_sent_again_is_a_storm") {
        return;
    }
    let resent = |resent: u64, sent: u64| {
        copies(&far_once(), 1, move |record, _| {
            set(record, "/upstream/closedInfo/retransmits", resent);
            set(record, "/upstream/closedInfo/sysInfo/dataSegsOut", sent);
        })
    };
    let words = ["41 of 300 data segments to 10.2.0.", "(14 %)"];
    assert_found(&resent(41, 300), "retransmission-storm", &words);
    assert_nothing_found(&resent(41, 3000));
    assert_nothing_found(&resent(4, 30));
    assert_nothing_found(&[real("slow drain after the last upstream byte")]);
}

#[test]
fn slow_and_lossy_connections_without_a_known_pattern_have_no_findings() {
    if !available("slow_and_lossy_connections_without_a_known_pattern_have_no_findings") {
        return;
    }
    let names = [
        "idle client, instant server",
        "one slow query among 150",
        "every 5th request lost, RTT 4 ms",
        "loss of 3 % from a paced sender",
        "slow start, 0.2 MB, RTT 200 ms, bbr",
        "late greeting",
        "hung server after 3 answers, client leaves by FIN",
    ];
    for name in names {
        assert_nothing_found(&[real(name)]);
    }
}
