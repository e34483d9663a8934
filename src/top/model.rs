//! What is known of all connections, from the lines read so far. Memory is bounded: a connection is
//! forgotten when it ends, or when its proxy no longer writes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use super::connection::{Connection, Key, between, printable};
use super::line::{Event, SeenLine, SeenReason};
use crate::record::{How, Outcome};

/// Connections beyond these are not shown.
const MAX_CONNECTIONS: usize = 65_536;

/// Failures that are kept; more of them within a minute are counted alone.
const MAX_FAILURES: usize = 1_000;

/// Of more runs than these, those without connections are forgotten.
const MAX_RUNS: usize = 64;

/// How long failures are shown.
pub(super) const FAILURES_FOR: Duration = Duration::from_secs(60);

/// A connection without data is sampled once a minute, or at the interval if that is longer.
const QUIET_INTERVAL: Duration = Duration::from_secs(60);

/// All that is shown. Instants are Unix ns.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    connections: HashMap<Key, Connection>,
    runs: HashMap<Uuid, Run>,
    failures: VecDeque<Failure>,
    /// Failures of the last minute that were not kept: when, and how many.
    uncounted: VecDeque<(i64, u64)>,
    /// Connections that were not taken because there are too many.
    pub(super) unshown: u64,
    /// Connections that have ended.
    pub(super) closed: u64,
    /// Lines that were not records.
    pub(super) bad_lines: u64,
    /// Lines read, except bad ones.
    pub(super) lines: u64,
    /// Lines that are records of this version.
    pub(super) records: u64,
    /// Lines of `conniver stat`.
    pub(super) stat_lines: u64,
    /// Whether a line was of an open connection.
    has_open: bool,
    /// The time of the newest line.
    pub(super) newest: Option<i64>,
    oldest: Option<i64>,
    has_samples: bool,
    /// Whether a turn was among the lines.
    pub(super) has_turns: bool,
    has_pairs: bool,
    has_sockets: bool,
    /// When a watch last told that the kernel had dropped events, and how often until then.
    overflow: Option<(i64, u64)>,
    /// A connection ended that should have had an `open` line or a sample.
    lacks_samples: bool,
    /// The connection to keep beyond its end.
    pinned: Option<Key>,
    kept: Option<Connection>,
}

/// One run of a proxy.
#[derive(Debug, Clone, Default)]
struct Run {
    /// The time between two samples of a busy connection. `None` until two have come.
    interval: Option<Duration>,
    has_samples: bool,
}

/// A connection that failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) at: i64,
    pub(super) target: Option<Box<str>>,
    pub(super) program: Option<Box<str>>,
    /// The outcome and the error's code.
    pub(super) what: Box<str>,
}

/// Failures that are alike.
#[derive(Debug, Clone)]
pub(super) struct FailureGroup<'m> {
    /// The latest of them.
    pub(super) latest: &'m Failure,
    pub(super) count: usize,
}

impl Model {
    pub(super) fn bad_line(&mut self) {
        self.bad_lines += 1;
    }

    pub(super) fn apply(&mut self, line: &SeenLine) {
        self.lines += 1;
        let now = line.made_at();
        if line.event != Event::Other {
            self.records += 1;
            self.newest = self.newest.max(Some(now));
            self.oldest = self.oldest.or(Some(now));
        }
        match line.event {
            Event::Open => {
                self.connection(line);
            }
            Event::Sample | Event::SocketSample => self.sample(line),
            Event::Turn => {
                self.has_turns = true;
                if let Some(connection) = self.connection(line) {
                    connection.turn(line);
                }
            }
            Event::Close | Event::Socket => self.close(line),
            Event::Overflow => self.overflow = Some((now, line.overflows)),
            Event::Refused => self.count_failures(now, line.count),
            Event::Stop => {
                self.connections.retain(|key, _| key.run != line.run_id);
                self.runs.remove(&line.run_id);
            }
            // Until its first line, a run without listeners is known as a watch.
            Event::Start if line.listeners.as_ref().is_some_and(Vec::is_empty) => {
                self.has_sockets = true;
            }
            Event::Stat => self.stat_lines += 1,
            Event::Start | Event::Other => {}
        }
    }

