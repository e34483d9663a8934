//! What is counted on one socket: by the wrapper and by the proxy alike.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::{Epoch, Moment, Nanos};
use crate::fault::Fault;
use crate::tcp_info::{self, PackedSnapshot, Snapshot, Socket};

/// One direction of one socket.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) bytes: u64,
    /// When the first byte passed, of those behind a proxy's own conversation with the peer.
    pub(crate) first: Option<Moment>,
    pub(crate) last: Option<Moment>,
    /// When the end of this direction passed: the peer's end of stream was read, or ours was sent.
    pub(crate) ended: Option<Moment>,
    /// The first error, boxed because nearly no connection has one.
    pub(crate) fault: Option<Box<Fault>>,
}

impl Flow {
    pub(crate) fn moved(&mut self, bytes: usize, at: Moment) {
        self.bytes += bytes as u64;
        self.first.get_or_insert(at);
        self.last = Some(at);
    }

    /// Notes the first error; "try again" is none.
    pub(crate) fn failed(&mut self, error: &io::Error) {
        let again = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
        if self.fault.is_none() && !again.contains(&error.kind()) {
            self.fault = Some(Box::new(error.into()));
        }
    }
}

/// A wait that is shorter says nothing of the peer's window: a sender probes one that is closed after so
/// long at the earliest (Linux: TCP_RTO_MIN), and windows that have no room for shorter are any fast
/// transfer's. Looks at it are so far apart.
#[cfg(feature = "proxy")]
pub(crate) const WINDOW_PROBE: Duration = Duration::from_millis(200);

/// The time in which bytes waited because the socket would not take them.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    since: Option<Moment>,
    /// The present wait is one in which the peer's window was found closed.
    is_closed: bool,
    total: Nanos,
    /// The longest of those waits.
    longest_closed: Nanos,
}

#[cfg_attr(not(feature = "tokio"), expect(dead_code))]
impl Blocked {
    pub(crate) fn begin(&mut self, at: Moment) {
        self.since.get_or_insert(at);
    }

    /// Ends the wait, if there is one; since when it was.
    pub(crate) fn end(&mut self, at: Moment) -> Option<Moment> {
        let since = self.since.take()?;
        let waited = at.since(since);
        self.total += waited;
        if std::mem::take(&mut self.is_closed) {
            self.longest_closed = self.longest_closed.max(waited);
        }
        Some(since)
    }

    /// Bytes wait now.
    #[cfg(feature = "proxy")]
    pub(crate) fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// The longest wait in which the peer's window was found closed, the one that is present at `at`
    /// included.
    #[cfg(feature = "proxy")]
    pub(crate) fn longest_closed(&self, at: Moment) -> Duration {
        let present = self.since.filter(|_| self.is_closed);
        let present = present.map(|since| at.saturating_since(since));
        self.longest_closed.get().max(present.unwrap_or_default())
    }

    /// The total at `at`, the present wait included.
    pub(crate) fn total(&self, at: Moment) -> Duration {
        let present = self.since.map(|since| at.saturating_since(since));
        self.total.get() + present.unwrap_or_default()
    }
}

/// Whether a peer is on this machine, to which we are connected by our address `local`: packets from an
/// address to itself take the loopback device.
#[cfg(feature = "proxy")]
pub(crate) fn is_on_this_machine(remote: Option<SocketAddr>, local: Option<SocketAddr>) -> bool {
    let [remote, local] = [remote, local].map(|address| address.map(|a| a.ip().to_canonical()));
    remote.is_some_and(|ip| ip.is_loopback() || Some(ip) == local)
}

/// When the first byte of a proxy's own conversation with the peer passed each way.
#[derive(Debug)]
pub(crate) struct OwnFirst {
    pub(crate) rx: Option<Moment>,
    pub(crate) tx: Option<Moment>,
}

/// Plain counters of one socket, and the three looks at what the kernel knows of it; most of a
/// connection's life knows the first alone.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) epoch: Epoch,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) opened: Moment,
    pub(crate) closed: Option<Moment>,
    pub(crate) rx: Flow,
    pub(crate) tx: Flow,
    /// Bytes of `rx` and `tx` that belong to a proxy's own conversation with the peer.
    pub(crate) own_rx: u64,
    pub(crate) own_tx: u64,
    /// When the first bytes of that conversation passed, if it came before all payload. Boxed, because
    /// most peers are spoken to by others alone.
    pub(crate) own_first: Option<Box<OwnFirst>>,
    /// `None` where waiting to write cannot be told from writing.
    pub(crate) write_blocked: Option<Blocked>,
    pub(crate) reconnects: u32,
    pub(crate) opened_look: Option<PackedSnapshot>,
    pub(crate) eof_look: Option<Box<Snapshot>>,
    pub(crate) closed_look: Option<Box<Snapshot>>,
    pub(crate) look_fault: Option<Box<Fault>>,
}

