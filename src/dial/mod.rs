//! Reaching the upstream: resolve, connect, and remember every attempt.

mod resolve;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::fault::{Fault, code_of};
use crate::ingress::Target;
use crate::record::{Attempt, AttemptOutcome, By, How, Outcome, Phase, ResolveSource};
use crate::socket_options;
use crate::tcp_info::TcpInfo;

/// Shortest time that one of several addresses is given before the next is tried.
const LEAST_SHARE: Duration = Duration::from_millis(250);

/// How dialling goes on. It is filled on the way, so that it is complete also when dialling is
/// given up in the middle.
#[derive(Debug, Default)]
pub(crate) struct DialLog {
    pub(crate) resolve: Option<Duration>,
    pub(crate) source: Option<ResolveSource>,
    pub(crate) connect: Option<Duration>,
    pub(crate) attempts: Vec<Attempt>,
}

/// Why a pair never got to relaying: what its record says.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) phase: Phase,
    pub(crate) outcome: Outcome,
    pub(crate) by: By,
    pub(crate) how: How,
    pub(crate) fault: Option<Fault>,
}

/// How long dialling may take, and where it may not go.
pub(crate) struct Limits<'l> {
    pub(crate) timeout: Duration,
    /// Why an address may not be dialled.
    pub(crate) refuse: &'l (dyn Fn(SocketAddr) -> Option<Fault> + Sync),
}