    /// The line's connection, after what every line tells. `None` if there are too many.
    fn connection(&mut self, line: &SeenLine) -> Option<&mut Connection> {
        self.note_kind(line);
        self.has_open = true;
        let key = Key { run: line.run_id, seq: line.seq };
        if self.connections.len() >= MAX_CONNECTIONS && !self.connections.contains_key(&key) {
            self.unshown += 1;
            return None;
        }
        self.runs.entry(line.run_id).or_default();
        let connection = self.connections.entry(key).or_insert_with(|| Connection::new(line));
        connection.update(line);
        Some(connection)
    }

    fn sample(&mut self, line: &SeenLine) {
        self.has_samples = true;
        let run = self.runs.entry(line.run_id).or_default();
        run.has_samples = true;
        let key = Key { run: line.run_id, seq: line.seq };
        if let Some(connection) = self.connections.get(&key)
            && line.reason == Some(SeenReason::Interval)
            && let Some(point) = connection.history.back()
        {
            let elapsed = between(point.to, line.made_at());
            run.interval = Some(run.interval.map_or(elapsed, |interval| interval.min(elapsed)));
        }
        let interval = run.interval;
        if let Some(connection) = self.connection(line) {
            connection.sample(line, interval);
        }
    }

    fn note_kind(&mut self, line: &SeenLine) {
        match line.socket {
            Some(_) => self.has_sockets = true,
            None => self.has_pairs = true,
        }
    }

    fn close(&mut self, line: &SeenLine) {
        self.closed += 1;
        self.note_kind(line);
        let key = Key { run: line.run_id, seq: line.seq };
        let known = self.connections.remove(&key);
        let opened_at = line.made_at().saturating_sub_unsigned(line.duration);
        let ending = line.ending.as_ref();
        // What has samples, if samples are written: what was relayed, and a socket that a dump has shown.
        let is_sampled = match &line.socket {
            Some(_) => ending.is_some_and(|ending| ending.state.is_some()),
            None => line.upstream.as_ref().is_some_and(|leg| leg.rx_bytes + leg.tx_bytes > 0),
        };
        self.lacks_samples |= match &known {
            None => is_sampled && self.oldest.is_some_and(|oldest| opened_at > oldest),
            Some(known) => {
                is_sampled && known.history.is_empty() && line.age() > Duration::from_secs(5)
            }
        };
        let how = ending.and_then(|ending| ending.how);
        let outcome = line.outcome.map(|outcome| outcome.to_string());
        let outcome = outcome.or_else(|| how.map(|how| how.to_string()));
        let outcome = outcome.unwrap_or_else(|| "closed".to_owned());
        let code = ending.and_then(|ending| ending.error_code.as_deref());
        let what = match code {
            Some(code) if line.outcome != Some(Outcome::Ok) => {
                printable(&format!("{outcome} {code}"))
            }
            _ => printable(&outcome),
        };
        let mut connection = known.unwrap_or_else(|| Connection::new(line));
        connection.update(line);
        connection.ended = Some(what.clone());
        let is_failed = match line.outcome {
            Some(outcome) => !matches!(outcome, Outcome::Ok | Outcome::Shutdown),
            None => matches!(how, Some(How::Reset | How::Refused)),
        };
        if is_failed {
            self.add_failure(Failure {
                at: line.made_at(),
                target: connection.target_or_peer().map(Into::into),
                program: connection.program.clone(),
                what,
            });
        }
        if self.pinned == Some(key) {
            self.kept = Some(connection);
        }
    }

    fn add_failure(&mut self, failure: Failure) {
        if self.failures.len() == MAX_FAILURES {
            let oldest = self.failures.pop_front();
            self.count_failures(oldest.map_or(failure.at, |oldest| oldest.at), 1);
        }
        self.failures.push_back(failure);
    }

