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
use super::session::{Admitted, Session};
use super::shared::Shared;
use crate::dial::Origin;
use crate::episode::Episode;
use crate::ingress::{Forward, ListenAddr, Target, Way};
use crate::socket_options::SocketOptions;

/// Connections that may wait to be accepted; the system cuts it at its own limit
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Pause after the system had no resources for another connection.
const OUT_OF_RESOURCES: Duration = Duration::from_millis(100);

/// A bound listening socket, and what its connections speak.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    entry: Arc<Entry>,
    /// It listened before it came to us: what waits there did not inherit our options.
    is_inherited: bool,
}

/// Where to listen.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenOn {
    /// On an address that is free; port 0 asks for any free port.
    Address(SocketAddr),
    /// On a socket that listens already, such as one that a service manager hands over. One for
    /// TPROXY must have been bound with `IP_TRANSPARENT`.
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

/// A listening socket that could not be had.
#[derive(Debug)]
pub struct BindError {
    pub(crate) address: SocketAddr,
    pub(crate) error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        let advice = match &*crate::fault::code_of(error) {
            "EADDRINUSE" => {
                "; stop the program that listens there, or choose another port (0 picks a free \
                 one)"
            }
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

/// Where it listens, and for what.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry.way {
            Way::Forward(target) => write!(f, "{}, forwarding to {target}", self.address),
            Way::Proxy => write!(f, "{}, as HTTP and SOCKS proxy", self.address),
            Way::Redirect => write!(f, "{}, for connections diverted by REDIRECT", self.address),
            Way::Tproxy => write!(f, "{}, for connections diverted by TPROXY", self.address),
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

    /// The same, also on a socket that is bound already.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used.
    pub fn forward_on(on: impl Into<ListenOn>, target: Target) -> Result<Self, BindError> {
        Self::new(on.into(), Way::Forward(target))
    }

    /// Listens for clients that speak HTTP or SOCKS to a proxy. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used.
    pub fn proxy(on: impl Into<ListenOn>) -> Result<Self, BindError> {
        Self::new(on.into(), Way::Proxy)
    }

    /// Listens for connections that a REDIRECT rule of the kernel diverts here. Linux. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used; the system is another one.
    pub fn redirect(on: impl Into<ListenOn>) -> Result<Self, BindError> {
        Self::new(on.into(), Way::Redirect)
    }

    /// Listens for connections that a TPROXY rule of the kernel diverts here. Linux; needs
    /// `CAP_NET_ADMIN`. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used; the capability is missing;
    /// the system is another one.
    pub fn tproxy(on: impl Into<ListenOn>) -> Result<Self, BindError> {
        Self::new(on.into(), Way::Tproxy)
    }

    fn new(on: ListenOn, way: Way) -> Result<Self, BindError> {
        let address = on.address();
        let is_inherited = matches!(on, ListenOn::Socket(_));
        let listen = || -> io::Result<(TcpListener, SocketAddr)> {
            let socket = match on {
                ListenOn::Address(listen) => bind(listen, &way)?,
                ListenOn::Socket(socket) => socket.into(),
            };
            socket.set_nonblocking(true)?;
            let socket = TcpListener::from_std(socket.into())?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let (socket, address) = listen().map_err(|error| BindError { address, error })?;
        let entry = Arc::new(Entry::new(way, address));
        Ok(Self { socket, address, entry, is_inherited })
    }

    /// Where it listens, with the port that port 0 became.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What all connections that it accepts from here on inherit.
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

    /// Accepts for ever, a task a pair.
    pub(super) async fn accept_all(self, shared: Arc<Shared>, pairs: TaskTracker) {
        // TPROXY's connections have their targets' addresses.
        let has_other = self.address.ip().is_unspecified() || matches!(self.entry.way, Way::Tproxy);
        let local = (!has_other).then_some(self.address);
        let mut shortage = Episode::default();
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
                    let is_redirect = matches!(entry.way, Way::Redirect);
                    let own = shared.dialler.own_connections();
                    match loops::origin(own, &stream, peer, local, is_redirect) {
                        Origin::Elsewhere => {
                            match Session::admitted(&shared, stream, peer, local, entry, place) {
                                Admitted::Session(session) => {
                                    pairs.spawn(session.run());
                                }
                                Admitted::Refused(session, failure) => {
                                    pairs.spawn(async { session.refuse(failure) });
                                }
                                Admitted::Counted => {}
                            }
                        }
                        Origin::Own => shared.loops.refuse(&stream, &entry),
                        Origin::Undecided(pending) => {
                            let shared = Arc::clone(&shared);
                            pairs.spawn(async move {
                                let own = shared.dialler.own_connections();
                                loops::decide(own, &pending).await;
                                if let Origin::Own =
                                    loops::origin(own, &stream, peer, local, is_redirect)
                                {
                                    return shared.loops.refuse(&stream, &entry);
                                }
                                match Session::admitted(&shared, stream, peer, local, entry, place)
                                {
                                    Admitted::Session(session) => Box::pin(session.run()).await,
                                    Admitted::Refused(session, failure) => session.refuse(failure),
                                    Admitted::Counted => {}
                                }
                            });
                        }
                    }
                }
                Err(error) => self.pause_after(&error, &mut shortage).await,
            }
        }
    }

    /// The next connection, once there is a place for it and room for its record.
    async fn accept(&self, shared: &Shared) -> io::Result<(TcpStream, SocketAddr, Place)> {
        let Shared { recorder, admission, .. } = shared;
        loop {
            recorder.room().await;
            // Held while it accepts, not while it waits: other listeners need it then.
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

    /// A connection that was reset before it was accepted is nothing; a system without resources
    /// gets time to find some, which is said once until they were found.
    async fn pause_after(&self, error: &io::Error, shortage: &mut Episode) {
        let code = crate::fault::code_of(error);
        let text = crate::fault::text_of(error);
        if matches!(&*code, "EMFILE" | "ENFILE" | "ENOBUFS" | "ENOMEM") {
            if shortage.begins() {
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

fn bind(listen: SocketAddr, way: &Way) -> io::Result<Socket> {
    let domain = Domain::for_address(listen);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // On Windows the option of this name lets two programs share a port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if listen.is_ipv6() && listen.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    match way {
        Way::Forward(_) | Way::Proxy => {}
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Way::Redirect => {}
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Way::Tproxy if listen.is_ipv4() => socket.set_ip_transparent_v4(true)?,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Way::Tproxy => socket.set_ip_transparent_v6(true)?,
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Way::Redirect | Way::Tproxy => return Err(io::ErrorKind::Unsupported.into()),
    }
    SocketOptions::default().set(&socket)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
