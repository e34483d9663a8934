//! The proxy's own responses to HTTP clients.

use super::proxy_status::{ProxyError, ProxyStatus};
use super::response::BadResponse;
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

    fn code_and_phrase(self) -> (u16, &'static str) {
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

    /// A complete response to a request that failed. A HEAD request gets only the head.
    pub(crate) fn response_to_failure(
        self,
        failure: &Failure,
        why: &str,
        minor: u8,
        to_head: bool,
    ) -> Vec<u8> {
        let code = failure.fault.as_ref().map(|fault| &*fault.code);
        let proxy_status =
            ProxyStatus { error: ProxyError::for_failure(failure), status: self, code };
        self.response(&proxy_status, why, minor, to_head)
    }

    /// A complete response in place of one that cannot be passed on. A HEAD request gets only the head.
    pub(super) fn response_to_bad(
        self,
        bad: BadResponse,
        why: &str,
        minor: u8,
        to_head: bool,
    ) -> Vec<u8> {
        let error = ProxyError::for_bad_response(bad);
        let proxy_status = ProxyStatus { error, status: self, code: Some("MALFORMED_RESPONSE") };
        self.response(&proxy_status, why, minor, to_head)
    }

    /// The first line of the body says who speaks: nobody may take it for the server's, or for a line of the
    /// program's log.
    fn response(
        self,
        proxy_status: &ProxyStatus<'_>,
        why: &str,
        minor: u8,
        to_head: bool,
    ) -> Vec<u8> {
        let (code, phrase) = self.code_and_phrase();
        let more = match self {
            // RFC 9110 section 15.5.6. The proxy itself allows no method.
            Self::MethodNotAllowed => "Allow:\r\n",
            Self::AuthenticationRequired => "Proxy-Authenticate: Basic realm=\"conniver\"\r\n",
            _ => "",
        };
        let body = format!(
            "{code} {phrase}\n\nThis response is from the proxy conniver, not from the server.\n\
             Reason: {why}\n"
        );
        let mut response = format!(
            "HTTP/1.{minor} {code} {phrase}\r\n{more}Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nProxy-Status: {proxy_status}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        if !to_head {
            response.push_str(&body);
        }
        response.into_bytes()
    }
}
