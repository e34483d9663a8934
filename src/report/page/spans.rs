//! The parts of a connection on its time axis: what it was doing when.

use std::time::Duration;

use super::super::connection::{Connection, Exchanges};
use crate::record::{Shape, Turn};

/// What a connection was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The client's request for a target was read.
    Request,
    /// The target's name was looked up.
    LookUp,
    /// The upstream was dialled.
    Connect,
    /// The TLS handshake.
    Tls,
    /// A request was answered by nothing yet.
    Wait,
    /// A request or an answer was on its way.
    Transfer,
    /// Turns that the record does not have one by one, and the pauses between them.
    Turns,
    /// Nobody waited.
    Idle,
}

impl Part {
    /// All of them, in the order in which the data of the page numbers them.
    pub(super) const ALL: [Self; 8] = [
        Self::Request,
        Self::LookUp,
        Self::Connect,
        Self::Tls,
        Self::Wait,
        Self::Transfer,
        Self::Turns,
        Self::Idle,
    ];

    /// The name of its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::LookUp => "lookup",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Wait => "wait",
            Self::Transfer => "transfer",
            Self::Turns => "turns",
            Self::Idle => "idle",
        }
    }

    /// Its name in the legend.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Request => "proxy request",
            Self::LookUp => "look-up",
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::Wait => "wait for the answer",
            Self::Transfer => "transfer",
            Self::Turns => "further turns",
            Self::Idle => "idle",
        }
    }
}

/// One part, from the moment at which the client was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) part: Part,
    pub(super) start: Duration,
    pub(super) length: Duration,
}

impl Span {
    fn end(&self) -> Duration {
        self.start.saturating_add(self.length)
    }
}

/// The parts of a connection, in order and without overlaps, from accept to close.
///
/// Of its turns a record has the three that waited longest; what lies between them is [`Part::Turns`] if
/// there are more, otherwise idle. How much of a turn's transfer came before its wait is known exactly if
/// the turn is the only one, otherwise it is divided in proportion to the bytes.
pub(super) fn spans(connection: &Connection) -> Vec<Span> {
    let mut line = Line { spans: Vec::new(), at: Duration::ZERO, end: connection.duration };
    let phases = &connection.phases;
    if let Some(request) = phases.request {
        line.add(Part::Request, request);
    }
    let upstream = connection.upstream.as_ref();
    // A parent proxy's answer is a part of connecting, and comes after the socket is connected.
    let connected = upstream
        .filter(|_| connection.via.is_none())
        .and_then(|socket| since_accept(connection, socket.opened_at));
    if let Some(resolve) = phases.resolve {
        line.add(Part::LookUp, resolve);
    }
    if let Some(connect) = phases.connect {
        // Dialling may begin before all addresses are known.
        let begin = connected.map_or(line.at, |at| at.saturating_sub(connect));
        line.cut(begin);
        line.fill_to(begin, Part::Idle);
        line.add(Part::Connect, connect);
    }
    if upstream.is_some() {
        let established = line.at;
        handshake(connection, &mut line);
        exchange(connection, established, &mut line);
    }
    line.fill_to(connection.duration, Part::Idle);
    line.spans
}

/// How long each part took, in the order of [`Part::ALL`], without [`Part::Turns`]: that is divided by what
/// the record has of all turns together.
pub(super) fn lengths(connection: &Connection, spans: &[Span]) -> [Duration; 8] {
    let mut lengths = [Duration::ZERO; 8];
    for span in spans {
        lengths[span.part as usize] += span.length;
    }
    let further = std::mem::take(&mut lengths[Part::Turns as usize]);
    if let Some(turns) = connection.turns.as_ref().filter(|_| !further.is_zero()) {
        let known: Duration = turns.slowest.iter().map(|turn| turn.wait).sum();
        let transferred = turns.slowest.iter().map(|turn| turn.duration.saturating_sub(turn.wait));
        let wait = turns.wait.map_or(Duration::ZERO, |wait| wait.total.saturating_sub(known));
        let wait = wait.min(further);
        let transfer = turns.request.total.saturating_add(turns.answer.total);
        let transfer = transfer.saturating_sub(transferred.sum()).min(further - wait);
        lengths[Part::Wait as usize] += wait;
        lengths[Part::Transfer as usize] += transfer;
        lengths[Part::Idle as usize] += further - wait - transfer;
    } else {
        lengths[Part::Transfer as usize] += further;
    }
    lengths
}

