//! Socket options of both legs.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// A dead peer is found after 60 s + 6 × 10 s, so that a pair on a dead path yields a record.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(10), 6);

/// Sets what every relayed socket has: what one side writes at once leaves at once, a dead peer
/// is found, and an urgent byte keeps its place in the stream. Sockets that a listener accepts
/// inherit all of it.
pub(crate) fn set(socket: &Socket) -> io::Result<()> {
    let (idle, interval, probes) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(probes);
    #[cfg(windows)]
    let _ = probes;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    crate::tcp_info::tell_remaining(socket);
    socket.set_out_of_band_inline(true)
}

/// A mark on a socket's packets (`SO_MARK`, Linux), by which firewall and routing rules tell them from
/// others. It is one that this process may set.
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
            io::ErrorKind::PermissionDenied => "; it needs CAP_NET_ADMIN, which root has",
            io::ErrorKind::Unsupported => "; only Linux marks packets",
            _ => "",
        };
        write!(f, "marking connections with {mark}: {}{advice}", crate::fault::text_of(error))
    }
}

impl std::error::Error for MarkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Mark {
    /// Tries the mark on a socket.
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
    pub(crate) fn set(self, socket: &Socket) -> io::Result<()> {
        socket.set_mark(self.0.get())
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn set(self, _: &Socket) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
