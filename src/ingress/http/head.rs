//! Finds the end of an HTTP/1 head, strictly: anything ambiguous is refused.

use super::{BadHead, Status};

/// Longest head that is accepted, bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// Most fields in a head.
pub(crate) const MAX_FIELDS: usize = 100;

/// The end of the head at the beginning of `bytes`; `None` while it is incomplete.
pub(super) fn end_of_head(bytes: &[u8]) -> Result<Option<usize>, BadHead> {
    let mut start = 0;
    let mut lines = 0;
    for end in memchr::memchr_iter(b'\n', bytes) {
        let line = bytes.get(start..end).unwrap_or_default();
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(BadHead::malformed("a line of the head ends without a carriage return"));
        };
        start = end + 1;
        if start > MAX_HEAD {
            break;
        }
        if line.is_empty() {
            return Ok(Some(start));
        }
        lines += 1;
        // The request or status line, and the fields.
        if lines > 1 + MAX_FIELDS {
            return Err(BadHead::over_limit("the head has more than 100 fields"));
        }
    }
    if bytes.len() >= MAX_HEAD {
        return Err(too_long(bytes));
    }
    Ok(None)
}

/// The error of a head longer than [`MAX_HEAD`]: about its first line if that is most of it,
/// otherwise about its fields.
fn too_long(bytes: &[u8]) -> BadHead {
    match memchr::memchr(b'\n', bytes) {
        Some(end) if end <= MAX_HEAD / 2 => BadHead::over_limit("the head is longer than 64 KiB"),
        _ => BadHead::new(
            Status::UriTooLong,
            "the request line is too long (at most 64 KiB with the header fields)",
        ),
    }
}

/// The length of an empty line at the beginning of `bytes`; `None` while that is not known. Some
/// clients end a request's body with one, in front of the next request (RFC 9112 section 2.2).
pub(super) fn empty_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\r'] => None,
        [b'\r', b'\n', ..] => Some(2),
        [b'\n', ..] => Some(1),
        _ => Some(0),
    }
}

/// An array for the fields of a head.
pub(super) fn empty_fields<'h>() -> [httparse::Header<'h>; MAX_FIELDS] {
    [httparse::EMPTY_HEADER; MAX_FIELDS]
}

/// The fields of this name.
pub(super) fn named<'f, 'h>(
    fields: &'f [httparse::Header<'h>],
    name: &'static str,
) -> impl Iterator<Item = &'f httparse::Header<'h>> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
}

/// The members of a comma-separated field (RFC 9110 section 5.6.1).
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Writes one field line.
pub(super) fn write_field(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// Whether a field of a request is hop-by-hop, whether or not Connection names it (RFC 9110 section
/// 7.6.1), or for a proxy. HTTP2-Settings goes with `Upgrade: h2c`, which is not passed on.
pub(super) fn is_for_one_hop(name: &str) -> bool {
    const NAMES: [&str; 7] = [
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
    ];
    NAMES.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// Whether a field of a response is hop-by-hop, whether or not Connection names it.
pub(super) fn is_for_response_hop(name: &str) -> bool {
    const NAMES: [&str; 3] = ["connection", "keep-alive", "proxy-connection"];
    NAMES.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// The Connection option of a message whose receiver reads it as HTTP/1.`minor`; `None` if the
/// default of that version is right (RFC 9112 section 9.3).
pub(super) fn persistence(minor: u8, keep_alive: bool) -> Option<&'static [u8]> {
    match (keep_alive, minor) {
        (false, _) => Some(b"close"),
        (true, 0) => Some(b"keep-alive"),
        (true, _) => None,
    }
}

pub(super) fn is_content_length(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length")
}

/// Whether a field says where a message goes or where it ends. Naming it in Connection, which is an
/// error, does not remove it.
pub(super) fn is_for_all(name: &str) -> bool {
    const NAMES: [&str; 3] = ["host", "content-length", "transfer-encoding"];
    NAMES.iter().any(|all| name.eq_ignore_ascii_case(all))
}

/// The options in Connection fields.
#[derive(Debug, Default)]
pub(super) struct ConnectionOptions<'h>(Vec<&'h [u8]>);

impl<'h> ConnectionOptions<'h> {
    pub(super) fn from_fields(fields: &[httparse::Header<'h>]) -> Self {
        let connection =
            fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
        Self(connection.flat_map(|field| list(field.value)).collect())
    }

    pub(super) fn contains(&self, option: &str) -> bool {
        self.0.iter().any(|named| named.eq_ignore_ascii_case(option.as_bytes()))
    }

    /// Whether the sender keeps its connection open after this message (RFC 9112 section 9.3).
    /// Clients of a proxy may say so in Proxy-Connection instead.
    pub(super) fn keeps_alive(&self, minor: u8, fields: &[httparse::Header<'_>]) -> bool {
        let says = |option: &str| {
            let to_proxy = named(fields, "proxy-connection").flat_map(|field| list(field.value));
            self.contains(option)
                || to_proxy.into_iter().any(|named| named.eq_ignore_ascii_case(option.as_bytes()))
        };
        !says("close") && (minor > 0 || says("keep-alive"))
    }
}
