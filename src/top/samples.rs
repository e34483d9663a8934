//! Lines for the tests of this room, as a proxy writes them.

use std::time::Duration;

use serde_json::{Value, json};

use super::connection::nanos;
use super::line::SeenLine;
use super::model::Model;

/// When all begins, Unix s.
pub(super) const START: i64 = 1_767_225_600;

pub(super) const RUN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The instant so many seconds after the start, Unix ns.
pub(super) fn at(seconds: f64) -> i64 {
    START * 1_000_000_000 + nanos(Duration::from_secs_f64(seconds))
}

/// A line of this connection so many seconds after the start, with more keys.
pub(super) fn line(event: &str, seq: u64, seconds: f64, more: &Value) -> SeenLine {
    let time = jiff::Timestamp::from_nanosecond(at(seconds).into()).unwrap();
    let mut line = json!({
        "event": event, "schema": 1, "time": format!("{time:.6}"), "host": "here", "labels": {}, "runId": RUN,
        "seq": seq, "id": format!("{RUN}-{seq}"), "mode": "forward", "listener": "127.0.0.1:1",
        "target": format!("host-{seq}.example:80"),
    });
    let line = line.as_object_mut().unwrap();
    line.extend(more.as_object().unwrap().clone());
    serde_json::from_value(Value::Object(line.clone())).unwrap()
}

/// An `open` line.
pub(super) fn open(seq: u64, seconds: f64) -> SeenLine {
    let leg = json!({"rxBytes": 0, "txBytes": 0, "openedInfo": {"rtt": 40_000, "sysInfo": {"os": "linux"}}});
    let more = json!({
        "duration": 1_000_000, "clientHost": "127.0.0.1", "clientPort": 40_000 + seq, "process": null,
        "client": leg, "upstream": leg, "delta": {"toUpstream": 0, "toClient": 0},
    });
    line("open", seq, seconds, &more)
}

/// A sample: bytes since the one before, and who is waited for since when.
pub(super) fn sample(
    seq: u64,
    seconds: f64,
    [to_upstream, to_client]: [u64; 2],
    waiting: Option<(&str, f64)>,
) -> SeenLine {
    sample_for("interval", seq, seconds, [to_upstream, to_client], waiting)
}

pub(super) fn sample_for(
    reason: &str,
    seq: u64,
    seconds: f64,
    [to_upstream, to_client]: [u64; 2],
    waiting: Option<(&str, f64)>,
) -> SeenLine {
    let waiting = waiting.map(
        |(who, since)| json!({"who": who, "since": at(since), "duration": at(seconds) - at(since)}),
    );
    let more = json!({
        "duration": nanos(Duration::from_secs_f64(seconds)), "reason": reason, "leg": null,
        "process": {"pid": 4711, "name": format!("program-{seq}")},
        "client": {"rxBytes": to_upstream, "txBytes": to_client, "writeBlocked": 0, "info": {"retransmits": 1}},
        "upstream": {"rxBytes": to_client, "txBytes": to_upstream, "writeBlocked": 0,
            "info": {"rtt": 250_000, "rttVar": 50_000, "retransmits": seq}},
        "waitingFor": waiting, "delta": {"toUpstream": to_upstream, "toClient": to_client},
    });
    line("sample", seq, seconds, &more)
}

/// A `close` line with this outcome and error code.
pub(super) fn close(seq: u64, seconds: f64, outcome: &str, code: Option<&str>) -> SeenLine {
    let more = json!({
        "duration": 1_000_000_000, "outcome": outcome, "ending": {"errorCode": code, "firstBy": "client"},
        "client": {"rxBytes": 10, "txBytes": 10, "lost": 0}, "upstream": {"rxBytes": 10, "txBytes": 10},
        "delta": {"toUpstream": 0, "toClient": 0},
    });
    line("close", seq, seconds, &more)
}

/// A sample of a watched socket, which it opened or accepted: bytes sent and received since the one before.
pub(super) fn socket_sample(
    seq: u64,
    seconds: f64,
    origin: Option<&str>,
    seen_after: Option<f64>,
    [sent, received]: [u64; 2],
) -> SeenLine {
    let more = json!({
        // One that is not older than the watch was seen at once.
        "duration": seen_after.map_or(nanos(Duration::from_secs_f64(seconds)), |_| 0),
        "mode": null, "target": null, "reason": "interval", "origin": origin,
        "seenAfter": seen_after.map(|seconds| nanos(Duration::from_secs_f64(seconds))), "listener": null,
        "process": {"pid": 4711, "name": format!("program-{seq}")},
        "socket": {
            "localAddr": "192.168.1.10:40000", "remoteAddr": format!("192.0.2.{seq}:443"),
            "rxBytes": received, "txBytes": sent, "lost": seq,
            "info": {"rtt": 250_000, "retransmits": 2 * seq, "lastTxAt": 3_000_000_000_u64, "lastRxAt": 9_000_000_000_u64},
        },
        "delta": {"tx": sent, "rx": received},
    });
    line("socketSample", seq, seconds, &more)
}

/// The line of a watched socket that has ended like this; a dump has shown it in `state`.
pub(super) fn socket_end(
    seq: u64,
    seconds: f64,
    how: Option<&str>,
    state: Option<&str>,
) -> SeenLine {
    let more = json!({
        "duration": 1_000_000_000, "mode": null, "target": null, "origin": "connected",
        "seenAfter": 1_000_000_000, "process": null,
        "ending": {"how": how, "state": state, "finSent": null, "finReceived": null},
        "socket": {"localAddr": "192.168.1.10:40000", "remoteAddr": format!("192.0.2.{seq}:443"),
            "rxBytes": 1, "txBytes": 1, "lost": 0, "closedInfo": {"rtt": 250_000}},
        "delta": {"tx": 1, "rx": 1},
    });
    line("socket", seq, seconds, &more)
}

/// What is known after these lines.
pub(super) fn model(lines: &[SeenLine]) -> Model {
    let mut model = Model::default();
    for line in lines {
        model.apply(line);
    }
    model
}
