//! Heads and bodies that cannot be read, or in more ways than one, and their neighbours that can.

use super::{CHUNKED, Case, Expected, FIVE, cut, either, read, refused, with};
use Expected::Cut;

/// Cannot be read, or in more ways than one.
pub(super) fn unreadable() -> Vec<Case> {
    vec![
        refused("a NUL in a value", with("X: a\0b")),
        refused("a NUL in a name", with("X\0Y: a")),
        refused("a carriage return in a value", with("X: a\rb")),
        refused("a carriage return as the end of a line", with("X: a\rContent-Length: 3")),
        refused("two carriage returns before a line feed", with("X: a\r")),
        refused(
            "a carriage return in the reason",
            "HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello",
        ),
        refused("a NUL in the reason", "HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\nhello"),
        refused("an empty name", with(": a")),
        refused(
            "a blank as a name",
            format!("HTTP/1.1 200 OK\r\nY: b\r\nContent-Length: 5\r\n{}\r\n\r\nhello", ": a"),
        ),
        refused("a line without a colon", with("garbage")),
        refused("a blank within a name", with("X Y: a")),
        refused("a second status line", with("HTTP/1.1 200 OK")),
        refused("a carriage return within a name", with("X\rY: a")),
        refused("no empty line, and the end", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n").ending(),
        refused("half a status line, and the end", "HTTP/1.1 2").ending(),
        refused("half a field, and the end", "HTTP/1.1 200 OK\r\nContent-Le").ending(),
    ]
}

pub(super) fn not_http() -> Vec<Case> {
    let head = |line: &str| format!("{line}\r\nContent-Length: 5\r\n\r\nhello");
    vec![
        refused("status 99", head("HTTP/1.1 99 X")),
        refused("status 099", head("HTTP/1.1 099 X")),
        refused("status 000", head("HTTP/1.1 000 X")),
        refused("status 1000", head("HTTP/1.1 1000 X")),
        refused("status abc", head("HTTP/1.1 abc X")),
        refused("status +200", head("HTTP/1.1 +200 X")),
        refused("no status", head("HTTP/1.1 OK")),
        refused("nothing but the version", head("HTTP/1.1")),
        refused("HTTP/2.0 in a status line", head("HTTP/2.0 200 OK")),
        refused("HTTP/11", head("HTTP/11 200 OK")),
        refused("HTTP/1.10", head("HTTP/1.10 200 OK")),
        refused("a request", head("GET / HTTP/1.1")),
        refused("ICY", "ICY 200 OK\r\nicy-name: x\r\n\r\nhello"),
        refused("SSH", "SSH-2.0-OpenSSH_9.2\r\n"),
        refused("SMTP", "220 mail ESMTP\r\n"),
        refused("a page without a head (HTTP/0.9)", "<html>hello</html>\n"),
        refused("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        refused("frames of HTTP/2", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80"),
        refused("an alert of TLS", b"\x15\x03\x01\0\x02\x02\x46"),
        refused("binary bytes", b"\xff\xfe\0\x01\n\n"),
        refused("nothing, and the end", "").ending(),
    ]
}

pub(super) fn lengths() -> Vec<Case> {
    let of = |length: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello");
    let two = |a: &str, b: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {a}\r\nX: y\r\ncontent-length: {b}\r\n\r\nhello"
        )
    };
    vec![
        read("blanks behind the length", of("5 \t"), 200, &[FIVE], "hello"),
        read(
            "the same length twice",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            200,
            &[FIVE],
            "hello",
        ),
        either("the same length as a list", of("5, 5")),
        either("a leading zero", of("05")),
        either("a folded length", of("\r\n 5")),
        either("equal lengths in two spellings", two("5", "05")),
        refused("two lengths", two("5", "3")),
        refused("two lengths as a list", of("5, 3")),
        refused("two lengths, one of them empty", two("5", "")),
        refused("an empty length", of("")),
        refused("a length with a plus", of("+5")),
        refused("a negative length", of("-5")),
        refused("a hexadecimal length", of("0x5")),
        refused("a length with a fraction", of("5.0")),
        refused("a length with letters", of("5a")),
        refused("two numbers in a length", of("5 5")),
        refused("a quoted length", of("\"5\"")),
        refused("a length beyond 64 bits", of("18446744073709551621")),
        refused("a length with a vertical tab", of("5\x0b")),
        refused("a length folded in two", of("5\r\n 3")),
    ]
}

