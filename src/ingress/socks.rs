//! SOCKS 4, 4a and 5 (RFC 1928, RFC 1929): messages of a client, and replies to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Parsed, Target};
use crate::access::Credentials;
use crate::failure::Failure;
use crate::record::Outcome;

pub(crate) const VERSION_4: u8 = 4;
pub(crate) const VERSION_5: u8 = 5;

/// Longest user name of SOCKS 4, and longest host name of 4a, bytes. The protocol has no limit.
const MAX_TEXT: usize = 255;

const CONNECT: u8 = 1;

/// A malformed or unsupported message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadMessage {
    /// The reply in SOCKS 5; SOCKS 4 has only one for all errors.
    pub(crate) reply: Reply,
    pub(crate) reason: &'static str,
}

/// The replies of SOCKS 5 (RFC 1928 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reply {
    Succeeded = 0,
    GeneralFailure = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    /// "TTL expired", which clients show as a timeout.
    TimedOut = 6,
    CommandNotSupported = 7,
    AddressTypeNotSupported = 8,
}

impl Reply {
    /// The reply for a failure.
    pub(crate) fn for_failure(failure: &Failure) -> Self {
        let code = failure.fault.as_ref().map(|fault| &*fault.code);
        match failure.outcome {
            Outcome::Denied => Self::NotAllowed,
            Outcome::Unreachable if code == Some("ENETUNREACH") => Self::NetworkUnreachable,
            Outcome::Unreachable | Outcome::Dns => Self::HostUnreachable,
            Outcome::Refused => Self::ConnectionRefused,
            Outcome::Timeout => Self::TimedOut,
            _ => Self::GeneralFailure,
        }
    }
}

/// Parses a request of SOCKS 4 or 4a.
pub(crate) fn parse_4(bytes: &[u8]) -> Parsed<Target, BadMessage> {
    let Some((&[version, command, p1, p2, a, b, c, d], rest)) = bytes.split_first_chunk() else {
        return Parsed::Partial;
    };
    if version != VERSION_4 {
        return bad(Reply::GeneralFailure, "malformed SOCKS 4 request");
    }
    let (_user, rest) = match text(rest, "the user name is longer than 255 bytes") {
        Parsed::Complete(user, used) => (user, rest.get(used..).unwrap_or_default()),
        Parsed::Partial => return Parsed::Partial,
        Parsed::Bad(bad) => return Parsed::Bad(bad),
    };
    let (host, rest) = if [a, b, c] == [0; 3] && d != 0 {
        match text(rest, "the host name is longer than 255 bytes") {
            Parsed::Complete(name, used) => {
                (String::from_utf8_lossy(name).into_owned(), rest.get(used..).unwrap_or_default())
            }
            Parsed::Partial => return Parsed::Partial,
            Parsed::Bad(bad) => return Parsed::Bad(bad),
        }
    } else {
        (Ipv4Addr::new(a, b, c, d).to_string(), rest)
    };
    if command != CONNECT {
        return bad(Reply::CommandNotSupported, "only CONNECT is supported, not BIND");
    }
    match Target::new(&host, u16::from_be_bytes([p1, p2])) {
        Ok(target) => Parsed::Complete(target, bytes.len() - rest.len()),
        Err(error) => bad(Reply::GeneralFailure, error.reason()),
    }
}

/// Parses bytes up to a NUL, which is consumed too.
fn text<'b>(bytes: &'b [u8], too_long: &'static str) -> Parsed<&'b [u8], BadMessage> {
    match memchr::memchr(0, bytes) {
        Some(end) if end <= MAX_TEXT => {
            Parsed::Complete(bytes.get(..end).unwrap_or_default(), end + 1)
        }
        None if bytes.len() <= MAX_TEXT => Parsed::Partial,
        _ => bad(Reply::GeneralFailure, too_long),
    }
}

/// An authentication method (RFC 1928 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Method {
    None = 0,
    Password = 2,
}

/// The authentication methods that a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Methods {
    pub(crate) none: bool,
    pub(crate) password: bool,
}

/// Parses the greeting of SOCKS 5.
pub(crate) fn parse_methods(bytes: &[u8]) -> Parsed<Methods, BadMessage> {
    let Some((&[version, count], rest)) = bytes.split_first_chunk() else {
        return Parsed::Partial;
    };
    if version != VERSION_5 {
        return bad(Reply::GeneralFailure, "malformed SOCKS 5 greeting");
    }
    let Some(offered) = rest.get(..count.into()) else {
        return Parsed::Partial;
    };
    let methods = Methods {
        none: offered.contains(&(Method::None as u8)),
        password: offered.contains(&(Method::Password as u8)),
    };
    Parsed::Complete(methods, 2 + offered.len())
}

