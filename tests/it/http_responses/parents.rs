//! What a parent may answer to CONNECT: a head that can be read in one way opens the tunnel, any other
//! is a 502, and the client sees nothing of it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::lab::{Exchange, Lab, Poison, Received, Way};
use super::response::parse;
use super::{AT_ONCE, assert_none};
use crate::harness::is_own_body;

/// A parent's answer and whether it opens the tunnel. What it sends behind it is the target's.
const ANSWERS: &[(&str, &str, bool)] = &[
    ("plain", "HTTP/1.1 200 Connection established\r\n\r\n", true),
    ("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n", true),
    ("no reason phrase", "HTTP/1.1 200\r\n\r\n", true),
    ("another 2xx", "HTTP/1.1 204 No Content\r\nVia: x\r\n\r\n", true),
    ("a folded value", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", true),
    ("folded by a tab", "HTTP/1.1 200 OK\r\nX: a\r\n\tb\r\n\r\n", true),
    ("a blank before a colon", "HTTP/1.1 200 OK\r\nX : y\r\n\r\n", true),
    ("line feeds alone", "HTTP/1.1 200 OK\nX: y\n\n", true),
    ("a line feed alone as the empty line", "HTTP/1.1 200 OK\r\nX: y\r\n\n", true),
    ("all of these", "HTTP/1.0 200 OK\nX : a\n b\n\n", true),
    // RFC 9110 section 9.3.6: a client ignores both.
    ("a length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true),
    ("a coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true),
    ("behind a 100", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", true),
    ("behind an odd 103", "HTTP/1.1 103 Hints\nX : a\n b\n\nHTTP/1.1 200 OK\r\n\r\n", true),
    ("obs-text in a value", "HTTP/1.1 200 OK\r\nX: \u{e9}\r\n\r\n", true),
    ("SSH", "SSH-2.0-OpenSSH_9\r\n\r\n", false),
    ("a page without a head", "<html>hello</html>\r\n\r\n", false),
    ("ICY", "ICY 200 OK\r\n\r\n", false),
    ("HTTP/2", "HTTP/2 200\r\n\r\n", false),
    ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
    ("SOCKS", "\x05\0\0\x01\0\0\0\0\0\0", false),
    ("status 99", "HTTP/1.1 99 X\r\n\r\n", false),
    ("status abc", "HTTP/1.1 abc X\r\n\r\n", false),
    ("status 2000", "HTTP/1.1 2000 X\r\n\r\n", false),
    ("a carriage return in a value", "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", false),
    ("a NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", false),
    ("an empty name", "HTTP/1.1 200 OK\r\n: y\r\n\r\n", false),
    ("a line without a colon", "HTTP/1.1 200 OK\r\ngarbage\r\n\r\n", false),
    ("a blank within a name", "HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n", false),
    ("a 101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", false),
    ("a redirect", "HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", false),
    ("half a head, and the end", "HTTP/1.1 200 OK\r\nX: ", false),
    ("nothing, and the end", "", false),
];

fn judge(is_open: bool, received: &Received) -> Result<(), String> {
    let text = String::from_utf8_lossy(&received.bytes);
    let response = parse(&received.bytes, "GET").map_err(|error| format!("{error}: {text:?}"))?;
    let Some(response) = response else { return Err(format!("no whole head: {text:?}")) };
    let is_right = match is_open {
        true => response.status == 200 && response.body == b"BANNER",
        false => {
            response.status == 502
                && is_own_body(&response.body)
                && response.is_whole == Some(true)
                && response.rest.is_empty()
                && response.says_close()
                && received.is_over
        }
    };
    if is_right { Ok(()) } else { Err(format!("{text:?}, over: {}", received.is_over)) }
}

fn run_all(work: &[(&str, Vec<u8>, bool, Option<usize>)]) -> Vec<String> {
    let lab = Lab::new(Way::Parent);
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(HashMap::new());
    let run = || {
        while let Some((name, sent, is_open, cut)) = work.get(next.fetch_add(1, Relaxed)) {
            if wrong.lock().unwrap().contains_key(name) {
                continue;
            }
            let ends = name.ends_with("the end");
            let poison = Poison::Never;
            let method = "CONNECT";
            let exchange = Exchange { method, sent, cut: *cut, ends, poison, pipelined: false };
            if let Err(reason) = judge(*is_open, &lab.connect(&exchange)) {
                let text = format!("{name} (cut {cut:?}): {reason}");
                wrong.lock().unwrap().entry(*name).or_insert(text);
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

/// With what the target says right behind it, where there is one.
fn sent(answer: &str, is_open: bool) -> Vec<u8> {
    [answer, if is_open { "BANNER" } else { "" }].concat().into_bytes()
}

#[test]
fn odd_answers_to_connect_open_the_tunnel_or_are_refused() {
    let whole = ANSWERS.iter().map(|&(name, answer, open)| (name, sent(answer, open), open, None));
    assert_none(&run_all(&whole.collect::<Vec<_>>()), ANSWERS.len());
}

#[test]
fn odd_answers_to_connect_may_be_split_at_every_byte() {
    let mut work: Vec<_> = ANSWERS
        .iter()
        .flat_map(|&(name, answer, open)| {
            let sent = sent(answer, open);
            (1..sent.len()).map(move |cut| (name, sent.clone(), open, Some(cut)))
        })
        .collect();
    // Different answers at the same time.
    work.sort_by_key(|(_, _, _, cut)| *cut);
    assert_none(&run_all(&work), ANSWERS.len());
}
