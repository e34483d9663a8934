//! Listening sockets, and the loop that accepts from one.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::admission::Place;
use super::entry::Entry;
use super::loops;
use super::session::{AcceptResult, Session};
use super::shared::Shared;
use crate::dial::Origin;
use crate::ingress::{Forward, ListenAddr, ListenerKind, Target};
use crate::log_throttle::LogThrottle;
use crate::socket_options::SocketOptions;

/// Size of the accept queue; the system caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Pause after the system had no resources for another connection.
const OUT_OF_RESOURCES: Duration = Duration::from_millis(100);

/// A bound listening socket, and what its connections speak.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    entry: Arc<Entry>,
    /// The socket was inherited: connections in its accept queue do not have our options.
    is_inherited: bool,
}

/// Where to listen.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenOn {
    /// A free address; port 0 means any free port.
    Address(SocketAddr),
    /// On a socket that already listens, such as one passed by a service manager. One for TPROXY
    /// must have been bound with `IP_TRANSPARENT`.
    Socket(std::net::TcpListener),
}

impl ListenOn {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Address(address) => *address,
            Self::Socket(socket) => {
                socket.local_addr().unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into())
            }
        }
    }
}

impl From<SocketAddr> for ListenOn {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl From<ListenAddr> for ListenOn {
    fn from(address: ListenAddr) -> Self {
        Self::Address(address.0)
    }
}

impl From<std::net::TcpListener> for ListenOn {
    fn from(socket: std::net::TcpListener) -> Self {
        Self::Socket(socket)
    }
}

/// An error of binding a listening socket.
#[derive(Debug)]
pub struct BindError {
    pub(crate) address: SocketAddr,
    pub(crate) error: io::Error,
}

impl BindError {
    /// Whether another socket has the address.
    pub fn is_in_use(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrInUse
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        let advice = match &*crate::fault::code_of(error) {
            "EADDRINUSE" => "; stop the program that listens there, or choose another port",
            "EADDRNOTAVAIL" => "; this machine has no such address",
            "EACCES" => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
            // IP_TRANSPARENT alone is refused with this one.
            "EPERM" => "; TPROXY needs root or CAP_NET_ADMIN",
            _ if error.kind() == io::ErrorKind::Unsupported => "; only Linux supports this",
            _ => "",
        };
        write!(f, "cannot listen on {address}: {}{advice}", crate::fault::text_of(error))
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The address and the purpose of the listener.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry.kind {
            ListenerKind::Forward(target) => write!(f, "{}, forwarding to {target}", self.address),
            ListenerKind::Proxy => write!(f, "{}, as HTTP and SOCKS proxy", self.address),
            ListenerKind::Redirect => {
                write!(f, "{}, for connections diverted by REDIRECT", self.address)
            }
            ListenerKind::Tproxy => {
                write!(f, "{}, for connections diverted by TPROXY", self.address)
            }
        }
    }
}

impl Listener {
    /// Listens for connections that all go to one target. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used.
    pub fn forward(forward: &Forward) -> Result<Self, BindError> {
        Self::forward_on(forward.listen, forward.target.clone())
    }

    /// Like [`forward`](Self::forward), also on a socket that is already bound.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used.
    pub fn forward_on(on: impl Into<ListenOn>, target: Target) -> Result<Self, BindError> {
        Self::new(on.into(), ListenerKind::Forward(target))
    }

    /// Listens for clients that speak HTTP or SOCKS to a proxy. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used.
    pub fn proxy(on: impl Into<ListenOn>) -> Result<Self, BindError> {
        Self::new(on.into(), ListenerKind::Proxy)
    }

    /// Listens for connections that a REDIRECT rule of the kernel diverts here. Linux. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used; the system is another one.
    pub fn redirect(on: impl Into<ListenOn>) -> Result<Self, BindError> {
        Self::new(on.into(), ListenerKind::Redirect)
    }

    /// Listens for connections that a TPROXY rule of the kernel diverts here. Linux; needs
    /// `CAP_NET_ADMIN`. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used; the capability is missing;
    /// the system is another one.
    pub fn tproxy(on: impl Into<ListenOn>) -> Result<Self, BindError> {
        Self::new(on.into(), ListenerKind::Tproxy)
    }

