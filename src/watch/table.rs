//! The sockets that are open, by their cookies: fed by dumps and by events.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::cgroup::Cgroup;
use super::ended::EndEvent;
use super::known::{Age, CurrentDump, KnownSocket};
use super::lines::{EndedSocket, LineMaker};
use super::listeners::Listeners;
use super::programs::Programs;
use crate::clock::{CompactInstant, Epoch};
use crate::judge::Counters;
use crate::record::SocketSource;
use crate::sockets::{DiagSocket, sockets_of};
use crate::tcp_info::{LinuxInfo, State};

/// A socket that no dump shows any more, and that its program keeps open all the same, is written
/// after this time, or after ten intervals.
const KEPT_OPEN: Duration = Duration::from_secs(10);

/// The kernel passes an event on by a work queue, in this time as a rule.
const EVENT_DELAY: Duration = Duration::from_millis(20);

/// A late event of a socket that was given up is expected this long.
const LATE: Duration = Duration::from_secs(60);

/// The open sockets.
#[derive(Debug)]
pub(super) struct Table {
    epoch: Epoch,
    known: HashMap<u64, KnownSocket>,
    listeners: Listeners,
    /// Sockets that were written before their event came, and until when it is expected: without a
    /// limit where the program still has the socket.
    written: HashMap<u64, Option<CompactInstant>>,
    /// When the last two dumps began, the latest one first, and when that was complete.
    began: [Option<CompactInstant>; 2],
    completed: CompactInstant,
    /// When the kernel last dropped events.
    overflowed_at: Option<CompactInstant>,
    /// Sockets that were given up because their event was dropped.
    pub(super) last_seen: u64,
    /// Sockets of which nobody knows whether they fit the filter.
    pub(super) unattributed: u64,
    /// Sockets that dumps have shown, each time, with a cgroup and without one.
    cgroups: (u64, u64),
}