    /// Counts failures without keeping them, by the second.
    fn count_failures(&mut self, at: i64, count: u64) {
        let second = at / 1_000_000_000 * 1_000_000_000;
        match self.uncounted.back_mut() {
            Some((last, sum)) if *last >= second => *sum += count,
            _ => self.uncounted.push_back((second, count)),
        }
    }

    /// Forgets what is over at this time.
    pub(super) fn forget_old(&mut self, now: i64) {
        let is_old = |at: i64| between(at, now) > FAILURES_FOR;
        while self.failures.front().is_some_and(|failure| is_old(failure.at)) {
            self.failures.pop_front();
        }
        while self.uncounted.front().is_some_and(|&(at, _)| is_old(at)) {
            self.uncounted.pop_front();
        }
        self.overflow.take_if(|&mut (at, _)| is_old(at));
        let Self { connections, runs, lacks_samples, has_samples, .. } = self;
        connections.retain(|key, connection| {
            let silence = between(connection.last_line_at, now);
            let run = runs.get(&key.run);
            // Without samples nothing tells that it is still there.
            *lacks_samples |= !*has_samples && silence > QUIET_INTERVAL + Duration::from_secs(10);
            let quiet = run
                .and_then(|run| run.interval)
                .map_or(QUIET_INTERVAL, |interval| interval.max(QUIET_INTERVAL));
            !run.is_some_and(|run| run.has_samples) || silence < 3 * quiet
        });
        if runs.len() > MAX_RUNS {
            let alive: HashSet<Uuid> = connections.keys().map(|key| key.run).collect();
            runs.retain(|run, _| alive.contains(run));
        }
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values()
    }

    /// The time between two samples of a run's busy connections. `None` until it is known.
    pub(super) fn interval(&self, run: Uuid) -> Option<Duration> {
        self.runs.get(&run).and_then(|run| run.interval)
    }

    /// The connection, also after its end if it was pinned before.
    pub(super) fn get(&self, key: Key) -> Option<&Connection> {
        self.connections.get(&key).or(self.kept.as_ref().filter(|kept| kept.key == key))
    }

    /// Keeps this connection beyond its end, and no other.
    pub(super) fn pin(&mut self, key: Option<Key>) {
        self.pinned = key;
        self.kept.take_if(|kept| Some(kept.key) != key);
    }

    /// How many failed in the last minute.
    pub(super) fn failure_count(&self) -> u64 {
        self.failures.len() as u64 + self.uncounted.iter().map(|(_, count)| count).sum::<u64>()
    }

    /// The failures of the last minute, alike ones together, the latest first.
    pub(super) fn failures(&self) -> Vec<FailureGroup<'_>> {
        let mut groups: Vec<FailureGroup<'_>> = Vec::new();
        let mut places = HashMap::new();
        for failure in self.failures.iter().rev() {
            let place = *places.entry((&failure.target, &failure.what)).or_insert_with(|| {
                groups.push(FailureGroup { latest: failure, count: 0 });
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(place) {
                group.count += 1;
            }
        }
        groups
    }

    /// Whether all that is known are sockets that were watched without a proxy.
    pub(super) fn has_only_sockets(&self) -> bool {
        self.has_sockets && !self.has_pairs
    }

    /// Whether all that is known are connections that have ended, so that open ones cannot be known.
    pub(super) fn has_only_ended(&self) -> bool {
        self.closed > 0 && !self.has_open
    }

    /// Whether nothing tells of a proxy's connections that one has ended, as without close lines.
    pub(super) fn has_only_open(&self) -> bool {
        self.closed == 0 && !self.connections.is_empty() && !self.has_only_sockets()
    }

    /// How often the kernel has dropped events of ended sockets in a run, if it did in the last minute.
    pub(super) fn overflows(&self) -> Option<u64> {
        self.overflow.map(|(_, count)| count)
    }

    /// Whether the proxy or the watch writes no samples, as far as that shows.
    pub(super) fn lacks_samples(&self) -> bool {
        self.lacks_samples && !self.has_samples
    }
}

#[cfg(test)]
mod tests;
