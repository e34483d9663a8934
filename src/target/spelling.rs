//! Addresses in every spelling that resolvers accept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Largest value of the last part, by how many parts there are before it (inet_aton(3)).
const LAST_PART: [u32; 4] = [0xffff_ffff, 0xff_ffff, 0xffff, 0xff];

/// The address that `host` spells, without brackets. IPv4 addresses may be spelled as inet_aton(3)
/// takes them: `127.1`, `0x7f.1`, `0177.0.0.1`, `2130706433`. A final dot does not make an address a
/// name: URL parsers (WHATWG) drop it.
pub(crate) fn parse_address(host: &str) -> Option<IpAddr> {
    if host.contains(':') {
        return host.parse().ok().map(IpAddr::V6);
    }
    parse_ipv4(host.strip_suffix('.').unwrap_or(host)).map(IpAddr::V4)
}

/// An IPv6 address as it stands between brackets.
///
/// # Errors
///
/// It is not an IPv6 address, or it has a zone.
pub(super) fn parse_in_brackets(inner: &str) -> Result<Ipv6Addr, &'static str> {
    match inner.parse() {
        Ok(address) => Ok(address),
        // RFC 6874, and what getaddrinfo(3) takes. A zone is only valid on one machine.
        Err(_) if inner.contains('%') => Err("IPv6 zones (%) are not supported"),
        Err(_) => Err("the text in brackets is not an IPv6 address"),
    }
}

/// One to four numbers between dots, decimal, octal (`0…`) or hexadecimal (`0x…`). The last one has
/// the bytes of those that are missing. What glibc's getaddrinfo(3) takes, and nothing else.
fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    // Names, as a rule, begin otherwise.
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut before = 0u32;
    let mut parts = text.split('.').enumerate().peekable();
    while let Some((index, part)) = parts.next() {
        let number = parse_number(part)?;
        let &largest = LAST_PART.get(index)?;
        if parts.peek().is_some() {
            let byte = u8::try_from(number).ok()?;
            before |= u32::from(byte) << (24 - 8 * index.min(3));
        } else {
            return (number <= largest).then(|| Ipv4Addr::from(before | number));
        }
    }
    None
}

/// A number as strtoul(3) reads it with base 0, of 32 bits at most.
fn parse_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', _, ..] => (text, 8),
        _ => (text, 10),
    };
    // from_str_radix would take a sign as well.
    let is_number = digits.starts_with(|c: char| c.is_digit(radix));
    u32::from_str_radix(digits, radix).ok().filter(|_| is_number)
}

/// Whether a name ends in a number, as no name in the DNS does: a resolver may take it for an address
/// all the same (`0b1111111.1`, `4294967297`, `127.0.0.08`).
pub(super) fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_of = |digits: &str, radix| digits.chars().all(|c| c.is_digit(radix));
    match last.split_at_checked(2) {
        Some(("0x" | "0X" | "0b" | "0B" | "0o" | "0O", digits)) => is_of(digits, 16),
        _ => !last.is_empty() && is_of(last, 10),
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_inet_aton_is_an_address() {
        for (text, address) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("127.65535", "127.0.255.255"),
            ("0177.0.0.1", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0X7F.0.0x0.01", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("00000000000000000000177.1", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("00.0x0", "0.0.0.0"),
            ("0xa9fea9fe", "169.254.169.254"),
            ("010.1", "8.0.0.1"),
            ("4294967295", "255.255.255.255"),
            ("127.0.0.1.", "127.0.0.1"),
            ("127.1.", "127.0.0.1"),
            ("::1", "::1"),
            ("0:0::0:1", "::1"),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ] {
            assert_eq!(parse_address(text), Some(address.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            ".",
            "localhost",
            "1..2",
            ".1",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.2.65536",
            "256.1",
            "4294967296",
            "0x",
            "0x.1",
            "08.1",
            "1.2.3.4x",
            "0x7g",
            "+1",
            "-1",
            "1.+1",
            "127.1..",
            "1e1",
            "a.1",
            "0b1.1",
            "fe80::1%lo",
            "[::1]",
            "::1.",
            "127。0。0。1",
            "１２７.1",
        ] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_that_ends_in_a_number_is_told_from_others() {
        for (name, expected) in [
            ("0b1111111.1", true),
            ("4294967297", true),
            ("1.2.3.4.5", true),
            ("a.0x7f", true),
            ("a.0x", true),
            ("127.0b1", true),
            ("example.com", false),
            ("3com", false),
            ("web1", false),
            ("0xyz", false),
            ("", false),
        ] {
            assert_eq!(ends_in_number(name), expected, "{name}");
        }
    }

    /// What glibc takes for an IPv4 address without asking anybody.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn of_the_c_library(host: &str) -> Option<IpAddr> {
        let hints = dns_lookup::AddrInfoHints {
            address: dns_lookup::AddrFamily::Inet.into(),
            socktype: dns_lookup::SockType::Stream.into(),
            flags: libc::AI_NUMERICHOST,
            ..Default::default()
        };
        let mut found = dns_lookup::getaddrinfo(Some(host), None, Some(hints)).ok()?;
        Some(found.next()?.unwrap().sockaddr.ip())
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_the_c_library_takes_for_an_ipv4_address_is_one_and_nothing_else(
            parts in prop::collection::vec(
                prop_oneof![
                    "0{0,3}[0-9]{1,4}", "0[xX]0{0,3}[0-9a-fA-F]{0,9}", "[0-9]{8,11}", "[0-9a-fxX+ -]{0,4}",
                ],
                1..6,
            ),
        ) {
            let host = parts.join(".");
            // C2X's binary numbers, which newer versions of it take.
            prop_assume!(!host.contains("0b") && !host.contains("0B"));
            prop_assert_eq!(parse_ipv4(&host).map(IpAddr::V4), of_the_c_library(&host), "{}", host);
        }
    }
}
