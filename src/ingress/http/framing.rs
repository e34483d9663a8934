//! Body framing by the fields of a head (RFC 9112 section 6.3). Anything ambiguous is an error,
//! because it allows request smuggling.

use httparse::Header;

use super::body::Framing;
use super::head::{list, named};
use super::{BadHead, Status};

/// The framing of a request's body. The only transfer coding accepted is `chunked`.
pub(super) fn for_request(fields: &[Header<'_>], minor: u8) -> Result<Framing, BadHead> {
    let mut lengths = named(fields, "content-length").map(|field| field.value);
    let length = lengths.next();
    if lengths.any(|other| Some(other) != length) {
        return Err(BadHead::malformed("conflicting Content-Length fields"));
    }
    let mut encodings = named(fields, "transfer-encoding").map(|field| field.value);
    match (encodings.next(), length) {
        (None, None) => Ok(Framing::NONE),
        (None, Some(length)) => number(length)
            .map(Framing::Length)
            .ok_or_else(|| BadHead::malformed("Content-Length is not a number")),
        (Some(_), Some(_)) => {
            Err(BadHead::malformed("both Content-Length and Transfer-Encoding are present"))
        }
        (Some(_), None) if minor == 0 => {
            Err(BadHead::malformed("Transfer-Encoding is not allowed in HTTP/1.0"))
        }
        (Some(encoding), None)
            if encoding.eq_ignore_ascii_case(b"chunked") && encodings.next().is_none() =>
        {
            Ok(Framing::chunked())
        }
        (Some(_), None) => {
            Err(BadHead::new(Status::NotImplemented, "Transfer-Encoding is not chunked"))
        }
    }
}

/// The framing of a response's body, by the fields alone.
///
/// # Errors
///
/// Why the framing is ambiguous.
pub(super) fn for_response(fields: &[Header<'_>], minor: u8) -> Result<Framing, &'static str> {
    let length = response_length(fields)?;
    if named(fields, "transfer-encoding").next().is_none() {
        return Ok(length.map_or(Framing::UntilClose, Framing::Length));
    }
    if minor == 0 {
        return Err("Transfer-Encoding is not allowed in HTTP/1.0");
    }
    if length.is_some() {
        return Err("both Content-Length and Transfer-Encoding are present");
    }
    let codings: Vec<_> =
        named(fields, "transfer-encoding").flat_map(|field| list(field.value)).collect();
    // Of the others, too, one that has the word in it could be taken for it.
    let has_word =
        |coding: &[u8]| coding.to_ascii_lowercase().windows(7).any(|part| part == b"chunked");
    let is_chunked: Vec<bool> = codings.iter().copied().map(has_word).collect();
    let ends_well = codings.last().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    // RFC 9112 section 6.3 would read what ends otherwise until the connection closes; readers that
    // look for the word alone would not.
    match is_chunked.split_last() {
        Some((true, others)) if ends_well && !others.contains(&true) => Ok(Framing::chunked()),
        _ => Err("Transfer-Encoding does not end with chunked, or has it twice"),
    }
}

/// The length that all Content-Length fields agree on; they may repeat it, also in a list (RFC 9110
/// section 8.6).
fn response_length(fields: &[Header<'_>]) -> Result<Option<u64>, &'static str> {
    let mut length = None;
    for field in named(fields, "content-length") {
        for member in field.value.split(|&byte| byte == b',') {
            let member = number(member.trim_ascii()).ok_or("Content-Length is not a number")?;
            if *length.get_or_insert(member) != member {
                return Err("conflicting Content-Length fields");
            }
        }
    }
    Ok(length)
}

/// Digits and nothing else: no sign, no list.
pub(super) fn is_number(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

/// Parses such a number, if it fits into 64 bits.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok().filter(|_| is_number(value))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &str, minor: u8) -> Result<Framing, &'static str> {
        let head = format!("HTTP/1.{minor} 200 OK\r\n{lines}\r\n");
        let mut fields = super::super::head::empty_fields();
        let mut response = httparse::Response::new(&mut fields);
        response.parse(head.as_bytes()).unwrap();
        for_response(response.headers, minor)
    }

    #[test]
    fn response_ends_where_rfc_9112_says() {
        for (lines, framing) in [
            ("", Framing::UntilClose),
            ("Content-Length: 5\r\n", Framing::Length(5)),
            ("Content-Length: 5\r\ncontent-length: 05\r\n", Framing::Length(5)),
            ("Content-Length: 5, 5\r\n", Framing::Length(5)),
            ("Transfer-Encoding: chunked\r\n", Framing::chunked()),
            ("Transfer-Encoding: gzip, Chunked\r\n", Framing::chunked()),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Framing::chunked()),
        ] {
            assert_eq!(response(lines, 1), Ok(framing), "{lines:?}");
        }
    }

    #[test]
    fn ambiguous_response_length_is_an_error() {
        for lines in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 6\r\n",
            "Content-Length: 5,\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: \r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: chunked;q=1\r\n",
            "Transfer-Encoding: chunked x, chunked\r\n",
            "Transfer-Encoding: chunkedx\r\n",
        ] {
            assert!(response(lines, 1).is_err(), "{lines:?}");
        }
        assert!(response("Transfer-Encoding: chunked\r\n", 0).is_err());
    }
}
