//! Response heads that servers send, and what a client of the proxy must get.

mod broken;

use Expected::{Cut, Either, Read, Refused};

/// A response and what is expected of it. A body that is framed is `hello`, as a rule.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    pub(super) sent: Vec<u8>,
    /// The origin ends its stream behind these bytes; otherwise it keeps the connection open.
    pub(super) ends: bool,
    pub(super) expected: Expected,
}

/// What the client gets. Whatever it is: the head has lines that end with CRLF, fields of one line
/// each without a blank before the colon; and if it says `Connection: close`, the proxy then closes.
pub(super) enum Expected {
    /// The response itself. `fields` are all of them but Connection, in their order.
    Read { status: u16, fields: Fields, body: &'static [u8] },
    /// 502 in its place.
    Refused,
    /// 502, or a response that is framed in one way only: both are safe, and servers rarely send it.
    Either,
    /// The head and a part of the body, or 502: the body cannot be read to its end.
    Cut,
}

pub(super) type Fields = Vec<(&'static str, &'static [u8])>;

impl Case {
    fn new(name: &'static str, sent: impl AsRef<[u8]>, expected: Expected) -> Self {
        Self { name, method: "GET", sent: sent.as_ref().to_vec(), ends: false, expected }
    }

    /// The origin ends its stream.
    fn ending(self) -> Self {
        Self { ends: true, ..self }
    }