impl Meter {
    /// The longest time in which bytes waited because the peer's window was closed, as far as looks at it
    /// tell.
    #[cfg(feature = "proxy")]
    pub(crate) fn longest_closed(&self) -> Duration {
        let until = self.closed.unwrap_or_else(Moment::now);
        self.write_blocked.as_ref().map_or(Duration::ZERO, |blocked| blocked.longest_closed(until))
    }

    /// Looks at the peer's window if bytes have waited for it long enough; when the next look is due, as
    /// long as they wait.
    #[cfg(feature = "proxy")]
    pub(crate) fn look_at_window(&mut self, socket: &impl Socket, now: Moment) -> Option<Moment> {
        let blocked = self.write_blocked.as_mut()?;
        let due = blocked.since?.saturating_add(WINDOW_PROBE);
        if now < due {
            return Some(due);
        }
        if !blocked.is_closed {
            let linux = Snapshot::structure(socket).ok().and_then(|look| look.linux());
            blocked.is_closed = linux.is_some_and(|linux| linux.has_closed_window());
        }
        Some(now.saturating_add(WINDOW_PROBE))
    }

    pub(crate) fn new(epoch: Epoch, opened: Moment) -> Self {
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
            opened_look: None,
            eof_look: None,
            closed_look: None,
            look_fault: None,
        }
    }

    /// Bytes written, without those of a proxy's own.
    #[cfg(feature = "proxy")]
    pub(crate) fn payload_sent(&self) -> u64 {
        self.tx.bytes.saturating_sub(self.own_tx)
    }

    /// Whether the peer is on this machine.
    #[cfg(feature = "proxy")]
    pub(crate) fn is_local(&self) -> bool {
        is_on_this_machine(self.remote, self.local)
    }

    /// What has passed until now was a proxy's own conversation.
    #[cfg(feature = "proxy")]
    pub(crate) fn payload_begins(&mut self) {
        let own = OwnFirst { rx: self.rx.first.take(), tx: self.tx.first.take() };
        self.own_first.get_or_insert_with(|| Box::new(own));
    }

    /// The look right after accept or connect: the structure and the congestion control's name,
    /// which has no data worth asking for yet.
    pub(crate) fn look_at_open(&mut self, socket: &impl Socket) {
        self.opened_look = self.noted(Snapshot::structure(socket)).and_then(|mut look| {
            look.ask_congestion(socket);
            PackedSnapshot::pack(&look)
        });
    }

    /// The look right before our own end of stream or reset on this socket; only the first counts.
    /// The congestion control's data is asked for here: afterwards it may be gone.
    pub(crate) fn look_at_eof(&mut self, socket: &impl Socket) {
        if self.eof_look.is_none() {
            self.eof_look = self.noted(Snapshot::structure(socket)).map(|mut look| {
                if let Some(opened) = &self.opened_look {
                    look.keep_last_known(&opened.unpack());
                }
                look.ask_congestion_info(socket);
                look
            });
        }
    }

    /// The last look, right before close(2).
    pub(crate) fn look_at_close(&mut self, socket: &impl Socket) {
        self.closed_look = self.noted(Snapshot::structure(socket)).map(|mut look| {
            match (&self.eof_look, &self.opened_look) {
                // It knows what the first look knew.
                (Some(before_end), _) => look.keep_last_known(before_end),
                (None, opened) => {
                    if let Some(opened) = opened {
                        look.keep_last_known(&opened.unpack());
                    }
                    look.ask_congestion_info(socket);
                }
            }
            look
        });
        // A socket closed without an end of stream of its own before: this was the look before it.
        if self.eof_look.is_none() {
            self.eof_look.clone_from(&self.closed_look);
        }
    }

    /// Notes why nothing is known, the first time.
    pub(super) fn look_failed(&mut self, error: &tcp_info::Error) {
        self.look_fault.get_or_insert_with(|| Box::new(error.into()));
    }

    fn noted(&mut self, looked: Result<Snapshot, tcp_info::Error>) -> Option<Box<Snapshot>> {
        match looked {
            Ok(snapshot) => Some(Box::new(snapshot)),
            Err(error) => {
                self.look_fault.get_or_insert_with(|| {
                    Box::new(Fault { code: error.code().into(), text: error.to_string().into() })
                });
                None
            }
        }
    }
}
