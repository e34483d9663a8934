//! Exchanges messages with a client before relaying, and when a request fails.

use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use zeroize::{Zeroize, Zeroizing};

use super::Parsed;
use crate::clock::CompactInstant;
use crate::conn;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, How, Outcome, Phase};
use crate::relay::Leg;

/// Size of a read.
const READ: usize = 4 * 1024;

/// After an error reply, at most this much input is read, for at most this long: closing with
/// unread input would reset the connection, and the client would lose the reply.
const LAST_READS: (usize, Duration) = (64 * 1024, Duration::from_secs(1));

/// Limits of a dialogue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DialogueLimits<'d> {
    /// When the request must be complete.
    pub(crate) deadline: Instant,
    /// Cancelled when the proxy must stop.
    pub(crate) stop: &'d CancellationToken,
    /// Cancelled when the proxy wants no further requests.
    pub(crate) draining: &'d CancellationToken,
}

/// The proxy's own conversation with a client.
pub(crate) struct Dialogue<'d> {
    leg: &'d mut Leg,
    /// Received bytes that were not parsed yet. They may be a password.
    buffer: Zeroizing<Vec<u8>>,
    limits: DialogueLimits<'d>,
}

/// Why a message could not be read.
pub(crate) enum MessageError<B> {
    /// It is malformed.
    Malformed(B),
    /// The message is incomplete.
    Incomplete(Failure),
}

impl<'d> Dialogue<'d> {
    pub(crate) fn new(leg: &'d mut Leg, limits: DialogueLimits<'d>) -> Self {
        Self { leg, buffer: Zeroizing::default(), limits }
    }

    /// Continues with bytes that were received, and counted, before.
    pub(crate) fn with_received(
        leg: &'d mut Leg,
        limits: DialogueLimits<'d>,
        received: Vec<u8>,
    ) -> Self {
        Self { leg, buffer: Zeroizing::new(received), limits }
    }

    /// Cancelled when the proxy wants no further requests.
    pub(super) fn draining(&self) -> &'d CancellationToken {
        self.limits.draining
    }

    /// Waits for the first byte of the next message, without consuming it.
    pub(super) async fn first_byte(&mut self) -> Result<u8, Failure> {
        loop {
            match self.buffer.first() {
                Some(&byte) => return Ok(byte),
                None => self.read().await?,
            }
        }
    }

    /// Reads the next message.
    pub(super) async fn read_message<T, B>(
        &mut self,
        parse: impl Fn(&[u8]) -> Parsed<T, B>,
    ) -> Result<T, MessageError<B>> {
        loop {
            match parse(&self.buffer) {
                Parsed::Complete(message, used) => {
                    let understood = used.min(self.buffer.len());
                    self.buffer.get_mut(..understood).unwrap_or_default().zeroize();
                    self.buffer.drain(..understood);
                    self.count_consumed(used);
                    return Ok(message);
                }
                Parsed::Bad(bad) => return Err(MessageError::Malformed(bad)),
                Parsed::Partial => self.read().await.map_err(MessageError::Incomplete)?,
            }
        }
    }

    /// Writes a message.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let DialogueLimits { deadline, stop, .. } = self.limits;
        let writing = async {
            write_own(self.leg, bytes).await.map_err(|error| connection_error(self.leg, &error))
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Failure::stopped(Phase::Request)),
            written = writing => written,
            () = tokio::time::sleep_until(deadline.into()) => Err(timed_out()),
        }
    }

    /// Received bytes that were not parsed.
    pub(super) fn unparsed(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the bytes after the request.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.buffer)
    }

    /// Counts received bytes that were for the proxy itself.
    pub(super) fn count_consumed(&mut self, bytes: usize) {
        self.leg.state.meter.own_rx += bytes as u64;
    }

    async fn read(&mut self) -> Result<(), Failure> {
        let DialogueLimits { deadline, stop, .. } = self.limits;
        let (leg, buffer) = (&mut *self.leg, &mut self.buffer);
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Failure::stopped(Phase::Request)),
            read = read_some(&leg.stream, buffer) => read,
            () = tokio::time::sleep_until(deadline.into()) => return Err(timed_out()),
        };
        match read {
            Ok(0) => {
                leg.state.note_fin();
                Err(ended_early())
            }
            Ok(bytes) => {
                leg.state.meter.rx.count(bytes, CompactInstant::now());
                Ok(())
            }
            Err(error) => {
                leg.state.note_read_error(&error);
                Err(connection_error(leg, &error))
            }
        }
    }
}

