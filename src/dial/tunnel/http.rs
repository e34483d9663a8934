//! A parent proxy that speaks HTTP: `CONNECT` (RFC 9110 section 9.3.6).

use super::{PARENT, TunnelError, TunnelStep};
use crate::dial::via::Credentials;
use crate::ingress::{Parsed, parse_status};
use crate::other_protocol;
use crate::record::{How, Outcome};
use crate::secret::Secret;
use crate::target::Target;

/// The request for a tunnel to `target`.
pub(super) fn request(target: &Target, credentials: Option<&Credentials>) -> Secret {
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    match credentials.map(Credentials::basic) {
        Some(basic) => {
            let field = [b"Proxy-Authorization: ", &*basic, b"\r\n\r\n"];
            Secret::concat(&[&[request.as_bytes()], &field[..]].concat())
        }
        None => Secret::concat(&[request.as_bytes(), b"\r\n"]),
    }
}

/// Parses the answer received so far, like any upstream's response. After a head with 2xx the
/// tunnel begins, whatever length its fields announce.
pub(super) fn parse_reply(bytes: &[u8]) -> Result<TunnelStep, TunnelError> {
    let (status, used) = match parse_status(bytes) {
        Parsed::Partial => return Ok(TunnelStep::Incomplete),
        Parsed::Complete(status, used) => (status, used),
        Parsed::Bad(bad) => {
            return Err(TunnelError::malformed(match other_protocol::is_http(bytes) {
                true => format!("invalid response from {PARENT}: {}", bad.reason()),
                false => other_protocol::describe(PARENT, bytes, "HTTP"),
            }));
        }
    };
    match status {
        101 => Err(TunnelError::malformed("the parent proxy switched to another protocol")),
        // RFC 9110 section 15.2: interim responses may come before the answer.
        100..=199 => Ok(TunnelStep::Reply { used, send: Secret::default() }),
        200..=299 => Ok(TunnelStep::Established { used }),
        status => Err(refused(status)),
    }
}

fn refused(status: u16) -> TunnelError {
    let (outcome, how) = match status {
        401 | 403 | 405 | 407 => (Outcome::Denied, How::Denied),
        408 | 504 => (Outcome::Timeout, How::Timeout),
        _ => (Outcome::Error, How::Error),
    };
    let text = match status {
        407 => "the parent proxy requires valid credentials (HTTP status 407)".into(),
        _ => format!("the parent proxy answered with HTTP status {status}").into(),
    };
    TunnelError { outcome, how, code: format!("HTTP_{status}").into(), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(target: &str, credentials: Option<(&str, &str)>) -> String {
        let credentials = credentials.map(|(user, password)| Credentials {
            user: user.as_bytes().into(),
            password: password.as_bytes().into(),
        });
        let request = request(&target.parse().unwrap(), credentials.as_ref());
        String::from_utf8(request.to_vec()).unwrap()
    }

    #[test]
    fn the_target_is_asked_for_as_the_client_did() {
        assert_eq!(
            text("Example.com:443", None),
            "CONNECT Example.com:443 HTTP/1.1\r\nHost: Example.com:443\r\n\r\n"
        );
        // The example of RFC 7617 section 2.
        assert_eq!(
            text("[::1]:80", Some(("Aladdin", "open sesame"))),
            "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }

    #[test]
    fn a_status_that_is_no_success_is_a_refusal_with_its_number() {
        for (status, code, outcome) in [
            ("407 Proxy Authentication Required", "HTTP_407", Outcome::Denied),
            ("403", "HTTP_403", Outcome::Denied),
            ("504 Gateway Timeout", "HTTP_504", Outcome::Timeout),
            ("502 Bad Gateway", "HTTP_502", Outcome::Error),
            ("302 Found", "HTTP_302", Outcome::Error),
        ] {
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nnever");
            let refusal = parse_reply(head.as_bytes()).unwrap_err();
            assert_eq!((&*refusal.code, refusal.outcome), (code, outcome));
        }
    }

    #[test]
    fn an_endless_head_and_what_is_not_http_are_refused() {
        let endless = ["HTTP/1.1 200 OK\r\nX: ", &"x".repeat(64 * 1024)].concat();
        let with_end = [&endless, "\r\n\r\n"].concat();
        let fields = ["HTTP/1.1 200 OK\r\n", &"a: b\r\n".repeat(101), "\r\n"].concat();
        for bytes in [&endless, &with_end, &fields, "SSH-2.0-x\r\n", "\x05\0"] {
            assert_eq!(parse_reply(bytes.as_bytes()).unwrap_err().code, "PARENT_PROTOCOL");
        }
    }

    #[test]
    fn loose_heads_are_read_as_other_responses_are() {
        for head in [
            "HTTP/1.1 200 OK\r\nVia: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nVia : a\r\n\r\n",
            "HTTP/1.1 200 OK\nVia: a\n\n",
            "\r\nHTTP/1.0 200\r\n\r\n",
        ] {
            assert_eq!(
                parse_reply(head.as_bytes()).unwrap(),
                TunnelStep::Established { used: head.len() },
                "{head:?}"
            );
        }
        for (head, words) in [
            ("HTTP/1.1 200 OK\r\nVia: a\0b\r\n\r\n", "invalid value"),
            ("HTTP/1.1 200 OK\r\nVia\r\n\r\n", "not a header field"),
            ("HTTP/1.1 099 No\r\n\r\n", "below 100"),
            ("SSH-2.0-x\r\n", "the parent proxy speaks SSH, not HTTP: \"SSH-2.0-x\""),
            ("\x05\u{7f}", "the parent proxy does not speak HTTP"),
        ] {
            let refusal = parse_reply(head.as_bytes()).unwrap_err();
            assert!(refusal.text.contains(words), "{head:?}: {}", refusal.text);
        }
    }

    proptest! {
        #[test]
        fn a_head_is_understood_at_its_last_byte_and_what_follows_is_left(
            status in 200u16..300, reason in "[ -~]{0,20}", value in "[ -~]{0,50}", after in "\\PC{0,20}",
        ) {
            let head = format!("HTTP/1.1 {status} {reason}\r\nVia: {value}\r\n\r\n");
            for cut in 0..head.len() {
                prop_assert_eq!(parse_reply(&head.as_bytes()[..cut]).map_err(|r| r.code), Ok(TunnelStep::Incomplete));
            }
            let all = format!("{head}{after}");
            let heard = parse_reply(all.as_bytes()).map_err(|refusal| refusal.code);
            prop_assert_eq!(heard, Ok(TunnelStep::Established { used: head.len() }));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(parse_reply(&bytes).map_or(0, |heard| heard.used()) <= bytes.len());
        }
    }
}
