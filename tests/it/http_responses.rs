//! What an upstream may answer in http mode: odd heads, whole and split at every byte, from an origin
//! and from a parent, against clients that keep their connection. No byte of one origin ever answers
//! a request for another.

mod failures;
mod heads;
mod lab;
mod parents;
mod programs;
mod response;
mod upgrades;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use conniver::record::{By, Outcome, Record};

use self::heads::{Case, Expected};
use self::lab::{AGAIN, Exchange, Lab, POISON, Poison, Received, SECRET, Way};
use self::response::{find, parse};
use crate::harness::is_own_body;
use crate::harness::program::{closed, read_lines, wait_until};

/// Exchanges at the same time.
const AT_ONCE: usize = 16;

/// Values with every run of blanks as one: a fold may become any number of them.
fn collapsed(value: &[u8]) -> Vec<u8> {
    let mut collapsed = Vec::new();
    for &byte in value {
        let byte = if byte == b'\t' { b' ' } else { byte };
        if byte != b' ' || collapsed.last() != Some(&b' ') {
            collapsed.push(byte);
        }
    }
    collapsed
}

/// Whether a client got what it should have got.
fn judge(case: &Case, received: &Received) -> Result<(), String> {
    let Received { bytes, is_over, .. } = received;
    let shown = || {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
        format!("{text:?}, {}", if *is_over { "then the end" } else { "then silence" })
    };
    let wrong = |what: &str| Err(format!("{what}: {}", shown()));
    let response = match parse(bytes, case.method) {
        Ok(Some(response)) => response,
        Ok(None) => return wrong("no whole head"),
        Err(error) => return wrong(&error),
    };
    // The client was told that this connection ends; without that, the answers to the other requests
    // follow. An incomplete response ends the connection as well.
    let is_last = response.says_close() || response.is_whole == Some(false);
    let others = if is_last { Vec::new() } else { [SECRET, AGAIN].concat() };
    if response.rest != others {
        return wrong("something else behind the response");
    }
    // The last answer ends the connection.
    if !is_over {
        return wrong("the proxy does not close");
    }
    let is_framed = response.is_whole == Some(true) && bytes.starts_with(b"HTTP/1.1 ");
    let may_close = !is_framed || find(&case.sent.to_ascii_lowercase(), b"close").is_some();
    if response.says_close() && response.status != 502 && !may_close {
        return wrong("Connection: close for nothing");
    }
    let is_refusal = response.status == 502
        && is_own_body(&response.body) != (case.method == "HEAD")
        && response.is_whole == Some(true);
    match &case.expected {
        Expected::Refused if !is_refusal || !response.interim.is_empty() => wrong("no 502"),
        Expected::Refused => Ok(()),
        Expected::Either => Ok(()),
        Expected::Cut if is_refusal => Ok(()),
        Expected::Cut if response.is_whole == Some(true) => wrong("a whole body"),
        Expected::Cut if find(bytes, b"POISON").is_some() => wrong("poison"),
        Expected::Cut => Ok(()),
        Expected::Read { status, fields, body } => {
            let got = response.fields.iter().filter(|(name, _)| *name != "Connection");
            let got: Vec<_> = got.map(|(name, value)| (*name, collapsed(value))).collect();
            let wanted: Vec<_> = fields.iter().map(|(name, v)| (*name, collapsed(v))).collect();
            if response.status != *status {
                wrong(&format!("not status {status}"))
            } else if got != wanted {
                wrong("other fields")
            } else if response.body != *body {
                wrong("another body")
            } else if response.is_whole == Some(false) {
                wrong("not the whole body")
            } else {
                Ok(())
            }
        }
    }
}

/// Whether the record says what the upstream did.
fn judge_record(case: &Case, record: &Record) -> Result<(), String> {
    let status = record.http.as_ref().and_then(|http| http.status);
    let ending = record.ending.as_ref().ok_or("no ending")?;
    let is_right = match case.expected {
        Expected::Read { status: sent, .. } => {
            status == Some(sent) && record.outcome == Some(Outcome::Ok)
        }
        // An origin that answers with what is not HTTP has broken the protocol.
        Expected::Refused => {
            record.outcome != Some(Outcome::Ok)
                && ending.first_by == By::Upstream
                && ending.error_code.is_some()
        }
        Expected::Either | Expected::Cut => true,
    };
    match is_right {
        true => Ok(()),
        false => Err(format!("{status:?}, {:?}, {ending:?}", record.outcome)),
    }
}

/// Which poisons a case can be given without making them a part of its body.
fn poisons(case: &Case) -> &'static [Poison] {
    match (case.ends, &case.expected) {
        (false, _) => &[Poison::AtOnce, Poison::Later],
        (true, Expected::Either) => &[Poison::AtOnce],
        (true, _) => &[Poison::Never],
    }
}