/// Parses a user name and password (RFC 1929).
pub(crate) fn parse_password(bytes: &[u8]) -> Parsed<Credentials, BadMessage> {
    if bytes.first().is_some_and(|&version| version != 1) {
        return bad(Reply::GeneralFailure, "malformed SOCKS 5 user name and password");
    }
    let fields = || {
        let (user, rest) = counted(bytes.get(1..)?)?;
        let (password, rest) = counted(rest)?;
        Some((Credentials::new(user, password)?, bytes.len() - rest.len()))
    };
    match fields() {
        Some((credentials, used)) => Parsed::Complete(credentials, used),
        None => Parsed::Partial,
    }
}

/// Bytes after a length byte, and the rest.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(length.into())
}

/// Parses the request of SOCKS 5.
pub(crate) fn parse_5(bytes: &[u8]) -> Parsed<Target, BadMessage> {
    let Some((&[version, command, _reserved, kind], rest)) = bytes.split_first_chunk() else {
        return Parsed::Partial;
    };
    if version != VERSION_5 {
        return bad(Reply::GeneralFailure, "malformed SOCKS 5 request");
    }
    if command != CONNECT {
        let reason = "only CONNECT is supported, not BIND or UDP ASSOCIATE";
        return bad(Reply::CommandNotSupported, reason);
    }
    let address = match kind {
        1 => rest
            .split_first_chunk()
            .map(|(&ip, rest): (&[u8; 4], _)| (IpAddr::V4(Ipv4Addr::from(ip)).to_string(), rest)),
        4 => rest
            .split_first_chunk()
            .map(|(&ip, rest): (&[u8; 16], _)| (IpAddr::V6(Ipv6Addr::from(ip)).to_string(), rest)),
        3 => counted(rest).map(|(name, rest)| (String::from_utf8_lossy(name).into_owned(), rest)),
        _ => {
            let reason = "the address type is unknown";
            return bad(Reply::AddressTypeNotSupported, reason);
        }
    };
    let Some((host, rest)) = address else {
        return Parsed::Partial;
    };
    let Some((&port, rest)) = rest.split_first_chunk() else {
        return Parsed::Partial;
    };
    match Target::new(&host, u16::from_be_bytes(port)) {
        Ok(target) => Parsed::Complete(target, bytes.len() - rest.len()),
        Err(error) => bad(Reply::GeneralFailure, error.reason()),
    }
}

fn bad<T>(reply: Reply, reason: &'static str) -> Parsed<T, BadMessage> {
    Parsed::Bad(BadMessage { reply, reason })
}

/// Reply: none of the offered methods is accepted.
pub(crate) const NO_METHOD: [u8; 2] = [VERSION_5, 0xff];

/// Reply: user name and password are correct (RFC 1929).
pub(crate) const PASSWORD_GOOD: [u8; 2] = [1, 0];

/// Reply: user name or password is wrong.
pub(crate) const PASSWORD_BAD: [u8; 2] = [1, 1];

/// Reply: this method is accepted.
pub(crate) fn choice(method: Method) -> [u8; 2] {
    [VERSION_5, method as u8]
}

/// The reply to a SOCKS 4 client.
pub(crate) fn reply_4(granted: bool) -> Vec<u8> {
    vec![0, if granted { 0x5a } else { 0x5b }, 0, 0, 0, 0, 0, 0]
}

