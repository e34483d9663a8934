//! One of the two sockets of a pair while it is relayed.

use std::io;
use std::time::Duration;

use socket2::SockRef;
#[cfg(any(target_os = "linux", target_os = "android"))]
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::clock::Moment;
use crate::conn::{Blocked, Meter};
use crate::fault::{Fault, code_of};
use crate::record::How;
use crate::tcp_info;

/// A socket, what is counted on it, and how its peer ended.
///
/// Boxed where it is passed on: a task keeps room for every place that a value passes through, and
/// thousands of idle pairs are thousands of tasks.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) stream: TcpStream,
    pub(crate) state: LegState,
}

#[derive(Debug)]
pub(crate) struct LegState {
    pub(crate) meter: Meter,
    /// How the peer first ended, by itself.
    pub(crate) ended: Option<Box<PeerEnd>>,
    /// The connection is broken: nothing can be written to it any more.
    pub(crate) gone: bool,
    /// We closed it with a reset, which purged what was still queued.
    pub(crate) purged: bool,
    /// The peer had said all that it was to say before it ended, as the protocol tells: however it
    /// ends then, nothing is lost.
    pub(crate) said_all: bool,
}

/// How and when a peer ended.
#[derive(Debug, Clone)]
pub(crate) struct PeerEnd {
    pub(crate) at: Moment,
    pub(crate) how: How,
    pub(crate) fault: Option<Fault>,
    /// What had passed when its end of stream was read, where that was how it ended.
    pub(crate) passed: Option<PassedBefore>,
}

/// What had passed on a socket before its peer's end of stream was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PassedBefore {
    /// Bytes that the peer had acknowledged, and those that it was still to acknowledge. `None` where
    /// the system does not tell.
    pub(crate) acked: Option<(u64, u64)>,
    /// The last bytes were the peer's.
    pub(crate) peer_was_last: bool,
}

impl PeerEnd {
    fn boxed(at: Moment, how: How) -> Box<Self> {
        Box::new(Self { at, how, fault: None, passed: None })
    }

    /// The connection broke, by what its socket says.
    pub(crate) fn broken(error: &io::Error) -> Self {
        let how = match &*code_of(error) {
            // A reset that came after the peer's end of stream, which nobody has read yet.
            "EPIPE" => How::Fin,
            "ECONNRESET" | "ECONNABORTED" => How::Reset,
            "ETIMEDOUT" => How::Timeout,
            _ => How::Error,
        };
        Self { at: Moment::now(), how, fault: Some(error.into()), passed: None }
    }
}

/// A leg taken apart, so that its stream can be waited for while its counters change.
pub(crate) struct Side<'l> {
    pub(crate) stream: &'l TcpStream,
    pub(crate) state: &'l mut LegState,
}

impl Leg {
    pub(crate) fn boxed(stream: TcpStream, mut meter: Meter) -> Box<Self> {
        meter.write_blocked = Some(Blocked::default());
        Box::new(Self {
            stream,
            state: LegState { meter, ended: None, gone: false, purged: false, said_all: false },
        })
    }

    pub(super) fn side(&mut self) -> Side<'_> {
        Side { stream: &self.stream, state: &mut self.state }
    }

    /// The last look, then close(2): with a reset that purges what is still queued, or as TCP ends
    /// when both ends of stream have passed.
    pub(crate) fn close(self: Box<Self>, with_reset: bool) -> LegState {
        let Self { stream, mut state } = *self;
        state.meter.look_at_close(&stream);
        if with_reset {
            state.purged = abort(stream);
        } else {
            drop(stream);
        }
        state.meter.closed = Some(Moment::now());
        state
    }

    /// Closes it with a reset, without a look.
    pub(crate) fn abort(self: Box<Self>) -> LegState {
        let Self { stream, mut state } = *self;
        state.purged = abort(stream);
        state.meter.closed = Some(Moment::now());
        state
    }
}

/// Closes a connection with a reset that purges what is still queued. `false` if it is gone already.
pub(crate) fn abort(stream: TcpStream) -> bool {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).is_ok()
}

impl Side<'_> {
    /// Reads once. When the system says that it has no more, the stream is not ready any more: that
    /// saves the read that would only say "try again". A short read alone proves nothing, it may
    /// have stopped at an urgent mark.
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

    /// Writes once, whether or not the runtime has heard yet that the socket takes something: a fresh
    /// connection does.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return SockRef::from(self.stream).send_with_flags(bytes, libc::MSG_NOSIGNAL);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        self.stream.try_write(bytes)
    }

    /// The peer's end of stream was read.
    pub(super) fn reached_end(&mut self) {
        let is_first = self.state.ended.is_none();
        self.state.reached_end();
        let LegState { meter, ended, .. } = &mut *self.state;
        if let Some(end) = ended
            && is_first
        {
            // An end of stream of ours waits in the queue as well, behind all bytes.
            let our_end = u64::from(meter.tx.ended.is_some());
            let acked = tcp_info::send_queue(self.stream).and_then(|queued| {
                let unacked = queued.saturating_sub(our_end);
                Some((meter.tx.bytes.checked_sub(unacked)?, unacked))
            });
            let peer_was_last = meter.rx.last > meter.tx.last;
            end.passed = Some(PassedBefore { acked, peer_was_last });
        }
    }

    /// Takes an error that is pending on the socket, if there is one.
    pub(super) fn take_error(&mut self) {
        if let Ok(Some(error)) = self.stream.take_error() {
            self.state.read_failed(&error);
        }
    }

    /// shutdown(2) failed. On a connection that was reset it says ENOTCONN, and the reason waits
    /// in SO_ERROR.
    pub(super) fn shutdown_failed(&mut self, error: &io::Error) {
        self.take_error();
        if !self.state.gone {
            let reset = io::Error::from(io::ErrorKind::ConnectionReset);
            let unknown_reason = error.kind() == io::ErrorKind::NotConnected;
            self.state.write_failed(if unknown_reason { &reset } else { error });
        }
    }
}

impl LegState {
    /// The peer's end of stream was read. On a broken connection it means nothing: the error
    /// was taken by whoever met it first.
    pub(crate) fn reached_end(&mut self) {
        if !self.gone {
            let at = Moment::now();
            // It may have been seen before it was read.
            self.meter.rx.ended.get_or_insert(at);
            self.ended.get_or_insert_with(|| PeerEnd::boxed(at, How::Fin));
        }
    }

    /// Reading failed.
    pub(crate) fn read_failed(&mut self, error: &io::Error) {
        self.meter.rx.failed(error);
        self.broke(error);
    }

    /// Writing failed.
    pub(crate) fn write_failed(&mut self, error: &io::Error) {
        self.meter.tx.failed(error);
        self.broke(error);
    }

    /// The peer broke the protocol: the connection is of no use any more, though it is open.
    pub(super) fn broke_protocol(&mut self, fault: Fault) {
        self.gone = true;
        let at = Moment::now();
        let ended = self.ended.get_or_insert_with(|| PeerEnd::boxed(at, How::Error));
        ended.fault.get_or_insert(fault);
    }

    /// The connection broke. Whoever meets a socket's error first takes it away from all others,
    /// who see a mere consequence; so the first one is what counts.
    fn broke(&mut self, error: &io::Error) {
        self.gone = true;
        let end = PeerEnd::broken(error);
        if let Some(blocked) = &mut self.meter.write_blocked {
            blocked.end(end.at);
        }
        match &mut self.ended {
            None => self.ended = Some(Box::new(end)),
            Some(ended) => ended.fault = ended.fault.take().or(end.fault),
        }
    }
}
