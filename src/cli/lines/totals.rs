//! What all connections or sockets of a run met, in bounded memory.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use conniver::figures::{short_bytes, short_time};
use conniver::plural::counted;
use conniver::record::{How, Outcome, Record, Socket};

use super::connection::{longest_wait, lost};
use super::symbols::Symbols;
use crate::cli::wrap::wrap_message;

const BAD: Style = AnsiColor::Red.on_default();

/// As many targets are told apart.
const TARGETS: usize = 1000;

/// Sums over all connections.
#[derive(Debug)]
pub(super) struct Totals {
    began: Instant,
    connections: u64,
    /// Sockets of a watch.
    sockets: u64,
    /// By outcome, in the record's words.
    failed: BTreeMap<String, u64>,
    sent: u64,
    received: u64,
    /// Requests, and their waits for an answer all together.
    waits: (u64, Duration),
    /// `None` while the system has told of none.
    lost: Option<u64>,
    /// The longest wait of each target.
    targets: HashMap<String, Duration>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            connections: 0,
            sockets: 0,
            failed: BTreeMap::new(),
            sent: 0,
            received: 0,
            waits: (0, Duration::ZERO),
            lost: None,
            targets: HashMap::new(),
        }
    }
}

impl Totals {
    pub(super) fn add(&mut self, record: &Record) {
        self.connections += 1;
        if let Some(outcome) = record.outcome.filter(|outcome| *outcome != Outcome::Ok) {
            *self.failed.entry(outcome.to_string()).or_default() += 1;
        }
        if let Some(leg) = &record.upstream {
            self.sent = self.sent.saturating_add(leg.tx_bytes);
            self.received = self.received.saturating_add(leg.rx_bytes);
        }
        self.add_lost(record.upstream.as_ref().and_then(|_| lost(record)));
        if let Some(turns) = &record.turns
            && let Some(wait) = turns.wait
        {
            let (count, total) = &mut self.waits;
            *count = count.saturating_add(turns.count);
            *total = total.saturating_add(wait.total);
        }
        if let (Some(target), Some(wait)) = (&record.target, longest_wait(record)) {
            let has_room = self.targets.len() < TARGETS;
            match self.targets.get_mut(target) {
                Some(longest) => *longest = wait.max(*longest),
                None if has_room => _ = self.targets.insert(target.clone(), wait),
                None => {}
            }
        }
    }

    fn add_lost(&mut self, lost: Option<u64>) {
        self.lost = self.lost.into_iter().chain(lost).reduce(u64::saturating_add);
    }

    /// A watched socket.
    pub(super) fn add_socket(&mut self, socket: &Socket) {
        self.sockets += 1;
        let reason = match socket.ending.how {
            Some(How::Reset) => Some(Outcome::Reset),
            Some(How::Refused) => Some(Outcome::Refused),
            _ => None,
        };
        if let Some(reason) = reason {
            *self.failed.entry(reason.to_string()).or_default() += 1;
        }
        self.sent = self.sent.saturating_add(socket.socket.tx_bytes);
        self.received = self.received.saturating_add(socket.socket.rx_bytes);
        self.add_lost(socket.socket.lost);
    }

    /// Connections without a record of their own.
    pub(super) fn add_refused(&mut self, count: u64) {
        self.connections += count;
        *self.failed.entry(Outcome::Denied.to_string()).or_default() += count;
    }

    /// Three lines with styles, two of sockets; one if there were no connections.
    pub(super) fn shown(&self, width: Option<usize>, symbols: Symbols) -> String {
        let ran = short_time(self.began.elapsed());
        let (count, outcomes) = match (self.connections, self.sockets) {
            (0, 0) => return symbols.shown(&format!("no connections in {ran}")).into_owned(),
            (0, sockets) => (counted(sockets, "socket"), self.outcomes("none failed")),
            (connections, _) => (counted(connections, "connection"), self.outcomes("all ok")),
        };
        let mut lines = vec![format!("{count} in {ran}, {outcomes}")];
        let lost = match self.lost {
            Some(count) => format!(", {} lost", counted(count, "segment")),
            None => String::new(),
        };
        let (sent, received) = (short_bytes(self.sent), short_bytes(self.received));
        lines.push(format!("{sent} sent, {received} received{lost}"));
        if self.connections > 0 {
            lines.push(self.waited(symbols));
        }
        let limit = width.unwrap_or(usize::MAX);
        let lines: Vec<_> = lines.iter().map(|line| wrap_message(line, limit)).collect();
        symbols.shown(&lines.join("\n")).into_owned()
    }

    /// What failed; `good` if nothing did.
    fn outcomes(&self, good: &str) -> String {
        let failed: u64 = self.failed.values().sum();
        if failed == 0 {
            return good.to_owned();
        }
        let mut reasons: Vec<_> = self.failed.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let reasons: Vec<_> =
            reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        format!("{BAD}{failed} failed{BAD:#}: {}", reasons.join(", "))
    }

    fn waited(&self, symbols: Symbols) -> String {
        let (count, total) = self.waits;
        let average = total.checked_div(u32::try_from(count).unwrap_or(u32::MAX));
        let average = average.map(|average| {
            format!("{} on average in {}", short_time(average), counted(count, "request"))
        });
        let slowest = self.targets.iter().max_by_key(|(_, wait)| **wait);
        let longest = slowest.map(|(target, wait)| {
            format!("at most {} for {}", short_time(*wait), symbols.text(target))
        });
        let waited: Vec<_> = average.into_iter().chain(longest).collect();
        match waited.is_empty() {
            true => "no requests".to_owned(),
            false => format!("waited {}", waited.join(", ")),
        }
    }
}