impl Table {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            known: HashMap::new(),
            listeners: Listeners::default(),
            written: HashMap::new(),
            began: [None; 2],
            completed: epoch.start(),
            overflowed_at: None,
            last_seen: 0,
            unattributed: 0,
            cgroups: (0, 0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether the kernel does not tell the cgroups of sockets; it tells those of all, or none.
    pub(super) fn hides_cgroups(&self) -> bool {
        self.cgroups.0 == 0 && self.cgroups.1 > 0
    }

    /// Whether a socket of the filter's process is open.
    pub(super) fn has_wanted(&self) -> bool {
        self.known.values().any(|known| known.is_wanted)
    }

    /// Begins a dump.
    pub(super) fn begin(&mut self, number: u64) -> CurrentDump {
        let began = CompactInstant::now();
        let previous = self.began[0];
        self.began = [Some(began), previous];
        CurrentDump { number, began, previous }
    }

    /// Notes a socket that a dump shows.
    pub(super) fn see(
        &mut self,
        socket: DiagSocket<'_>,
        dump: &CurrentDump,
        lines: &LineMaker,
        cgroup: Option<&Cgroup>,
    ) {
        let own_cgroup = cgroup.and_then(|_| socket.cgroup());
        match own_cgroup {
            Some(_) => self.cgroups.0 += 1,
            None => self.cgroups.1 += 1,
        }
        if socket.state() == Some(State::Listen) {
            return self.listeners.note(socket.local(), dump.number);
        }
        let cookie = socket.cookie();
        if let Some(known) = self.known.get_mut(&cookie) {
            return known.update(socket, dump);
        }
        let filter = &lines.settings().filter;
        let fits = cgroup.is_none_or(|wanted| own_cgroup.is_some_and(|own| wanted.contains(own)))
            && filter.may_accept(socket.local(), socket.remote());
        if !fits || self.written.contains_key(&cookie) {
            return;
        }
        if let Some(mut known) = KnownSocket::new(socket, dump, &self.epoch, &self.listeners) {
            known.is_wanted = filter.pid.is_none();
            self.known.insert(cookie, known);
        }
    }

    /// Completes a dump: asks for programs, writes samples, and gives up sockets whose event was
    /// lost.
    pub(super) fn complete(
        &mut self,
        dump: &CurrentDump,
        lines: &mut LineMaker,
        programs: Option<&Programs>,
    ) {
        self.completed = CompactInstant::now();
        self.listeners.forget_before(dump.number);
        let settings = lines.settings();
        let (samples, kept_open) = (settings.events.sample, KEPT_OPEN.max(settings.interval * 10));
        let held: Option<HashSet<u32>> = settings.filter.pid.map(|pid| sockets_of(pid).collect());
        let mut given_up = Vec::new();
        for (&cookie, known) in &mut self.known {
            if !known.is_wanted {
                let holds = |held: &HashSet<u32>| known.inode.is_some_and(|i| held.contains(&i));
                known.is_wanted = held.as_ref().is_some_and(holds);
            }
            if known.dump != dump.number {
                let is_new = known.gone_since.is_none();
                let since = *known.gone_since.get_or_insert(dump.began);
                // Its event may still be on its way at the first dump without it.
                let was_dropped =
                    !is_new && self.overflowed_at.is_some_and(|at| at >= known.last_at);
                if was_dropped || dump.began.saturating_since(since) >= kept_open {
                    given_up.push((cookie, was_dropped));
                }
                continue;
            }
            if !known.is_wanted {
                continue;
            }
            if let (None, Some(inode), Some(programs)) = (&known.process, known.inode, programs) {
                known.process = programs.ask(known.local, inode, known.uid);
            }
            if samples {
                lines.sample(known);
            }
        }
        for (cookie, was_dropped) in given_up {
            self.last_seen += u64::from(was_dropped);
            self.give_up(cookie, was_dropped, dump.began, lines);
        }
        self.written.retain(|_, until| until.is_none_or(|until| until > dump.began));
    }

    /// The kernel has dropped events until now.
    pub(super) fn note_overflow(&mut self) {
        self.overflowed_at = Some(CompactInstant::now());
    }

    /// The watch ends: writes the sockets that are gone and whose events have not come.
    pub(super) fn finish(&mut self, lines: &mut LineMaker) {
        let gone = self.known.iter().filter(|(_, known)| known.gone_since.is_some());
        let gone: Vec<u64> = gone.map(|(&cookie, _)| cookie).collect();
        for cookie in gone {
            self.give_up(cookie, true, CompactInstant::now(), lines);
        }
    }

    /// Writes a socket as the last dump showed it.
    fn give_up(&mut self, cookie: u64, expires: bool, now: CompactInstant, lines: &mut LineMaker) {
        let Some(known) = self.known.remove(&cookie) else { return };
        self.written.insert(cookie, expires.then(|| now.saturating_add(LATE)));
        if known.is_wanted {
            let closed_at = self.epoch.unix_nanos(known.last_at);
            lines.ended(EndedSocket::last_seen(known, closed_at));
        }
    }

    /// Since when a socket was open that no dump has shown.
    fn age_of_unseen(&self, event: &EndEvent, info: &LinuxInfo) -> Age {
        let [last, before] = self.began;
        let age = |previous| Age::new(&self.epoch, info, event.at, previous);
        // The last dump may not have come to it before it ended.
        let may_be_older = event.at < self.completed.saturating_add(EVENT_DELAY)
            || last.is_some_and(|last| Age::proven(info) > event.at.saturating_since(last));
        age(if may_be_older { before } else { last })
    }

    /// Writes a socket whose event has come.
    pub(super) fn end(&mut self, event: EndEvent, lines: &mut LineMaker) {
        if self.written.remove(&event.cookie).is_some() {
            return;
        }
        let Some(linux) = event.snapshot.linux() else { return };
        let is_cleared = Counters { linux: &linux, send_queue: event.send_queue }.is_cleared();
        let closed_at = self.epoch.unix_nanos(event.at);
        if let Some(known) = self.known.remove(&event.cookie) {
            if known.is_wanted {
                lines.ended(match is_cleared {
                    true => EndedSocket {
                        is_aborted: known.state != Some(State::SynSent),
                        ..EndedSocket::last_seen(known, closed_at)
                    },
                    false => EndedSocket::destroyed(known, event, closed_at),
                });
            }
            return;
        }
        let filter = &lines.settings().filter;
        if is_cleared || !event.has_peer() || !filter.may_accept(event.local, event.remote) {
            return;
        }
        if filter.needs_dump() {
            self.unattributed += 1;
            return;
        }
        let age = self.age_of_unseen(&event, &linux);
        let listener = self.listeners.of(event.local);
        lines.ended(EndedSocket::unseen(event, age, listener, closed_at));
    }
}

impl EndedSocket {
    /// A socket as the last dump showed it.
    fn last_seen(known: KnownSocket, closed_at: i64) -> Self {
        Self {
            seq: known.seq,
            local: known.local,
            remote: known.remote,
            origin: known.origin,
            listener: known.listener,
            process: known.process.as_ref().and_then(|slot| slot.get()).cloned(),
            age: known.age,
            dumped: known.state,
            before_end: known.before_end(),
            first: known.first,
            last: known.last,
            send_queue: known.send_queue,
            closed_at,
            source: SocketSource::Dump,
            is_aborted: false,
            sampled: known.sampled.map_or((0, 0), |told| (told.rx_bytes, told.tx_bytes)),
        }
    }

    /// A socket that dumps have shown, with its last figures.
    fn destroyed(known: KnownSocket, event: EndEvent, closed_at: i64) -> Self {
        let mut ended = Self::last_seen(known, closed_at);
        let earlier = std::mem::replace(&mut ended.last, event.snapshot);
        ended.last.fill_congestion_from(&earlier);
        ended.send_queue = event.send_queue;
        ended.source = SocketSource::Event;
        ended
    }

    /// A socket that no dump has shown.
    fn unseen(event: EndEvent, age: Age, listener: Option<SocketAddr>, closed_at: i64) -> Self {
        Self {
            seq: None,
            local: event.local,
            remote: event.remote,
            origin: None,
            listener,
            process: None,
            age,
            dumped: None,
            first: None,
            before_end: None,
            last: event.snapshot,
            send_queue: event.send_queue,
            closed_at,
            source: SocketSource::Event,
            is_aborted: false,
            sampled: (0, 0),
        }
    }
}
