//! The proxy's own responses to HTTP clients.

use super::Status;
use super::proxy_status::{ProxyError, ProxyStatus};
use super::response::BadResponse;
use crate::failure::Failure;

/// A complete response to a request that failed. A HEAD request gets only the head.
pub(crate) fn response_to_failure(
    status: Status,
    failure: &Failure,
    why: &str,
    minor: u8,
    to_head: bool,
) -> Vec<u8> {
    let code = failure.fault.as_ref().map(|fault| &*fault.code);
    let proxy_status = ProxyStatus { error: ProxyError::for_failure(failure), status, code };
    response(&proxy_status, why, minor, to_head)
}

/// A complete 502 in place of a response that cannot be passed on. A HEAD request gets only the head.
pub(super) fn response_to_bad(bad: BadResponse, why: &str, minor: u8, to_head: bool) -> Vec<u8> {
    let error = ProxyError::for_bad_response(bad);
    let code = Some("MALFORMED_RESPONSE");
    response(&ProxyStatus { error, status: Status::BadGateway, code }, why, minor, to_head)
}

/// The body says who speaks: nobody may take it for the server's, or for a line of the program's log.
fn response(proxy_status: &ProxyStatus<'_>, why: &str, minor: u8, to_head: bool) -> Vec<u8> {
    let (code, phrase) = proxy_status.status.code_and_phrase();
    let more = match proxy_status.status {
        // RFC 9110 section 15.5.6. The proxy itself allows no method.
        Status::MethodNotAllowed => "Allow:\r\n",
        Status::AuthenticationRequired => "Proxy-Authenticate: Basic realm=\"conniver\"\r\n",
        _ => "",
    };
    let body = format!(
        "{code} {phrase}\n\nThis response is from the proxy conniver, not from the server.\nReason: \
         {why}\n"
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
