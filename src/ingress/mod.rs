//! Client protocols: from an accepted socket to a request for a target.
//!
//! Each protocol has its parsers, pure functions over the bytes received so far, and one function
//! that uses them in a conversation with a client.

mod dialogue;
mod diverted;
mod forward;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod http;
mod listen;
mod proxy_protocol;
mod reply_format;
mod request;
mod socks;

pub(crate) use dialogue::{Dialogue, DialogueLimits, send_error_and_drain};
pub(crate) use diverted::original_destination;
pub use forward::{Forward, ParseForwardError};
pub(crate) use http::{HttpExchange, parse_status};
pub use listen::{ListenAddr, ParseListenError};
pub(crate) use proxy_protocol::Endpoints;
pub use proxy_protocol::ProxyProtocol;
pub(crate) use reply_format::ReplyFormat;
pub(crate) use request::{Editors, Refusal, Request, RequestInfo, read_proxy_header, read_request};

use crate::record::Mode;
pub use crate::target::{ParseTargetError, Target};

/// The result of parsing the bytes received so far.
#[derive(Debug)]
pub(crate) enum Parsed<T, B> {
    /// The message is incomplete so far.
    Partial,
    /// A complete message and its length in bytes.
    Complete(T, usize),
    /// The message is malformed.
    Bad(B),
}

/// What the connections of a listener speak, and where their targets come from.
#[derive(Debug, Clone)]
pub(crate) enum ListenerKind {
    /// All connections go to one target.
    Forward(Target),
    /// HTTP or SOCKS, told apart by the first byte.
    Proxy,
    /// Connections diverted by REDIRECT on the way to their targets.
    Redirect,
    /// Connections diverted by TPROXY, which keeps the target's address.
    Tproxy,
}

impl ListenerKind {
    /// The mode of all pairs of the listener; `None` if each connection shows its own.
    pub(crate) fn mode(&self) -> Option<Mode> {
        match self {
            Self::Forward(_) => Some(Mode::Forward),
            Self::Proxy => None,
            Self::Redirect => Some(Mode::Redirect),
            Self::Tproxy => Some(Mode::Tproxy),
        }
    }
}
