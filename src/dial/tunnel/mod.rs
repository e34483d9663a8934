//! Asking a parent proxy for a connection to the target.

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
use crate::clock::Moment;
use crate::conn::{Meter, write_own};
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, How, Outcome, Phase};
use crate::secret::Secret;
use crate::target::Target;

/// How a parent proxy is called in what is said of it.
pub(crate) const PARENT: &str = "the parent proxy";

/// Looked at in one go; answers are shorter, as a rule.
const LOOK: usize = 1024;

/// What is still to be done on a connection to a parent proxy before it leads to the target.
#[derive(Debug)]
pub(crate) struct Tunnel<'v> {
    pub(super) via: &'v Via,
    /// What the parent is asked for: the target, or the address that its name was resolved to.
    pub(super) target: Target,
    pub(super) deadline: Instant,
}

/// How much of what a parent said is understood.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// Its answer goes on.
    More,
    /// So many bytes were an answer; next we say this, and listen on.
    Answered { used: usize, say: Secret },
    /// So many bytes were its last answer; what follows comes from the target.
    Open { used: usize },
}

/// A parent's answer that gives no tunnel.
#[derive(Debug)]
struct Refusal {
    outcome: Outcome,
    how: How,
    code: Cow<'static, str>,
    text: Cow<'static, str>,
}

impl Heard {
    fn used(&self) -> usize {
        match self {
            Self::More => 0,
            Self::Answered { used, .. } | Self::Open { used } => *used,
        }
    }
}

impl Refusal {
    fn malformed(text: impl Into<Cow<'static, str>>) -> Self {
        let code = "PARENT_PROTOCOL".into();
        Self { outcome: Outcome::Error, how: How::Error, code, text: text.into() }
    }
}

impl From<Refusal> for Failure {
    fn from(Refusal { outcome, how, code, text }: Refusal) -> Self {
        let fault = Some(Fault { code, text });
        Self { phase: Phase::Connect, outcome, by: By::Upstream, how, fault }
    }
}

impl Tunnel<'_> {
    /// Has the conversation. What the target may have sent right after it is still to be read from
    /// `stream`. The time counts as time to connect, the bytes as the proxy's own.
    pub(crate) async fn open(
        self,
        stream: &TcpStream,
        meter: &mut Meter,
        log: &mut DialLog,
        abandoned: Pin<&mut impl Future<Output = Failure>>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let Tunnel { deadline, via, .. } = self;
        let opened = tokio::select! {
            biased;
            opened = self.negotiate(stream, meter) => opened,
            failure = abandoned => Err(Failure { phase: Phase::Connect, ..failure }),
            () = tokio::time::sleep_until(deadline.into()) => {
                let text = match via.protocol {
                    // A SOCKS proxy answers that at once; others wait for a whole line.
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
        say(stream, meter, &opening).await?;
        let mut heard = Vec::new();
        let mut look = vec![0; LOOK];
        loop {
            // Looked at before it is taken: what follows the last answer is the relay's to read.
            let seen = match stream.peek(&mut look).await {
                Ok(0) => {
                    meter.rx.ended = Some(Moment::now());
                    return Err(left());
                }
                Ok(seen) => seen,
                Err(error) => {
                    meter.rx.failed(&error);
                    return Err(attempt::classify(&error));
                }
            };
            let before = heard.len();
            heard.extend_from_slice(look.get(..seen).unwrap_or_default());
            let understood = match self.via.protocol {
                Protocol::Http => http::hear(&heard),
                Protocol::Socks5 | Protocol::Socks5h => {
                    socks5::hear(&mut stage, &heard, &self.target, credentials)
                }
            };
            let used = match &understood {
                Ok(Heard::More) | Err(_) => heard.len(),
                Ok(understood) => understood.used(),
            };
            let mine = look.get_mut(..used.saturating_sub(before)).unwrap_or_default();
            take(stream, meter, mine).await?;
            match understood? {
                Heard::More => {}
                Heard::Answered { say: bytes, .. } => {
                    heard.clear();
                    say(stream, meter, &bytes).await?;
                }
                Heard::Open { .. } => break,
            }
        }
        meter.payload_begins();
        Ok(())
    }
}

/// Says something to a parent proxy or an upstream.
pub(crate) async fn say(
    stream: &TcpStream,
    meter: &mut Meter,
    bytes: &[u8],
) -> Result<(), Failure> {
    write_own(stream, meter, bytes).await.map_err(|error| attempt::classify(&error))
}

/// Reads what was looked at.
async fn take(stream: &TcpStream, meter: &mut Meter, buffer: &mut [u8]) -> Result<(), Failure> {
    let mut taken = 0;
    while let Some(rest) = buffer.get_mut(taken..).filter(|rest| !rest.is_empty()) {
        match stream.readable().await.and_then(|()| stream.try_read(rest)) {
            Ok(0) => return Err(left()),
            Ok(read) => {
                taken += read;
                meter.rx.moved(read, Moment::now());
                meter.own_rx += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                meter.rx.failed(&error);
                return Err(attempt::classify(&error));
            }
        }
    }
    Ok(())
}

fn left() -> Failure {
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
