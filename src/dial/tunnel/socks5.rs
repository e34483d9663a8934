//! A parent proxy that speaks SOCKS 5 (RFC 1928), with user name and password (RFC 1929).

use std::net::IpAddr;

use super::{PARENT, TunnelError, TunnelStep};
use crate::dial::via::Credentials;
use crate::other_protocol;
use crate::record::{How, Outcome};
use crate::secret::Secret;
use crate::target::Target;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;

/// Which reply of the parent comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Method,
    Authentication,
    Reply,
}

/// The greeting, with the authentication methods that we support.
pub(super) fn greeting(credentials: Option<&Credentials>) -> Secret {
    match credentials {
        None => [VERSION, 1, NO_AUTHENTICATION][..].into(),
        Some(_) => [VERSION, 2, NO_AUTHENTICATION, PASSWORD][..].into(),
    }
}

/// Parses the parent's next reply, as far as it was received.
pub(super) fn parse_reply(
    stage: &mut Stage,
    bytes: &[u8],
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<TunnelStep, TunnelError> {
    match *stage {
        Stage::Method => match (bytes, credentials) {
            ([], _) | ([VERSION], _) => Ok(TunnelStep::Incomplete),
            ([VERSION, NO_AUTHENTICATION, ..], _) => {
                *stage = Stage::Reply;
                Ok(TunnelStep::Reply { used: 2, send: request(target)? })
            }
            ([VERSION, PASSWORD, ..], Some(credentials)) => {
                *stage = Stage::Authentication;
                Ok(TunnelStep::Reply { used: 2, send: password(credentials)? })
            }
            ([VERSION, NO_METHOD, ..], _) => Err(TunnelError {
                outcome: Outcome::Denied,
                how: How::Denied,
                code: "SOCKS5_FF".into(),
                text: "the parent proxy accepts none of the offered authentication methods".into(),
            }),
            _ => Err(not_socks(bytes)),
        },
        Stage::Authentication => match bytes {
            [] | [1] => Ok(TunnelStep::Incomplete),
            [1, 0, ..] => {
                *stage = Stage::Reply;
                Ok(TunnelStep::Reply { used: 2, send: request(target)? })
            }
            [1, _, ..] => Err(TunnelError {
                outcome: Outcome::Denied,
                how: How::Denied,
                code: "SOCKS5_AUTH".into(),
                text: "the parent proxy rejected the credentials".into(),
            }),
            _ => Err(not_socks(bytes)),
        },
        Stage::Reply => reply(bytes),
    }
}

/// RFC 1928 section 4.
fn request(target: &Target) -> Result<Secret, TunnelError> {
    let mut request = vec![VERSION, 1, 0];
    match target.literal().map(|address| address.ip()) {
        Some(IpAddr::V4(ip)) => {
            request.push(1);
            request.extend(ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            request.push(4);
            request.extend(ip.octets());
        }
        None => {
            request.push(3);
            let host = target.lookup_name();
            request.push(length(host.as_bytes())?);
            request.extend(host.as_bytes());
        }
    }
    request.extend(target.port().to_be_bytes());
    Ok(request.as_slice().into())
}

/// RFC 1929 section 2.
fn password(credentials: &Credentials) -> Result<Secret, TunnelError> {
    let Credentials { user, password } = credentials;
    Ok(Secret::concat(&[&[1, length(user)?], user, &[length(password)?], password]))
}

/// The length as one byte.
fn length(bytes: &[u8]) -> Result<u8, TunnelError> {
    let too_long = |_| TunnelError::malformed("the user name or password is too long for SOCKS");
    u8::try_from(bytes.len()).map_err(too_long)
}

/// RFC 1928 section 6. The first two bytes of a refusal suffice: some proxies send no more.
fn reply(bytes: &[u8]) -> Result<TunnelStep, TunnelError> {
    let used = match bytes {
        [] | [VERSION] | [VERSION, 0] | [VERSION, 0, _] => return Ok(TunnelStep::Incomplete),
        [VERSION, code, ..] if *code != 0 => return Err(refused(*code)),
        [VERSION, 0, _, 1, ..] => 10,
        [VERSION, 0, _, 4, ..] => 22,
        [VERSION, 0, _, 3] => return Ok(TunnelStep::Incomplete),
        [VERSION, 0, _, 3, length, ..] => 7 + usize::from(*length),
        _ => return Err(not_socks(bytes)),
    };
    Ok(if bytes.len() < used { TunnelStep::Incomplete } else { TunnelStep::Established { used } })
}

fn refused(code: u8) -> TunnelError {
    let (outcome, how, text) = match code {
        2 => (Outcome::Denied, How::Denied, "the parent proxy's rules forbid the target"),
        3 => {
            (Outcome::Unreachable, How::Error, "the parent proxy cannot reach the target's network")
        }
        4 => (Outcome::Unreachable, How::Error, "the parent proxy cannot reach the target"),
        5 => (Outcome::Refused, How::Refused, "the target refused the parent proxy's connection"),
        6 => (Outcome::Timeout, How::Timeout, "the target did not answer the parent proxy in time"),
        7 => (Outcome::Error, How::Error, "the parent proxy does not support CONNECT"),
        8 => (Outcome::Error, How::Error, "the parent proxy does not support this address type"),
        _ => (Outcome::Error, How::Error, "the parent proxy reported a general failure"),
    };
    TunnelError { outcome, how, code: format!("SOCKS5_{code:02X}").into(), text: text.into() }
}

/// The reply is not SOCKS 5.
fn not_socks(bytes: &[u8]) -> TunnelError {
    TunnelError::malformed(match bytes.first() {
        Some(&VERSION) => "the parent proxy's answer is malformed SOCKS 5".to_owned(),
        _ => other_protocol::describe(PARENT, bytes, "SOCKS 5"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn credentials() -> Credentials {
        Credentials { user: b"me"[..].into(), password: b"pass"[..].into() }
    }

    fn parsed(
        mut stage: Stage,
        bytes: &[u8],
        with: Option<&Credentials>,
    ) -> Result<TunnelStep, String> {
        let target = "name.test:80".parse().unwrap();
        parse_reply(&mut stage, bytes, &target, with).map_err(|refusal| refusal.code.into_owned())
    }

    #[test]
    fn a_request_carries_a_name_or_an_address_and_the_port() {
        for (target, bytes) in [
            ("name.test:80", &b"\x05\x01\0\x03\x09name.test\0\x50"[..]),
            ("name.test.:80", b"\x05\x01\0\x03\x0aname.test.\0\x50"),
            ("192.0.2.1:443", b"\x05\x01\0\x01\xc0\0\x02\x01\x01\xbb"),
            ("[::1]:1", b"\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01"),
        ] {
            assert_eq!(&*request(&target.parse().unwrap()).unwrap(), bytes);
        }
    }

    #[test]
    fn the_parent_chooses_among_the_ways_that_were_offered() {
        let mine = credentials();
        assert_eq!(*greeting(None), [5, 1, 0]);
        assert_eq!(*greeting(Some(&mine)), [5, 2, 0, 2]);
        let request = b"\x05\x01\0\x03\x09name.test\0\x50".to_vec();
        let answered =
            |send: Vec<u8>| Ok(TunnelStep::Reply { used: 2, send: send.as_slice().into() });
        assert_eq!(parsed(Stage::Method, &[5, 0], None), answered(request.clone()));
        let password = b"\x01\x02me\x04pass".to_vec();
        assert_eq!(parsed(Stage::Method, &[5, 2], Some(&mine)), answered(password));
        assert_eq!(parsed(Stage::Authentication, &[1, 0], Some(&mine)), answered(request));
        for (stage, bytes, with, code) in [
            (Stage::Method, [5, 0xff], None, "SOCKS5_FF"),
            (Stage::Method, [5, 2], None, "PARENT_PROTOCOL"),
            (Stage::Method, *b"HT", Some(&mine), "PARENT_PROTOCOL"),
            (Stage::Authentication, [1, 1], Some(&mine), "SOCKS5_AUTH"),
        ] {
            assert_eq!(parsed(stage, &bytes, with), Err(code.to_owned()));
        }
    }

    #[test]
    fn a_refusal_is_told_by_its_code_even_when_nothing_follows() {
        for (code, symbol, outcome) in [
            (1, "SOCKS5_01", Outcome::Error),
            (2, "SOCKS5_02", Outcome::Denied),
            (4, "SOCKS5_04", Outcome::Unreachable),
            (5, "SOCKS5_05", Outcome::Refused),
            (0xfe, "SOCKS5_FE", Outcome::Error),
        ] {
            let refusal = reply(&[5, code]).unwrap_err();
            assert_eq!((&*refusal.code, refusal.outcome), (symbol, outcome));
        }
    }

    proptest! {
        #[test]
        fn a_reply_is_understood_at_its_last_byte_and_what_follows_is_left(
            address in prop_oneof![
                prop::collection::vec(any::<u8>(), 4).prop_map(|ip| [vec![1], ip].concat()),
                prop::collection::vec(any::<u8>(), 16).prop_map(|ip| [vec![4], ip].concat()),
                prop::collection::vec(any::<u8>(), 0..256)
                    .prop_map(|name| [vec![3, u8::try_from(name.len()).unwrap()], name].concat()),
            ],
            after in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let message = [&[5, 0, 0][..], &address, &[0, 80]].concat();
            for cut in 0..message.len() {
                prop_assert_eq!(parsed(Stage::Reply, &message[..cut], None), Ok(TunnelStep::Incomplete));
            }
            let all = [&message[..], &after].concat();
            let open = Ok(TunnelStep::Established { used: message.len() });
            prop_assert_eq!(parsed(Stage::Reply, &all, None), open);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for stage in [Stage::Method, Stage::Authentication, Stage::Reply] {
                let used = parsed(stage, &bytes, Some(&credentials())).map_or(0, |step| step.used());
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