    fn new(on: ListenOn, kind: ListenerKind) -> Result<Self, BindError> {
        let address = on.address();
        let is_inherited = matches!(on, ListenOn::Socket(_));
        let listen = || -> io::Result<(TcpListener, SocketAddr)> {
            let socket = match on {
                ListenOn::Address(listen) => bind(listen, &kind)?,
                ListenOn::Socket(socket) => socket.into(),
            };
            socket.set_nonblocking(true)?;
            let socket = TcpListener::from_std(socket.into())?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let (socket, address) = listen().map_err(|error| BindError { address, error })?;
        let entry = Arc::new(Entry::new(kind, address));
        Ok(Self { socket, address, entry, is_inherited })
    }

    /// Where it listens, with the port that port 0 became.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where a forwarding listener listens, and its target. `None` of others.
    pub fn forwards_to(&self) -> Option<(SocketAddr, Target)> {
        match &self.entry.kind {
            ListenerKind::Forward(target) => Some((self.address, target.clone())),
            ListenerKind::Proxy | ListenerKind::Redirect | ListenerKind::Tproxy => None,
        }
    }

    /// Sets the options that accepted connections inherit.
    pub(super) fn set_options(&self, options: &SocketOptions) {
        let listening = SockRef::from(&self.socket);
        if let Err(error) = options.set(&listening) {
            let text = crate::fault::text_of(&error);
            tracing::error!(
                "cannot set socket options on {}: {text}; using the defaults",
                self.address
            );
        }
    }

    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Accepts forever, with one task for each pair.
    pub(super) async fn accept_all(self, shared: Arc<Shared>, pairs: TaskTracker) {
        // TPROXY's connections have their targets' addresses.
        let has_other =
            self.address.ip().is_unspecified() || matches!(self.entry.kind, ListenerKind::Tproxy);
        let local = (!has_other).then_some(self.address);
        let mut shortage = LogThrottle::default();
        loop {
            match self.accept(&shared).await {
                Ok((stream, peer, place)) => {
                    let local = local.or_else(|| stream.local_addr().ok());
                    if self.is_inherited
                        && let Err(error) = shared.settings.sockets.set(&SockRef::from(&stream))
                    {
                        tracing::debug!(
                            "cannot set socket options: {}",
                            crate::fault::text_of(&error)
                        );
                    }
                    let entry = Arc::clone(&self.entry);
                    let is_redirect = matches!(entry.kind, ListenerKind::Redirect);
                    let own = shared.dialler.own_connections();
                    match loops::origin(own, &stream, peer, local, is_redirect) {
                        Origin::Elsewhere => {
                            match Session::accept(&shared, stream, peer, local, entry, place) {
                                AcceptResult::Session(session) => {
                                    pairs.spawn(session.run());
                                }
                                AcceptResult::Refused(session, failure) => {
                                    pairs.spawn(async { session.refuse(failure) });
                                }
                                AcceptResult::Counted => {}
                            }
                        }
                        Origin::Own => shared.loops.refuse(stream, &entry),
                        Origin::Undecided(pending) => {
                            let shared = Arc::clone(&shared);
                            pairs.spawn(async move {
                                let own = shared.dialler.own_connections();
                                loops::decide(own, &pending).await;
                                if let Origin::Own =
                                    loops::origin(own, &stream, peer, local, is_redirect)
                                {
                                    return shared.loops.refuse(stream, &entry);
                                }
                                match Session::accept(&shared, stream, peer, local, entry, place) {
                                    AcceptResult::Session(session) => Box::pin(session.run()).await,
                                    AcceptResult::Refused(session, failure) => {
                                        session.refuse(failure)
                                    }
                                    AcceptResult::Counted => {}
                                }
                            });
                        }
                    }
                }
                Err(error) => self.pause_after(&error, &mut shortage).await,
            }
        }
    }

    /// Accepts the next connection, once there is a place for it and room for its record.
    async fn accept(&self, shared: &Shared) -> io::Result<(TcpStream, SocketAddr, Place)> {
        let Shared { recorder, admission, .. } = shared;
        loop {
            recorder.wait_for_room().await;
            // The place is held while accepting, not while waiting: other listeners need it then.
            let mut place = Some(admission.wait().await);
            let accepted = poll_fn(|cx| {
                let Some(place) = place.take().or_else(|| admission.take()) else {
                    return Poll::Ready(None);
                };
                if recorder.is_full() {
                    return Poll::Ready(None);
                }
                let accepted = ready!(self.socket.poll_accept(cx));
                Poll::Ready(Some(accepted.map(|(stream, peer)| (stream, peer, place))))
            });
            if let Some(accepted) = accepted.await {
                return accepted;
            }
        }
    }

    /// Handles an accept error. A connection that was reset in the queue is ignored; after a lack
    /// of resources, accepting pauses, which is logged once.
    async fn pause_after(&self, error: &io::Error, shortage: &mut LogThrottle) {
        let code = crate::fault::code_of(error);
        let text = crate::fault::text_of(error);
        if matches!(&*code, "EMFILE" | "ENFILE" | "ENOBUFS" | "ENOMEM") {
            if shortage.should_log() {
                tracing::error!(
                    "cannot accept connections on {}: {text}; new ones wait until others end (see \
                     ulimit -n)",
                    self.address
                );
            }
            tokio::time::sleep(OUT_OF_RESOURCES).await;
        } else {
            tracing::debug!("cannot accept connections on {}: {text}", self.address);
        }
    }
}

fn bind(listen: SocketAddr, kind: &ListenerKind) -> io::Result<Socket> {
    let domain = Domain::for_address(listen);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // On Windows the option of this name lets two programs share a port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if listen.is_ipv6() && listen.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    match kind {
        ListenerKind::Forward(_) | ListenerKind::Proxy => {}
        #[cfg(any(target_os = "linux", target_os = "android"))]
        ListenerKind::Redirect => {}
        #[cfg(any(target_os = "linux", target_os = "android"))]
        ListenerKind::Tproxy if listen.is_ipv4() => socket.set_ip_transparent_v4(true)?,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        ListenerKind::Tproxy => socket.set_ip_transparent_v6(true)?,
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        ListenerKind::Redirect | ListenerKind::Tproxy => {
            return Err(io::ErrorKind::Unsupported.into());
        }
    }
    SocketOptions::default().set(&socket)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
