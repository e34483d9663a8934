//! One attempt to connect: its socket, and whom its error speaks of.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use super::hop;
use super::own_connections::{OwnConnection, OwnConnections};
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, How, Outcome, Phase};
use crate::socket_options::Outgoing;
use crate::tcp_info::TcpInfo;

/// An attempt whose SYN was sent, or could not be.
#[derive(Debug)]
pub(super) enum Begun {
    /// The answer came at once: the handshake on a loopback is over before connect(2) returns.
    Connected(OwnStream),
    /// It is under way; the socket becomes writable when it is over.
    Waiting(OwnStream),
    Failed(AttemptError),
}

/// A connection that we dialled, known as ours until it is closed.
#[derive(Debug)]
pub(crate) struct OwnStream {
    // In this order: it is to be closed first.
    pub(crate) stream: TcpStream,
    pub(crate) connection: OwnConnection,
}

/// How all addresses of a target are dialled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialling<'d> {
    pub(super) sockets: Outgoing,
    /// Proxies on this machine that the client has come through.
    pub(super) hops: Option<u32>,
    pub(super) own: &'d Arc<OwnConnections>,
}

/// Why an attempt did not connect.
#[derive(Debug)]
pub(super) struct AttemptError {
    pub(super) failure: Failure,
    pub(super) syn_retransmits: Option<u64>,
}

/// Sends the SYN and returns without waiting for the answer. tokio's own connect would take the
/// socket along when it fails, and with it the count of SYNs.
pub(super) fn begin(address: SocketAddr, how: Dialling<'_>) -> Begun {
    connect(address, how).unwrap_or_else(|error| {
        let mut failure = classify(&error);
        if error.kind() == io::ErrorKind::AddrNotAvailable && has_no_way_to(address) {
            failure = Failure {
                outcome: Outcome::Unreachable,
                by: By::Network,
                how: How::Error,
                ..failure
            };
        }
        Begun::Failed(AttemptError { failure, syn_retransmits: None })
    })
}

/// Whether this machine has no address of its own from which `address` can be reached, as where IPv6
/// is switched off. TCP says the same when all local ports are taken; UDP has its own.
fn has_no_way_to(address: SocketAddr) -> bool {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let connected = UdpSocket::bind(any).and_then(|socket| socket.connect(address));
    connected.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

fn connect(address: SocketAddr, how: Dialling<'_>) -> io::Result<Begun> {
    let kind = Type::STREAM;
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let kind = kind.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    socket.set_nonblocking(true)?;
    how.sockets.set(&socket)?;
    if let Some(hops) = how.hops {
        hop::count(&socket, address, hops);
    }
    // A listener of ours may accept it before connect(2) returns.
    let being_dialled = how.own.dial(address);
    let address = address.into();
    let connected = match socket.connect(&address) {
        Ok(()) => true,
        Err(error) if is_under_way(&error) => match answered_already(&socket, &address) {
            Ok(connected) => connected,
            Err(error) => return Ok(Begun::Failed(AttemptError::answered(&error, &socket))),
        },
        Err(error) => return Err(error),
    };
    let stream = TcpStream::from_std(socket.into())?;
    let connection = being_dialled.register(stream.local_addr()?);
    let own = OwnStream { stream, connection };
    Ok(if connected { Begun::Connected(own) } else { Begun::Waiting(own) })
}

/// How an attempt that was under way ended, after its socket became writable.
pub(super) fn outcome(stream: &TcpStream, ready: io::Result<()>) -> Result<(), AttemptError> {
    match ready.and_then(|()| stream.take_error()) {
        Ok(None) => Ok(()),
        Ok(Some(error)) | Err(error) => Err(AttemptError::answered(&error, stream)),
    }
}

/// SYNs that were sent again, as the socket tells while it is there.
pub(super) fn syn_retransmits(socket: &impl crate::tcp_info::Socket) -> Option<u64> {
    TcpInfo::of(socket).ok().and_then(|info| info.sys_info.syn_retransmits())
}

impl AttemptError {
    /// From the answer to a SYN: there, "permission denied" is a router's or a firewall's word
    /// (ICMPv6 "administratively prohibited").
    fn answered(error: &io::Error, socket: &impl crate::tcp_info::Socket) -> Self {
        let mut failure = classify(error);
        if error.kind() == io::ErrorKind::PermissionDenied {
            failure = Failure { outcome: Outcome::Unreachable, by: By::Network, ..failure };
        }
        Self { failure, syn_retransmits: syn_retransmits(socket) }
    }
}

fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EALREADY)) {
        return true;
    }
    error.kind() == io::ErrorKind::WouldBlock
}

/// Asks Linux a second time: it returns 0 or the error when the answer has come meanwhile. That
/// spares the wait for it, with its timer. Other systems say EISCONN, or nothing that can be relied
/// on.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn answered_already(socket: &Socket, address: &socket2::SockAddr) -> io::Result<bool> {
    match socket.connect(address) {
        Ok(()) => Ok(true),
        Err(error) if is_under_way(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn answered_already(_: &Socket, _: &socket2::SockAddr) -> io::Result<bool> {
    Ok(false)
}

/// Whom an error of connecting speaks of.
pub(super) fn classify(error: &io::Error) -> Failure {
    let fault = Fault::from(error);
    let (outcome, by, how) = match (&*fault.code, Outcome::of_error(&fault.code)) {
        ("ECONNREFUSED", _) => (Outcome::Refused, By::Upstream, How::Refused),
        // EADDRNOTAVAIL: no local port is left.
        ("EMFILE" | "ENFILE" | "EADDRNOTAVAIL" | "ENOBUFS" | "ENOMEM", _) => {
            (Outcome::Limit, By::Proxy, How::Limit)
        }
        (_, outcome @ Outcome::Reset) => (outcome, By::Upstream, How::Reset),
        (_, outcome @ Outcome::Unreachable) => (outcome, By::Network, How::Error),
        (_, outcome @ Outcome::Timeout) => (outcome, By::Proxy, How::Timeout),
        (_, outcome) => (outcome, By::Proxy, How::Error),
    };
    Failure { phase: Phase::Connect, outcome, by, how, fault: Some(fault) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_connecting_speaks_of_the_upstream_the_network_or_us() {
        for (number, outcome, by) in [
            (libc::EHOSTDOWN, Outcome::Unreachable, By::Network),
            (libc::ENETDOWN, Outcome::Unreachable, By::Network),
            (libc::ECONNREFUSED, Outcome::Refused, By::Upstream),
            (libc::EPIPE, Outcome::Reset, By::Upstream),
            (libc::ETIMEDOUT, Outcome::Timeout, By::Proxy),
            (libc::EMFILE, Outcome::Limit, By::Proxy),
            (libc::EINVAL, Outcome::Error, By::Proxy),
        ] {
            let failure = classify(&io::Error::from_raw_os_error(number));
            assert_eq!((failure.outcome, failure.by), (outcome, by), "{:?}", failure.fault);
        }
    }
}