/// An instant of the record, from the moment at which the client was accepted.
pub(super) fn since_accept(connection: &Connection, instant: Option<i64>) -> Option<Duration> {
    let nanos = instant?.saturating_sub(connection.accepted_at?);
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

fn handshake(connection: &Connection, line: &mut Line) {
    let Some(handshake) = connection.tls.as_ref().and_then(|tls| tls.handshake) else { return };
    let first_sent = connection.upstream.as_ref().and_then(|socket| socket.first_tx_at);
    if let Some(begin) = since_accept(connection, first_sent) {
        line.fill_to(begin, Part::Idle);
    }
    line.add(Part::Tls, handshake);
}

/// What came after the connection was established and, if it uses TLS, its handshake done.
fn exchange(connection: &Connection, established: Duration, line: &mut Line) {
    let last = last_data(connection).unwrap_or(connection.duration);
    match &connection.turns {
        Some(turns) if turns.shape == Shape::Exchange && !turns.slowest.is_empty() => {
            known_turns(connection, turns, line);
            let is_all = turns.count <= turns.slowest.len() as u64;
            line.fill_to(last, if is_all { Part::Idle } else { Part::Turns });
        }
        // A line of `--detail brief` does not say when they were.
        Some(Exchanges {
            shape: Shape::Exchange,
            count: 1,
            wait: Some(wait),
            request,
            answer,
            ..
        }) => {
            line.add(Part::Transfer, request.total);
            line.add(Part::Wait, wait.max);
            line.add(Part::Transfer, answer.total);
        }
        Some(_) => {
            first_byte(connection, established, line);
            let is_mixed = connection.turns.as_ref().is_some_and(|t| t.shape == Shape::Mixed);
            line.fill_to(last, if is_mixed { Part::Transfer } else { Part::Turns });
        }
        None => {
            first_byte(connection, established, line);
            if connection.is_answered() {
                line.fill_to(last, Part::Transfer);
            }
        }
    }
}

fn known_turns(connection: &Connection, turns: &Exchanges, line: &mut Line) {
    let mut known = turns.slowest.clone();
    known.sort_by_key(|turn| turn.at);
    let between = match turns.count <= known.len() as u64 {
        true => Part::Idle,
        false => Part::Turns,
    };
    for turn in known {
        let Some(at) = since_accept(connection, Some(turn.at)) else { continue };
        line.fill_to(at, between);
        let [request, wait, answer] = turn_parts(&turn, turns);
        line.add(Part::Transfer, request);
        line.add(Part::Wait, wait);
        line.add(Part::Transfer, answer);
    }
}

/// How long a turn's request, wait and answer took.
pub(super) fn turn_parts(turn: &Turn, turns: &Exchanges) -> [Duration; 3] {
    let transfer = turn.duration.saturating_sub(turn.wait);
    let request = match turns.count {
        1 => turns.request.total.min(transfer),
        _ => {
            let bytes = turn.request_bytes.saturating_add(turn.answer_bytes).max(1);
            transfer.mul_f64(turn.request_bytes as f64 / bytes as f64).min(turns.request.max)
        }
    };
    [request.min(transfer), turn.wait, transfer.saturating_sub(request)]
}

/// The time to the upstream's first byte, unless the handshake has had it: a wait if something was sent.
fn first_byte(connection: &Connection, established: Duration, line: &mut Line) {
    let Some(first_byte) = connection.phases.first_byte else { return };
    let sent = connection.upstream.as_ref().and_then(|socket| socket.first_tx_at);
    if let Some(sent) = since_accept(connection, sent) {
        line.fill_to(sent.min(established + first_byte), Part::Idle);
    }
    let is_wait = connection.phases.response.is_some() || connection.is_answered();
    line.fill_to(established + first_byte, if is_wait { Part::Wait } else { Part::Idle });
}

/// When the last byte was moved. `None` of lines of `--detail brief`.
fn last_data(connection: &Connection) -> Option<Duration> {
    let sockets = [Some(&connection.client), connection.upstream.as_ref()];
    let instants = sockets.into_iter().flatten().flat_map(|s| [s.last_rx_at, s.last_tx_at]);
    since_accept(connection, instants.flatten().max())
}

/// Spans one after the other.
struct Line {
    spans: Vec<Span>,
    /// The end of the last one.
    at: Duration,
    /// None goes beyond.
    end: Duration,
}

impl Line {
    fn add(&mut self, part: Part, length: Duration) {
        self.fill_to(self.at.saturating_add(length), part);
    }

    fn fill_to(&mut self, end: Duration, part: Part) {
        let end = end.min(self.end);
        let Some(length) = end.checked_sub(self.at).filter(|length| !length.is_zero()) else {
            return;
        };
        match self.spans.last_mut() {
            Some(last) if last.part == part => last.length += length,
            _ => self.spans.push(Span { part, start: self.at, length }),
        }
        self.at = end;
    }

    /// Takes away what is after this moment.
    fn cut(&mut self, at: Duration) {
        while self.spans.last().is_some_and(|span| span.start >= at) {
            self.spans.pop();
        }
        if let Some(last) = self.spans.last_mut() {
            last.length = last.length.min(at.saturating_sub(last.start));
            self.at = last.end();
        } else {
            self.at = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn parsed(keys: &str) -> Connection {
        let line = format!(
            r#"{{"openedAt":{S},"duration":900,"client":{{"lastRxAt":{},"lastTxAt":{}}},{keys}}}"#,
            S + 100,
            S + 700
        );
        serde_json::from_str(&line).unwrap()
    }

    fn shown(connection: &Connection) -> String {
        let spans = spans(connection);
        let ends: Vec<_> = spans.iter().map(Span::end).collect();
        let starts = spans.iter().skip(1).map(|span| span.start);
        assert!(ends.iter().copied().zip(starts).all(|(end, start)| end == start), "{spans:?}");
        assert_eq!(ends.last().copied().unwrap_or_default(), connection.duration, "{spans:?}");
        let lengths: Duration = lengths(connection, &spans).iter().sum();
        assert_eq!(lengths, connection.duration);
        let words = spans.iter().map(|s| format!("{} {}", s.part.class(), s.length.as_nanos()));
        words.collect::<Vec<_>>().join(", ")
    }

    fn turn(at: i64, duration: i64, wait: i64) -> String {
        format!(
            r#"{{"at":{},"duration":{duration},"wait":{wait},"network":0,"requestBytes":10,"answerBytes":10,"limitedBy":"none"}}"#,
            S + at
        )
    }

    fn turns(count: u64, slowest: &str) -> String {
        format!(
            r#""turns":{{"count":{count},"unanswered":0,"request":{{"total":20,"max":20}},"answer":{{"total":80,"max":80}},"shape":"exchange","wait":{{"total":200,"p50":200,"p99":200,"max":200,"maxAt":{S}}},"slowest":[{slowest}]}}"#
        )
    }

    #[test]
    fn one_turn_is_divided_exactly() {
        let upstream = format!(r#""upstream":{{"openedAt":{},"firstTxAt":{}}}"#, S + 100, S + 110);
        let setup = r#""phases":{"request":20,"resolve":30,"connect":50,"firstByte":300}"#;
        let text = format!("{setup},{upstream},{}", turns(1, &turn(200, 300, 200)));
        assert_eq!(
            shown(&parsed(&text)),
            "request 20, lookup 30, connect 50, idle 100, transfer 20, wait 200, transfer 80, idle 400"
        );
        let with_tls = format!(r#"{text},"tls":{{"handshake":60}}"#);
        assert!(
            shown(&parsed(&with_tls)).contains("connect 50, idle 10, tls 60, idle 30, transfer 20")
        );
    }

    #[test]
    fn turns_that_are_not_known_one_by_one_are_a_part_of_their_own() {
        let upstream = format!(r#""upstream":{{"openedAt":{}}}"#, S + 50);
        let text =
            format!(r#""phases":{{"connect":50}},{upstream},{}"#, turns(9, &turn(200, 240, 200)));
        assert_eq!(
            shown(&parsed(&text)),
            "connect 50, turns 150, transfer 20, wait 200, transfer 20, turns 260, idle 200"
        );
    }

    #[test]
    fn dialling_that_begins_during_the_look_up_ends_it() {
        let upstream = format!(r#""upstream":{{"openedAt":{},"rxBytes":5}}"#, S + 80);
        let text = format!(
            r#""phases":{{"resolve":60,"connect":50,"firstByte":20,"response":10}},{upstream}"#
        );
        assert_eq!(shown(&parsed(&text)), "lookup 30, connect 50, wait 20, transfer 600, idle 200");
    }

    #[test]
    fn a_dial_that_failed_and_a_brief_line_have_what_is_known() {
        assert_eq!(
            shown(&parsed(r#""phases":{"resolve":60,"connect":500}"#)),
            "lookup 60, connect 500, idle 340"
        );
        let brief = r#"{"time":"2026-01-01T00:00:00Z","duration":900,"phases":{"connect":50,"firstByte":30},"upstream":{"rxBytes":9}"#;
        let one: Connection = serde_json::from_str(&format!("{brief},{}}}", turns(1, ""))).unwrap();
        assert_eq!(shown(&one), "connect 50, transfer 20, wait 200, transfer 80, idle 550");
        let more: Connection =
            serde_json::from_str(&format!("{brief},{}}}", turns(4, ""))).unwrap();
        assert_eq!(shown(&more), "connect 50, wait 30, turns 820");
        assert_eq!(shown(&serde_json::from_str(r#"{"duration":5}"#).unwrap()), "idle 5");
        assert_eq!(shown(&Connection::default()), "");
    }
}