/// Ends a connection whose request has failed: writes the reply and our end of stream, then reads
/// on for a while, so that the client gets the reply.
pub(crate) async fn send_error_and_drain(leg: &mut Leg, reply: &[u8], stop: &CancellationToken) {
    let (most, timeout) = LAST_READS;
    let exchange = async {
        if write_own(leg, reply).await.is_err() {
            return;
        }
        leg.state.meter.snapshot_eof(&leg.stream);
        if SockRef::from(&leg.stream).shutdown(Shutdown::Write).is_err() {
            return;
        }
        leg.state.meter.tx.ended = Some(CompactInstant::now());
        let mut unread = Vec::with_capacity(READ);
        let mut all = 0;
        while all < most && !leg.state.is_broken {
            unread.clear();
            match read_some(&leg.stream, &mut unread).await {
                Ok(0) => {
                    leg.state.note_fin();
                    break;
                }
                Ok(bytes) => {
                    all += bytes;
                    leg.state.meter.rx.count(bytes, CompactInstant::now());
                }
                Err(error) => leg.state.note_read_error(&error),
            }
        }
    };
    tokio::select! {
        biased;
        () = exchange => {}
        () = tokio::time::sleep(timeout) => {}
        () = stop.cancelled() => {}
    }
    // All received bytes were for the proxy.
    leg.state.meter.own_rx = leg.state.meter.rx.bytes;
}

/// Reads once into the spare capacity of `buffer`, which is only allocated when there is something
/// to read.
async fn read_some(stream: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        make_room(buffer);
        match stream.try_read_buf(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// Grows a full buffer and wipes the old copy.
fn make_room(buffer: &mut Vec<u8>) {
    if buffer.len() == buffer.capacity() {
        let mut larger = Vec::with_capacity((2 * buffer.capacity()).max(READ));
        larger.extend_from_slice(buffer);
        std::mem::replace(buffer, larger).zeroize();
    }
}

/// Writes the proxy's own bytes.
async fn write_own(leg: &mut Leg, bytes: &[u8]) -> io::Result<()> {
    let Leg { stream, state } = leg;
    let written = conn::write_own(stream, &mut state.meter, bytes).await;
    written.inspect_err(|error| state.note_write_error(error))
}

fn failure(outcome: Outcome, by: By, how: How, fault: Option<Fault>) -> Failure {
    Failure { phase: Phase::Request, outcome, by, how, fault }
}

fn ended_early() -> Failure {
    let fault = Fault {
        code: "REQUEST_INCOMPLETE".into(),
        text: "the client closed its stream before its request was complete".into(),
    };
    failure(Outcome::Protocol, By::Client, How::Fin, Some(fault))
}

fn connection_error(client: &Leg, error: &io::Error) -> Failure {
    let how = client.state.ended.as_ref().map_or(How::Error, |end| end.how);
    let outcome = match how {
        // After its end of stream, too, only a reset breaks the connection.
        How::Reset | How::Fin => Outcome::Reset,
        How::Timeout => Outcome::Timeout,
        _ => Outcome::Error,
    };
    failure(outcome, By::Client, how, Some(error.into()))
}

fn timed_out() -> Failure {
    let text = "the client's request timed out (--request-timeout)";
    Failure::timed_out(Phase::Request, "REQUEST_TIMEOUT", text)
}
