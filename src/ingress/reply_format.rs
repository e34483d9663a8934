//! Replies to a request, in the protocol of the client.

use std::net::SocketAddr;

use super::http::{self, Status};
use super::{Target, socks};
use crate::failure::Failure;

/// The format of the reply to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyFormat {
    /// No reply: a failure is a reset.
    Silent,
    /// Reply to CONNECT, in this minor version of HTTP/1.
    Connect { minor: u8 },
    /// Reply to a request in absolute form; on success, the upstream answers.
    Http { minor: u8, to_head: bool },
    /// SOCKS 4.
    Socks4,
    /// SOCKS 5.
    Socks5,
}

impl ReplyFormat {
    /// The minor version of HTTP/1; 1 for other protocols.
    pub(super) fn minor(self) -> u8 {
        match self {
            Self::Connect { minor } | Self::Http { minor, .. } => minor,
            Self::Silent | Self::Socks4 | Self::Socks5 => 1,
        }
    }

    /// The reply when the upstream is connected, from our address `bound`.
    pub(crate) fn success(self, bound: Option<SocketAddr>) -> Vec<u8> {
        match self {
            Self::Silent | Self::Http { .. } => Vec::new(),
            Self::Connect { minor } => {
                format!("HTTP/1.{minor} 200 Connection established\r\n\r\n").into_bytes()
            }
            Self::Socks4 => socks::reply_4(true),
            Self::Socks5 => socks::reply_5(socks::Reply::Succeeded, bound),
        }
    }

    /// The reply when the target was not reached, or not through this parent proxy; `None` for a reset.
    pub(crate) fn failure_reply(
        self,
        target: &Target,
        via: Option<&str>,
        failure: &Failure,
    ) -> Option<Vec<u8>> {
        let (minor, to_head) = match self {
            Self::Silent => return None,
            Self::Connect { minor } => (minor, false),
            Self::Http { minor, to_head } => (minor, to_head),
            Self::Socks4 => return Some(socks::reply_4(false)),
            Self::Socks5 => return Some(socks::reply_5(socks::Reply::for_failure(failure), None)),
        };
        let through =
            via.map_or_else(String::new, |via| format!(" through the parent proxy {via}"));
        let why = match &failure.fault {
            Some(fault) => {
                format!("cannot reach {target}{through}: {} ({})", fault.text, fault.code)
            }
            None => format!("cannot reach {target}: the proxy is shutting down"),
        };
        Some(http::response_to_failure(Status::for_failure(failure), failure, &why, minor, to_head))
    }
}
