//! The statuses of the proxy's own responses.

use crate::failure::Failure;
use crate::record::{By, Outcome};

/// A status of the proxy's own (RFC 9110 section 15; 431 is RFC 6585 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    AuthenticationRequired,
    RequestTimeout,
    UriTooLong,
    HeadTooLarge,
    InternalError,
    NotImplemented,
    BadGateway,
    Unavailable,
    GatewayTimeout,
}

impl Status {
    pub(crate) fn code(self) -> u16 {
        self.code_and_phrase().0
    }

    pub(super) fn code_and_phrase(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::Forbidden => (403, "Forbidden"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::AuthenticationRequired => (407, "Proxy Authentication Required"),
            Self::RequestTimeout => (408, "Request Timeout"),
            Self::UriTooLong => (414, "URI Too Long"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::InternalError => (500, "Internal Server Error"),
            Self::NotImplemented => (501, "Not Implemented"),
            Self::BadGateway => (502, "Bad Gateway"),
            Self::Unavailable => (503, "Service Unavailable"),
            Self::GatewayTimeout => (504, "Gateway Timeout"),
        }
    }

    /// The status for a failure.
    pub(crate) fn for_failure(failure: &Failure) -> Self {
        match failure.outcome {
            // A failure of a parent proxy, which the client does not know.
            Outcome::Error | Outcome::Protocol if failure.by == By::Upstream => Self::BadGateway,
            Outcome::Dns | Outcome::Refused | Outcome::Unreachable | Outcome::Reset => {
                Self::BadGateway
            }
            Outcome::Timeout => Self::GatewayTimeout,
            Outcome::Denied => Self::Forbidden,
            Outcome::Limit | Outcome::Shutdown => Self::Unavailable,
            Outcome::Protocol => Self::BadRequest,
            _ => Self::InternalError,
        }
    }
}