/// Connects to `target`, one address after the other, in the resolver's order; each has a fair
/// share of the time that is left. When `abandoned` is ready first, its failure is the result.
pub(crate) async fn dial(
    target: &Target,
    limits: Limits<'_>,
    log: &mut DialLog,
    mut abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<TcpStream, Failure> {
    let deadline = crate::clock::after(Instant::now(), limits.timeout);
    let addresses = match target.literal() {
        Some(address) => {
            log.source = Some(ResolveSource::Literal);
            vec![address]
        }
        None => resolve(target, deadline, log, abandoned.as_mut()).await?,
    };

    let first = Instant::now();
    let mut began = first;
    let mut last = None;
    for (index, &address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(began);
        if left.is_zero() && last.is_some() {
            break;
        }
        let to_come = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = (left / to_come).max(LEAST_SHARE).min(left);
        let attempted = match (limits.refuse)(address) {
            Some(fault) => Err(AttemptEnd::failed(denied(fault), None)),
            None => attempt(address, share, abandoned.as_mut()).await,
        };

        let ended = Instant::now();
        log.connect = Some(ended - first);
        let error = attempted.as_ref().err();
        let fault = error.and_then(|end| end.failure.fault.as_ref());
        log.attempts.push(Attempt {
            addr: address,
            started_after: began - first,
            duration: ended - began,
            outcome: match error {
                None => AttemptOutcome::Ok,
                Some(end) if end.abandoned => AttemptOutcome::Cancelled,
                Some(_) => AttemptOutcome::Error,
            },
            syn_retransmits: error.and_then(|end| end.syn_retransmits),
            error: fault.map(|fault| fault.text.to_string()),
            error_code: fault.map(|fault| fault.code.to_string()),
        });
        began = ended;
        match attempted {
            Ok(stream) => return Ok(stream),
            Err(end) if end.abandoned => return Err(end.failure),
            Err(end) => last = Some(end.failure),
        }
    }
    Err(last.unwrap_or_else(|| resolve::failed(resolve::no_address())))
}

async fn resolve(
    target: &Target,
    deadline: Instant,
    log: &mut DialLog,
    abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<Vec<SocketAddr>, Failure> {
    let began = Instant::now();
    let looked_up = tokio::select! {
        looked_up = resolve::look_up(target.host(), target.port()) => looked_up.map_err(resolve::failed),
        () = tokio::time::sleep_until(deadline.into()) => {
            Err(timed_out(Phase::Resolve, "RESOLVE_TIMEOUT", "the resolver did not answer in time"))
        }
        failure = abandoned => Err(Failure { phase: Phase::Resolve, ..failure }),
    };
    log.resolve = Some(began.elapsed());
    log.source = Some(match looked_up {
        Ok(_) => ResolveSource::Lookup,
        Err(_) => ResolveSource::Failed,
    });
    looked_up
}

/// An attempt that did not connect.
struct AttemptEnd {
    failure: Failure,
    /// Nobody waited for it any more.
    abandoned: bool,
    syn_retransmits: Option<u64>,
}

impl AttemptEnd {
    fn failed(failure: Failure, syn_retransmits: Option<u64>) -> Self {
        Self { failure, abandoned: false, syn_retransmits }
    }
}

async fn attempt(
    address: SocketAddr,
    limit: Duration,
    abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<TcpStream, AttemptEnd> {
    let stream = begin(address).map_err(|error| AttemptEnd::failed(classify(&error), None))?;
    let (failure, abandoned) = tokio::select! {
        ready = stream.writable() => match ready.and_then(|()| stream.take_error()) {
            Ok(None) => return Ok(stream),
            Ok(Some(error)) | Err(error) => (classify_answer(&error), false),
        },
        () = tokio::time::sleep(limit) => {
            let text = "the upstream did not answer in time";
            (timed_out(Phase::Connect, "CONNECT_TIMEOUT", text), false)
        }
        failure = abandoned => (Failure { phase: Phase::Connect, ..failure }, true),
    };
    let syn_retransmits = TcpInfo::of(&stream).ok().and_then(|info| info.retransmits);
    Err(AttemptEnd { failure, abandoned, syn_retransmits })
}

/// Sends the SYN and returns without waiting for the answer. tokio's own connect would take the
/// socket along when it fails, and with it the count of SYNs.
fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM;
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let kind = kind.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    socket.set_nonblocking(true)?;
    socket_options::set(&socket)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    TcpStream::from_std(socket.into())
}

/// Whom an error of connecting speaks of.
fn classify(error: &io::Error) -> Failure {
    use io::ErrorKind::*;
    let out_of_descriptors = matches!(&*code_of(error), "EMFILE" | "ENFILE");
    let (outcome, by, how) = match error.kind() {
        ConnectionRefused => (Outcome::Refused, By::Upstream, How::Refused),
        ConnectionReset | ConnectionAborted => (Outcome::Reset, By::Upstream, How::Reset),
        HostUnreachable | NetworkUnreachable | NetworkDown => {
            (Outcome::Unreachable, By::Network, How::Error)
        }
        TimedOut => (Outcome::Timeout, By::Proxy, How::Timeout),
        _ if out_of_descriptors => (Outcome::Limit, By::Proxy, How::Limit),
        _ => (Outcome::Error, By::Proxy, How::Error),
    };
    Failure { phase: Phase::Connect, outcome, by, how, fault: Some(error.into()) }
}

/// The same for an error that came as the answer to a SYN: there, "permission denied" is a
/// router's or a firewall's word (ICMPv6 "administratively prohibited").
fn classify_answer(error: &io::Error) -> Failure {
    let failure = classify(error);
    if error.kind() == io::ErrorKind::PermissionDenied {
        Failure { outcome: Outcome::Unreachable, by: By::Network, ..failure }
    } else {
        failure
    }
}

fn timed_out(phase: Phase, code: &'static str, text: &'static str) -> Failure {
    Failure {
        phase,
        outcome: Outcome::Timeout,
        by: By::Proxy,
        how: How::Timeout,
        fault: Some(Fault { code: code.into(), text: text.into() }),
    }
}

fn denied(fault: Fault) -> Failure {
    Failure {
        phase: Phase::Connect,
        outcome: Outcome::Denied,
        by: By::Proxy,
        how: How::Denied,
        fault: Some(fault),
    }
}
