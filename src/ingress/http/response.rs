//! Parses the heads of an upstream's responses in http mode, and rewrites them for the client.
//!
//! Unambiguous deviations are normalised (RFC 9112 sections 2.2 and 5): a folded field becomes one
//! line, whitespace before a colon is removed, a bare line feed ends a line. Any other deviation is
//! an error.

use httparse::{Header, ParserConfig};

use super::body::Framing;
use super::framing;
use super::head::{
    ConnectionOptions, MAX_HEAD, empty_fields, is_content_length, is_for_all, is_for_response_hop,
    list, named, persistence, write_field,
};
use crate::ingress::Parsed;

/// The request that a response answers, as far as it affects the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResponseContext {
    /// The request is HEAD, so the response has no body.
    pub(crate) head: bool,
    /// The request asks for an upgrade.
    pub(crate) upgrade: bool,
    /// The client's connection may stay open after the response.
    pub(crate) keep_alive: bool,
    /// The minor version of HTTP/1 that the client speaks.
    pub(crate) minor: u8,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(super) status: u16,
    /// The head for the client. In a final response its Connection field says what `keep_alive`
    /// does.
    pub(super) head: Vec<u8>,
    /// Both connections stay open after the response.
    pub(super) keep_alive: bool,
    /// The framing of the body. Empty for an interim response.
    pub(super) body: Framing,
}

impl ResponseHead {
    /// The head for the client.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn forwarded(&self) -> &[u8] {
        &self.head
    }

    /// Whether the response is interim: others follow (RFC 9110 section 15.2).
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// Why a response cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadResponse(pub(super) &'static str);

impl BadResponse {
    /// The head has no end.
    pub(super) const LONG_HEAD: Self = Self("the head is longer than 64 KiB");
    /// The upstream ended its stream within the head.
    pub(super) const INCOMPLETE_HEAD: Self = Self("the head is incomplete");
    /// The upstream ended its stream before the head.
    pub(super) const NONE: Self = Self("the connection was closed without a response");

    pub(crate) fn reason(self) -> &'static str {
        self.0
    }
}

/// Parses the head at the beginning of `bytes`.
pub(crate) fn parse_response(
    bytes: &[u8],
    context: ResponseContext,
) -> Parsed<ResponseHead, BadResponse> {
    parse_head(bytes, |status_line, status, minor, fields| {
        read(status_line, status, minor, fields, context)
    })
}

/// Parses only the status of the head at the beginning of `bytes`: the answer of a parent proxy to
/// CONNECT.
pub(crate) fn parse_status(bytes: &[u8]) -> Parsed<u16, BadResponse> {
    parse_head(bytes, |_, status, _, _| Ok(status))
}

/// Parses a head; `read` gets its status line, status, minor version and fields.
fn parse_head<T>(
    bytes: &[u8],
    read: impl FnOnce(&[u8], u16, u8, &[Header<'_>]) -> Result<T, &'static str>,
) -> Parsed<T, BadResponse> {
    let mut fields = empty_fields();
    let mut response = httparse::Response::new(&mut fields);
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    config.allow_obsolete_multiline_headers_in_responses(true);
    let within = bytes.get(..MAX_HEAD).unwrap_or(bytes);
    let end = match config.parse_response(&mut response, within) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Parsed::Partial,
        Ok(httparse::Status::Partial) => {
            return Parsed::Bad(BadResponse::LONG_HEAD);
        }
        Err(error) => return Parsed::Bad(BadResponse(reason(error))),
    };
    let head = within.get(..end).unwrap_or_default();
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Parsed::Bad(BadResponse("malformed status line"));
    };
    if status < 100 {
        return Parsed::Bad(BadResponse("the status code is below 100"));
    }
    let values: Vec<_> = response.headers.iter().map(|field| unfold(field.value)).collect();
    let names = response.headers.iter().map(|field| field.name);
    let fields = names.zip(&values).map(|(name, value)| Header { name, value });
    let fields: Vec<_> = fields.collect();
    match read(status_line(head), status, minor, &fields) {
        Ok(read) => Parsed::Complete(read, end),
        Err(reason) => Parsed::Bad(BadResponse(reason)),
    }
}

/// The reason for an error of httparse.
fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a line is not a header field",
        httparse::Error::HeaderValue => "a header field has an invalid value",
        httparse::Error::NewLine => "a carriage return is not followed by a line feed",
        httparse::Error::TooManyHeaders => "the head has more than 100 fields",
        httparse::Error::Version => "the version is neither HTTP/1.1 nor HTTP/1.0",
        httparse::Error::Status | httparse::Error::Token => "malformed status line",
    }
}

fn read(
    status_line: &[u8],
    status: u16,
    minor: u8,
    fields: &[Header<'_>],
    context: ResponseContext,
) -> Result<ResponseHead, &'static str> {
    let body = framing::for_response(fields, minor)?;
    if status == 101 && !context.upgrade {
        return Err("status 101 without an Upgrade in the request");
    }
    // RFC 9110 sections 6.4.1 and 8.6: these have no body and no length.
    let has_no_length = matches!(status, 100..=199 | 204);
    let has_no_body = has_no_length || status == 304 || context.head;

    let mut forwarded = status_line.to_vec();
    forwarded.extend_from_slice(b"\r\n");
    let is_final = !(100..200).contains(&status);
    let options = ConnectionOptions::from_fields(fields);
    let (mut has_length, mut has_codings) = (false, false);
    for field in fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let is_dropped = if status == 101 {
            false
        } else if is_for_all(field.name) {
            has_no_length && !is("host")
        } else {
            // A 426 keeps its Upgrade field.
            is_for_response_hop(field.name) || options.contains(field.name) && !is("upgrade")
        };
        if is_dropped {
            continue;
        }
        if is_content_length(field.name) {
            // A repetition of the same value, or a list of it.
            if !std::mem::replace(&mut has_length, true) {
                let value = field.value.split(|&byte| byte == b',').next().unwrap_or_default();
                write_field(&mut forwarded, field.name, value.trim_ascii());
            }
        } else if is("transfer-encoding") {
            // In one field: not every implementation reads more than the first.
            if !std::mem::replace(&mut has_codings, true) {
                let codings =
                    named(fields, "transfer-encoding").flat_map(|field| list(field.value));
                let codings = codings.collect::<Vec<_>>().join(&b", "[..]);
                write_field(&mut forwarded, field.name, &codings);
            }
        } else {
            write_field(&mut forwarded, field.name, field.value);
        }
    }
    let body = if has_no_body { Framing::NONE } else { body };
    // An HTTP/1.0 client reads chunks until the connection ends.
    let has_end = match body {
        Framing::Length(_) => true,
        Framing::Chunked(_) => context.minor > 0,
        Framing::UntilClose => false,
    };
    let keep_alive = context.keep_alive && has_end && options.keeps_alive(minor, fields);
    if is_final && let Some(option) = persistence(minor.min(context.minor), keep_alive) {
        write_field(&mut forwarded, "Connection", option);
    }
    forwarded.extend_from_slice(b"\r\n");
    Ok(ResponseHead { status, head: forwarded, keep_alive, body })
}

/// The status line unchanged, without line ending and without empty lines before it.
fn status_line(head: &[u8]) -> &[u8] {
    let lines = head.split(|&byte| byte == b'\n');
    let mut lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.find(|line| !line.is_empty()).unwrap_or_default()
}

/// Unfolds a field's value into one line (RFC 9112 section 5.2).
fn unfold(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if memchr::memchr(b'\n', value).is_none() {
        return value.into();
    }
    let lines = value.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(&b' ').into()
}

#[cfg(test)]
mod tests;
