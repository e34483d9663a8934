//! Counters of one socket, used by the wrapper and the proxy.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::{CompactDuration, CompactInstant, Epoch};
use crate::fault::Fault;
use crate::tcp_info::{self, PackedSnapshot, Snapshot, Socket};

/// One direction of one socket.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) bytes: u64,
    /// When the first byte passed, not counting a proxy's own conversation with the peer.
    pub(crate) first: Option<CompactInstant>,
    pub(crate) last: Option<CompactInstant>,
    /// When this direction ended: the peer's end of stream was read, or ours was sent.
    pub(crate) ended: Option<CompactInstant>,
    /// The first error; boxed because few connections have one.
    pub(crate) fault: Option<Box<Fault>>,
}

impl Flow {
    pub(crate) fn count(&mut self, bytes: usize, at: CompactInstant) {
        self.bytes += bytes as u64;
        self.first.get_or_insert(at);
        self.last = Some(at);
    }

    /// Notes the first error; EAGAIN and EINTR are ignored.
    pub(crate) fn note_error(&mut self, error: &io::Error) {
        let again = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
        if self.fault.is_none() && !again.contains(&error.kind()) {
            self.fault = Some(Box::new(error.into()));
        }
    }
}

/// Minimum wait before the peer's window is checked, and the interval of checks. A sender probes a
/// closed window after this time at the earliest (Linux: TCP_RTO_MIN), and shorter waits for a full
/// window are normal in fast transfers.
#[cfg(feature = "proxy")]
pub(crate) const WINDOW_PROBE: Duration = Duration::from_millis(200);

/// The time in which bytes waited because the socket was not writable.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    since: Option<CompactInstant>,
    /// The peer's window was found closed during the current wait.
    is_closed: bool,
    total: CompactDuration,
    /// The longest wait during which the peer's window was found closed.
    longest_closed: CompactDuration,
}

#[cfg_attr(not(feature = "tokio"), expect(dead_code))]
impl Blocked {
    pub(crate) fn begin(&mut self, at: CompactInstant) {
        self.since.get_or_insert(at);
    }

    /// Ends the current wait, if there is one; returns when it began.
    pub(crate) fn end(&mut self, at: CompactInstant) -> Option<CompactInstant> {
        let since = self.since.take()?;
        let waited = at.since(since);
        self.total += waited;
        if std::mem::take(&mut self.is_closed) {
            self.longest_closed = self.longest_closed.max(waited);
        }
        Some(since)
    }

    /// Whether bytes wait now.
    #[cfg(feature = "proxy")]
    pub(crate) fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// The longest wait during which the peer's window was found closed, including a current wait
    /// at `at`.
    #[cfg(feature = "proxy")]
    pub(crate) fn longest_closed(&self, at: CompactInstant) -> Duration {
        let present = self.since.filter(|_| self.is_closed);
        let present = present.map(|since| at.saturating_since(since));
        self.longest_closed.get().max(present.unwrap_or_default())
    }

    /// The total at `at`, including a current wait.
    pub(crate) fn total(&self, at: CompactInstant) -> Duration {
        let present = self.since.map(|since| at.saturating_since(since));
        self.total.get() + present.unwrap_or_default()
    }
}

/// Whether a peer is on this machine: its address is a loopback address, or equal to our local
/// address.
#[cfg(feature = "proxy")]
pub(crate) fn is_on_this_machine(remote: Option<SocketAddr>, local: Option<SocketAddr>) -> bool {
    let [remote, local] = [remote, local].map(|address| address.map(|a| a.ip().to_canonical()));
    remote.is_some_and(|ip| ip.is_loopback() || Some(ip) == local)
}

/// When the first byte of a proxy's own conversation with the peer passed, in each direction.
#[derive(Debug)]
pub(crate) struct OwnFirst {
    pub(crate) rx: Option<CompactInstant>,
    pub(crate) tx: Option<CompactInstant>,
}

/// Counters of one socket, and three snapshots of its TCP information: the first from its opening,
/// the others from its end.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) epoch: Epoch,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) opened: CompactInstant,
    pub(crate) closed: Option<CompactInstant>,
    pub(crate) rx: Flow,
    pub(crate) tx: Flow,
    /// Bytes of `rx` and `tx` that belong to a proxy's own conversation with the peer.
    pub(crate) own_rx: u64,
    pub(crate) own_tx: u64,
    /// When the first bytes of that conversation passed, if it came before the payload. Boxed,
    /// because most sockets have no such conversation.
    pub(crate) own_first: Option<Box<OwnFirst>>,
    /// `None` if waiting to write cannot be distinguished from writing.
    pub(crate) write_blocked: Option<Blocked>,
    pub(crate) reconnects: u32,
    pub(crate) open_snapshot: Option<PackedSnapshot>,
    pub(crate) eof_snapshot: Option<Box<Snapshot>>,
    pub(crate) close_snapshot: Option<Box<Snapshot>>,
    pub(crate) snapshot_fault: Option<Box<Fault>>,
    /// What other pairs did on the same connection. Boxed, because few connections carry several.
    pub(crate) others: Option<Box<OtherPairs>>,
}

