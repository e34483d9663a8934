//! Pairs that end in a random way, by causes and effects that are certain, compared with what their
//! records say of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use conniver::TcpInfo;
use conniver::record::{By, Delivered, Ending, How, Outcome, Phase, Record};
use conniver::tcp_info::State;

use super::forwarding::Forwarding;
use super::noise::Noise;
use super::peers::reset;
use super::program::wait_until;

/// How a pair is ended. The one that acts first is x, the other one y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// x resets, behind data.
    Reset,
    /// x ends its stream behind data; when y has seen that, y does the same.
    FinFin,
    /// x ends its stream; when y has seen that and has answered, y resets.
    FinReset,
    /// x ends its stream, gets an answer, and resets.
    FinOwnReset,
    /// x ends its stream, gets an answer that it does not read, and closes.
    FinUnread,
    /// x closes; when y has seen that, it says more.
    ClosedThenWords,
    /// x and y end at the same time.
    AtOnce(How, How),
}

const KINDS: [Kind; 10] = [
    Kind::Reset,
    Kind::FinFin,
    Kind::FinReset,
    Kind::FinOwnReset,
    Kind::FinUnread,
    Kind::ClosedThenWords,
    Kind::AtOnce(How::Fin, How::Fin),
    Kind::AtOnce(How::Fin, How::Reset),
    Kind::AtOnce(How::Reset, How::Fin),
    Kind::AtOnce(How::Reset, How::Reset),
];

/// One end of a pair, and what passed it by its own count.
struct Peer {
    side: By,
    stream: TcpStream,
    sent: u64,
    got: u64,
    /// It spoke last in what came before the end.
    was_last: bool,
}

/// What a record must say of the end of a pair, and of what passed to x and to y.
struct Truth {
    outcome: Outcome,
    /// It is `ok` instead where x acknowledged no more than this.
    ok_if_acked: Option<u64>,
    ends: Vec<(By, How)>,
    /// Either may be the first; and of two the record may know only a reset, or what came before it.
    at_once: bool,
    /// The time between both lies between these.
    gap: Option<(Duration, Duration)>,
    code: Option<&'static str>,
    to_x: Passed,
    to_y: Passed,
}

/// What passed in one direction.
#[derive(Debug, Default)]
struct Passed {
    sent: u64,
    /// What the receiving program read, where that is all that came for it.
    got: Option<u64>,
    /// What the receiver's kernel acknowledged, where that is certain: its reset acknowledges
    /// nothing, and it may delay what it has to acknowledge.
    acked: Option<u64>,
}

/// So many pairs, each ended in another random way; panics where a record differs from the truth.
/// How many of each kind there were.
pub(crate) fn compare(pairs: usize, seed: u64) -> String {
    let forwarding = Forwarding::new(&["--no-process"]);
    let mut random = Noise::seeded(seed);
    let pairs: Vec<_> = (1..=pairs)
        .map(|seq| {
            let kind = random.pick(&KINDS);
            (seq, kind, end(&forwarding, kind, &mut random))
        })
        .collect();
    let records = forwarding.proxy.wait_for_records(pairs.len());
    assert_eq!(records.len(), pairs.len());
    for (seq, kind, (x, truth)) in &pairs {
        let record = records.iter().find(|record| record.seq == *seq as u64);
        let what = format!("pair {seq} of seed {seed}, {kind:?} by {x:?}");
        truth.check(record.expect("the pair has a record"), *x, &what);
    }
    let count = |wanted| pairs.iter().filter(|(_, kind, _)| *kind == wanted).count();
    KINDS.iter().map(|kind| format!("{kind:?}: {}\n", count(*kind))).collect()
}

/// Mostly short, sometimes more than is read at once.
fn length(random: &mut Noise) -> usize {
    let limit = random.pick(&[1, 100, 3000, 150_000]);
    1 + usize::try_from(random.number() % limit).unwrap()
}

impl Peer {
    fn say(&mut self, bytes: usize) {
        self.stream.write_all(&vec![0x55; bytes]).unwrap();
        self.sent += bytes as u64;
    }

    fn hear(&mut self, bytes: usize) {
        self.stream.read_exact(&mut vec![0; bytes]).unwrap();
        self.got += bytes as u64;
    }

