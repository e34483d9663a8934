//! What is known of one open connection, or of one watched socket: bytes, rates, round-trip times, and who is
//! waited for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::line::{SeenInfo, SeenLeg, SeenLine, SeenProcess, SeenReason};
use crate::record::{Awaited, LimitedBy, Mode, Origin, Printable, WaitingFor};

/// How many samples a connection keeps for its sparklines.
const HISTORY: usize = 60;

/// How many turns a connection keeps.
const TURNS: usize = 8;

/// Longest text that is kept of a name, characters.
const NAME: usize = 256;

/// A connection that is open, or the one that is shown in detail. Instants are Unix ns.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) key: Key,
    /// The client's program. `None` until it is known.
    pub(super) program: Option<Box<str>>,
    pub(super) pid: Option<u32>,
    /// As requested; `None` until it is known.
    pub(super) target: Option<Box<str>>,
    /// The client's address. `None` without an `open` line.
    pub(super) client_address: Option<Box<str>>,
    pub(super) mode: Option<Mode>,
    pub(super) opened_at: i64,
    /// When its latest line was made.
    pub(super) last_line_at: i64,
    pub(super) client: Leg,
    /// Of a watched socket: that socket.
    pub(super) upstream: Leg,
    /// What else is known of a watched socket. `None` of a proxy's connection.
    pub(super) socket: Option<WatchedSocket>,
    /// Who is waited for, by the latest sample.
    waiting: Option<WaitingFor>,
    /// When bytes moved last, as far as samples tell.
    moved_at: Option<i64>,
    /// Since when `unmeasured` bytes are counted.
    measured_at: i64,
    unmeasured: Rates,
    /// When the latest interval ended, and its rates, where they are known.
    rates: Option<(i64, Option<Rates>)>,
    pub(super) history: VecDeque<Point>,
    pub(super) turns: VecDeque<SeenTurn>,
    /// How it ended; `None` while it is open.
    pub(super) ended: Option<Box<str>>,
}

/// Identifies a connection: its run and its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) run: uuid::Uuid,
    pub(super) seq: u64,
}

/// A socket that was watched without a proxy.
#[derive(Debug, Clone)]
pub(super) struct WatchedSocket {
    pub(super) local: Box<str>,
    pub(super) remote: Box<str>,
    /// Which side opened the connection. `None` until it is known.
    pub(super) origin: Option<Origin>,
    /// It is older than the watch: nobody knows by how much.
    pub(super) is_older: bool,
}

/// One of its sockets.
#[derive(Debug, Clone, Default)]
pub(super) struct Leg {
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    /// Time in which bytes waited for this socket to become writable, ns.
    pub(super) write_blocked: Option<u64>,
    /// Known at the end; of a watched socket, so far.
    pub(super) lost: Option<u64>,
    pub(super) info: SeenInfo,
}

/// Bytes a second, or bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) to_upstream: f64,
    pub(super) to_client: f64,
}

/// What one sample has measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    /// The period, Unix ns.
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) to_upstream: f64,
    pub(super) to_client: f64,
    /// Round-trip time to the upstream at its end, ns.
    pub(super) rtt: Option<u64>,
}

/// A turn that has ended.
#[derive(Debug, Clone)]
pub(super) struct SeenTurn {
    pub(super) at: i64,
    pub(super) duration: Duration,
    pub(super) wait: Duration,
    pub(super) request_bytes: u64,
    pub(super) answer_bytes: u64,
    pub(super) limited_by: Option<LimitedBy>,
}

/// What a connection does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// Somebody is waited for; never [`Awaited::Idle`].
    WaitsFor(Awaited, Duration),
    /// Bytes moved within the latest interval.
    Moves,
    /// Nothing has moved for some time; for whom that is, the records do not tell.
    Quiet(Duration),
    /// Nobody is waited for.
    Idle(Duration),
    /// No sample came yet.
    Unknown,
}

