//! A socket that is open: what the dumps have shown of it.
//!
//! It is known from the first dump that shows it until its event comes, or until it is given up
//! because the event was lost. `first`, `before_end` and `last` are its TCP information at three
//! moments, as the kernel returned it; they are decoded when a line is made.

use std::net::SocketAddr;
use std::time::Duration;

use super::listeners::Listeners;
use crate::clock::{CompactInstant, Epoch};
use crate::judge::Counters;
use crate::record::Origin;
use crate::sockets::{DiagSocket, ProcessSlot};
use crate::tcp_info::{LinuxInfo, PackedSnapshot, Snapshot, State};

/// Ages in TCP information are counted in ticks of up to 10 ms (CONFIG_HZ=100).
const TICK: Duration = Duration::from_millis(10);

/// A socket that a dump has shown.
#[derive(Debug)]
pub(super) struct KnownSocket {
    /// Its number in the lines of this run. `None` before its first line.
    pub(super) seq: Option<u64>,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) origin: Option<Origin>,
    pub(super) listener: Option<SocketAddr>,
    pub(super) uid: u32,
    pub(super) inode: Option<u32>,
    /// Its program, once it was asked for.
    pub(super) process: Option<ProcessSlot>,
    /// The process of the filter holds it, or there is no such filter.
    pub(super) is_wanted: bool,
    pub(super) age: Age,
    /// From the first dump that showed it established; `None` if that is the first of all.
    pub(super) first: Option<PackedSnapshot>,
    /// From the last dump before our end of stream, if a later one has shown that.
    pub(super) before_end: Option<PackedSnapshot>,
    pub(super) last: Snapshot,
    pub(super) state: Option<State>,
    pub(super) send_queue: u32,
    pub(super) last_at: CompactInstant,
    /// The number of the last dump that showed it.
    pub(super) dump: u64,
    /// When a dump did not show it any more.
    pub(super) gone_since: Option<CompactInstant>,
    pub(super) sampled: Option<Sampled>,
}

/// Since when a socket is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Age {
    /// When it was open for certain, Unix ns.
    pub(super) opened_at: i64,
    /// How long it can have been open before. `None`: nobody knows.
    pub(super) seen_after: Option<Duration>,
}

/// What the last sample of a socket told.
#[derive(Debug)]
pub(super) struct Sampled {
    pub(super) snapshot: PackedSnapshot,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    /// It named the program.
    pub(super) has_process: bool,
    pub(super) at: CompactInstant,
}

/// The dump that is going on.
#[derive(Debug, Clone, Copy)]
pub(super) struct CurrentDump {
    /// 1, 2, 3…
    pub(super) number: u64,
    pub(super) began: CompactInstant,
    /// When the one before began. `None` for the first.
    pub(super) previous: Option<CompactInstant>,
}

impl Age {
    /// Of a socket that is seen for the first time, at `now`, after the dump that began at
    /// `previous`.
    pub(super) fn new(
        epoch: &Epoch,
        info: &LinuxInfo,
        now: CompactInstant,
        previous: Option<CompactInstant>,
    ) -> Self {
        let since_previous = previous.map(|previous| now.saturating_since(previous));
        let age = Self::proven(info);
        let age = since_previous.map_or(age, |most| age.min(most));
        let nanos = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        Self {
            opened_at: epoch.unix_nanos(now).saturating_sub(nanos),
            seen_after: since_previous.map(|most| most - age),
        }
    }

    /// How long the socket has been open at least.
    pub(super) fn proven(info: &LinuxInfo) -> Duration {
        // Without data, the ages of data count from establishment.
        let ages = [info.last_tx_at, info.last_rx_at, info.busy_time].into_iter().flatten();
        ages.max().unwrap_or_default().saturating_sub(TICK)
    }
}

impl KnownSocket {
    /// A socket that this dump shows for the first time. `None` for what is only left of one.
    pub(super) fn new(
        socket: DiagSocket<'_>,
        dump: &CurrentDump,
        epoch: &Epoch,
        listeners: &Listeners,
    ) -> Option<Self> {
        let last = socket.snapshot()?;
        let linux = last.linux()?;
        let now = CompactInstant::now();
        let (local, send_queue) = (socket.local(), socket.send_queue());
        let counted = Counters { linux: &linux, send_queue }.origin();
        let listener = listeners.of(local).filter(|_| counted != Some(Origin::Connected));
        let mut known = Self {
            seq: None,
            local,
            remote: socket.remote(),
            origin: counted.or(listener.map(|_| Origin::Accepted)),
            listener,
            uid: socket.uid(),
            inode: socket.inode(),
            process: None,
            is_wanted: true,
            age: Age::new(epoch, &linux, now, dump.previous),
            first: None,
            before_end: None,
            state: socket.state(),
            last,
            send_queue,
            last_at: now,
            dump: dump.number,
            gone_since: None,
            sampled: None,
        };
        known.note_first();
        Some(known)
    }

    /// What a later dump shows.
    pub(super) fn update(&mut self, socket: DiagSocket<'_>, dump: &CurrentDump) {
        let Some(snapshot) = socket.snapshot() else { return };
        let state = socket.state();
        if is_undisturbed(self.state) && !is_undisturbed(state) {
            self.before_end = PackedSnapshot::pack(&self.last);
        }
        self.last = snapshot;
        self.state = state;
        self.send_queue = socket.send_queue();
        // A socket that its program has closed has lost both.
        if socket.inode().is_some() {
            (self.uid, self.inode) = (socket.uid(), socket.inode());
        }
        self.last_at = CompactInstant::now();
        self.dump = dump.number;
        self.gone_since = None;
        self.note_first();
        if self.origin.is_none()
            && let Some(linux) = self.last.linux()
        {
            self.origin = Counters { linux: &linux, send_queue: self.send_queue }.origin();
        }
    }

    /// TCP information from right before our end of stream, as far as dumps have shown it.
    pub(super) fn before_end(&self) -> Option<Snapshot> {
        match &self.before_end {
            Some(before_end) => Some(before_end.unpack()),
            None => is_undisturbed(self.state).then(|| self.last.clone()),
        }
    }

    fn note_first(&mut self) {
        let is_new = self.first.is_none() && self.age.seen_after.is_some();
        if is_new && is_undisturbed(self.state) {
            self.first = PackedSnapshot::pack(&self.last);
        }
    }
}

/// Whether our end of stream was not sent, and the connection not gone.
fn is_undisturbed(state: Option<State>) -> bool {
    matches!(state, Some(State::Established | State::CloseWait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_as_old_as_its_ages_prove_but_no_older_than_the_dump_before() {
        let epoch = Epoch::now();
        let ms = Duration::from_millis;
        let previous = epoch.start();
        let now = previous.saturating_add(ms(1000));
        let mut info = LinuxInfo::default();
        let age = |info: &LinuxInfo, previous| {
            let age = Age::new(&epoch, info, now, previous);
            (epoch.unix_nanos(now) - age.opened_at, age.seen_after)
        };
        assert_eq!(age(&info, Some(previous)), (0, Some(ms(1000))));
        assert_eq!(age(&info, None), (0, None));
        (info.last_tx_at, info.last_rx_at) = (Some(ms(210)), Some(ms(80)));
        assert_eq!(age(&info, Some(previous)), (200_000_000, Some(ms(800))));
        info.busy_time = Some(ms(5010));
        assert_eq!(age(&info, Some(previous)), (1_000_000_000, Some(ms(0))));
        assert_eq!(age(&info, None), (5_000_000_000, None));
    }
}