    /// Reads to the other one's end; how that came.
    fn hear_the_end(&mut self) -> How {
        let mut buffer = vec![0; 65_536];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return How::Fin,
                Ok(bytes) => self.got += bytes as u64,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return How::Reset,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn end_stream(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    fn info(&self) -> TcpInfo {
        TcpInfo::of(&self.stream).unwrap()
    }

    /// Waits until the proxy has broken the connection off, or it has ended in both directions.
    fn wait_until_over(&self) {
        wait_until("the pair is over", || self.info().state == Some(State::Close));
    }

    /// Waits until so much of what it has not read is in its kernel.
    fn wait_until_received(&self, unread: usize) {
        wait_until("the bytes have come", || {
            let kernel = self.info();
            let received = kernel.sys_info.linux().unwrap().bytes_received.unwrap();
            received >= self.got + unread as u64
        });
    }
}

/// Makes a pair, lets it talk, and ends it. Who was x, and what is true of it.
fn end(forwarding: &Forwarding, kind: Kind, random: &mut Noise) -> (By, Truth) {
    let ends = forwarding.pair();
    let peer = |side, stream| Peer { side, stream, sent: 0, got: 0, was_last: false };
    let mut both = [peer(By::Client, ends.client), peer(By::Upstream, ends.upstream)];
    // From here on the proxy relays.
    both[0].say(1);
    both[1].hear(1);
    let mut last = 0;
    for _ in 0..random.pick(&[0, 1, 2, 3]) {
        let bytes = length(random);
        let speaker = random.pick(&[0, 1]);
        both[speaker].say(bytes);
        both[1 - speaker].hear(bytes);
        last = speaker;
    }
    both[last].was_last = true;
    if random.pick(&[true, false]) {
        both.reverse();
    }
    let [x, y] = both;
    let side = x.side;
    let truth = match kind {
        Kind::Reset => resets(x, y, random),
        Kind::FinFin | Kind::FinReset => ends_and_is_answered(x, y, kind, random),
        Kind::FinOwnReset | Kind::FinUnread => ends_and_resets(x, y, kind, random),
        Kind::ClosedThenWords => closes_before_the_last_words(x, y, random),
        Kind::AtOnce(x_how, y_how) => end_at_once(x, y, x_how, y_how),
    };
    (side, truth)
}

fn resets(mut x: Peer, mut y: Peer, random: &mut Noise) -> Truth {
    x.say(length(random));
    let sent = x.sent;
    let ends = vec![(x.side, How::Reset)];
    reset(x.stream);
    assert_eq!(y.hear_the_end(), How::Reset);
    let to_x = Passed { sent: y.sent, got: Some(x.got), acked: None };
    let to_y = Passed { sent, got: Some(y.got), acked: Some(y.got) };
    Truth::broken("ECONNRESET", ends, to_x, to_y)
}

fn ends_and_is_answered(mut x: Peer, mut y: Peer, kind: Kind, random: &mut Noise) -> Truth {
    let began = Instant::now();
    x.say(length(random));
    x.end_stream();
    assert_eq!(y.hear_the_end(), How::Fin);
    let seen = Instant::now();
    if random.pick(&[true, false]) {
        let bytes = length(random);
        y.say(bytes);
        x.hear(bytes);
    }
    let ended = Instant::now();
    let (sent, got, side) = (y.sent, y.got, y.side);
    let how = match kind {
        Kind::FinFin => {
            y.end_stream();
            How::Fin
        }
        _ => {
            reset(y.stream);
            How::Reset
        }
    };
    assert_eq!(x.hear_the_end(), how);
    let acked = Some(got).filter(|_| how == How::Fin);
    let to_x = Passed { sent, got: Some(x.got), acked: Some(x.got) };
    let to_y = Passed { sent: x.sent, got: Some(got), acked };
    let ends = vec![(x.side, How::Fin), (side, how)];
    let truth = match how {
        How::Fin => Truth::good(ends, to_x, to_y),
        _ => Truth::broken("ECONNRESET", ends, to_x, to_y),
    };
    // The proxy read x's end before y saw it, and y's before x did.
    Truth { gap: Some((ended - seen, began.elapsed())), ..truth }
}

fn ends_and_resets(mut x: Peer, mut y: Peer, kind: Kind, random: &mut Noise) -> Truth {
    x.end_stream();
    assert_eq!(y.hear_the_end(), How::Fin);
    let (side, acked, was_last) = (x.side, x.got, x.was_last);
    let mut answer = length(random);
    let got = if kind == Kind::FinUnread {
        // The kernel has room for it.
        answer = answer.min(10_000);
        y.say(answer);
        x.wait_until_received(answer);
        // Closing with something unread resets.
        drop(x.stream);
        None
    } else {
        y.say(answer);
        x.hear(answer);
        reset(x.stream);
        Some(x.got)
    };
    y.wait_until_over();
    let to_x = Passed { sent: y.sent, got, acked: None };
    let to_y = Passed { sent: x.sent, got: Some(y.got), acked: Some(y.got) };
    Truth {
        ok_if_acked: Some(acked).filter(|_| is_harmless(side, was_last, answer)),
        ..Truth::broken("EPIPE", vec![(side, How::Fin)], to_x, to_y)
    }
}

fn closes_before_the_last_words(x: Peer, mut y: Peer, random: &mut Noise) -> Truth {
    drop(x.stream);
    assert_eq!(y.hear_the_end(), How::Fin);
    let words = length(random);
    y.say(words);
    y.wait_until_over();
    let to_x = Passed { sent: y.sent, got: None, acked: Some(x.got) };
    let to_y = Passed { sent: x.sent, got: Some(y.got), acked: Some(y.got) };
    let outcome = match is_harmless(x.side, x.was_last, words) {
        true => Outcome::Ok,
        false => Outcome::Reset,
    };
    Truth { outcome, ..Truth::broken("EPIPE", vec![(x.side, How::Fin)], to_x, to_y) }
}

/// Whether it does no harm that so much was lost on a side that had closed: an upstream to which more
/// than a farewell is said when it has not answered has gone in the middle of it.
fn is_harmless(side: By, was_last: bool, lost: usize) -> bool {
    side == By::Client || was_last || lost <= 256
}

fn end_at_once(x: Peer, y: Peer, x_how: How, y_how: How) -> Truth {
    let ends = vec![(x.side, x_how), (y.side, y_how)];
    let to_x = Passed { sent: y.sent, got: Some(x.got), acked: None };
    let to_y = Passed { sent: x.sent, got: Some(y.got), acked: None };
    let act = |peer: Peer, how| match how {
        How::Fin => {
            // The other one's reset may have been here before.
            let _ = peer.stream.shutdown(Shutdown::Write);
            Some(peer)
        }
        _ => {
            reset(peer.stream);
            None
        }
    };
    let left = [act(x, x_how), act(y, y_how)];
    for peer in left.iter().flatten() {
        peer.wait_until_over();
    }
    let truth = match (x_how, y_how) {
        (How::Fin, How::Fin) => Truth::good(ends, to_x, to_y),
        _ => Truth::broken("ECONNRESET", ends, to_x, to_y),
    };
    Truth { at_once: true, ..truth }
}

impl Truth {
    fn good(ends: Vec<(By, How)>, to_x: Passed, to_y: Passed) -> Self {
        let (outcome, code) = (Outcome::Ok, None);
        Self { outcome, ok_if_acked: None, ends, at_once: false, gap: None, code, to_x, to_y }
    }

    fn broken(code: &'static str, ends: Vec<(By, How)>, to_x: Passed, to_y: Passed) -> Self {
        let good = Self::good(ends, to_x, to_y);
        Self { outcome: Outcome::Reset, code: Some(code), ..good }
    }

    fn check(&self, record: &Record, x: By, what: &str) {
        let (ending, delivery) = (record.ending.as_ref().unwrap(), &record.delivery);
        let what = || format!("{what}\n{ending:?}\n{delivery:?}");
        let to_client = delivery.to_client.as_ref().unwrap();
        let to_upstream = delivery.to_upstream.as_ref().unwrap();
        let to_x = if x == By::Client { to_client } else { to_upstream };
        let outcome = match self.ok_if_acked {
            Some(before) if to_x.acked == Some(before) => Outcome::Ok,
            _ => self.outcome,
        };
        assert_eq!(record.outcome, Some(outcome), "{}", what());
        assert_eq!(ending.phase, Phase::Relay, "{}", what());
        assert!(self.ends_are_right(ending), "{}", what());
        assert_eq!(ending.error_code.as_deref(), self.code, "{}", what());
        if let Some((least, most)) = self.gap {
            let gap = ending.gap.expect("both ends have their time");
            assert!((least..=most).contains(&gap), "{least:?}..={most:?}: {}", what());
        }
        let (client, upstream) = (&record.client, record.upstream.as_ref().unwrap());
        let (for_client, for_upstream) = match x {
            By::Client => (&self.to_x, &self.to_y),
            _ => (&self.to_y, &self.to_x),
        };
        for_upstream.check(to_upstream, client.rx_bytes, upstream.tx_bytes, &what);
        for_client.check(to_client, upstream.rx_bytes, client.tx_bytes, &what);
    }

    fn ends_are_right(&self, ending: &Ending) -> bool {
        let first = (ending.first_by, ending.first_how);
        let known: Vec<_> =
            [Some(first), ending.second_by.zip(ending.second_how)].into_iter().flatten().collect();
        let has_reset = self.ends.iter().any(|(_, how)| *how == How::Reset);
        known == self.ends
            || self.at_once && known.iter().rev().eq(&self.ends)
            || self.at_once && has_reset && known.len() == 1 && self.ends.contains(&first)
    }
}

impl Passed {
    fn check(&self, delivered: &Delivered, rx: u64, tx: u64, what: &dyn Fn() -> String) {
        assert!(rx <= self.sent && tx <= rx, "{self:?}: {}", what());
        assert_eq!(delivered.written, tx, "{}", what());
        let acked = delivered.acked.unwrap();
        assert_eq!(delivered.undelivered, Some(tx - acked), "{}", what());
        if let Some(got) = self.got {
            assert_eq!(tx, got, "{}", what());
        }
        if let Some(certain) = self.acked {
            assert_eq!(acked, certain, "{self:?}: {}", what());
        }
    }
}
