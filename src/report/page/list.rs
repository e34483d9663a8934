//! The data of the page's list of connections, from which its script makes rows and timelines.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::super::connection::Connection;
use super::super::socket::Socket;
use super::spans::{self, Part};
use super::{format, words};
use crate::nanos;
use crate::record::AttemptOutcome;

/// Most bytes of JSON: what is left of 2 MB beside the rest of a page.
const MAX_BYTES: usize = 1_500_000;

/// The rows of the list.
#[derive(Debug, Default, Serialize)]
pub(super) struct Rows<'c> {
    /// When the first of them was accepted, Unix µs.
    base: i64,
    /// The names of [`Part::ALL`], and their classes in the style sheet.
    parts: Vec<[&'static str; 2]>,
    /// Texts, by their numbers in the rows.
    texts: Vec<String>,
    rows: Vec<Row>,
    #[serde(skip)]
    ids: HashMap<&'c str, usize>,
}

/// A row, an array in JSON. Times are µs, `at` from the base; texts are numbers of [`Rows::texts`].
#[derive(Debug, Serialize)]
struct Row(
    /* at */ Option<i64>,
    /* duration */ u64,
    /* target */ usize,
    /* process */ usize,
    /* outcome */ usize,
    /* failed */ u8,
    /* slow by */ usize,
    /* connect */ Option<u64>,
    /* wait */ Option<u64>,
    /* rtt */ Option<u64>,
    /* sent */ u64,
    /* received */ u64,
    /* lost */ Option<u64>,
    /* id */ String,
    /* time of each part */ [u64; 8],
    /* spans: part, start, length */ Vec<[u64; 3]>,
    /* attempts: address, start, length, result */ Vec<(usize, u64, u64, usize)>,
    /* turns: start, request, wait, answer, result */ Vec<(u64, u64, u64, u64, usize)>,
    /* sentences */ Vec<usize>,
    /* facts: name, value */ Vec<[usize; 2]>,
    /* figures: name, client's, upstream's */ Vec<[usize; 3]>,
);

