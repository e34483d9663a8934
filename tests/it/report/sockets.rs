//! Sockets of `conniver watch` in a report.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde_json::{Value, json};

use super::{copies, figures, report};
use crate::harness::watching::Watching;

/// The line of a socket that connected, and ended well.
fn socket() -> Value {
    json!({
        "event": "socket", "schema": 1, "time": "2026-11-29T14:00:01.000000Z", "host": "web1", "labels": {"env": "a"},
        "runId": "01a2282e-b346-77eb-b828-ce49454761db", "seq": 1, "id": "01a2282e-b346-77eb-b828-ce49454761db-1",
        "origin": "connected", "listener": null, "process": {"pid": 7, "name": "curl"},
        "openedAt": 1_764_424_800_000_000_000_i64, "seenAfter": 0, "closedAt": 1_764_424_801_000_000_000_i64,
        "duration": 1_000_000_000, "source": "event", "delivery": {"written": 10, "acked": 10, "undelivered": 0},
        "ending": {"state": "ESTABLISHED", "finSent": true, "finReceived": null, "how": "fin"}, "warnings": [],
        "socket": {
            "localAddr": "10.0.0.1:40000", "remoteAddr": "10.0.0.2:443", "rxBytes": 1_000, "txBytes": 10, "lost": 1,
            "openedInfo": null, "eofInfo": {"rtt": 2_000_000}, "closedInfo": {"rtt": 41_000_000, "retransmits": 2},
        },
        "delta": {"rx": 1_000, "tx": 10}, "line": 1,
    })
}

/// Nine connections to a server: a third was reset, and a third was too short for a dump.
pub(super) fn lines() -> Vec<Value> {
    let mut lines = copies(&socket(), 9, |line, number| match number % 3 {
        0 => line["ending"]["how"] = "reset".into(),
        1 => line["socket"]["eofInfo"] = Value::Null,
        _ => {}
    });
    lines.push(socket());
    let accepted = &mut lines[9];
    accepted["id"] = "01a2282e-b346-77eb-b828-ce49454761db-10".into();
    accepted["origin"] = "accepted".into();
    accepted["listener"] = "0.0.0.0:8080".into();
    accepted["process"]["name"] = "nginx".into();
    lines
}

fn text(lines: &[Value], args: &[&str]) -> (Option<i32>, String, String) {
    let output = report(lines, args);
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), stdout, stderr)
}

#[test]
fn sockets_are_counted_by_server_with_what_they_show() {
    let (status, said, _) = text(&lines(), &[]);
    assert_eq!(status, Some(0));
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(said.starts_with("10 sockets of conniver watch, 3 failed, on web1\n"), "{said}");
    assert!(said.contains("\nfailed: 3 reset\n"), "{said}");
    assert!(
        said.contains("sent 100 B, received 10.0 kB, 20 segments retransmitted, 10 segments lost"),
        "{said}"
    );
    let row = |name: &str| rows.iter().find(|row| row.first() == Some(&name)).unwrap().join(" ");
    assert_eq!(row("10.0.0.2:443"), "10.0.0.2:443 9 3 2.00ms 2.00ms 18 9 90 B 9.00 kB", "{said}");
    assert_eq!(row("0.0.0.0:8080"), "0.0.0.0:8080 1 0 2.00ms 2.00ms 2 1 10 B 1.00 kB", "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    for words in ["no connections", "Findings", "slow by"] {
        assert!(!said.contains(words), "{words}: {said}");
    }
    assert!(said.contains("a socket does not show who was slow"), "{said}");
}

#[test]
fn sockets_are_selected_grouped_and_redacted_like_connections() {
    let (_, said, _) = text(&lines(), &["--by", "process", "--where", "outcome=reset"]);
    assert!(said.starts_with("3 sockets of conniver watch, 3 failed"), "{said}");
    assert!(said.contains("7 connections left out") && said.contains("\ncurl "), "{said}");
    let (_, said, _) = text(&lines(), &["--redact"]);
    assert!(!said.contains("web1") && !said.contains("10.0.0."), "{said}");

    let json = figures(&lines(), &[]);
    assert_eq!(
        (&json["sockets"]["connections"], &json["sockets"]["failed"]),
        (&10.into(), &3.into())
    );
    // Without a dump before its end, an RTT may be one of a delayed acknowledgement.
    assert_eq!(
        (&json["sockets"]["rtt"]["count"], &json["sockets"]["rtt"]["max"]),
        (&7.into(), &2_000_000.into())
    );
    assert_eq!(json["socketGroups"][0]["name"], "10.0.0.2:443");
    assert_eq!(
        (&json["totals"]["connections"], &json["lines"]["sockets"]),
        (&0.into(), &10.into())
    );
    assert_eq!(figures(&[], &[])["sockets"], Value::Null);
}

#[test]
fn what_sockets_do_not_have_is_said() {
    let lines = lines();
    let id = lines[0]["id"].as_str().unwrap();
    let (status, _, said) = text(&lines, &["--id", id]);
    assert_eq!(status, Some(1));
    let line = said.replace("\n    ", " ");
    assert!(line.contains("of sockets of conniver watch there is no timeline"), "{said}");
    let command =
        format!("\n    jq 'select(.id | startswith(\"{id}\") or endswith(\"{id}\"))' FILE\n");
    assert!(said.ends_with(&command), "{said}");
    let (_, _, said) = text(&lines, &["--id", "7"]);
    assert!(said.ends_with("lines:\n    jq 'select(.id | endswith(\"-7\"))' FILE\n"), "{said}");
    let (status, page, said) = text(&lines, &["--html", "-"]);
    assert_eq!((status, &*page), (Some(1), ""));
    assert!(said.replace("\n    ", " ").contains("but 10 sockets of conniver watch"), "{said}");
}

#[test]
fn a_key_that_sockets_do_not_have_is_said_to_be_a_proxys() {
    let note = |args: &[&str]| {
        let (status, said, _) = text(&lines(), args);
        assert_eq!(status, Some(0), "{said}");
        let note = said.split_once("note: ").map(|(_, note)| note.replace("\n    ", " "));
        note.map(|note| note.trim_end().to_owned())
    };
    for key in ["limitedBy", "mode", "error"] {
        let expected = format!(
            "no connection fits; the sockets of conniver watch have no {key}; conniver proxy and \
             conniver run record it"
        );
        assert_eq!(note(&["--where", &format!("{key}=*o*")]), Some(expected));
    }
    let labels = "no connection fits; the sockets of conniver watch have no label.zone".to_owned();
    assert_eq!(note(&["--where", "label.zone=1"]), Some(labels));
    let target =
        "no connection fits; target is, for example, 10.0.0.2:443, 0.0.0.0:8080".to_owned();
    assert_eq!(note(&["--where", "target=db*"]), Some(target));
}

#[test]
fn the_lines_of_a_real_watch_are_reported() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let watch = Watching::start(&["--to", &server, "--interval", "20ms"]);
    let client = TcpStream::connect(&server).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let ports = [&client, &accepted].map(|stream| stream.local_addr().unwrap().port());
    drop(client);
    drop(accepted);
    for port in ports {
        watch.ended(port);
    }
    let lines = watch.stop().lines;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::to_value(line).unwrap()).collect();
    let json = figures(&lines, &[]);
    assert_eq!((&json["lines"]["read"], &json["sockets"]["connections"]), (&2.into(), &2.into()));
    assert_eq!(json["files"][0]["bad"], 0);
}