pub(super) fn codings() -> Vec<Case> {
    const BODY: &str = "5\r\nhello\r\n0\r\n\r\n";
    let of = |coding: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n{BODY}");
    let both =
        |first: &str, second: &str| format!("HTTP/1.1 200 OK\r\n{first}\r\n{second}\r\n\r\n{BODY}");
    vec![
        read("chunks", of("chunked"), 200, &[CHUNKED], "hello"),
        read("Chunked", of("Chunked"), 200, &[("Transfer-Encoding", "Chunked")], "hello"),
        either("a length, then a coding", both("Content-Length: 5", "Transfer-Encoding: chunked")),
        either("a coding, then a length", both("Transfer-Encoding: chunked", "Content-Length: 5")),
        either(
            "a coding with a blank before its colon, and a length",
            both("Transfer-Encoding : chunked", "Content-Length: 5"),
        ),
        either(
            "a coding folded, and a length",
            both("Transfer-Encoding:\r\n chunked", "Content-Length: 5"),
        ),
        either("a folded coding", of("\r\n chunked")),
        either("gzip, chunked", of("gzip, chunked")),
        either(
            "two fields, gzip and chunked",
            both("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
        ),
        either("an empty coding", of("")),
        either("an empty member behind chunked", of("chunked,")),
        either("identity", of("identity")),
        refused("gzip", of("gzip")),
        refused("chunked, gzip", of("chunked, gzip")),
        refused("chunked twice", of("chunked, chunked")),
        refused(
            "chunked in two fields",
            both("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ),
        refused("an unknown coding", of("xchunked")),
        refused("a coding with a parameter", of("chunked;q=1")),
        refused("a quoted coding", of("\"chunked\"")),
        refused("a coding behind a vertical tab", of("\x0bchunked")),
        refused(
            "a length and gzip",
            both("Content-Length: 5", "Transfer-Encoding: identity, gzip"),
        ),
    ]
}

pub(super) fn chunks() -> Vec<Case> {
    let of = |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    vec![
        read("several chunks", of("2\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n"), 200, &[CHUNKED], "hello"),
        read(
            "extensions and trailers",
            of("5;a=\"b\"\r\nhello\r\n0;c\r\nDigest: x\r\nContent-Length: 3\r\n\r\n"),
            200,
            &[CHUNKED],
            "hello",
        ),
        cut("a size that is no number", of("5\r\nhello\r\nzz\r\n")),
        cut("a first size that is no number", of("zz\r\nhello\r\n0\r\n\r\n")),
        cut("a negative size", of("-5\r\nhello\r\n0\r\n\r\n")),
        cut("a size with 0x", of("0x5\r\nhello\r\n0\r\n\r\n")),
        cut("a size beyond 64 bits", of("10000000000000005\r\nhello\r\n0\r\n\r\n")),
        cut("an empty size", of("\r\nhello\r\n0\r\n\r\n")),
        cut("a chunk longer than its size", of("4\r\nhello\r\n0\r\n\r\n")),
        cut("a carriage return in an extension", of("5;a\rb\r\nhello\r\n0\r\n\r\n")),
        cut("a NUL in an extension", of("5;\0\r\nhello\r\n0\r\n\r\n")),
        cut("chunks that end early", of("5\r\nhello\r\n")).ending(),
        cut("a length that is not reached", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello")
            .ending(),
        Case { expected: Cut, ..either("a blank before a size", of(" 5\r\nhello\r\n0\r\n\r\n")) },
        either("a blank behind a size", of("5 \r\nhello\r\n0\r\n\r\n")),
        either("chunks with line feeds alone", of("5\nhello\n0\n\n")),
    ]
}
