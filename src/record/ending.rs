//! How a pair ended, and who ended it first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::nanos;

/// The outcome of a pair, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// Both sides ended their streams; or one did, and had closed its connection when more data
    /// came for it, such as a TLS close_notify: `delivery` has the bytes that it never received. An
    /// upstream that closes while it is receiving a request, before it has answered, is a `reset`.
    /// In TLS, which is not half-closed, a reset caused by such a message is also `ok`.
    Ok,
    /// The target's name could not be resolved.
    Dns,
    /// The upstream refused the connection.
    Refused,
    /// The network reported that the upstream is unreachable.
    Unreachable,
    /// A time limit expired: connecting, the request, or a silent peer.
    Timeout,
    /// One side reset the connection.
    Reset,
    /// Denied by a rule.
    Denied,
    /// The client's request was malformed, or in http mode the upstream's response.
    Protocol,
    /// A limit of the proxy was reached.
    Limit,
    /// The proxy was told to stop.
    Shutdown,
    /// Anything else; `ending` says what.
    Error,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: &[Self] = &[
        Self::Ok,
        Self::Dns,
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Reset,
        Self::Denied,
        Self::Protocol,
        Self::Limit,
        Self::Shutdown,
        Self::Error,
    ];

    /// With the side that reset the connection or the error's code: `ok`, `reset by upstream`, `refused
    /// (ECONNREFUSED)`.
    pub(crate) fn in_words(self, reset_by: Option<By>, code: Option<&str>) -> String {
        match (self, reset_by, code) {
            (Self::Reset, Some(by), _) => format!("{self} by {by}"),
            (Self::Ok, ..) | (_, _, None) => self.to_string(),
            (_, _, Some(code)) => format!("{self} ({code})"),
        }
    }
}

#[cfg(feature = "proxy")]
impl Outcome {
    /// The outcome for an error of a connection, by its symbol.
    pub(crate) fn from_error_code(code: &str) -> Self {
        match code {
            "ECONNRESET" | "EPIPE" | "ECONNABORTED" => Self::Reset,
            "ETIMEDOUT" => Self::Timeout,
            "EHOSTUNREACH" | "ENETUNREACH" | "EHOSTDOWN" | "ENETDOWN" => Self::Unreachable,
            "MALFORMED_REQUEST" | "MALFORMED_RESPONSE" => Self::Protocol,
            _ => Self::Error,
        }
    }
}

/// Who ended a pair, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Ending {
    /// The phase in which the pair ended.
    pub phase: Phase,
    /// Who ended first.
    pub first_by: By,
    /// How the first end came.
    pub first_how: How,
    /// Who ended second. Null unless the other side ended by itself before the proxy ended it.
    pub second_by: Option<By>,
    /// How the second end came. Null with `secondBy`.
    pub second_how: Option<How>,
    /// From the first end to the second, ns. Null with `secondBy`.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub gap: Option<Duration>,
    /// What went wrong, in words. Null when nothing did.
    pub error: Option<String>,
    /// Its symbol, such as `ECONNRESET` or `EAI_NONAME`. Null with `error`.
    pub error_code: Option<String>,
}

impl Ending {
    /// The side that reset the connection. `None` where none did, and where it had ended its stream before.
    pub fn reset_by(&self) -> Option<By> {
        reset_by((self.first_by, self.first_how), (self.second_by, self.second_how))
    }
}

/// The side that reset the connection, of the first and the second end.
pub(crate) fn reset_by(first: (By, How), second: (Option<By>, Option<How>)) -> Option<By> {
    match (first, second) {
        ((by, How::Reset), _) => Some(by),
        (_, (by, Some(How::Reset))) => by,
        _ => None,
    }
}

/// The phase of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Phase {
    /// The client was being accepted.
    Accept,
    /// Its request was being read.
    Request,
    /// The target's name was being looked up.
    Resolve,
    /// The upstream was being dialled.
    Connect,
    /// Both sides were connected.
    Relay,
}

/// Who ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum By {
    /// The client.
    Client,
    /// The upstream.
    Upstream,
    /// The proxy itself.
    Proxy,
    /// The resolver.
    Resolver,
    /// The network.
    Network,
}

impl By {
    /// Who it is, in a sentence: `the client`.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Client => "the client",
            Self::Upstream => "the upstream",
            Self::Proxy => "the proxy",
            Self::Resolver => "the resolver",
            Self::Network => "the network",
        }
    }
}

/// How an end came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum How {
    /// An end of stream.
    Fin,
    /// A reset.
    Reset,
    /// The connection was refused.
    Refused,
    /// A time limit expired.
    Timeout,
    /// An error; `error` says which.
    Error,
    /// Denied by a rule.
    Denied,
    /// A limit was reached.
    Limit,
    /// The proxy was told to stop.
    Shutdown,
    /// In http mode, the client's connection went on to another upstream.
    Switched,
}

impl How {
    /// What they did, in a sentence: `reset the connection`.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Fin => "ended its stream",
            Self::Reset => "reset the connection",
            Self::Refused => "refused the connection",
            Self::Timeout => "timed out",
            Self::Error => "reported an error",
            Self::Denied => "denied the connection",
            Self::Limit => "had reached a limit",
            Self::Shutdown => "was told to stop",
            Self::Switched => "went on to another target",
        }
    }
}
