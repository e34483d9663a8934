//! Talking with a client before its target is known, and when it cannot be had.

use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use zeroize::{Zeroize, Zeroizing};

use super::Parsed;
use crate::clock::Moment;
use crate::conn;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, How, Outcome, Phase};
use crate::relay::Leg;

/// Read at once.
const READ: usize = 4 * 1024;

/// After an error reply, this much of what the client still sends is read, and for so long: to
/// close with unread input would reset the connection, and the client would lose the reply.
const LAST_READS: (usize, Duration) = (64 * 1024, Duration::from_secs(1));

/// What ends a dialogue from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions<'d> {
    /// The request must be complete by then.
    pub(crate) deadline: Instant,
    /// The proxy must stop.
    pub(crate) stop: &'d CancellationToken,
}

/// A conversation of the proxy's own with a client.
pub(crate) struct Dialogue<'d> {
    leg: &'d mut Leg,
    /// What the client said and nobody has understood yet. It may be a password.
    heard: Zeroizing<Vec<u8>>,
    conditions: Conditions<'d>,
}

/// Why a message was not had.
pub(crate) enum Unheard<B> {
    /// It is malformed.
    Bad(B),
    /// It did not come to its end.
    Cut(Failure),
}

impl<'d> Dialogue<'d> {
    pub(crate) fn new(leg: &'d mut Leg, conditions: Conditions<'d>) -> Self {
        Self { leg, heard: Zeroizing::default(), conditions }
    }

    /// The first byte of what comes next.
    pub(super) async fn first_byte(&mut self) -> Result<u8, Failure> {
        loop {
            match self.heard.first() {
                Some(&byte) => return Ok(byte),
                None => self.read().await?,
            }
        }
    }

    /// The next message.
    pub(super) async fn hear<T, B>(
        &mut self,
        parse: impl Fn(&[u8]) -> Parsed<T, B>,
    ) -> Result<T, Unheard<B>> {
        loop {
            match parse(&self.heard) {
                Parsed::Complete(message, used) => {
                    let understood = used.min(self.heard.len());
                    self.heard.get_mut(..understood).unwrap_or_default().zeroize();
                    self.heard.drain(..understood);
                    self.consumed(used);
                    return Ok(message);
                }
                Parsed::Bad(bad) => return Err(Unheard::Bad(bad)),
                Parsed::Partial => self.read().await.map_err(Unheard::Cut)?,
            }
        }
    }

    /// Says something.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Conditions { deadline, stop } = self.conditions;
        let writing =
            async { write_own(self.leg, bytes).await.map_err(|error| broken(self.leg, &error)) };
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Failure::stopped(Phase::Request)),
            written = writing => written,
            () = tokio::time::sleep_until(deadline.into()) => Err(timed_out()),
        }
    }

    /// What the client said that was not understood.
    pub(super) fn heard(&self) -> &[u8] {
        &self.heard
    }

    /// What the client said after its request.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.heard)
    }

    /// So many of the bytes that came were for the proxy.
    pub(super) fn consumed(&mut self, bytes: usize) {
        self.leg.state.meter.own_rx += bytes as u64;
    }

    async fn read(&mut self) -> Result<(), Failure> {
        let Conditions { deadline, stop } = self.conditions;
        let (leg, heard) = (&mut *self.leg, &mut self.heard);
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Failure::stopped(Phase::Request)),
            read = read_some(&leg.stream, heard) => read,
            () = tokio::time::sleep_until(deadline.into()) => return Err(timed_out()),
        };
        match read {
            Ok(0) => {
                leg.state.reached_end();
                Err(left())
            }
            Ok(bytes) => {
                leg.state.meter.rx.moved(bytes, Moment::now());
                Ok(())
            }
            Err(error) => {
                leg.state.read_failed(&error);
                Err(broken(leg, &error))
            }
        }
    }
}

/// Ends a connection whose request cannot be granted: the reply, our end of stream, and some
/// patience, so that the client reads it.
pub(crate) async fn farewell(leg: &mut Leg, reply: &[u8], stop: &CancellationToken) {
    let (most, patience) = LAST_READS;
    let talk = async {
        if write_own(leg, reply).await.is_err() {
            return;
        }
        leg.state.meter.look_at_eof(&leg.stream);
        if SockRef::from(&leg.stream).shutdown(Shutdown::Write).is_err() {
            return;
        }
        leg.state.meter.tx.ended = Some(Moment::now());
        let mut unread = Vec::with_capacity(READ);
        let mut all = 0;
        while all < most && !leg.state.gone {
            unread.clear();
            match read_some(&leg.stream, &mut unread).await {
                Ok(0) => {
                    leg.state.reached_end();
                    break;
                }
                Ok(bytes) => {
                    all += bytes;
                    leg.state.meter.rx.moved(bytes, Moment::now());
                }
                Err(error) => leg.state.read_failed(&error),
            }
        }
    };
    tokio::select! {
        biased;
        () = talk => {}
        () = tokio::time::sleep(patience) => {}
        () = stop.cancelled() => {}
    }
    // All of it was for the proxy.
    leg.state.meter.own_rx = leg.state.meter.rx.bytes;
}

/// Reads once into the spare room of `buffer`. Whoever says nothing gets none.
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

/// Lets a full buffer grow, and leaves no copy of what it has.
fn make_room(buffer: &mut Vec<u8>) {
    if buffer.len() == buffer.capacity() {
        let mut larger = Vec::with_capacity((2 * buffer.capacity()).max(READ));
        larger.extend_from_slice(buffer);
        std::mem::replace(buffer, larger).zeroize();
    }
}

/// Writes what the proxy says itself.
async fn write_own(leg: &mut Leg, bytes: &[u8]) -> io::Result<()> {
    let Leg { stream, state } = leg;
    let written = conn::write_own(stream, &mut state.meter, bytes).await;
    written.inspect_err(|error| state.write_failed(error))
}

fn failure(outcome: Outcome, by: By, how: How, fault: Option<Fault>) -> Failure {
    Failure { phase: Phase::Request, outcome, by, how, fault }
}

fn left() -> Failure {
    let fault = Fault {
        code: "REQUEST_INCOMPLETE".into(),
        text: "the client closed its stream before its request was complete".into(),
    };
    failure(Outcome::Protocol, By::Client, How::Fin, Some(fault))
}

fn broken(client: &Leg, error: &io::Error) -> Failure {
    let how = client.state.ended.as_ref().map_or(How::Error, |end| end.how);
    let outcome = match how {
        // After its end of stream, too, it is a reset that breaks it.
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
