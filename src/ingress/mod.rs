//! The ways in: from an accepted socket to a request for a target.
//!
//! Each language has its parsers, pure functions over the bytes that have come so far, and one
//! function that talks with a client by them.

mod answer;
mod dialogue;
mod diverted;
mod forward;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod http;
mod listen;
mod proxy_protocol;
mod request;
mod socks;

pub(crate) use answer::Answer;
pub(crate) use dialogue::{Conditions, Dialogue, farewell};
pub(crate) use diverted::original_destination;
pub use forward::{Forward, ParseForwardError};
pub(crate) use http::{Exchange, parse_status};
pub use listen::{ListenAddr, ParseListenError};
pub(crate) use proxy_protocol::Endpoints;
pub use proxy_protocol::ProxyProtocol;
pub(crate) use request::{Asked, Editors, Refusal, Request, hear, hear_announced};

use crate::record::Mode;
pub use crate::target::{ParseTargetError, Target};

/// What a parser makes of the bytes that have come so far.
#[derive(Debug)]
pub(crate) enum Parsed<T, B> {
    /// A beginning; more must come.
    Partial,
    /// A whole message, and how many bytes it took.
    Complete(T, usize),
    /// Whatever comes, it will be none.
    Bad(B),
}

/// What the connections of a listener speak.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// Nothing that concerns the proxy: all go to one target.
    Forward(Target),
    /// HTTP or SOCKS, told apart by the first byte.
    Proxy,
    /// Nothing that concerns the proxy: REDIRECT sent them here on their way to their targets.
    Redirect,
    /// The same by TPROXY, which leaves the target's address in the connection.
    Tproxy,
}

impl Way {
    /// The mode of all its pairs; `None` where each shows its own.
    pub(crate) fn mode(&self) -> Option<Mode> {
        match self {
            Self::Forward(_) => Some(Mode::Forward),
            Self::Proxy => None,
            Self::Redirect => Some(Mode::Redirect),
            Self::Tproxy => Some(Mode::Tproxy),
        }
    }
}
