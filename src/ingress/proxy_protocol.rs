//! The PROXY protocol, versions 1 and 2, as specified in HAProxy's proxy-protocol.txt: a header
//! that announces the original client of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::Parsed;

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The two ends of a connection as its client sees them, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

const BEGIN_1: &[u8] = b"PROXY ";

/// Longest line of version 1, its end included.
const MAX_1: usize = 107;

const SIGNATURE_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Before the addresses of version 2: signature, version and command, family and protocol, length.
const HEAD_2: usize = 16;

const VERSION_2: u8 = 0x20;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;

/// TCP over IPv4 and over IPv6.
const TCP_4: u8 = 0x11;
const TCP_6: u8 = 0x21;

/// Parses the header at the beginning of `bytes`. It announces nobody if the sender speaks for
/// itself (`LOCAL`) or for another protocol than TCP (`UNKNOWN`).
pub(crate) fn parse(bytes: &[u8]) -> Parsed<Option<Endpoints>, &'static str> {
    let may_begin_with = |with: &[u8]| bytes.iter().zip(with).all(|(is, should)| is == should);
    if may_begin_with(SIGNATURE_2) {
        parse_2(bytes)
    } else if may_begin_with(BEGIN_1) {
        parse_1(bytes)
    } else {
        Parsed::Bad("the client sent no PROXY protocol header")
    }
}

fn parse_1(bytes: &[u8]) -> Parsed<Option<Endpoints>, &'static str> {
    let longest = bytes.get(..MAX_1).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', longest) else {
        return match longest.len() {
            MAX_1 => Parsed::Bad("the PROXY protocol line is longer than 107 bytes"),
            _ => Parsed::Partial,
        };
    };
    let line = longest.get(BEGIN_1.len()..end).and_then(|line| line.strip_suffix(b"\r"));
    match line.and_then(announced_1) {
        Some(announced) => Parsed::Complete(announced, end + 1),
        None => Parsed::Bad("the PROXY protocol line is malformed"),
    }
}

/// Parses what follows `PROXY `, without the line's end.
fn announced_1(line: &[u8]) -> Option<Option<Endpoints>> {
    // Whatever follows it is to be ignored.
    if let Some(rest) = line.strip_prefix(b"UNKNOWN") {
        return (rest.is_empty() || rest.starts_with(b" ")).then_some(None);
    }
    let fields: Vec<&str> = std::str::from_utf8(line).ok()?.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = fields[..] else {
        return None;
    };
    let (source, destination) = match family {
        "TCP4" => (address::<Ipv4Addr>(source)?, address::<Ipv4Addr>(destination)?),
        "TCP6" => (address::<Ipv6Addr>(source)?, address::<Ipv6Addr>(destination)?),
        _ => return None,
    };
    Some(Some(Endpoints {
        source: SocketAddr::new(source, port(source_port)?),
        destination: SocketAddr::new(destination, port(destination_port)?),
    }))
}

fn address<T: FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<T>().ok().map(Into::into)
}

/// Digits without a leading zero.
fn port(text: &str) -> Option<u16> {
    let plain = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
    text.parse().ok().filter(|_| plain)
}

fn parse_2(bytes: &[u8]) -> Parsed<Option<Endpoints>, &'static str> {
    let Some(&[version_command, kind, high, low]) = bytes.get(SIGNATURE_2.len()..HEAD_2) else {
        return Parsed::Partial;
    };
    if version_command & 0xf0 != VERSION_2 {
        return Parsed::Bad("the version of the PROXY protocol is unknown");
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    // Bytes of the addresses; what follows them, within the length, are extensions.
    let needed = match (version_command & 0x0f, kind) {
        (LOCAL, _) => 0,
        (PROXY, TCP_4) => 12,
        (PROXY, TCP_6) => 36,
        // Other families and datagrams, as far as they are defined.
        (PROXY, _) if kind >> 4 <= 3 && kind & 0x0f <= 2 => 0,
        (PROXY, _) => return Parsed::Bad("the PROXY protocol header has an unknown family"),
        _ => return Parsed::Bad("the PROXY protocol header has an unknown command"),
    };
    if length < needed {
        return Parsed::Bad("the PROXY protocol header is too short for its addresses");
    }
    let Some(block) = bytes.get(HEAD_2..HEAD_2 + length) else {
        return Parsed::Partial;
    };
    let announced = match needed {
        12 => addresses::<4>(block),
        36 => addresses::<16>(block),
        _ => None,
    };
    Parsed::Complete(announced, HEAD_2 + length)
}

/// Both addresses, then both ports.
fn addresses<const N: usize>(block: &[u8]) -> Option<Endpoints>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _) = rest.split_first_chunk()?;
    Some(Endpoints {
        source: SocketAddr::new((*source).into(), u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new((*destination).into(), u16::from_be_bytes(*destination_port)),
    })
}

impl Endpoints {
    /// If the families differ, the IPv4 address is mapped into IPv6.
    pub(crate) fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        if source.is_ipv4() == destination.is_ipv4() {
            return Self { source, destination };
        }
        let mapped = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            IpAddr::V6(_) => address,
        };
        Self { source: mapped(source), destination: mapped(destination) }
    }
}

/// The format of version 1.
impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination } = self;
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (source_port, destination_port) = (source.port(), destination.port());
        let (source, destination) = (source.ip(), destination.ip());
        write!(f, "{family} {source} {destination} {source_port} {destination_port}")
    }
}