/// Runs them, several at the same time; what went wrong. A case of which one went wrong is left at that.
fn run_all(lab: &Lab, work: &[(&Case, Exchange<'_>)]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(HashMap::new());
    let run = || {
        while let Some((case, exchange)) = work.get(next.fetch_add(1, Relaxed)) {
            if wrong.lock().unwrap().contains_key(case.name) {
                continue;
            }
            if let Err(reason) = judge(case, &lab.run(exchange)) {
                let Exchange { cut, poison, pipelined, .. } = exchange;
                let which = format!("cut {cut:?}, poison {poison:?}, pipelined {pipelined}");
                let text = format!("{} ({which}): {reason}", case.name);
                wrong.lock().unwrap().entry(case.name).or_insert(text);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(run);
        }
    });
    let mut wrong: Vec<String> = wrong.into_inner().unwrap().into_values().collect();
    wrong.sort();
    wrong
}

fn assert_none(wrong: &[String], of: usize) {
    assert!(wrong.is_empty(), "{} of {of} cases:\n{}", wrong.len(), wrong.join("\n"));
}

fn whole_heads(way: Way) {
    let lab = Lab::new(way);
    let cases = heads::all();
    let mut work = Vec::new();
    for pipelined in [false, true] {
        for case in &cases {
            for &poison in poisons(case) {
                // A's third request may be with A before the poison: then it answers that.
                if pipelined && poison == Poison::Later {
                    continue;
                }
                let (method, sent, ends) = (case.method, &*case.sent, case.ends);
                work.push((case, Exchange { method, sent, cut: None, ends, poison, pipelined }));
            }
        }
    }
    assert_none(&run_all(&lab, &work), cases.len());
}

fn split_heads(way: Way) {
    let lab = Lab::new(way);
    let cases = heads::all();
    let mut work = Vec::new();
    for case in &cases {
        for cut in 1..case.sent.len() {
            // Of a head that is long, its beginning, its end and some places between.
            let is_inside = (100..case.sent.len().saturating_sub(100)).contains(&cut);
            if is_inside && case.sent.len() > 1000 && !cut.is_multiple_of(997) {
                continue;
            }
            let poisons = poisons(case);
            let poison = poisons[(cut + usize::from(way == Way::Parent)) % poisons.len()];
            let (method, sent, ends) = (case.method, &*case.sent, case.ends);
            let exchange =
                Exchange { method, sent, cut: Some(cut), ends, poison, pipelined: false };
            work.push((case, exchange));
        }
    }
    // Different cases at the same time.
    work.sort_by_key(|(_, exchange)| exchange.cut);
    assert_none(&run_all(&lab, &work), cases.len());
}

#[test]
fn odd_heads_from_an_origin_are_normalised_or_refused() {
    whole_heads(Way::Direct);
}

#[test]
fn odd_heads_from_a_parent_are_normalised_or_refused() {
    whole_heads(Way::Parent);
}

#[test]
fn odd_heads_from_an_origin_may_be_split_at_every_byte() {
    split_heads(Way::Direct);
}

#[test]
fn odd_heads_from_a_parent_may_be_split_at_every_byte() {
    split_heads(Way::Parent);
}

#[test]
fn records_tell_the_status_of_odd_heads() {
    for way in [Way::Direct, Way::Parent] {
        let lab = Lab::new(way);
        let cases = heads::all();
        let mut ports = HashMap::new();
        std::thread::scope(|scope| {
            let run = |case: &Case| {
                let (method, sent) = (case.method, &*case.sent);
                // It ends its stream, so that every pair has an end.
                let (ends, poison) = (true, Poison::Never);
                let received =
                    lab.run(&Exchange { method, sent, cut: None, ends, poison, pipelined: false });
                received.port
            };
            let running: Vec<_> = cases.iter().map(|case| scope.spawn(move || run(case))).collect();
            for (case, port) in cases.iter().zip(running) {
                ports.insert(port.join().unwrap(), case);
            }
        });
        // Those of B have a pair before them.
        let of_a = |record: &Record| record.previous.is_none();
        let mut records = Vec::new();
        wait_until("the records come", || {
            records = closed(read_lines(&lab.proxy.records_file()));
            records.iter().filter(|record| of_a(record)).count() == cases.len()
        });
        let mut wrong = Vec::new();
        for record in records.iter().filter(|record| record.upstream.is_some() && of_a(record)) {
            let case = ports[&record.client_port.unwrap()];
            if let Err(reason) = judge_record(case, record) {
                wrong.push(format!("{way:?}, {}: {reason}", case.name));
            }
        }
        assert_none(&wrong, cases.len());
    }
}

#[test]
fn the_poison_is_what_a_client_would_take() {
    let response = parse(POISON, "GET").unwrap().unwrap();
    assert_eq!(
        (response.status, &*response.body, response.is_whole),
        (200, &b"POISON"[..], Some(true))
    );
}
