//! Listening sockets, and the loop that accepts from one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::session::Session;
use crate::ingress::{Forward, ListenAddr, Way};
use crate::record::Listening;

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
    way: Way,
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
            "EADDRINUSE" => "; another program listens there, or choose port 0 for any free one",
            "EADDRNOTAVAIL" => "; this machine has no such address",
            "EACCES" => "; ports below 1024 need more rights",
            // IP_TRANSPARENT alone is refused with this one.
            "EPERM" => "; taking what TPROXY diverts needs CAP_NET_ADMIN, which root has",
            _ if error.kind() == io::ErrorKind::Unsupported => "; only Linux diverts connections",
            _ => "",
        };
        write!(f, "listening on {address}: {}{advice}", crate::fault::text_of(error))
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
        match &self.way {
            Way::Forward(target) => write!(f, "{}, forwarding to {target}", self.address),
            Way::Proxy => write!(f, "{}, as HTTP and SOCKS proxy", self.address),
            Way::Redirect => write!(f, "{}, for what REDIRECT diverts", self.address),
            Way::Tproxy => write!(f, "{}, for what TPROXY diverts", self.address),
        }
    }
}

impl Listener {
    /// Binds and listens for connections that all go to one target. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used.
    pub fn forward(forward: &Forward) -> Result<Self, BindError> {
        Self::bind(forward.listen, Way::Forward(forward.target.clone()))
    }

    /// Binds and listens for clients that speak HTTP or SOCKS to a proxy. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used.
    pub fn proxy(listen: ListenAddr) -> Result<Self, BindError> {
        Self::bind(listen.0, Way::Proxy)
    }

    /// Binds and listens for connections that a REDIRECT rule of the kernel diverts here. Linux.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used; the system is another one.
    pub fn redirect(listen: ListenAddr) -> Result<Self, BindError> {
        Self::bind(listen.0, Way::Redirect)
    }

    /// Binds and listens for connections that a TPROXY rule of the kernel diverts here. Linux; needs
    /// `CAP_NET_ADMIN`. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used; the capability is missing;
    /// the system is another one.
    pub fn tproxy(listen: ListenAddr) -> Result<Self, BindError> {
        Self::bind(listen.0, Way::Tproxy)
    }

    fn bind(listen: SocketAddr, way: Way) -> Result<Self, BindError> {
        let bind = || -> io::Result<(TcpListener, SocketAddr)> {
            let domain = Domain::for_address(listen);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            // On Windows the option of this name lets two programs share a port.
            #[cfg(not(windows))]
            socket.set_reuse_address(true)?;
            if listen.is_ipv6() && listen.ip().is_unspecified() {
                socket.set_only_v6(false)?;
            }
            crate::socket_options::set(&socket)?;
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
            socket.set_nonblocking(true)?;
            socket.bind(&listen.into())?;
            socket.listen(BACKLOG)?;
            let socket = TcpListener::from_std(socket.into())?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let error = |error| BindError { address: listen, error };
        let (socket, address) = bind().map_err(error)?;
        Ok(Self { socket, address, way })
    }

    /// Where it listens, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn describe(&self) -> Listening {
        let target = match &self.way {
            Way::Forward(target) => Some(target.to_string()),
            Way::Proxy | Way::Redirect | Way::Tproxy => None,
        };
        Listening { mode: self.way.mode(), listener: self.address.to_string(), target }
    }

    /// Accepts for ever, a task a pair.
    pub(super) async fn accept_all(self, shared: Arc<Shared>, pairs: TaskTracker) {
        let listener: Arc<str> = self.address.to_string().into();
        // TPROXY's connections have their targets' addresses.
        let has_other = self.address.ip().is_unspecified() || matches!(self.way, Way::Tproxy);
        let local = (!has_other).then_some(self.address);
        let mut told_of_shortage = false;
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    told_of_shortage = false;
                    let session = Session::accepted(
                        Arc::clone(&shared),
                        stream,
                        peer,
                        local,
                        Arc::clone(&listener),
                        self.way.clone(),
                    );
                    pairs.spawn(session.run());
                }
                Err(error) => self.pause_after(&error, &mut told_of_shortage).await,
            }
        }
    }

    /// A connection that was reset before it was accepted is nothing; a system without resources
    /// gets time to find some, which is said once until they were found.
    async fn pause_after(&self, error: &io::Error, told: &mut bool) {
        let code = crate::fault::code_of(error);
        let text = crate::fault::text_of(error);
        if matches!(&*code, "EMFILE" | "ENFILE" | "ENOBUFS" | "ENOMEM") {
            if !std::mem::replace(told, true) {
                tracing::warn!(
                    "accepting on {}: {text}; new connections wait until others end (ulimit -n sets \
                     how many descriptors a process may have)",
                    self.address
                );
            }
            tokio::time::sleep(OUT_OF_RESOURCES).await;
        } else {
            tracing::debug!("accepting on {}: {text}", self.address);
        }
    }
}