    fn for_head(self) -> Self {
        Self { method: "HEAD", ..self }
    }
}

/// Fields, from lines.
fn fields(lines: &[(&'static str, &'static str)]) -> Fields {
    lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
}

fn read(
    name: &'static str,
    sent: impl AsRef<[u8]>,
    status: u16,
    lines: &[(&'static str, &'static str)],
    body: &'static str,
) -> Case {
    Case::new(name, sent, Read { status, fields: fields(lines), body: body.as_bytes() })
}

fn refused(name: &'static str, sent: impl AsRef<[u8]>) -> Case {
    Case::new(name, sent, Refused)
}

fn either(name: &'static str, sent: impl AsRef<[u8]>) -> Case {
    Case::new(name, sent, Either).ending()
}

fn cut(name: &'static str, sent: impl AsRef<[u8]>) -> Case {
    Case::new(name, sent, Cut)
}

const FIVE: (&str, &str) = ("Content-Length", "5");
const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");

/// 200 with these lines, its length and a body.
fn with(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\nContent-Length: 5\r\n\r\nhello")
}

/// All of them.
pub(super) fn all() -> Vec<Case> {
    [
        readable(),
        framed(),
        broken::unreadable(),
        broken::not_http(),
        broken::lengths(),
        broken::codings(),
        broken::chunks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Can be read in one way only, and is normalised (RFC 9112 sections 2.2, 4, 5).
fn readable() -> Vec<Case> {
    let ok = "HTTP/1.1 200 OK";
    let mut obs_text = read("obs-text in a value", [], 200, &[], "hello");
    obs_text.sent =
        [&b"HTTP/1.1 200 OK\r\nX: caf\xe9\r\nContent-Length: 5\r\n\r\nhello"[..]].concat();
    let latin: Fields = vec![("X", b"caf\xe9"), ("Content-Length", b"5")];
    obs_text.expected = Read { status: 200, fields: latin, body: b"hello" };
    let many = "a: b\r\n".repeat(98);
    let long = "x".repeat(60_000);
    vec![
        read("plain", with("X: y"), 200, &[("X", "y"), FIVE], "hello"),
        read("a folded value", with("X: a\r\n b"), 200, &[("X", "a b"), FIVE], "hello"),
        read("folded by a tab", with("X: a\r\n\tb"), 200, &[("X", "a b"), FIVE], "hello"),
        read(
            "folded twice, the first line empty",
            with("X:\r\n a\r\n   b"),
            200,
            &[("X", "a b"), FIVE],
            "hello",
        ),
        read(
            "the last field folded",
            format!("{ok}\r\nContent-Length: 5\r\nX: a\r\n b\r\n\r\nhello"),
            200,
            &[FIVE, ("X", "a b")],
            "hello",
        ),
        read(
            "a folded line that looks like a length",
            with("X: a\r\n Content-Length: 3"),
            200,
            &[("X", "a Content-Length: 3"), FIVE],
            "hello",
        ),
        read(
            "a folded line that looks like a coding",
            with("X: a\r\n\tTransfer-Encoding: chunked"),
            200,
            &[("X", "a Transfer-Encoding: chunked"), FIVE],
            "hello",
        ),
        read("a blank before a colon", with("X : y"), 200, &[("X", "y"), FIVE], "hello"),
        read("a tab before a colon", with("X\t: y"), 200, &[("X", "y"), FIVE], "hello"),
        read(
            "a blank before the length's colon",
            format!("{ok}\r\nContent-Length : 5\r\n\r\nhello"),
            200,
            &[FIVE],
            "hello",
        ),
        read(
            "a blank before the coding's colon",
            format!("{ok}\r\nTransfer-Encoding : chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            200,
            &[CHUNKED],
            "hello",
        ),
        read(
            "a blank before the colon of Connection",
            format!("{ok}\r\nConnection : keep-alive, X\r\nX: y\r\nContent-Length: 5\r\n\r\nhello"),
            200,
            &[FIVE],
            "hello",
        ),
        read(
            "a folded Connection",
            format!(
                "{ok}\r\nConnection: X,\r\n keep-alive\r\nX: y\r\nContent-Length: 5\r\n\r\nhello"
            ),
            200,
            &[FIVE],
            "hello",
        ),
        read(
            "line feeds alone",
            format!("{ok}\nX: y\nContent-Length: 5\n\nhello"),
            200,
            &[("X", "y"), FIVE],
            "hello",
        ),
        read(
            "a line feed alone behind the status line",
            format!("{ok}\nContent-Length: 5\r\n\r\nhello"),
            200,
            &[FIVE],
            "hello",
        ),
        read(
            "a line feed alone as the empty line",
            format!("{ok}\r\nContent-Length: 5\r\n\nhello"),
            200,
            &[FIVE],
            "hello",
        ),
        read(
            "a line feed alone before the empty line",
            format!("{ok}\r\nContent-Length: 5\n\r\nhello"),
            200,
            &[FIVE],
            "hello",
        ),
        read(
            "folds, line feeds and blanks at once",
            format!("{ok}\nX : a\n b\nContent-Length : 5\n\nhello"),
            200,
            &[("X", "a b"), FIVE],
            "hello",
        ),
        obs_text,
        read("no blank behind a colon", with("X:y"), 200, &[("X", "y"), FIVE], "hello"),
        read("blanks around a value", with("X: \t y \t"), 200, &[("X", "y"), FIVE], "hello"),
        read("an empty value", with("X:"), 200, &[("X", ""), FIVE], "hello"),
        read(
            "names in any case, repeated, in an order of their own",
            with("set-cookie: b=1\r\nX-MiXeD: 1\r\nSet-Cookie: a=2\r\nset-cookie: b=1"),
            200,
            &[
                ("set-cookie", "b=1"),
                ("X-MiXeD", "1"),
                ("Set-Cookie", "a=2"),
                ("set-cookie", "b=1"),
                FIVE,
            ],
            "hello",
        ),
        read(
            "no reason phrase",
            "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello",
            200,
            &[FIVE],
            "hello",
        ),
        read(
            "no blank behind the status",
            "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
            200,
            &[FIVE],
            "hello",
        ),
        read(
            "a reason of its own",
            "HTTP/1.1 404 Not  Here!\r\nContent-Length: 5\r\n\r\nhello",
            404,
            &[FIVE],
            "hello",
        ),
        read(
            "status 999",
            "HTTP/1.1 999 Request denied\r\nContent-Length: 5\r\n\r\nhello",
            999,
            &[FIVE],
            "hello",
        ),
        case_of_many_fields("100 fields", &many, true),
        case_of_many_fields("101 fields", &format!("a: b\r\n{many}"), false),
        case_of_many_fields("1000 fields", &"a: b\r\n".repeat(998), false),
        Case {
            expected: Either,
            ends: true,
            ..refused(
                "a field of 60,000 bytes",
                format!("{ok}\r\nX: {long}\r\nContent-Length: 5\r\n\r\nhello"),
            )
        },
        refused(
            "a field of 70,000 bytes",
            format!("{ok}\r\nX: {long}{}\r\n\r\nhello", "y".repeat(10_000)),
        ),
        refused("a field without an end", format!("{ok}\r\nX: {long}{long}")),
        either("an empty folded line", with("X: a\r\n \r\nY: b")),
        either(
            "a blank line before the first field",
            format!("{ok}\r\n X: a\r\nContent-Length: 5\r\n\r\nhello"),
        ),
        either(
            "two blanks before the status",
            "HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ),
        either("a tab before the status", "HTTP/1.1\t200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        either(
            "an empty line before the status line",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ),
        either("version 1.2", "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        either("status 600", "HTTP/1.1 600 X\r\nContent-Length: 5\r\n\r\nhello"),
        either("control characters in a value", with("X: a\x01b\x7f")),
        either("brackets in a name", with("X[0]: a")),
    ]
}

fn case_of_many_fields(name: &'static str, lines: &str, is_read: bool) -> Case {
    let count = lines.matches('\n').count();
    let sent = format!("HTTP/1.1 200 OK\r\n{lines}Z: z\r\nContent-Length: 5\r\n\r\nhello");
    let mut all = vec![("a", "b"); count];
    all.extend([("Z", "z"), FIVE]);
    match is_read {
        true => read(name, sent, 200, &all, "hello"),
        false => refused(name, sent),
    }
}

/// Where the response ends is told by its status, its version or the request's method (RFC 9112
/// section 6.3).
fn framed() -> Vec<Case> {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    let five = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    vec![
        read(
            "304 with a length",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            304,
            &[FIVE],
            "",
        ),
        read(
            "304 with a coding",
            "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
            304,
            &[CHUNKED],
            "",
        ),
        read(
            "304 without either",
            "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
            304,
            &[("ETag", "\"a\"")],
            "",
        ),
        read(
            "304 with line feeds alone",
            "HTTP/1.1 304 Not Modified\nETag: \"a\"\n\n",
            304,
            &[("ETag", "\"a\"")],
            "",
        ),
        read("204", "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", 204, &[("X", "y")], ""),
        either("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        read(
            "HEAD with a length",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            200,
            &[FIVE],
            "",
        )
        .for_head(),
        read(
            "HEAD with a coding",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            200,
            &[CHUNKED],
            "",
        )
        .for_head(),
        read("HEAD without either", "HTTP/1.1 200 OK\r\nX: y\r\n\r\n", 200, &[("X", "y")], "")
            .for_head(),
        read(
            "a length of 0",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            200,
            &[("Content-Length", "0")],
            "",
        ),
        read(
            "to the end of the stream",
            "HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello",
            200,
            &[("X", "y")],
            "hello",
        )
        .ending(),
        read(
            "HTTP/1.0 to the end of the stream",
            "HTTP/1.0 200 OK\nX: y\n\nhello",
            200,
            &[("X", "y")],
            "hello",
        )
        .ending(),
        read(
            "HTTP/1.0 kept alive",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\nhello",
            200,
            &[FIVE],
            "hello",
        ),
        either(
            "HTTP/1.0 with a coding",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        read("behind a 103", format!("{hints}{five}"), 200, &[FIVE], "hello"),
        read(
            "behind a 103 with a fold and line feeds",
            format!("HTTP/1.1 103 Early Hints\nLink : a\n b\n\n{five}"),
            200,
            &[FIVE],
            "hello",
        ),
        read(
            "behind a 100 with a length, which has no body",
            format!("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n{five}"),
            200,
            &[FIVE],
            "hello",
        ),
        either("behind 200 103s", format!("{}{five}", hints.repeat(200))),
        read(
            "a 426",
            "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: y\r\nContent-Length: 5\r\n\r\nhello",
            426,
            &[("Upgrade", "y"), FIVE],
            "hello",
        ),
        refused(
            "a 101 that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        ),
    ]
}