impl Connection {
    pub(super) fn new(line: &SeenLine) -> Self {
        let now = line.made_at();
        let opened_at = now.saturating_sub_unsigned(line.duration);
        Self {
            key: Key { run: line.run_id, seq: line.seq },
            program: None,
            pid: None,
            target: None,
            client_address: None,
            mode: None,
            opened_at,
            last_line_at: now,
            client: Leg::default(),
            upstream: Leg::default(),
            socket: None,
            waiting: None,
            moved_at: None,
            measured_at: opened_at,
            unmeasured: Rates::default(),
            rates: None,
            history: VecDeque::new(),
            turns: VecDeque::new(),
            ended: None,
        }
    }

    /// What every line tells.
    pub(super) fn update(&mut self, line: &SeenLine) {
        self.last_line_at = line.made_at();
        self.mode = line.mode.or(self.mode);
        if self.target.is_none() {
            self.target = line.target.as_deref().map(printable);
        }
        if let Some(SeenProcess { pid, name }) = &line.process
            && self.program.is_none()
        {
            self.program = name.as_deref().map(printable);
            self.pid = *pid;
        }
        if let Some((host, port)) = line.client_host.as_ref().zip(line.client_port)
            && self.client_address.is_none()
        {
            let is_v6 = host.contains(':');
            let address = if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            self.client_address = Some(printable(&address));
        }
        let upstream = line.upstream.as_ref().or(line.socket.as_ref());
        for (leg, seen) in
            [(&mut self.client, line.client.as_ref()), (&mut self.upstream, upstream)]
        {
            if let Some(seen) = seen {
                leg.update(seen);
            }
        }
        if let Some(seen) = &line.socket {
            let address =
                |seen: Option<SocketAddr>| seen.map_or("-".into(), |seen| seen.to_string().into());
            let socket = self.socket.get_or_insert_with(|| WatchedSocket {
                local: address(seen.local_addr),
                remote: address(seen.remote_addr),
                origin: None,
                is_older: line.seen_after.is_none(),
            });
            socket.origin = line.origin.or(socket.origin);
        }
    }

    /// The first sample of a watched socket, which has all its bytes. Returns whether there is more to take from it.
    fn begin_socket(&mut self, line: &SeenLine) -> bool {
        let Some(seen) = line.socket.as_ref().filter(|_| self.rates.is_none()) else { return true };
        let now = line.made_at();
        match line.seen_after {
            // They have come since the dump before.
            Some(before) => {
                self.measured_at = self.opened_at.saturating_sub_unsigned(before);
                true
            }
            // Nobody knows in which time.
            None => {
                let ages = seen.info.as_ref().map(|info| [info.last_tx_at, info.last_rx_at]);
                let age = ages.into_iter().flatten().flatten().min();
                self.moved_at = age.map(|age| now.saturating_sub_unsigned(age));
                self.measured_at = now;
                self.rates = Some((now, None));
                false
            }
        }
    }

