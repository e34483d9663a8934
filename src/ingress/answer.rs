//! What a client is told of its request, in the language in which it asked.

use std::net::SocketAddr;

use super::http::Status;
use super::{Target, socks};
use crate::failure::Failure;

/// How the outcome of a request is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not at all: a target that cannot be reached is a reset.
    Silent,
    /// To CONNECT, in this minor version of HTTP/1.
    Connect { minor: u8 },
    /// To a request in absolute form; when it is granted, the upstream answers.
    Http { minor: u8, to_head: bool },
    /// In SOCKS 4.
    Socks4,
    /// In SOCKS 5.
    Socks5,
}

impl Answer {
    /// The minor version of HTTP/1 in which it is told; of other languages 1.
    pub(super) fn minor(self) -> u8 {
        match self {
            Self::Connect { minor } | Self::Http { minor, .. } => minor,
            Self::Silent | Self::Socks4 | Self::Socks5 => 1,
        }
    }

    /// The upstream is connected, from `bound`.
    pub(crate) fn granted(self, bound: Option<SocketAddr>) -> Vec<u8> {
        match self {
            Self::Silent | Self::Http { .. } => Vec::new(),
            Self::Connect { minor } => {
                format!("HTTP/1.{minor} 200 Connection established\r\n\r\n").into_bytes()
            }
            Self::Socks4 => socks::reply_4(true),
            Self::Socks5 => socks::reply_5(socks::Reply::Succeeded, bound),
        }
    }

    /// The target was not reached; `None` if a reset says so.
    pub(crate) fn refused(self, target: &Target, failure: &Failure) -> Option<Vec<u8>> {
        let (minor, to_head) = match self {
            Self::Silent => return None,
            Self::Connect { minor } => (minor, false),
            Self::Http { minor, to_head } => (minor, to_head),
            Self::Socks4 => return Some(socks::reply_4(false)),
            Self::Socks5 => return Some(socks::reply_5(socks::Reply::of(failure), None)),
        };
        let why = match &failure.fault {
            Some(fault) => format!("cannot reach {target}: {} ({})", fault.text, fault.code),
            None => format!("cannot reach {target}: the proxy is shutting down"),
        };
        Some(Status::of(failure).response(&why, minor, to_head))
    }
}
