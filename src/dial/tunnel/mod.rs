//! Opens a tunnel to the target through a parent proxy.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod http;
mod socks5;

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Instant;

use tokio::net::TcpStream;

use super::via::{Protocol, Via};
use super::{DialLog, attempt};
use crate::clock::CompactInstant;
use crate::conn::{Meter, write_own};
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, How, Outcome, Phase};
use crate::secret::Secret;
use crate::target::Target;

/// The name of a parent proxy in error texts.
pub(crate) const PARENT: &str = "the parent proxy";

/// Bytes to peek at once; answers are usually shorter.
const PEEK_SIZE: usize = 1024;

/// A tunnel to open on a connection to a parent proxy.
#[derive(Debug)]
pub(crate) struct Tunnel<'v> {
    pub(super) via: &'v Via,
    /// The target to request from the parent: as a name, or as a resolved address.
    pub(super) target: Target,
    pub(super) deadline: Instant,
}

/// The result of parsing a parent's reply.
#[derive(Debug, PartialEq, Eq)]
enum TunnelStep {
    /// The reply is incomplete.
    Incomplete,
    /// `used` bytes were a reply; the next message is `send`.
    Reply { used: usize, send: Secret },
    /// `used` bytes were the last reply; what follows comes from the target.
    Established { used: usize },
}

/// Why a parent opens no tunnel.
#[derive(Debug)]
struct TunnelError {
    outcome: Outcome,
    how: How,
    code: Cow<'static, str>,
    text: Cow<'static, str>,
}

impl TunnelStep {
    fn used(&self) -> usize {
        match self {
            Self::Incomplete => 0,
            Self::Reply { used, .. } | Self::Established { used } => *used,
        }
    }
}

impl TunnelError {
    fn malformed(text: impl Into<Cow<'static, str>>) -> Self {
        let code = "PARENT_PROTOCOL".into();
        Self { outcome: Outcome::Error, how: How::Error, code, text: text.into() }
    }
}

impl From<TunnelError> for Failure {
    fn from(TunnelError { outcome, how, code, text }: TunnelError) -> Self {
        let fault = Some(Fault { code, text });
        Self { phase: Phase::Connect, outcome, by: By::Upstream, how, fault }
    }
}

impl Tunnel<'_> {
    /// Opens the tunnel. Bytes of the target right after it are left in `stream`. The time counts
    /// as time to connect, the bytes as the proxy's own.
    pub(crate) async fn open(
        self,
        stream: &TcpStream,
        meter: &mut Meter,
        log: &mut DialLog,
        client_gone: Pin<&mut impl Future<Output = Failure>>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let Tunnel { deadline, via, .. } = self;
        let opened = tokio::select! {
            biased;
            opened = self.negotiate(stream, meter) => opened,
            failure = client_gone => Err(Failure { phase: Phase::Connect, ..failure }),
            () = tokio::time::sleep_until(deadline.into()) => {
                let text = match via.protocol {
                    // A SOCKS proxy answers a greeting at once; other servers wait for a complete
                    // line.
                    Protocol::Socks5 | Protocol::Socks5h if meter.own_rx == 0 => {
                        "the parent proxy did not answer the SOCKS greeting in time"
                    }
                    _ => "the parent proxy did not answer in time",
                };
                Err(Failure::timed_out(Phase::Connect, "CONNECT_TIMEOUT", text))
            }
        };
        let now = Instant::now();
        let took = (now - began).into();
        if let Some(connect) = &mut log.connect {
            *connect += took;
        }
        if let Some(parent) = &mut log.parent {
            parent.took = took;
            parent.tunnelled = opened.is_ok().then(|| now.into());
        }
        opened
    }

    async fn negotiate(self, stream: &TcpStream, meter: &mut Meter) -> Result<(), Failure> {
        let credentials = self.via.credentials.as_ref();
        let mut stage = socks5::Stage::Method;
        let opening = match self.via.protocol {
            Protocol::Http => http::request(&self.target, credentials),
            Protocol::Socks5 | Protocol::Socks5h => socks5::greeting(credentials),
        };
        write_to_peer(stream, meter, &opening).await?;
        let mut received = Vec::new();
        let mut peeked = vec![0; PEEK_SIZE];
        loop {
            // Peeked before it is consumed: what follows the last reply belongs to the relay.
            let seen = match stream.peek(&mut peeked).await {
                Ok(0) => {
                    meter.rx.ended = Some(CompactInstant::now());
                    return Err(ended_early());
                }
                Ok(seen) => seen,
                Err(error) => {
                    meter.rx.note_error(&error);
                    return Err(attempt::classify(&error));
                }
            };
            let before = received.len();
            received.extend_from_slice(peeked.get(..seen).unwrap_or_default());
            let understood = match self.via.protocol {
                Protocol::Http => http::parse_reply(&received),
                Protocol::Socks5 | Protocol::Socks5h => {
                    socks5::parse_reply(&mut stage, &received, &self.target, credentials)
                }
            };
            let used = match &understood {
                Ok(TunnelStep::Incomplete) | Err(_) => received.len(),
                Ok(understood) => understood.used(),
            };
            let mine = peeked.get_mut(..used.saturating_sub(before)).unwrap_or_default();
            take(stream, meter, mine).await?;
            match understood? {
                TunnelStep::Incomplete => {}
                TunnelStep::Reply { send: bytes, .. } => {
                    received.clear();
                    write_to_peer(stream, meter, &bytes).await?;
                }
                TunnelStep::Established { .. } => break,
            }
        }
        meter.payload_begins();
        Ok(())
    }
}

/// Writes the proxy's own bytes to a parent proxy or an upstream.
pub(crate) async fn write_to_peer(
    stream: &TcpStream,
    meter: &mut Meter,
    bytes: &[u8],
) -> Result<(), Failure> {
    write_own(stream, meter, bytes).await.map_err(|error| attempt::classify(&error))
}

/// Consumes bytes that were peeked at.
async fn take(stream: &TcpStream, meter: &mut Meter, buffer: &mut [u8]) -> Result<(), Failure> {
    let mut taken = 0;
    while let Some(rest) = buffer.get_mut(taken..).filter(|rest| !rest.is_empty()) {
        match stream.readable().await.and_then(|()| stream.try_read(rest)) {
            Ok(0) => return Err(ended_early()),
            Ok(read) => {
                taken += read;
                meter.rx.count(read, CompactInstant::now());
                meter.own_rx += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                meter.rx.note_error(&error);
                return Err(attempt::classify(&error));
            }
        }
    }
    Ok(())
}

fn ended_early() -> Failure {
    let fault = Fault {
        code: "EOF".into(),
        text: "the parent proxy closed the connection without an answer".into(),
    };
    Failure {
        phase: Phase::Connect,
        outcome: Outcome::Error,
        by: By::Upstream,
        how: How::Fin,
        fault: Some(fault),
    }
}
