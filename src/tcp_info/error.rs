//! Why there is no TCP information.

use std::fmt;
use std::io;

use crate::fault::Fault;

/// Why the kernel gave no TCP information on a socket. The texts carry no address.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The socket is not a TCP socket (`ENOPROTOOPT`, `EOPNOTSUPP`).
    NotTcp,
    /// The descriptor is not a socket (`ENOTSOCK`).
    NotASocket,
    /// The descriptor is closed (`EBADF`).
    Closed,
    /// The system has no such information, or returned an empty structure: an old kernel, or an
    /// emulator.
    Unsupported,
    /// Any other error.
    Os(io::Error),
}

impl Error {
    /// The error as a symbol: `ENOTSOCK`, `EBADF`, …; `ENOPROTOOPT` for a socket that is not TCP.
    pub fn code(&self) -> String {
        match self {
            Self::NotTcp => "ENOPROTOOPT".to_owned(),
            Self::NotASocket => "ENOTSOCK".to_owned(),
            Self::Closed => "EBADF".to_owned(),
            Self::Unsupported => "ENOTSUP".to_owned(),
            Self::Os(error) => crate::fault::code_of(error).into_owned(),
        }
    }

    /// Classifies an error of the system call.
    pub(super) fn from_os(error: io::Error) -> Self {
        #[cfg(unix)]
        match error.raw_os_error() {
            Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP) => return Self::NotTcp,
            Some(libc::ENOTSOCK) => return Self::NotASocket,
            Some(libc::EBADF) => return Self::Closed,
            _ => {}
        }
        #[cfg(windows)]
        {
            use windows_sys::Win32::Networking::WinSock::{WSAEINVAL, WSAENOTSOCK, WSAEOPNOTSUPP};
            match error.raw_os_error() {
                Some(WSAEOPNOTSUPP) => return Self::Unsupported,
                Some(WSAEINVAL) => return Self::NotTcp,
                Some(WSAENOTSOCK) => return Self::NotASocket,
                _ => {}
            }
        }
        Self::Os(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot get TCP information: ")?;
        match self {
            Self::NotTcp => f.write_str("the socket is not a TCP socket"),
            Self::NotASocket => f.write_str("the descriptor is not a socket"),
            Self::Closed => f.write_str("the socket is closed"),
            Self::Unsupported => f.write_str("not supported by this system"),
            Self::Os(error) => f.write_str(&crate::fault::text_of(error)),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Os(error) => Some(error),
            _ => None,
        }
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        Self { code: error.code().into(), text: error.to_string().into() }
    }
}