impl ProxyProtocol {
    /// The header that announces these endpoints, or nobody.
    pub(crate) fn header(self, announced: Option<Endpoints>) -> Vec<u8> {
        match (self, announced) {
            (Self::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
            (Self::V1, Some(endpoints)) => format!("PROXY {endpoints}\r\n").into_bytes(),
            (Self::V2, None) => header_2(LOCAL, 0, &[]),
            (Self::V2, Some(Endpoints { source, destination })) => {
                let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()];
                let kind = if source.is_ipv4() { TCP_4 } else { TCP_6 };
                let addresses = [octets(source.ip()), octets(destination.ip()), ports.concat()];
                header_2(PROXY, kind, &addresses.concat())
            }
        }
    }
}

/// `block` is 36 bytes at most.
fn header_2(command: u8, kind: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap_or(u16::MAX).to_be_bytes();
    [SIGNATURE_2, &[VERSION_2 | command, kind][..], &length, block].concat()
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_bad(bytes: &[u8]) -> bool {
        matches!(parse(bytes), Parsed::Bad(_))
    }

    fn complete(bytes: &[u8]) -> (Option<Endpoints>, usize) {
        match parse(bytes) {
            Parsed::Complete(announced, used) => (announced, used),
            other => panic!("{bytes:?}: {other:?}"),
        }
    }

    fn with_signature(rest: &[u8]) -> Vec<u8> {
        [&SIGNATURE_2[..], rest].concat()
    }

    #[test]
    fn lines_of_the_first_version_are_read_to_the_letter() {
        let (announced, used) = complete(b"PROXY TCP4 192.0.2.1 198.51.100.2 65535 0\r\nGET /");
        let endpoints = announced.unwrap();
        assert_eq!(used, 43);
        assert_eq!(endpoints.source, "192.0.2.1:65535".parse().unwrap());
        assert_eq!(endpoints.destination, "198.51.100.2:0".parse().unwrap());
        let (announced, _) = complete(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n");
        assert_eq!(announced.unwrap().source, "[2001:db8::1]:1".parse().unwrap());
        for unknown in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN \xff any thing 1\r\n"] {
            assert_eq!(complete(unknown), (None, unknown.len()));
        }
        for bad in [
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
            "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY \r\n",
            "PROXY\r\n",
            "proxy UNKNOWN\r\n",
            "GET / HTTP/1.1\r\n",
            "\r\n\r\nGET /",
        ] {
            assert!(is_bad(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn a_line_may_have_107_bytes_and_not_one_more() {
        let long = |padding: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(padding));
        assert_eq!(long(91).len(), 107);
        assert_eq!(complete(long(91).as_bytes()), (None, 107));
        assert!(is_bad(long(92).as_bytes()));
        assert!(is_bad(&long(200).as_bytes()[..107]));
        assert!(matches!(parse(&long(200).as_bytes()[..106]), Parsed::Partial));
    }

    #[test]
    fn the_second_version_skips_extensions_and_what_it_cannot_use() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0, 80, 1, 187];
        let extended = [&[0x21, 0x11, 0, 16][..], &v4, b"\x04\0\x01x", b"rest"].concat();
        let (announced, used) = complete(&with_signature(&extended));
        assert_eq!(used, 32);
        assert_eq!(announced.unwrap().destination, "198.51.100.2:443".parse().unwrap());
        for (head, length) in [
            // LOCAL, whatever the family says.
            ([0x20, 0x00], 0),
            ([0x20, 0x11], 3),
            ([0x20, 0xff], 5),
            // No family; UDP; a UNIX socket.
            ([0x21, 0x00], 7),
            ([0x21, 0x12], 12),
            ([0x21, 0x31], 216),
        ] {
            let header = with_signature(&[&head[..], &[0, length], &[7; 216]].concat());
            assert_eq!(complete(&header), (None, HEAD_2 + usize::from(length)), "{head:?}");
        }
    }

    #[test]
    fn what_the_second_version_does_not_define_is_refused_before_its_end_came() {
        for head in [
            // Versions, commands, families, protocols.
            [0x11, 0x11, 0, 12],
            [0x31, 0x11, 0, 12],
            [0x22, 0x11, 0, 12],
            [0x21, 0x41, 0, 12],
            [0x21, 0x13, 0, 12],
            // Too short for the addresses.
            [0x21, 0x11, 0, 11],
            [0x21, 0x21, 0, 35],
        ] {
            assert!(is_bad(&with_signature(&head)), "{head:?}");
        }
    }

    fn an_address() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
    }

    proptest! {
        /// Every beginning of a header is partial, and what follows it is left.
        #[test]
        fn a_header_reads_back_at_its_end_and_not_before(
            source in an_address(), destination in an_address(), known in any::<bool>(),
            after in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let announced = known.then(|| Endpoints::new(source, destination));
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let header = version.header(announced);
                for cut in 0..header.len() {
                    prop_assert!(matches!(parse(&header[..cut]), Parsed::Partial));
                }
                let read = complete(&[&header[..], &after].concat());
                prop_assert_eq!(read, (announced, header.len()));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            v2 in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let all = [if v2 { &SIGNATURE_2[..] } else { BEGIN_1 }, &bytes].concat();
            for bytes in [all, bytes] {
                if let Parsed::Complete(_, used) = parse(&bytes) {
                    prop_assert!(used <= bytes.len());
                }
            }
        }
    }
}
