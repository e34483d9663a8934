//! Socket options of both legs.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// TCP keepalive: after `idle` the system sends a probe, then one every `interval`; after `probes`
/// unanswered probes the connection ends. Whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first keepalive probe. Zero: no probes.
    pub idle: Duration,
    /// Keepalive probe interval.
    pub interval: Duration,
    /// Unanswered probes before the connection is closed.
    pub probes: u32,
}

impl Default for Keepalive {
    /// A dead peer is found after 60 s + 6 × 10 s.
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), probes: 6 }
    }
}

/// Options of the sockets of both legs, checked against the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    keepalive: Option<Keepalive>,
    user_timeout: Option<Duration>,
}

/// Options that the system does not accept.
#[derive(Debug)]
pub struct SocketOptionsError {
    what: &'static str,
    error: io::Error,
}

impl fmt::Display for SocketOptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, error } = self;
        let text = crate::fault::text_of(error);
        match error.kind() {
            io::ErrorKind::Unsupported => {
                write!(f, "cannot set {what}: not supported by this system")
            }
            _ => write!(
                f,
                "cannot set {what}: {text}; Linux accepts whole seconds from 1 to 32767, and 1 to \
                 127 probes"
            ),
        }
    }
}

impl std::error::Error for SocketOptionsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Default for SocketOptions {
    /// Keepalive with its default values, and no user timeout.
    fn default() -> Self {
        Self { keepalive: Some(Keepalive::default()), user_timeout: None }
    }
}

impl SocketOptions {
    /// Checks these options on a test socket. `user_timeout` is how long sent data may stay
    /// unacknowledged before the connection ends (RFC 5482, Linux `TCP_USER_TIMEOUT`); without it,
    /// and where it is zero, the system's retransmissions decide.
    ///
    /// # Errors
    ///
    /// The system does not accept the values, or has no user timeout.
    pub fn new(
        keepalive: Option<Keepalive>,
        user_timeout: Option<Duration>,
    ) -> Result<Self, SocketOptionsError> {
        let keepalive = keepalive.filter(|keepalive| !keepalive.idle.is_zero());
        let user_timeout = user_timeout.filter(|timeout| !timeout.is_zero());
        let options = Self { keepalive, user_timeout };
        let failed = |what| move |error| SocketOptionsError { what, error };
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
        let socket = socket.map_err(failed("socket options"))?;
        options.set_keepalive(&socket).map_err(failed("keepalive"))?;
        options.set_user_timeout(&socket).map_err(failed("the user timeout"))?;
        Ok(options)
    }

    /// Sets these options, and those of every relayed socket: TCP_NODELAY, inline urgent data, and
    /// reports of the receive queue. Accepted sockets inherit them from their listener.
    pub(crate) fn set(&self, socket: &Socket) -> io::Result<()> {
        self.set_keepalive(socket)?;
        self.set_user_timeout(socket)?;
        socket.set_tcp_nodelay(true)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        crate::tcp_info::enable_remaining(socket);
        socket.set_out_of_band_inline(true)
    }

    fn set_keepalive(&self, socket: &Socket) -> io::Result<()> {
        let Some(Keepalive { idle, interval, probes }) = self.keepalive else {
            return socket.set_keepalive(false);
        };
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
        #[cfg(not(windows))]
        let keepalive = keepalive.with_retries(probes);
        #[cfg(windows)]
        let _ = probes;
        socket.set_tcp_keepalive(&keepalive)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn set_user_timeout(&self, socket: &Socket) -> io::Result<()> {
        self.user_timeout.map_or(Ok(()), |timeout| socket.set_tcp_user_timeout(Some(timeout)))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn set_user_timeout(&self, _: &Socket) -> io::Result<()> {
        match self.user_timeout {
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
            None => Ok(()),
        }
    }
}

/// Options of sockets to upstreams.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outgoing {
    pub(crate) options: SocketOptions,
    pub(crate) mark: Option<Mark>,
}

impl Outgoing {
    pub(crate) fn set(&self, socket: &Socket) -> io::Result<()> {
        self.options.set(socket)?;
        self.mark.map_or(Ok(()), |mark| mark.set(socket))
    }
}

/// A mark on a socket's packets (`SO_MARK`, Linux), by which firewall and routing rules tell them
/// from others. This process has permission to set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(NonZeroU32);

/// A mark that cannot be set.
#[derive(Debug)]
pub struct MarkError {
    mark: NonZeroU32,
    error: io::Error,
}

impl fmt::Display for MarkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mark, error } = self;
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => "; this needs root or CAP_NET_ADMIN",
            io::ErrorKind::Unsupported => "; only Linux supports firewall marks",
            _ => "",
        };
        write!(f, "cannot set firewall mark {mark}: {}{advice}", crate::fault::text_of(error))
    }
}

impl std::error::Error for MarkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Mark {
    /// Checks the mark on a test socket.
    ///
    /// # Errors
    ///
    /// `CAP_NET_ADMIN` is missing, or the system is not Linux.
    pub fn new(mark: NonZeroU32) -> Result<Self, MarkError> {
        let tried = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
        match tried.and_then(|socket| Self(mark).set(&socket)) {
            Ok(()) => Ok(Self(mark)),
            Err(error) => Err(MarkError { mark, error }),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn set(self, socket: &Socket) -> io::Result<()> {
        socket.set_mark(self.0.get())
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn set(self, _: &Socket) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
