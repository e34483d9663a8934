//! One of the two sockets of a pair while it is relayed.

use std::io;
use std::time::Duration;

use socket2::SockRef;
#[cfg(any(target_os = "linux", target_os = "android"))]
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::clock::CompactInstant;
use crate::conn::{Blocked, Meter};
use crate::fault::{Fault, code_of};
use crate::record::How;
use crate::tcp_info;

/// A socket, its counters, and how its peer ended the connection.
///
/// Boxed where it is moved: a future reserves space for every place that a value moves through, and
/// thousands of idle pairs are thousands of futures.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) stream: TcpStream,
    pub(crate) state: LegState,
}

#[derive(Debug)]
pub(crate) struct LegState {
    pub(crate) meter: Meter,
    /// How the peer first ended the connection, by itself.
    pub(crate) ended: Option<Box<PeerEnd>>,
    /// The connection is broken: nothing can be written to it any more. Set by the first error,
    /// never reset.
    pub(crate) is_broken: bool,
    /// We closed the connection with a reset, which dropped what was still queued.
    pub(crate) purged: bool,
    /// The peer had sent its complete message, as the protocol shows: however the connection ends
    /// then, nothing is lost.
    pub(crate) is_complete: bool,
}

/// How and when a peer ended its connection.
#[derive(Debug, Clone)]
pub(crate) struct PeerEnd {
    pub(crate) at: CompactInstant,
    pub(crate) how: How,
    pub(crate) fault: Option<Fault>,
    /// The progress at the time when its end of stream was read, if the connection ended that way.
    pub(crate) progress: Option<ProgressAtFin>,
}

/// The progress of a socket when its peer's end of stream was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProgressAtFin {
    /// Bytes that the peer had acknowledged, and bytes that were not acknowledged yet. `None` where
    /// the system does not tell.
    pub(crate) acked: Option<(u64, u64)>,
    /// The last bytes on the connection were the peer's.
    pub(crate) peer_was_last: bool,
}

impl PeerEnd {
    fn boxed(at: CompactInstant, how: How) -> Box<Self> {
        Box::new(Self { at, how, fault: None, progress: None })
    }

    /// An end of stream that was read now.
    pub(crate) fn fin() -> Box<Self> {
        Self::boxed(CompactInstant::now(), How::Fin)
    }

    /// The end of a connection that broke with this error.
    pub(crate) fn from_error(error: &io::Error) -> Self {
        let how = match &*code_of(error) {
            // A reset that came after the peer's end of stream, which nobody has read yet.
            "EPIPE" => How::Fin,
            "ECONNRESET" | "ECONNABORTED" => How::Reset,
            "ETIMEDOUT" => How::Timeout,
            _ => How::Error,
        };
        Self { at: CompactInstant::now(), how, fault: Some(error.into()), progress: None }
    }
}

/// A leg borrowed in parts, so that its stream can be polled while its counters change.
pub(crate) struct Side<'l> {
    pub(crate) stream: &'l TcpStream,
    pub(crate) state: &'l mut LegState,
}

impl Leg {
    pub(crate) fn boxed(stream: TcpStream, mut meter: Meter) -> Box<Self> {
        meter.write_blocked = Some(Blocked::default());
        Box::new(Self {
            stream,
            state: LegState {
                meter,
                ended: None,
                is_broken: false,
                purged: false,
                is_complete: false,
            },
        })
    }

    pub(super) fn side(&mut self) -> Side<'_> {
        Side { stream: &self.stream, state: &mut self.state }
    }

    /// Takes the last snapshot and closes the socket: with a reset that drops what is still queued,
    /// or in the normal way, after both ends of stream have passed.
    pub(crate) fn close(self: Box<Self>, with_reset: bool) -> LegState {
        let Self { stream, mut state } = *self;
        state.meter.snapshot_close(&stream);
        if with_reset {
            state.purged = abort(stream);
        } else {
            drop(stream);
        }
        state.meter.closed = Some(CompactInstant::now());
        state
    }

    /// Closes the socket with a reset, without a snapshot.
    pub(crate) fn abort(self: Box<Self>) -> LegState {
        let Self { stream, mut state } = *self;
        state.purged = abort(stream);
        state.meter.closed = Some(CompactInstant::now());
        state
    }
}

/// Closes a connection with a reset that drops what is still queued. `false` if there was no
/// connection any more.
pub(crate) fn abort(stream: TcpStream) -> bool {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).is_ok()
}