/// What other pairs did on the same connection, in http mode. The kernel's counters include it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherPairs {
    /// Bytes read before this pair's latest ones.
    pub(crate) rx_bytes: u64,
    /// Bytes written before this pair's latest ones.
    pub(crate) tx_bytes: u64,
    /// Retransmitted segments since this pair began.
    pub(crate) retransmits: u64,
    /// Of these, duplicates that the peer reported.
    pub(crate) duplicates: u64,
}

impl Meter {
    /// The longest time in which bytes waited for the peer's closed window, as far as samples of it
    /// show.
    #[cfg(feature = "proxy")]
    pub(crate) fn longest_closed(&self) -> Duration {
        let until = self.closed.unwrap_or_else(CompactInstant::now);
        self.write_blocked.as_ref().map_or(Duration::ZERO, |blocked| blocked.longest_closed(until))
    }

    /// Samples the peer's window if bytes have waited long enough. Returns when the next sample is
    /// due, while they wait.
    #[cfg(feature = "proxy")]
    pub(crate) fn sample_window(
        &mut self,
        socket: &impl Socket,
        now: CompactInstant,
    ) -> Option<CompactInstant> {
        let blocked = self.write_blocked.as_mut()?;
        let due = blocked.since?.saturating_add(WINDOW_PROBE);
        if now < due {
            return Some(due);
        }
        if !blocked.is_closed {
            let linux = Snapshot::structure(socket).ok().and_then(|snapshot| snapshot.linux());
            blocked.is_closed = linux.is_some_and(|linux| linux.has_closed_window());
        }
        Some(now.saturating_add(WINDOW_PROBE))
    }

    pub(crate) fn new(epoch: Epoch, opened: CompactInstant) -> Self {
        Self {
            epoch,
            local: None,
            remote: None,
            opened,
            closed: None,
            rx: Flow::default(),
            tx: Flow::default(),
            own_rx: 0,
            own_tx: 0,
            own_first: None,
            write_blocked: None,
            reconnects: 0,
            open_snapshot: None,
            eof_snapshot: None,
            close_snapshot: None,
            snapshot_fault: None,
            others: None,
        }
    }

    /// Bytes written, without a proxy's own.
    #[cfg(feature = "proxy")]
    pub(crate) fn payload_sent(&self) -> u64 {
        self.tx.bytes.saturating_sub(self.own_tx)
    }

    /// Whether the peer is on this machine.
    #[cfg(feature = "proxy")]
    pub(crate) fn is_local(&self) -> bool {
        is_on_this_machine(self.remote, self.local)
    }

    /// Marks the bytes so far as a proxy's own conversation.
    #[cfg(feature = "proxy")]
    pub(crate) fn payload_begins(&mut self) {
        let own = OwnFirst { rx: self.rx.first.take(), tx: self.tx.first.take() };
        self.own_first.get_or_insert_with(|| Box::new(own));
    }

    /// Takes the snapshot right after accept or connect: the structure and the congestion control's
    /// name, whose data is not useful yet.
    pub(crate) fn snapshot_open(&mut self, socket: &impl Socket) {
        self.open_snapshot =
            self.ok_or_note(Snapshot::structure(socket)).and_then(|mut snapshot| {
                snapshot.ask_congestion(socket);
                PackedSnapshot::pack(&snapshot)
            });
    }

    /// Takes the snapshot right before our own end of stream or reset; only the first call counts.
    /// Includes the congestion control's data, which may be gone later.
    pub(crate) fn snapshot_eof(&mut self, socket: &impl Socket) {
        if self.eof_snapshot.is_none() {
            self.eof_snapshot = self.ok_or_note(Snapshot::structure(socket)).map(|mut snapshot| {
                if let Some(opened) = &self.open_snapshot {
                    snapshot.fill_congestion_from(&opened.unpack());
                }
                snapshot.ask_congestion_info(socket);
                snapshot
            });
        }
    }

    /// Takes the last snapshot, right before close(2).
    pub(crate) fn snapshot_close(&mut self, socket: &impl Socket) {
        self.close_snapshot = self.ok_or_note(Snapshot::structure(socket)).map(|mut snapshot| {
            match (&self.eof_snapshot, &self.open_snapshot) {
                // It has what the first snapshot had.
                (Some(before_end), _) => snapshot.fill_congestion_from(before_end),
                (None, opened) => {
                    if let Some(opened) = opened {
                        snapshot.fill_congestion_from(&opened.unpack());
                    }
                    snapshot.ask_congestion_info(socket);
                }
            }
            snapshot
        });
        // Without an earlier end of stream of ours, this is also the snapshot before it.
        if self.eof_snapshot.is_none() {
            self.eof_snapshot.clone_from(&self.close_snapshot);
        }
    }

    /// Notes why there is no snapshot; only the first error counts.
    pub(super) fn note_snapshot_error(&mut self, error: &tcp_info::Error) {
        self.snapshot_fault.get_or_insert_with(|| Box::new(error.into()));
    }

    fn ok_or_note(&mut self, result: Result<Snapshot, tcp_info::Error>) -> Option<Box<Snapshot>> {
        match result {
            Ok(snapshot) => Some(Box::new(snapshot)),
            Err(error) => {
                self.snapshot_fault.get_or_insert_with(|| {
                    Box::new(Fault { code: error.code().into(), text: error.to_string().into() })
                });
                None
            }
        }
    }
}