/// The reply to a SOCKS 5 client, with the local address of the connection to the target.
pub(crate) fn reply_5(reply: Reply, bound: Option<SocketAddr>) -> Vec<u8> {
    let bound = bound.unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
    let mut bytes = vec![VERSION_5, reply as u8, 0];
    match bound.ip() {
        IpAddr::V4(ip) => {
            bytes.push(1);
            bytes.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(4);
            bytes.extend_from_slice(&ip.octets());
        }
    }
    bytes.extend_from_slice(&bound.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complete<T, B: std::fmt::Debug>(parsed: Parsed<T, B>) -> (T, usize) {
        match parsed {
            Parsed::Complete(value, used) => (value, used),
            Parsed::Partial => panic!("partial"),
            Parsed::Bad(bad) => panic!("{bad:?}"),
        }
    }

    fn reply_to(message: &[u8]) -> Option<Reply> {
        match parse_5(message) {
            Parsed::Bad(bad) => Some(bad.reply),
            _ => None,
        }
    }

    #[test]
    fn the_target_of_each_kind_of_address_is_read() {
        for (message, target) in [
            (&b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"[..], "192.0.2.1:80"),
            (b"\x05\x01\x00\x03\x07Ex.test\x01\xbb", "Ex.test:443"),
            (b"\x05\x01\x00\x03\x03::1\x01\xbb", "[::1]:443"),
            (b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50", "[::1]:80"),
        ] {
            let (read, used) = complete(parse_5(message));
            assert_eq!((read.to_string().as_str(), used), (target, message.len()));
        }
        for (message, target) in [
            (&b"\x04\x01\x00\x50\xc0\x00\x02\x01user\0"[..], "192.0.2.1:80"),
            (b"\x04\x01\x00\x50\0\0\0\x01\0ex.test\0", "ex.test:80"),
        ] {
            let (read, used) = complete(parse_4(message));
            assert_eq!((read.to_string().as_str(), used), (target, message.len()));
        }
    }

    #[test]
    fn what_is_not_served_is_refused_by_its_own_reply() {
        let bind = b"\x05\x02\x00\x01\0\0\0\0\0\0";
        assert_eq!(reply_to(bind), Some(Reply::CommandNotSupported));
        let udp = b"\x05\x03\x00\x01\0\0\0\0\0\0";
        assert_eq!(reply_to(udp), Some(Reply::CommandNotSupported));
        let kind = b"\x05\x01\x00\x02\0\0\0\0\0\0";
        assert_eq!(reply_to(kind), Some(Reply::AddressTypeNotSupported));
        for target in [&b"\x00\x00\x50"[..], b"\x01a\0\0", b"\x02a\0\0\x50", b"\x03a b\0\x50"] {
            let message = [b"\x05\x01\x00\x03", target].concat();
            assert_eq!(reply_to(&message), Some(Reply::GeneralFailure), "{target:?}");
        }
        assert!(matches!(parse_4(b"\x04\x02\x00\x50\x01\x02\x03\x04\0"), Parsed::Bad(_)));
    }

    #[test]
    fn absurd_lengths_of_socks_4_are_refused_without_waiting_for_the_rest() {
        let long = [&b"\x04\x01\x00\x50\x01\x02\x03\x04"[..], &[b'u'; 256]].concat();
        assert!(matches!(parse_4(&long), Parsed::Bad(_)));
        let long = [&b"\x04\x01\x00\x50\0\0\0\x01\0"[..], &[b'h'; 256]].concat();
        assert!(matches!(parse_4(&long), Parsed::Bad(_)));
    }

    proptest! {
        /// Every beginning of a message that is complete is partial, and what follows is left.
        #[test]
        fn a_message_is_complete_at_its_end_and_not_before(
            host in "[a-z]{1,20}", port in 1u16.., after in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let port_bytes = port.to_be_bytes();
            let length = [u8::try_from(host.len()).unwrap()];
            let five =
                [&b"\x05\x01\x00\x03"[..], &length, host.as_bytes(), &port_bytes].concat();
            let four = [&b"\x04\x01"[..], &port_bytes, b"\0\0\0\x01me\0", host.as_bytes(), b"\0"]
                .concat();
            let parse = |message: &[u8]| match message {
                [VERSION_4, ..] => parse_4(message),
                _ => parse_5(message),
            };
            for message in [five, four] {
                for cut in 0..message.len() {
                    prop_assert!(matches!(parse(&message[..cut]), Parsed::Partial));
                }
                let (target, used) = complete(parse(&[&message[..], &after].concat()));
                prop_assert_eq!(used, message.len());
                prop_assert_eq!(target.to_string(), format!("{host}:{port}"));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let used = |parsed| if let Parsed::Complete(_, used) = parsed { used } else { 0 };
            prop_assert!(used(parse_4(&bytes)) <= bytes.len());
            prop_assert!(used(parse_5(&bytes)) <= bytes.len());
            if let Parsed::Complete(_, used) = parse_methods(&bytes) {
                prop_assert!(used <= bytes.len());
            }
            if let Parsed::Complete(_, used) = parse_password(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