impl<'c> Rows<'c> {
    /// Rows of connections, the most important first: as many as there is room for.
    pub(super) fn new(connections: &[&'c Connection]) -> Self {
        let parts = Part::ALL.map(|part| [part.name(), part.class()]);
        let first = connections.iter().filter_map(|connection| connection.opened_at()).min();
        let mut rows =
            Self { base: first.unwrap_or(0) / 1000, parts: parts.to_vec(), ..Self::default() };
        let mut texts = Texts::default();
        let mut bytes = 0;
        for connection in connections {
            let row = row(connection, rows.base, &mut texts);
            bytes += serde_json::to_string(&row).map_or(0, |json| json.len() + 1);
            if bytes + texts.bytes > MAX_BYTES {
                break;
            }
            rows.ids.insert(&connection.id, rows.rows.len());
            rows.rows.push(row);
        }
        rows.texts = texts.list;
        rows
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Where the connection is. `None` if it is not here.
    pub(super) fn position(&self, id: &str) -> Option<usize> {
        self.ids.get(id).copied()
    }
}

/// Each text once.
#[derive(Default)]
struct Texts {
    list: Vec<String>,
    numbers: HashMap<String, usize>,
    /// What they need in JSON, at most.
    bytes: usize,
}

impl Texts {
    fn add(&mut self, text: impl Into<String>) -> usize {
        let text = text.into();
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        self.bytes += serde_json::to_string(&text).map_or(0, |json| json.len() + 1);
        // What may end a script is escaped, with six bytes each.
        self.bytes += 5 * text.bytes().filter(|byte| b"<>&'".contains(byte)).count();
        self.numbers.insert(text.clone(), self.list.len());
        self.list.push(text);
        self.list.len() - 1
    }

    /// A text of a record.
    fn add_foreign(&mut self, text: Option<&str>) -> usize {
        self.add(text.map(format::text).unwrap_or_default())
    }
}

fn row(connection: &Connection, base: i64, texts: &mut Texts) -> Row {
    let spans = spans::spans(connection);
    let lengths = spans::lengths(connection, &spans).map(micros);
    let process = connection.process.as_ref().and_then(|process| process.name.as_deref());
    let upstream = connection.upstream.as_ref();
    let slow_by = connection.verdict.as_ref().map(|verdict| verdict.limited_by.to_string());
    let slow_by = slow_by.filter(|who| who != "none").unwrap_or_default();
    Row(
        connection.opened_at().map(|at| at / 1000 - base),
        micros(connection.duration),
        texts.add(connection.target.as_deref().map_or_else(|| "(no target)".into(), format::text)),
        texts.add_foreign(process),
        texts.add(connection.outcome.map_or_else(String::new, |outcome| outcome.to_string())),
        u8::from(connection.is_failed()),
        texts.add(slow_by),
        connection.phases.connect.map(micros),
        connection.longest_wait().map(micros),
        upstream.and_then(|socket| socket.undisturbed_rtt()).map(micros),
        upstream.map_or(0, |socket| socket.tx_bytes),
        upstream.map_or(0, |socket| socket.rx_bytes),
        connection.lost(),
        format::text(&connection.id),
        lengths,
        spans.iter().map(|s| [s.part as u64, micros(s.start), micros(s.length)]).collect(),
        attempts(connection, &spans, texts),
        turns(connection, texts),
        sentences(connection, texts),
        facts(connection, texts),
        figures(connection, texts),
    )
}

fn attempts(
    connection: &Connection,
    spans: &[spans::Span],
    texts: &mut Texts,
) -> Vec<(usize, u64, u64, usize)> {
    let begin = spans.iter().find(|span| span.part == Part::Connect).map(|span| span.start);
    let attempts = connection.attempts.iter().map(|attempt| {
        let address = attempt.addr.map_or_else(|| "unknown".to_owned(), |addr| addr.to_string());
        let mut result = match (attempt.outcome, &attempt.error_code, &attempt.error) {
            (Some(AttemptOutcome::Ok), ..) => "connected".to_owned(),
            (Some(AttemptOutcome::Cancelled), ..) => "cancelled".to_owned(),
            (_, Some(error), _) | (_, None, Some(error)) => format::text(error),
            _ => "failed".to_owned(),
        };
        if let Some(syns @ 1..) = attempt.syn_retransmits {
            result = format!("{result}, {} sent again", format::counted(syns, "SYN"));
        }
        let start = begin.unwrap_or_default().saturating_add(attempt.started_after);
        (texts.add(address), micros(start), micros(attempt.duration), texts.add(result))
    });
    attempts.collect()
}

fn turns(connection: &Connection, texts: &mut Texts) -> Vec<(u64, u64, u64, u64, usize)> {
    let Some(turns) = &connection.turns else { return Vec::new() };
    let mut known = turns.slowest.clone();
    known.sort_by_key(|turn| turn.at);
    let known = known.iter().filter_map(|turn| {
        let at = spans::since_accept(connection, Some(turn.at))?;
        let [request, wait, answer] = spans::turn_parts(turn, turns);
        let (asked, answered) =
            (format::bytes(turn.request_bytes), format::bytes(turn.answer_bytes));
        let result = match turn.answer_bytes {
            0 => format!("{asked}, no answer"),
            _ => format!("{asked} → {answered}"),
        };
        Some((micros(at), micros(request), micros(wait), micros(answer), texts.add(result)))
    });
    known.collect()
}

fn sentences(connection: &Connection, texts: &mut Texts) -> Vec<usize> {
    let warnings = connection.warnings.iter().map(|warning| match warning.text.is_empty() {
        true => format!("Warning: {}.", words::code(warning.code)),
        false => format!("Warning: {}.", format::text(&warning.text).trim_end_matches('.')),
    });
    let ending = words::ending(connection);
    let verdict = words::verdict(connection);
    let further = connection.turns.as_ref().and_then(words::further_turns);
    let sentences = ending.into_iter().chain(verdict).chain(further).chain(warnings);
    sentences.map(|sentence| texts.add(sentence)).collect()
}

fn facts(connection: &Connection, texts: &mut Texts) -> Vec<[usize; 2]> {
    let client = connection.client_host.as_deref().map(|host| match connection.client_port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    });
    let process = connection.process.as_ref().and_then(|process| {
        let exe = process.exe.as_deref().or(process.name.as_deref())?;
        Some(process.pid.map_or_else(|| exe.to_owned(), |pid| format!("{exe} (PID {pid})")))
    });
    let tls = connection.tls.as_ref().map(|tls| {
        let texts = [&tls.server_name, &tls.version, &tls.alpn].into_iter().flatten();
        texts.map(String::as_str).collect::<Vec<_>>().join(", ")
    });
    let http = connection.http.as_ref().map(|http| {
        let status = http.status.map_or_else(|| "no answer".to_owned(), |s| s.to_string());
        let [method, host] = [&http.method, &http.host].map(|t| t.as_deref().unwrap_or("?"));
        format!("{method} {host} → {status}")
    });
    let labels = connection.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let facts = [
        ("Client", client),
        ("Program", process),
        ("Came by", connection.mode.map(|mode| mode.to_string())),
        ("Listener", Some(connection.listener.clone())),
        ("Parent proxy", connection.via.clone()),
        ("TLS", tls),
        ("HTTP", http),
        ("Host", Some(connection.host.clone())),
        ("Labels", Some(labels.collect::<Vec<_>>().join(", "))),
    ];
    let facts = facts.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let facts = facts.filter(|(_, value)| !value.is_empty());
    facts.map(|(name, value)| [texts.add(name), texts.add_foreign(Some(&value))]).collect()
}

/// Figures of both sockets, side by side.
fn figures(connection: &Connection, texts: &mut Texts) -> Vec<[usize; 3]> {
    type Figure = fn(&Socket) -> Option<String>;
    let figures: [(&str, Figure); 9] = [
        ("peer", |socket| socket.remote_addr.map(|addr| addr.to_string())),
        ("sent to it", |socket| Some(format::bytes(socket.tx_bytes))),
        ("received from it", |socket| Some(format::bytes(socket.rx_bytes))),
        ("round-trip time", |socket| socket.undisturbed_rtt().map(format::time)),
        ("smallest round-trip time", |socket| socket.min_rtt().map(format::time)),
        ("segments lost", |socket| socket.lost.map(format::count)),
        ("segments sent again", |socket| {
            socket.closed_info.as_ref()?.retransmits.map(format::count)
        }),
        ("waited to be written", |socket| socket.write_blocked.map(format::time)),
        ("largest segment", |socket| {
            socket.closed_info.as_ref()?.tx_mss.map(|mss| format::bytes(mss.into()))
        }),
    ];
    let sockets = [Some(&connection.client), connection.upstream.as_ref()];
    let figures = figures.into_iter().map(|(name, figure)| {
        (name, sockets.map(|socket| socket.and_then(figure).unwrap_or_default()))
    });
    let figures = figures.filter(|(_, values)| values.iter().any(|value| !value.is_empty()));
    let figures = figures.map(|(name, [client, upstream])| {
        [texts.add(name), texts.add(client), texts.add(upstream)]
    });
    let mut figures: Vec<_> = figures.collect();
    let delivery = &connection.delivery;
    let lost = [&delivery.to_client, &delivery.to_upstream]
        .map(|direction| direction.as_ref().and_then(|d| d.undelivered));
    if lost.iter().flatten().any(|bytes| *bytes > 0) {
        let [client, upstream] = lost.map(|bytes| bytes.map(format::bytes).unwrap_or_default());
        figures.push([texts.add("never acknowledged"), texts.add(client), texts.add(upstream)]);
    }
    figures
}

fn micros(time: Duration) -> u64 {
    nanos::of(time) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_where_the_room_does() {
        let connections: Vec<Connection> = (0..2000)
            .map(|number| Connection {
                id: format!("{number}"),
                target: Some(format!("{number}{}", "<".repeat(300))),
                listener: format!("{number}{}", "&".repeat(300)),
                ..Connection::default()
            })
            .collect();
        let rows = Rows::new(&connections.iter().collect::<Vec<_>>());
        assert!(rows.len() < 2000 && rows.len() > 400, "{}", rows.len());
        assert_eq!(rows.position("17"), Some(17));
        assert_eq!(rows.position("1999"), None);
    }
}
