//! One attempt to connect: its socket, and the classification of its error.

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

/// The state of an attempt after connect(2).
#[derive(Debug)]
pub(super) enum AttemptStart {
    /// Connected at once: a handshake over loopback is complete before connect(2) returns.
    Connected(OwnStream),
    /// In progress; the socket becomes writable when it is over.
    Waiting(OwnStream),
    Failed(AttemptError),
}

/// A connection that we dialled, registered as our own until it is closed.
#[derive(Debug)]
pub(crate) struct OwnStream {
    // Declared first, because it must be closed first.
    pub(crate) stream: TcpStream,
    pub(crate) connection: OwnConnection,
}

/// Configuration shared by all attempts of a dial.
#[derive(Debug, Clone, Copy)]
pub(super) struct DialConfig<'d> {
    pub(super) sockets: Outgoing,
    /// Number of proxies on this machine that the client has come through.
    pub(super) hops: Option<u32>,
    pub(super) own: &'d Arc<OwnConnections>,
}

/// Why an attempt did not connect.
#[derive(Debug)]
pub(super) struct AttemptError {
    pub(super) failure: Failure,
    pub(super) syn_retransmits: Option<u64>,
}

/// Sends the SYN and returns without waiting for the answer. tokio's connect would drop the socket
/// on failure, and with it the count of SYNs.
pub(super) fn start(address: SocketAddr, config: DialConfig<'_>) -> AttemptStart {
    connect(address, config).unwrap_or_else(|error| {
        let mut failure = classify(&error);
        if error.kind() == io::ErrorKind::AddrNotAvailable && lacks_source_address(address) {
            failure = Failure {
                outcome: Outcome::Unreachable,
                by: By::Network,
                how: How::Error,
                ..failure
            };
        }
        AttemptStart::Failed(AttemptError { failure, syn_retransmits: None })
    })
}

/// Whether this machine has no source address for `address`, for example because IPv6 is disabled.
/// TCP returns the same error when all local ports are in use; UDP has separate ports.
fn lacks_source_address(address: SocketAddr) -> bool {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let connected = UdpSocket::bind(any).and_then(|socket| socket.connect(address));
    connected.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

fn connect(address: SocketAddr, config: DialConfig<'_>) -> io::Result<AttemptStart> {
    let kind = Type::STREAM;
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let kind = kind.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    socket.set_nonblocking(true)?;
    config.sockets.set(&socket)?;
    if let Some(hops) = config.hops {
        hop::add_hop(&socket, address, hops);
    }
    // Registered first, because a listener of ours may accept it before connect(2) returns.
    let being_dialled = config.own.dial(address);
    let address = address.into();
    let connected = match socket.connect(&address) {
        Ok(()) => true,
        Err(error) if is_under_way(&error) => match poll_connect(&socket, &address) {
            Ok(connected) => connected,
            Err(error) => return Ok(AttemptStart::Failed(AttemptError::answered(&error, &socket))),
        },
        Err(error) => return Err(error),
    };
    let stream = TcpStream::from_std(socket.into())?;
    let connection = being_dialled.register(stream.local_addr()?);
    let own = OwnStream { stream, connection };
    Ok(if connected { AttemptStart::Connected(own) } else { AttemptStart::Waiting(own) })
}

/// The result of an attempt in progress, after its socket became writable.
pub(super) fn outcome(stream: &TcpStream, ready: io::Result<()>) -> Result<(), AttemptError> {
    match ready.and_then(|()| stream.take_error()) {
        Ok(None) => Ok(()),
        Ok(Some(error)) | Err(error) => Err(AttemptError::answered(&error, stream)),
    }
}

/// Retransmitted SYNs, read from the socket.
pub(super) fn syn_retransmits(socket: &impl crate::tcp_info::Socket) -> Option<u64> {
    TcpInfo::of(socket).ok().and_then(|info| info.sys_info.syn_retransmits())
}

impl AttemptError {
    /// An error in reply to a SYN. There, "permission denied" comes from a router or firewall
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

/// Calls connect(2) again: Linux returns 0 or the error if the answer has come meanwhile, which
/// saves waiting for it with a timer. Other systems return EISCONN or are unreliable.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn poll_connect(socket: &Socket, address: &socket2::SockAddr) -> io::Result<bool> {
    match socket.connect(address) {
        Ok(()) => Ok(true),
        Err(error) if is_under_way(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn poll_connect(_: &Socket, _: &socket2::SockAddr) -> io::Result<bool> {
    Ok(false)
}

/// Classifies an error of connecting.
pub(super) fn classify(error: &io::Error) -> Failure {
    let fault = Fault::from(error);
    let (outcome, by, how) = match (&*fault.code, Outcome::from_error_code(&fault.code)) {
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