    /// What a sample tells beyond that. `interval` is how long the latest interval was, if the run's
    /// samples have shown it.
    pub(super) fn sample(&mut self, line: &SeenLine, interval: Option<Duration>) {
        if !self.begin_socket(line) {
            return;
        }
        let now = line.made_at();
        self.waiting = line.waiting_for;
        let delta = line.delta.unwrap_or_default();
        if delta.sent() + delta.received() > 0 {
            self.moved_at = Some(now);
        }
        self.unmeasured.to_upstream += delta.sent() as f64;
        self.unmeasured.to_client += delta.received() as f64;
        if line.reason == Some(SeenReason::Between) {
            return;
        }
        // The first sample after a silence is taken at once: its bytes did not take all the time.
        let since = interval.map_or(i64::MIN, |interval| now.saturating_sub(nanos(interval)));
        let from = self.measured_at.max(since);
        let seconds = (now.saturating_sub(from).max(1_000_000)) as f64 / 1e9;
        let rates = Rates {
            to_upstream: self.unmeasured.to_upstream / seconds,
            to_client: self.unmeasured.to_client / seconds,
        };
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Point {
            from,
            to: now,
            to_upstream: rates.to_upstream,
            to_client: rates.to_client,
            rtt: self.rtt(),
        });
        self.rates = Some((now, Some(rates)));
        self.measured_at = now;
        self.unmeasured = Rates::default();
    }

    pub(super) fn turn(&mut self, line: &SeenLine) {
        if self.turns.len() == TURNS {
            self.turns.pop_front();
        }
        self.turns.push_back(SeenTurn {
            at: line.at,
            duration: line.age(),
            wait: Duration::from_nanos(line.wait),
            request_bytes: line.request_bytes,
            answer_bytes: line.answer_bytes,
            limited_by: line.limited_by,
        });
    }

    /// The target, or the peer of a watched socket.
    pub(super) fn target_or_peer(&self) -> Option<&str> {
        self.target.as_deref().or_else(|| self.socket.as_ref().map(|socket| &*socket.remote))
    }

    /// Round-trip time to the upstream or the peer, ns. `None` without a sample of the kernel's.
    pub(super) fn rtt(&self) -> Option<u64> {
        self.upstream.info.rtt
    }

    /// Segments retransmitted on both sockets. `None` where the system does not tell.
    pub(super) fn retransmits(&self) -> Option<u64> {
        let [client, upstream] = [&self.client, &self.upstream].map(|leg| leg.info.retransmits);
        client.zip(upstream).map(|(client, upstream)| client + upstream).or(client).or(upstream)
    }

    pub(super) fn age(&self, now: i64) -> Duration {
        let end = if self.ended.is_some() { self.last_line_at } else { now };
        between(self.opened_at, end)
    }

    /// The rates now: 0 when the next sample is overdue, because a connection whose bytes move is sampled
    /// at every interval. `None` before the first sample, and until the second one of a socket that is older than
    /// its watch.
    pub(super) fn rates(&self, now: i64, interval: Option<Duration>) -> Option<Rates> {
        let (at, rates) = self.rates?;
        let is_fresh = between(at, now) <= freshness(interval);
        if is_fresh { rates } else { Some(Rates::default()) }
    }

    pub(super) fn activity(&self, now: i64, interval: Option<Duration>) -> Activity {
        match self.waiting {
            Some(WaitingFor { who: Awaited::Idle, since, .. }) => {
                Activity::Idle(between(since, now))
            }
            Some(WaitingFor { who, since, .. }) => Activity::WaitsFor(who, between(since, now)),
            None if self.rates.is_none() && self.moved_at.is_none() => Activity::Unknown,
            None => match self.moved_at {
                Some(at) if between(at, now) <= freshness(interval) => Activity::Moves,
                at => Activity::Quiet(between(at.unwrap_or(self.opened_at), now)),
            },
        }
    }
}

impl Leg {
    fn update(&mut self, seen: &SeenLeg) {
        self.rx_bytes = seen.rx_bytes;
        self.tx_bytes = seen.tx_bytes;
        self.write_blocked = seen.write_blocked.or(self.write_blocked);
        self.lost = seen.lost.or(self.lost);
        let Some(news) =
            seen.closed_info.as_ref().or(seen.info.as_ref()).or(seen.opened_info.as_ref())
        else {
            return;
        };
        let known = &self.info;
        self.info = SeenInfo {
            state: news.state.or(known.state),
            rtt: news.rtt.or(known.rtt),
            rtt_var: news.rtt_var.or(known.rtt_var),
            rto: news.rto.or(known.rto),
            rx_window: news.rx_window.or(known.rx_window),
            tx_c_window_segs: news.tx_c_window_segs.or(known.tx_c_window_segs),
            retransmits: news.retransmits.or(known.retransmits),
            ..SeenInfo::default()
        };
    }
}

/// How old a sample may be and still hold.
fn freshness(interval: Option<Duration>) -> Duration {
    interval.unwrap_or(Duration::from_secs(1)) * 2 + Duration::from_millis(500)
}

/// From one instant to a later one; 0 when it is not later.
pub(super) fn between(from: i64, to: i64) -> Duration {
    Duration::from_nanos(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A name from outside as it may be shown.
pub(super) fn printable(text: &str) -> Box<str> {
    let short: String = text.chars().take(NAME).collect();
    Printable(short).to_string().into()
}
