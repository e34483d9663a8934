//! Pairs that end in a random way, by causes and effects that are certain, compared with what their
//! records say of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
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
}

/// What the record of a pair must say.
struct Truth {
    what: String,
    client: SocketAddr,
    outcome: Outcome,
    /// It is `ok` instead where the client acknowledged no more than this.
    ok_if_acked: Option<u64>,
    /// First and second end, in whatever order where they came at once.
    ends: Vec<(By, How)>,
    /// Whether the record may know only one of them, because it was a reset.
    one_may_hide: bool,
    /// The time between both lies between these.
    gap: Option<(Duration, Duration)>,
    code: Option<&'static str>,
    to_upstream: Passed,
    to_client: Passed,
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
    let mut counts = [0; KINDS.len()];
    let truths: Vec<Truth> = (0..pairs)
        .map(|pair| {
            let index = below(&mut random, KINDS.len() as u64) as usize;
            counts[index] += 1;
            let mut truth = end(&forwarding, KINDS[index], &mut random);
            truth.what = format!("pair {pair} of seed {seed}, {}", truth.what);
            truth
        })
        .collect();
    let records = forwarding.proxy.wait_for_records(pairs);
    assert_eq!(records.len(), pairs);
    for (truth, seq) in truths.iter().zip(1..) {
        // One after another was made; their ports may come again.
        let record = records.iter().find(|record| record.seq == seq);
        truth.check(record.expect("the pair has a record"));
    }
    KINDS.iter().zip(counts).map(|(kind, count)| format!("{kind:?}: {count}\n")).collect()
}

fn below(random: &mut Noise, limit: u64) -> u64 {
    // The low bits of xorshift64 are its worst.
    (random.number() >> 16) % limit
}

/// Mostly short, sometimes more than is read at once.
fn length(random: &mut Noise) -> u64 {
    let limit = [1, 100, 3000, 150_000][below(random, 4) as usize];
    1 + below(random, limit)
}

impl Peer {
    fn say(&mut self, bytes: u64) {
        self.stream.write_all(&vec![0x55; bytes as usize]).unwrap();
        self.sent += bytes;
    }

