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
use crate::proxy::options;
use crate::record::{Attempt, AttemptOutcome, By, How, Outcome, Phase, ResolveSource};
use crate::tcp_info::TcpInfo;

/// Shortest time that one of several addresses is given before the next is tried.
const LEAST_SHARE: Duration = Duration::from_millis(250);

/// What was tried so far. It is filled while dialling, so that it is complete also when dialling
/// is given up in the middle.
#[derive(Debug, Default)]
pub(crate) struct Tried {
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

/// Connects to `target` within `limit`, one address after the other, in the resolver's order; each
/// has a fair share of the time that is left. When `abandoned` is ready first, its failure is the
/// result.
pub(crate) async fn dial(
    target: &Target,
    limit: Duration,
    tried: &mut Tried,
    mut abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + limit;
    let addresses = match target.literal() {
        Some(address) => {
            tried.source = Some(ResolveSource::Literal);
            vec![address]
        }
        None => resolve(target, deadline, tried, abandoned.as_mut()).await?,
    };

    let first = Instant::now();
    let mut last = None;
    for (index, &address) in addresses.iter().enumerate() {
        let began = Instant::now();
        let left = deadline.saturating_duration_since(began);
        let to_come = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = (left / to_come).max(LEAST_SHARE).min(left);
        let attempted = attempt(address, share, abandoned.as_mut()).await;

        tried.connect = Some(first.elapsed());
        let error = attempted.as_ref().err();
        tried.attempts.push(Attempt {
            addr: address,
            started_after: began - first,
            duration: began.elapsed(),
            outcome: match &attempted {
                Ok(_) => AttemptOutcome::Ok,
                Err(failed) if failed.abandoned => AttemptOutcome::Cancelled,
                Err(_) => AttemptOutcome::Error,
            },
            syn_retransmits: error.and_then(|failed| failed.syn_retransmits),
            error: error.and_then(|failed| Some(failed.failure.fault.as_ref()?.text.to_string())),
            error_code: error.and_then(|f| Some(f.failure.fault.as_ref()?.code.to_string())),
        });
        match attempted {
            Ok(stream) => return Ok(stream),
            Err(failed) if failed.abandoned => return Err(failed.failure),
            Err(failed) => last = Some(failed.failure),
        }
    }
    Err(last.unwrap_or_else(|| Failure {
        phase: Phase::Resolve,
        outcome: Outcome::Dns,
        by: By::Resolver,
        how: How::Error,
        fault: Some(Fault { code: "EAI_NODATA".into(), text: "the name has no address".into() }),
    }))
}

async fn resolve(
    target: &Target,
    deadline: Instant,
    tried: &mut Tried,
    abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<Vec<SocketAddr>, Failure> {
    let began = Instant::now();
    let looked_up = tokio::select! {
        looked_up = resolve::look_up(target.host(), target.port()) => looked_up.map_err(|fault| Failure {
            phase: Phase::Resolve,
            outcome: Outcome::Dns,
            by: By::Resolver,
            how: How::Error,
            fault: Some(fault),
        }),
        () = tokio::time::sleep_until(deadline.into()) => Err(Failure {
            phase: Phase::Resolve,
            outcome: Outcome::Timeout,
            by: By::Proxy,
            how: How::Timeout,
            fault: Some(Fault {
                code: "RESOLVE_TIMEOUT".into(),
                text: "the resolver did not answer in time".into(),
            }),
        }),
        failure = abandoned => Err(Failure { phase: Phase::Resolve, ..failure }),
    };
    tried.resolve = Some(began.elapsed());
    tried.source = Some(match looked_up {
        Ok(_) => ResolveSource::Lookup,
        Err(_) => ResolveSource::Failed,
    });
    looked_up
}

struct Failed {
    failure: Failure,
    abandoned: bool,
    syn_retransmits: Option<u64>,
}

async fn attempt(
    address: SocketAddr,
    limit: Duration,
    abandoned: Pin<&mut impl Future<Output = Failure>>,
) -> Result<TcpStream, Failed> {
    let fail = |failure, syn_retransmits| Failed { failure, abandoned: false, syn_retransmits };
    let stream = begin(address).map_err(|error| fail(sort(&error), None))?;
    let result = tokio::select! {
        ready = stream.writable() => match ready.and_then(|()| stream.take_error()) {
            Ok(None) => return Ok(stream),
            Ok(Some(error)) | Err(error) => Err(sort(&error)),
        },
        () = tokio::time::sleep(limit) => Err(Failure {
            phase: Phase::Connect,
            outcome: Outcome::Timeout,
            by: By::Proxy,
            how: How::Timeout,
            fault: Some(Fault {
                code: "CONNECT_TIMEOUT".into(),
                text: "the upstream did not answer in time".into(),
            }),
        }),
        failure = abandoned => Ok(Failure { phase: Phase::Connect, ..failure }),
    };
    let syn_retransmits = TcpInfo::of(&stream).ok().and_then(|info| info.retransmits);
    match result {
        Err(failure) => Err(fail(failure, syn_retransmits)),
        Ok(failure) => Err(Failed { failure, abandoned: true, syn_retransmits }),
    }
}

/// Sends the SYN and returns without waiting for the answer. tokio's own connect would take the
/// socket along when it fails, and with it the count of SYNs.
fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    options::set(&socket)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    TcpStream::from_std(socket.into())
}

/// What an error of connect(2) says of who is to blame.
fn sort(error: &io::Error) -> Failure {
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
