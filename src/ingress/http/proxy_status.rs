//! Why the proxy itself responds, as `Proxy-Status` says it (RFC 9209).

use std::fmt;

use super::Status;
use super::response::BadResponse;
use crate::failure::Failure;
use crate::record::{By, Outcome, Phase};

/// A registered type of error (RFC 9209 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyError {
    DnsTimeout,
    DnsError,
    DestinationUnavailable,
    DestinationIpProhibited,
    DestinationIpUnroutable,
    ConnectionRefused,
    ConnectionTerminated,
    ConnectionTimeout,
    ConnectionLimitReached,
    HttpRequestError,
    HttpRequestDenied,
    HttpResponseIncomplete,
    HttpResponseHeaderSectionSize,
    HttpProtocolError,
    ProxyInternalResponse,
    ProxyInternalError,
    ProxyConfigurationError,
    ProxyLoopDetected,
}

/// The value of the field, for a response with this status.
pub(super) struct ProxyStatus<'f> {
    pub(super) error: ProxyError,
    pub(super) status: Status,
    /// The error's code in the record.
    pub(super) code: Option<&'f str>,
}

impl ProxyError {
    /// The error for a request that failed.
    pub(super) fn for_failure(failure: &Failure) -> Self {
        let code = failure.fault.as_ref().map_or("", |fault| &*fault.code);
        match code {
            "EAI_AGAIN" | "RESOLVE_TIMEOUT" => return Self::DnsTimeout,
            "LOOP" => return Self::ProxyLoopDetected,
            // A parent proxy, which the client does not know.
            "PARENT_PROTOCOL" => return Self::HttpProtocolError,
            "SOCKS5_FF" | "SOCKS5_AUTH" | "HTTP_407" if failure.by == By::Upstream => {
                return Self::ProxyConfigurationError;
            }
            "EOF" => return Self::ConnectionTerminated,
            _ => {}
        }
        match failure.outcome {
            Outcome::Dns => Self::DnsError,
            Outcome::Refused => Self::ConnectionRefused,
            Outcome::Unreachable => Self::DestinationIpUnroutable,
            Outcome::Reset => Self::ConnectionTerminated,
            // The client's own request, or what it may ask for.
            Outcome::Timeout | Outcome::Protocol | Outcome::Limit
                if failure.phase == Phase::Request =>
            {
                Self::HttpRequestError
            }
            Outcome::Timeout => Self::ConnectionTimeout,
            Outcome::Protocol => Self::HttpProtocolError,
            Outcome::Limit => Self::ConnectionLimitReached,
            Outcome::Denied if failure.phase == Phase::Request || failure.by == By::Upstream => {
                Self::HttpRequestDenied
            }
            Outcome::Denied => Self::DestinationIpProhibited,
            Outcome::Shutdown => Self::ProxyInternalResponse,
            _ if failure.by == By::Upstream => Self::DestinationUnavailable,
            _ => Self::ProxyInternalError,
        }
    }

    /// The error for a response that cannot be passed on.
    pub(super) fn for_bad_response(bad: BadResponse) -> Self {
        match bad {
            BadResponse::NONE | BadResponse::INCOMPLETE_HEAD => Self::HttpResponseIncomplete,
            BadResponse::LONG_HEAD => Self::HttpResponseHeaderSectionSize,
            _ => Self::HttpProtocolError,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::DnsTimeout => "dns_timeout",
            Self::DnsError => "dns_error",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationIpProhibited => "destination_ip_prohibited",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::HttpRequestError => "http_request_error",
            Self::HttpRequestDenied => "http_request_denied",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpResponseHeaderSectionSize => "http_response_header_section_size",
            Self::HttpProtocolError => "http_protocol_error",
            Self::ProxyInternalResponse => "proxy_internal_response",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::ProxyConfigurationError => "proxy_configuration_error",
            Self::ProxyLoopDetected => "proxy_loop_detected",
        }
    }
}