    fn hear(&mut self, bytes: u64) {
        self.stream.read_exact(&mut vec![0; bytes as usize]).unwrap();
        self.got += bytes;
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
    fn wait_until_received(&self, unread: u64) {
        wait_until("the bytes have come", || {
            let kernel = self.info();
            let received = kernel.sys_info.linux().unwrap().bytes_received.unwrap();
            received >= self.got + unread
        });
    }
}

/// Makes a pair, lets it talk, and ends it.
fn end(forwarding: &Forwarding, kind: Kind, random: &mut Noise) -> Truth {
    let ends = forwarding.pair();
    let client = ends.client.local_addr().unwrap();
    let peer = |side, stream| Peer { side, stream, sent: 0, got: 0 };
    let mut both = [peer(By::Client, ends.client), peer(By::Upstream, ends.upstream)];
    // From here on the proxy relays.
    both[0].say(1);
    both[1].hear(1);
    for _ in 0..below(random, 4) {
        let bytes = length(random);
        let speaker = below(random, 2) as usize;
        both[speaker].say(bytes);
        both[1 - speaker].hear(bytes);
    }
    if below(random, 2) == 1 {
        both.reverse();
    }
    let [mut x, mut y] = both;
    let what = format!("{kind:?} by {:?}", x.side);
    let (x_side, y_side) = (x.side, y.side);
    let mut truth = Truth {
        what,
        client,
        outcome: Outcome::Reset,
        ok_if_acked: None,
        ends: vec![(x_side, How::Fin)],
        one_may_hide: false,
        gap: None,
        code: Some("EPIPE"),
        to_upstream: Passed::default(),
        to_client: Passed::default(),
    };
    // What x and y got, and what is surely acknowledged.
    let (to_x, to_y);
    let began = Instant::now();
    match kind {
        Kind::Reset => {
            x.say(length(random));
            let sent = x.sent;
            reset(x.stream);
            assert_eq!(y.hear_the_end(), How::Reset);
            truth.ends = vec![(x_side, How::Reset)];
            truth.code = Some("ECONNRESET");
            to_y = Passed { sent, got: Some(y.got), acked: Some(y.got) };
            to_x = Passed { sent: y.sent, got: Some(x.got), acked: None };
        }
        Kind::FinFin | Kind::FinReset => {
            x.say(length(random));
            x.end_stream();
            assert_eq!(y.hear_the_end(), How::Fin);
            let seen = Instant::now();
            if below(random, 2) == 1 {
                let bytes = length(random);
                y.say(bytes);
                x.hear(bytes);
            }
            let ended = Instant::now();
            let how = if kind == Kind::FinFin { How::Fin } else { How::Reset };
            let (y_sent, y_got) = (y.sent, y.got);
            match how {
                How::Fin => y.end_stream(),
                _ => reset(y.stream),
            }
            assert_eq!(x.hear_the_end(), how);
            truth.ends.push((y_side, how));
            // The proxy read x's end before y saw it, and y's before x did.
            truth.gap = Some((ended - seen, began.elapsed()));
            (truth.outcome, truth.code) = match how {
                How::Fin => (Outcome::Ok, None),
                _ => (Outcome::Reset, Some("ECONNRESET")),
            };
            let acked = Some(y_got).filter(|_| how == How::Fin);
            to_y = Passed { sent: x.sent, got: Some(y_got), acked };
            to_x = Passed { sent: y_sent, got: Some(x.got), acked: Some(x.got) };
        }
        Kind::FinOwnReset | Kind::FinUnread => {
            x.end_stream();
            assert_eq!(y.hear_the_end(), How::Fin);
            let mut answer = length(random);
            if kind == Kind::FinUnread {
                // The kernel has room for it.
                answer = answer.min(10_000);
            }
            truth.ok_if_acked = Some(x.got).filter(|_| x_side == By::Client);
            y.say(answer);
            if kind == Kind::FinUnread {
                x.wait_until_received(answer);
            } else {
                x.hear(answer);
            }
            let got = Some(x.got).filter(|_| kind == Kind::FinOwnReset);
            match kind {
                Kind::FinOwnReset => reset(x.stream),
                // Closing with something unread resets.
                _ => drop(x.stream),
            }
            y.wait_until_over();
            to_y = Passed { sent: x.sent, got: Some(y.got), acked: Some(y.got) };
            to_x = Passed { sent: y.sent, got, acked: None };
        }
        Kind::ClosedThenWords => {
            let acked = x.got;
            drop(x.stream);
            assert_eq!(y.hear_the_end(), How::Fin);
            y.say(length(random));
            y.wait_until_over();
            if x_side == By::Client {
                truth.outcome = Outcome::Ok;
            }
            to_y = Passed { sent: x.sent, got: Some(y.got), acked: Some(y.got) };
            to_x = Passed { sent: y.sent, got: None, acked: Some(acked) };
        }
        Kind::AtOnce(x_how, y_how) => {
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
            let (x_sent, y_sent, x_got, y_got) = (x.sent, y.sent, x.got, y.got);
            let left = [act(x, x_how), act(y, y_how)];
            for peer in left.iter().flatten() {
                peer.wait_until_over();
            }
            truth.ends = vec![(x_side, x_how), (y_side, y_how)];
            truth.one_may_hide = (x_how, y_how) != (How::Fin, How::Fin);
            (truth.outcome, truth.code) = match truth.one_may_hide {
                true => (Outcome::Reset, Some("ECONNRESET")),
                false => (Outcome::Ok, None),
            };
            to_y = Passed { sent: x_sent, got: Some(y_got), acked: None };
            to_x = Passed { sent: y_sent, got: Some(x_got), acked: None };
        }
    }
    (truth.to_upstream, truth.to_client) =
        if x_side == By::Client { (to_y, to_x) } else { (to_x, to_y) };
    truth
}

impl Truth {
    fn check(&self, record: &Record) {
        assert_eq!(record.client.remote_addr, Some(self.client));
        let what = || format!("{}\n{:?}\n{:?}", self.what, record.ending, record.delivery);
        let acked = record.delivery.to_client.as_ref().unwrap().acked;
        let outcome = match self.ok_if_acked {
            Some(before) if acked == Some(before) => Outcome::Ok,
            _ => self.outcome,
        };
        assert_eq!(record.outcome, Some(outcome), "{}", what());
        let ending = record.ending.as_ref().unwrap();
        assert_eq!(ending.phase, Phase::Relay, "{}", what());
        assert!(self.ends_are_right(ending), "{}", what());
        assert_eq!(ending.error_code.as_deref(), self.code, "{}", what());
        assert_eq!(ending.error.is_some(), self.code.is_some(), "{}", what());
        if let Some((least, most)) = self.gap {
            let gap = ending.gap.expect("both ends have their time");
            assert!((least..=most).contains(&gap), "{least:?}..={most:?}: {}", what());
        }
        let upstream = record.upstream.as_ref().unwrap();
        for (passed, delivered, rx, tx) in [
            (
                &self.to_upstream,
                &record.delivery.to_upstream,
                record.client.rx_bytes,
                upstream.tx_bytes,
            ),
            (
                &self.to_client,
                &record.delivery.to_client,
                upstream.rx_bytes,
                record.client.tx_bytes,
            ),
        ] {
            passed.check(delivered.as_ref().unwrap(), rx, tx, &what);
        }
    }

    fn ends_are_right(&self, ending: &Ending) -> bool {
        let first = (ending.first_by, ending.first_how);
        let second = ending.second_by.zip(ending.second_how);
        let both = [Some(first), second];
        let known: Vec<_> = both.into_iter().flatten().collect();
        let in_order = known == self.ends;
        let at_once = self.one_may_hide || matches!(&self.ends[..], [_, _] if self.gap.is_none());
        in_order
            || at_once && known.iter().rev().eq(self.ends.iter())
            || self.one_may_hide && second.is_none() && self.ends.contains(&first)
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
