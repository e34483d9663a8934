//! What the line of a connection says, of a turn, and of connections that were refused.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use conniver::figures::{short_bytes, short_time};
use conniver::plural::counted;
use conniver::proxy::ClientTurn;
use conniver::record::{AttemptOutcome, LimitedBy, Outcome, Process, Record, Refused, Report};
use jiff::Timestamp;

use super::columns::{Line, Lost, Piece, Who};
use super::symbols::Arrow;
use super::{Look, outcome};

pub(super) const BAD: Style = AnsiColor::Red.on_default();
const ATTENTION: Style = AnsiColor::Yellow.on_default();
pub(super) const PLAIN: Style = Style::new();

/// The longest wait for an answer; for the upstream's first byte where requests and answers cannot be told apart. Not
/// of an upstream that was asked nothing and said nothing.
pub(super) fn longest_wait(record: &Record) -> Option<Duration> {
    let of_turns = record.turns.as_ref().and_then(|turns| turns.wait);
    let first_byte = record.phases.first_byte.filter(|_| record.is_answered());
    of_turns.map(|wait| wait.max).or(first_byte)
}

/// Segments lost on the way to either side, where the system tells.
pub(super) fn lost(record: &Record) -> Option<u64> {
    let legs = [Some(&record.client), record.upstream.as_ref()];
    legs.into_iter().flatten().filter_map(|leg: &Report| leg.lost).reduce(u64::saturating_add)
}

/// A connection that has ended.
pub(super) fn ended(look: &Look, record: &Record) -> Line {
    let upstream = record.upstream.as_ref();
    let cell = |words: &str, time: Option<Duration>| {
        time.map_or_else(String::new, |time| format!("{words} {}", short_time(time)))
    };
    let lost = upstream.and_then(|_| lost(record));
    Line {
        time: look.time(record.time),
        who: look.who(
            (record.process.as_ref(), record.client_host.as_deref(), record.client_port),
            record.target.as_deref(),
        ),
        duration: short_time(record.duration),
        bytes: upstream.map_or_else(String::new, |leg| bytes(leg.tx_bytes, leg.rx_bytes)),
        connect: cell("connect", upstream.and(record.phases.connect)),
        latency: cell("wait", longest_wait(record)),
        lost: lost_cell(lost),
        ends: ends(look, record),
    }
}

/// Segments that were lost, where that is known.
pub(super) fn lost_cell(lost: Option<u64>) -> Lost {
    Lost {
        text: lost.map_or_else(String::new, |count| format!("lost {count}")),
        is_any: lost > Some(0),
        style: if lost > Some(0) { ATTENTION } else { PLAIN },
    }
}

/// Bytes that were sent and received.
pub(super) fn bytes(sent: u64, received: u64) -> String {
    format!(
        "{:7} {}",
        format!("↑{}", short_bytes(sent)),
        format_args!("↓{}", short_bytes(received))
    )
}

/// The outcome with all that there is to say, and in fewer words.
fn ends(look: &Look, record: &Record) -> Vec<Vec<Piece>> {
    if let Some(failure) = outcome::failure(record, &look.denying) {
        let style = match record.outcome {
            Some(Outcome::Shutdown) => ATTENTION,
            _ => BAD,
        };
        return vec![vec![(style, look.symbols.text(&failure))]];
    }
    let slow = record.verdict.as_ref().map_or(LimitedBy::None, |verdict| verdict.limited_by);
    let mut ends = ends_of_good(slow);
    let failed = |attempt: &&conniver::record::Attempt| attempt.outcome == AttemptOutcome::Error;
    let failed = record.attempts.iter().filter(failed).count() as u64;
    if failed > 0 {
        let addresses = match failed {
            1 => "1 address failed".to_owned(),
            count => format!("{count} addresses failed"),
        };
        for end in &mut ends {
            end.push((PLAIN, ", ".to_owned()));
            end.push((ATTENTION, addresses.clone()));
        }
    }
    ends
}