impl Side<'_> {
    /// Reads once. When the kernel reports an empty receive queue, clears the readiness of the
    /// stream: that saves a read that would only return EAGAIN. A short read alone proves nothing:
    /// it may have stopped at an urgent mark.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut received = None;
        let tried = self.stream.try_io(Interest::READABLE, || {
            let (bytes, remaining) = tcp_info::receive(self.stream, buffer)?;
            received = Some(bytes);
            if bytes > 0 && remaining == Some(0) {
                // tokio's only way to clear readiness.
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(bytes)
        });
        received.map_or(tried, Ok)
    }

    /// Reads once.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.try_read(buffer)
    }

    /// Writes once, even if the runtime has not seen the socket writable yet: a fresh connection
    /// is.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return SockRef::from(self.stream).send_with_flags(bytes, libc::MSG_NOSIGNAL);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        self.stream.try_write(bytes)
    }

    /// Notes that the peer's end of stream was read.
    pub(super) fn note_fin(&mut self) {
        let is_first = self.state.ended.is_none();
        self.state.note_fin();
        let LegState { meter, ended, .. } = &mut *self.state;
        if let Some(end) = ended
            && is_first
        {
            // Our own end of stream also counts in the queue, after all bytes.
            let our_end = u64::from(meter.tx.ended.is_some());
            let acked = tcp_info::send_queue(self.stream).and_then(|queued| {
                let unacked = queued.saturating_sub(our_end);
                Some((meter.tx.bytes.checked_sub(unacked)?, unacked))
            });
            let peer_was_last = meter.rx.last > meter.tx.last;
            end.progress = Some(ProgressAtFin { acked, peer_was_last });
        }
    }

    /// Takes an error that is pending on the socket, if there is one.
    pub(super) fn take_error(&mut self) {
        if let Ok(Some(error)) = self.stream.take_error() {
            self.state.note_read_error(&error);
        }
    }

    /// Notes that shutdown(2) failed. On a connection that was reset it returns ENOTCONN, and the
    /// reason is in SO_ERROR.
    pub(super) fn note_shutdown_error(&mut self, error: &io::Error) {
        self.take_error();
        if !self.state.is_broken {
            let reset = io::Error::from(io::ErrorKind::ConnectionReset);
            let unknown_reason = error.kind() == io::ErrorKind::NotConnected;
            self.state.note_write_error(if unknown_reason { &reset } else { error });
        }
    }
}

impl LegState {
    /// Adds what was read of the peer's next request, in a state of its own.
    pub(crate) fn absorb(&mut self, later: Self) {
        let Self { meter, ended, is_broken, .. } = later;
        let rx = &mut self.meter.rx;
        rx.bytes += meter.rx.bytes;
        rx.last = rx.last.max(meter.rx.last);
        rx.ended = rx.ended.or(meter.rx.ended);
        rx.fault = rx.fault.take().or(meter.rx.fault);
        self.meter.own_rx += meter.own_rx;
        self.ended = self.ended.take().or(ended);
        self.is_broken |= is_broken;
    }

    /// Notes that the peer's end of stream was read. On a broken connection it means nothing: the
    /// first call to see the error has taken it.
    pub(crate) fn note_fin(&mut self) {
        if !self.is_broken {
            let at = CompactInstant::now();
            // It may have been seen before it was read.
            self.meter.rx.ended.get_or_insert(at);
            self.ended.get_or_insert_with(|| PeerEnd::boxed(at, How::Fin));
        }
    }

    /// Notes a read error.
    pub(crate) fn note_read_error(&mut self, error: &io::Error) {
        self.meter.rx.note_error(error);
        self.note_error(error);
    }

    /// Notes a write error.
    pub(crate) fn note_write_error(&mut self, error: &io::Error) {
        self.meter.tx.note_error(error);
        self.note_error(error);
    }

    /// Notes that the peer violated the protocol: the connection counts as broken, though it is
    /// open.
    pub(super) fn note_protocol_error(&mut self, fault: Fault) {
        self.is_broken = true;
        let at = CompactInstant::now();
        let ended = self.ended.get_or_insert_with(|| PeerEnd::boxed(at, How::Error));
        ended.fault.get_or_insert(fault);
    }

    /// Notes that the connection broke. The first call to see a socket's error takes it, and later
    /// calls see only consequences; so the first error counts.
    fn note_error(&mut self, error: &io::Error) {
        self.is_broken = true;
        let end = PeerEnd::from_error(error);
        if let Some(blocked) = &mut self.meter.write_blocked {
            blocked.end(end.at);
        }
        match &mut self.ended {
            None => self.ended = Some(Box::new(end)),
            Some(ended) => ended.fault = ended.fault.take().or(end.fault),
        }
    }
}