impl fmt::Display for ProxyStatus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, status, code } = self;
        write!(f, "conniver; error={}", error.name())?;
        // Section 2.3.15.
        if *error == ProxyError::HttpRequestError {
            write!(f, "; status-code={}", status.code())?;
        }
        // Codes are tokens, which a string has as they are (RFC 8941 section 3.3.3).
        let is_token = |code: &&str| code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match code.filter(is_token) {
            Some(code) => write!(f, "; details=\"{code}\""),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::record::How;

    fn shown(phase: Phase, outcome: Outcome, by: By, code: &'static str) -> String {
        let fault = (!code.is_empty()).then(|| Fault { code: code.into(), text: "".into() });
        let failure = Failure { phase, outcome, by, how: How::Error, fault };
        let (error, status) = (ProxyError::for_failure(&failure), Status::for_failure(&failure));
        ProxyStatus { error, status, code: failure.fault.as_ref().map(|f| &*f.code) }.to_string()
    }

    #[test]
    fn every_failure_has_a_registered_type() {
        use {By::*, Outcome::*, Phase::*};
        for (phase, outcome, by, code, error) in [
            (Resolve, Dns, Resolver, "EAI_NONAME", "dns_error"),
            (Resolve, Dns, Resolver, "EAI_AGAIN", "dns_timeout"),
            (Resolve, Timeout, Proxy, "RESOLVE_TIMEOUT", "dns_timeout"),
            (Resolve, Limit, Proxy, "RESOLVE_LIMIT", "connection_limit_reached"),
            (Connect, Refused, Upstream, "ECONNREFUSED", "connection_refused"),
            (Connect, Unreachable, Network, "EHOSTUNREACH", "destination_ip_unroutable"),
            (Connect, Timeout, Proxy, "CONNECT_TIMEOUT", "connection_timeout"),
            (Connect, Timeout, Network, "ETIMEDOUT", "connection_timeout"),
            (Connect, Reset, Upstream, "ECONNRESET", "connection_terminated"),
            (Connect, Error, Upstream, "EOF", "connection_terminated"),
            (Connect, Error, Proxy, "EMFILE", "proxy_internal_error"),
            (Request, Denied, Proxy, "TARGET_DENIED", "http_request_denied"),
            (Connect, Denied, Proxy, "TARGET_DENIED", "destination_ip_prohibited"),
            (Connect, Denied, Proxy, "LOOP", "proxy_loop_detected"),
            (Request, Denied, Proxy, "AUTH_REQUIRED", "http_request_denied"),
            (Connect, Denied, Upstream, "HTTP_407", "proxy_configuration_error"),
            (Connect, Denied, Upstream, "HTTP_403", "http_request_denied"),
            (Connect, Error, Upstream, "HTTP_502", "destination_unavailable"),
            (Connect, Error, Upstream, "PARENT_PROTOCOL", "http_protocol_error"),
            (Connect, Denied, Upstream, "SOCKS5_FF", "proxy_configuration_error"),
            (Connect, Refused, Upstream, "SOCKS5_05", "connection_refused"),
        ] {
            let expected = format!("conniver; error={error}; details=\"{code}\"");
            assert_eq!(shown(phase, outcome, by, code), expected);
        }
        assert_eq!(shown(Connect, Shutdown, Proxy, ""), "conniver; error=proxy_internal_response");
        assert_eq!(
            shown(Request, Protocol, Client, "MALFORMED_REQUEST"),
            "conniver; error=http_request_error; status-code=400; details=\"MALFORMED_REQUEST\""
        );
    }

    #[test]
    fn a_bad_response_says_what_is_bad_about_it() {
        for (bad, error) in [
            (BadResponse::NONE, "http_response_incomplete"),
            (BadResponse::INCOMPLETE_HEAD, "http_response_incomplete"),
            (BadResponse::LONG_HEAD, "http_response_header_section_size"),
            (BadResponse("malformed status line"), "http_protocol_error"),
        ] {
            assert_eq!(ProxyError::for_bad_response(bad).name(), error);
        }
    }
}