/// Who was slow, from the longest way to say it to the shortest. Empty if nobody was.
fn slow_by(slow: LimitedBy) -> Vec<String> {
    let whole = format!("slow by {slow}");
    match slow {
        LimitedBy::None => Vec::new(),
        LimitedBy::NetworkClient | LimitedBy::NetworkUpstream => {
            vec![whole, "slow by network".to_owned()]
        }
        _ => vec![whole],
    }
}

/// That it is ok; who was slow says that as well.
fn ends_of_good(slow: LimitedBy) -> Vec<Vec<Piece>> {
    let slow = slow_by(slow);
    let mut ends: Vec<_> = slow.iter().map(|slow| format!("ok, {slow}")).collect();
    ends.extend(slow);
    if ends.is_empty() {
        ends.push("ok".to_owned());
    }
    ends.into_iter().map(|end| vec![(PLAIN, end)]).collect()
}

/// A request and its answer on a connection that may still be open.
pub(super) fn turn(look: &Look, ended: &ClientTurn) -> Line {
    let ClientTurn { turn, client, process, .. } = ended;
    let end =
        turn.turn.at.saturating_add(i64::try_from(turn.turn.duration.as_nanos()).unwrap_or(0));
    let host = client.map(|client| client.ip().to_canonical().to_string());
    let ends = match turn.turn.answer_bytes {
        0 => vec![vec![(BAD, "no answer".to_owned())]],
        _ => ends_of_good(turn.turn.limited_by),
    };
    let mut who = look.who(
        (process.as_deref(), host.as_deref(), client.map(|client| client.port())),
        turn.header.target.as_deref(),
    );
    // What tells it from a connection's line.
    who.number = format!(" #{}", turn.number);
    Line {
        time: look.time(Timestamp::from_nanosecond(end.into()).unwrap_or(turn.header.time)),
        who,
        duration: short_time(turn.turn.duration),
        bytes: bytes(turn.turn.request_bytes, turn.turn.answer_bytes),
        connect: String::new(),
        latency: format!("wait {}", short_time(turn.turn.wait)),
        lost: Lost::default(),
        ends,
    }
}

/// Connections that were refused without a record of their own.
pub(super) fn refused(look: &Look, refused: &Refused) -> Line {
    let from: Vec<_> = refused.clients.iter().map(|client| &*client.network).collect();
    let reason = refused.reasons.first().map_or("", |reason| &*reason.error_code);
    let client = match from.split_first() {
        None => "clients".to_owned(),
        Some((first, [])) => look.symbols.text(first),
        Some((first, more)) => format!("{} and {} more", look.symbols.text(first), more.len()),
    };
    let text = format!("{} refused ({reason})", counted(refused.count, "connection"));
    Line {
        time: look.time(refused.time),
        who: Who { client, ..Who::default() },
        duration: String::new(),
        bytes: String::new(),
        connect: String::new(),
        latency: String::new(),
        lost: Lost::default(),
        ends: vec![vec![(BAD, look.symbols.text(&text))]],
    }
}

impl Look {
    /// The local time of day.
    pub(super) fn time(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }

    /// The program, or else the address of the client, and its target.
    fn who(
        &self,
        (process, host, port): (Option<&Process>, Option<&str>, Option<u16>),
        target: Option<&str>,
    ) -> Who {
        let program = process.and_then(|process| Some((process.name.as_deref()?, process.pid)));
        let detail = |open: &str, number: Option<String>, close: &str| {
            number.map_or_else(String::new, |number| format!("{open}{number}{close}"))
        };
        let (client, detail) = match (program, host) {
            (Some((name, pid)), _) => (name, detail("[", pid.map(|pid| pid.to_string()), "]")),
            (None, Some(host)) => (host, detail(":", port.map(|port| port.to_string()), "")),
            (None, None) => ("?", String::new()),
        };
        Who {
            client: self.symbols.text(client),
            detail,
            number: String::new(),
            target: target.map(|target| self.symbols.text(target)),
            arrow: Arrow::default(),
        }
    }
}
