//! Recognises a protocol by its first bytes, where another one was expected.

/// Maximum number of characters shown of the received bytes.
const SHOWN: usize = 60;

/// First bytes of servers that send first, or that answer an HTTP request in their own protocol.
const GREETINGS: [(&[u8], &str); 11] = [
    (b"SSH-", "SSH"),
    (b"+OK", "POP3"),
    (b"* OK", "IMAP"),
    (b"* BYE", "IMAP"),
    (b"-ERR", "Redis"),
    (b"-NOAUTH", "Redis"),
    (b"-DENIED", "Redis"),
    (b"AMQP", "AMQP"),
    (b"INFO {", "NATS"),
    (b"RFB ", "VNC"),
    (b"ERROR\r\n", "memcached"),
];

/// The protocol that begins with these bytes; `None` if it is not recognised.
pub(crate) fn protocol(first: &[u8]) -> Option<&'static str> {
    let greeting = GREETINGS.iter().find(|(greeting, _)| first.starts_with(greeting));
    if let Some((_, protocol)) = greeting {
        return Some(protocol);
    }
    match first {
        _ if is_http(first) => Some("plain HTTP"),
        // A record of TLS (RFC 8446 section 5.1): an alert or a handshake.
        [0x15 | 0x16, 3, ..] => Some(TLS),
        // A frame of settings (RFC 9113 section 6.5).
        [0, 0, _, 4, _, 0, 0, 0, 0, ..] => Some(HTTP2),
        // A packet's length, its number, and version 10 of the handshake; or an error.
        [_, _, 0, 0, 10 | 0xff, ..] => Some("MySQL"),
        [b'2', b'2', b'0', b' ' | b'-', rest @ ..] => Some(match rest {
            _ if has(rest, b"SMTP") => "SMTP",
            _ if has(rest, b"FTP") => "FTP",
            _ => "SMTP or FTP",
        }),
        _ => None,
    }
}

pub(crate) const TLS: &str = "TLS";
const HTTP2: &str = "HTTP/2";

/// Whether an HTTP/1 response may begin like this.
pub(crate) fn is_http(first: &[u8]) -> bool {
    let name = b"HTTP/";
    let length = first.len().min(name.len());
    length > 0 && first.get(..length) == name.get(..length)
}

fn has(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

/// A sentence on what `peer` speaks instead of `expected`, with the first line that it sent.
pub(crate) fn describe(peer: &str, first: &[u8], expected: &str) -> String {
    let speaks = match protocol(first) {
        Some(HTTP2) => format!("{peer} speaks HTTP/2, not HTTP/1.1"),
        Some(protocol) => format!("{peer} speaks {protocol}, not {expected}"),
        None => format!("{peer} does not speak {expected}"),
    };
    match line(first) {
        Some(line) => format!("{speaks}: \"{line}\""),
        None => speaks,
    }
}

/// The first line, if it is text; `.` replaces anything but printable ASCII.
fn line(first: &[u8]) -> Option<String> {
    let line = first.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let is_shown = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let text: String = line
        .iter()
        .take(SHOWN)
        .map(|&byte| if is_shown(byte) { char::from(byte) } else { '.' })
        .collect();
    let shown = line.iter().filter(|&&byte| is_shown(byte)).count();
    let more = if line.len() > SHOWN { "…" } else { "" };
    (shown > 0 && 2 * shown >= line.len()).then(|| text + more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_name_the_protocol_and_are_shown_as_text() {
        for (first, said) in [
            (&b"SSH-2.0-x\r\n"[..], "the server speaks SSH, not HTTP: \"SSH-2.0-x\""),
            (b"220-mx ESMTP\r\n", "the server speaks SMTP, not HTTP: \"220-mx ESMTP\""),
            (b"220 (vsFTPd 3.0.5)\r\n", "the server speaks FTP, not HTTP: \"220 (vsFTPd 3.0.5)\""),
            (b"\x15\x03\x01\0\x02\x02\x46", "the server speaks TLS, not HTTP"),
            (b"\0\0\x06\x04\0\0\0\0\0", "the server speaks HTTP/2, not HTTP/1.1"),
            (b"J\0\0\0\x0a8.0.36\0", "the server speaks MySQL, not HTTP"),
            (b"hello \x1b[31m\n", "the server does not speak HTTP: \"hello .[31m\""),
            (b"\xff\xfd\x18", "the server does not speak HTTP"),
        ] {
            assert_eq!(describe("the server", first, "HTTP"), said);
        }
        let long = describe("the server", &[b'x'; 200], "HTTP");
        assert!(long.ends_with("x…\"") && long.len() < 120, "{long}");
    }
}
