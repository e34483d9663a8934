//! A line for every turn: a log of requests, whatever they are.

use std::io::{Read, Write};
use std::process::Command;
use std::thread;
use std::time::Duration;

use conniver::record::{EndedTurn, Line};
use serde_json::Value;

use crate::contract::assert_keys;
use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::program::{BINARY, read_lines, wait_until};
use crate::harness::run;

const TURN_LINE: &str = "event schema time host labels runId seq id mode listener target number crossed at duration wait \
    network requestBytes answerBytes limitedBy line";

const SLOW: Duration = Duration::from_millis(150);

/// A request, after `think` its answer, each of so many bytes.
fn exchange(ends: &mut Ends, [request, answer]: [usize; 2], think: Duration) {
    ends.client.write_all(&vec![1; request]).unwrap();
    ends.upstream.read_exact(&mut vec![0; request]).unwrap();
    thread::sleep(think);
    ends.upstream.write_all(&vec![2; answer]).unwrap();
    ends.client.read_exact(&mut vec![0; answer]).unwrap();
}

fn turns(forwarding: &Forwarding) -> Vec<EndedTurn> {
    let lines = read_lines(&forwarding.proxy.records_file()).into_iter();
    let turns = lines.filter_map(|line| match line {
        Line::Turn(turn) => Some(*turn),
        _ => None,
    });
    turns.collect()
}

#[test]
fn each_turn_has_a_line_as_soon_as_the_next_one_begins() {
    let forwarding = Forwarding::new(&["--events", "turn,close"]);
    let mut ends = forwarding.pair();
    exchange(&mut ends, [10, 1000], Duration::ZERO);
    exchange(&mut ends, [20, 2000], SLOW);
    exchange(&mut ends, [30, 3000], Duration::ZERO);
    wait_until("the turns before the last one are told", || turns(&forwarding).len() == 2);
    // The last one is not answered.
    ends.client.write_all(&[3; 400]).unwrap();
    ends.upstream.read_exact(&mut [0; 400]).unwrap();
    drop(ends.client);
    drop(ends.upstream);
    let record = forwarding.proxy.wait_for_records(1).remove(0);

    let turns = turns(&forwarding);
    let told: Vec<_> = turns
        .iter()
        .map(|line| (line.number, line.turn.request_bytes, line.turn.answer_bytes))
        .collect();
    assert_eq!(told, [(1, 10, 1000), (2, 20, 2000), (3, 30, 3000), (4, 400, 0)]);
    let waits: Vec<_> = turns.iter().map(|line| line.turn.wait).collect();
    assert!(waits[1] >= SLOW && waits[0] < SLOW && waits[2] < SLOW, "{waits:?}");
    let of_pair = record.turns.unwrap();
    let wait = of_pair.wait.unwrap();
    assert_eq!((of_pair.count, wait.total), (4, waits.iter().sum()));
    assert_eq!((wait.max, wait.max_at), (waits[1], turns[1].turn.at));
    assert_eq!(of_pair.slowest[0], turns[1].turn);
    for line in &turns {
        assert_eq!(
            (&line.header.id, &line.header.target, line.crossed),
            (&record.id, &record.target, false)
        );
    }
}

#[test]
fn a_turn_line_has_exactly_its_keys_at_every_detail() {
    for detail in ["full", "normal", "brief"] {
        let forwarding = Forwarding::new(&["--events", "turn", "--detail", detail]);
        let mut ends = forwarding.pair();
        exchange(&mut ends, [10, 10], Duration::ZERO);
        drop(ends);
        wait_until("the turn is told", || turns(&forwarding).len() == 1);
        let text = std::fs::read_to_string(forwarding.proxy.records_file()).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_keys(&value, TURN_LINE, "a turn line");
        let schema: Value = serde_json::from_str(&run(BINARY, &["schema"])).unwrap();
        if let Err(error) = jsonschema::validator_for(&schema).unwrap().validate(&value) {
            panic!("at {}: {error}", error.instance_path());
        }
    }
}

#[test]
fn turns_that_waited_for_less_than_turn_min_have_no_lines() {
    let forwarding = Forwarding::new(&["--events", "turn,close", "--turn-min", "150ms"]);
    let mut ends = forwarding.pair();
    for think in [Duration::ZERO, SLOW, Duration::ZERO] {
        exchange(&mut ends, [10, 10], think);
    }
    drop(ends);
    let record = forwarding.proxy.wait_for_records(1).remove(0);
    assert_eq!(record.turns.unwrap().count, 3);
    let told: Vec<_> = turns(&forwarding).iter().map(|line| line.number).collect();
    assert_eq!(told, [2]);
}

#[test]
fn a_conversation_of_http_2_has_no_turn_lines() {
    let forwarding = Forwarding::new(&["--events", "turn,close"]);
    let mut ends = forwarding.pair();
    ends.client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    ends.upstream.read_exact(&mut [0; 24]).unwrap();
    for _ in 0..3 {
        exchange(&mut ends, [100, 100], Duration::ZERO);
    }
    drop(ends);
    forwarding.proxy.wait_for_records(1);
    assert_eq!(turns(&forwarding), []);
}

#[test]
fn check_knows_by_a_turn_line_that_a_pair_was_open() {
    let forwarding = Forwarding::new(&["--events", "start,turn,close"]);
    // It shows that pairs have such lines.
    drop(forwarding.pair());
    forwarding.proxy.wait_for_records(1);
    let mut ends = forwarding.pair();
    for _ in 0..2 {
        exchange(&mut ends, [10, 10], Duration::ZERO);
    }
    wait_until("a turn is told", || !turns(&forwarding).is_empty());
    let file = forwarding.proxy.records_file();
    let output = Command::new(BINARY).arg("check").arg(&file).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("is not closed: opened at"), "{said}");
}

#[test]
fn all_bytes_of_a_large_answer_are_counted_though_its_reader_is_slow() {
    const ANSWER: usize = 40_000_000;
    let forwarding = Forwarding::new(&["--events", "turn"]);
    let mut ends = forwarding.pair();
    ends.client.write_all(b"?").unwrap();
    ends.upstream.read_exact(&mut [0]).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| ends.upstream.write_all(&vec![7; ANSWER]).unwrap());
        let mut piece = vec![0; 1_000_000];
        for _ in 0..ANSWER / piece.len() {
            thread::sleep(Duration::from_millis(2));
            ends.client.read_exact(&mut piece).unwrap();
        }
    });
    drop(ends);
    wait_until("the turn is told", || turns(&forwarding).len() == 1);
    assert_eq!(turns(&forwarding)[0].turn.answer_bytes, ANSWER as u64);
}
