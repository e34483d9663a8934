//! Addresses as access rules see them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

/// An address to dial, with all addresses that it may lead to.
///
/// A deny rule is checked against each of them ([`Self::all`]); an allow rule must cover the one
/// that is certain, or all if none is ([`Self::is_covered`]).
#[derive(Debug)]
pub(super) struct Destination {
    /// The address itself; an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) as IPv4.
    itself: IpAddr,
    /// Where a NAT64 translator sends it. A local-use prefix (RFC 8215) does not show its length, on
    /// which it depends where the IPv4 address stands.
    translated: SmallVec<[Ipv4Addr; 4]>,
    /// The IPv4 address in an IPv4-compatible or 6to4 address. Some systems send it there.
    tunnelled: Option<Ipv4Addr>,
}

impl Destination {
    pub(super) fn new(ip: IpAddr) -> Self {
        let itself = ip.to_canonical();
        let (translated, tunnelled) = match itself {
            IpAddr::V4(_) => Default::default(),
            IpAddr::V6(v6) => (translated(v6), tunnelled(v6)),
        };
        Self { itself, translated, tunnelled }
    }

    /// The address without the IPv4 addresses in it.
    pub(super) fn itself(&self) -> IpAddr {
        self.itself
    }

    /// Whether it is one that NAT64 translates.
    pub(super) fn is_translated(&self) -> bool {
        !self.translated.is_empty()
    }

    /// The address and all addresses that it may lead to. The unspecified address leads to
    /// loopback, on some systems of either family.
    pub(super) fn all(&self) -> impl Iterator<Item = IpAddr> {
        let inner = self.translated.iter().copied().chain(self.tunnelled).map(IpAddr::V4);
        let named = std::iter::once(self.itself).chain(inner);
        let is_unspecified = named.clone().any(|ip| ip.is_unspecified());
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        named.chain(loopback.into_iter().filter(move |_| is_unspecified))
    }

    /// Whether `covers` holds for every address that it leads to. The unspecified address is
    /// covered by itself, or by the loopback address of its family, which it leads to.
    pub(super) fn is_covered(&self, covers: impl Fn(IpAddr) -> bool) -> bool {
        let is_covered =
            |ip: IpAddr| covers(ip) || ip.is_unspecified() && covers(without_unspecified(ip));
        match self.translated.is_empty() {
            true => is_covered(self.itself),
            false => self.translated.iter().all(|&ip| is_covered(ip.into())),
        }
    }

    /// Whether it leads to a loopback, link-local or unspecified address: services there trust this
    /// machine and its link.
    pub(super) fn is_for_this_machine(&self) -> bool {
        self.all().any(|ip| match ip {
            // RFC 1122 section 3.2.1.3: 0.0.0.0/8 is this host on this network.
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.octets()[0] == 0,
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local(),
        })
    }

    /// Whether it leads to an address of one of this machine's interfaces.
    pub(super) fn is_this_machine(&self) -> bool {
        self.all().any(is_this_machine)
    }
}

/// The IPv4 addresses to which NAT64 may translate an address: RFC 6052 section 2.2, for the
/// well-known prefix 64:ff9b::/96 and for every prefix length within 64:ff9b:1::/48.
fn translated(ip: Ipv6Addr) -> SmallVec<[Ipv4Addr; 4]> {
    let octets = ip.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => smallvec::smallvec![at([12, 13, 14, 15])],
        [0x64, 0xff9b, 1, ..] => {
            // Octet 8 is skipped. In order: /48, /56, /64, /96.
            let embedded = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
            let mut found = SmallVec::new();
            for address in embedded.map(at) {
                // Parts of a longer prefix are zeros; no translator sends anything to 0.0.0.0/8.
                if address.octets()[0] != 0 && !found.contains(&address) {
                    found.push(address);
                }
            }
            found
        }
        _ => SmallVec::new(),
    }
}

/// The IPv4 address in `::a.b.c.d` (RFC 4291 section 2.5.5.1, deprecated) and in `2002:aabb:ccdd::`
/// (RFC 3056), which is where a tunnel sends its packets.
fn tunnelled(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] if a != 0 => {
            Some(Ipv4Addr::new(a, b, c, d))
        }
        [0x20, 0x02, a, b, c, d, ..] => Some(Ipv4Addr::new(a, b, c, d)),
        _ => None,
    }
}

/// Connecting to an unspecified address connects to loopback.
fn without_unspecified(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    }
}

/// Whether a connection to `dialled` arrives at a socket of this machine that is bound to `bound`.
pub(crate) fn is_own(dialled: IpAddr, bound: IpAddr) -> bool {
    let destination = Destination::new(dialled);
    let arrives = |dialled: IpAddr| match bound.to_canonical() {
        bound if bound == dialled => true,
        IpAddr::V6(bound) if bound.is_unspecified() => is_this_machine(dialled),
        IpAddr::V4(bound) if bound.is_unspecified() => {
            dialled.is_ipv4() && is_this_machine(dialled)
        }
        _ => false,
    };
    arrives(without_unspecified(destination.itself))
        || destination.translated.iter().any(|&ip| arrives(without_unspecified(ip.into())))
}

/// Whether the address belongs to this machine. If that cannot be told, it counts as such.
pub(super) fn is_this_machine(ip: IpAddr) -> bool {
    if ip.is_loopback() {
        return true;
    }
    match std::net::UdpSocket::bind((ip, 0)) {
        // Binding requires a local address, unless the system is configured otherwise. All
        // addresses of a network may be local (a `local` route), so that a list of interfaces does
        // not have them.
        Ok(_) => !may_bind_any(ip) || is_listed(ip),
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => false,
        Err(_) => is_listed(ip),
    }
}

/// Whether programs may bind to addresses that are not this machine's.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn may_bind_any(ip: IpAddr) -> bool {
    let file = match ip {
        IpAddr::V4(_) => "/proc/sys/net/ipv4/ip_nonlocal_bind",
        IpAddr::V6(_) => "/proc/sys/net/ipv6/ip_nonlocal_bind",
    };
    std::fs::read(file).is_ok_and(|value| value.trim_ascii() != b"0")
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn may_bind_any(_ip: IpAddr) -> bool {
    false
}

/// Whether one of this machine's interfaces has the address.
fn is_listed(ip: IpAddr) -> bool {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().any(|interface| interface.ip() == ip),
        Err(error) => {
            tracing::error!(
                "cannot list this machine's addresses: {}",
                crate::fault::text_of(&error)
            );
            true
        }
    }
}

/// The unit by which clients are counted: an IPv4 address, or the /64 network of an IPv6 address,
/// from which one host may choose. All hosts of a link share fe80::/64.
pub(crate) fn client_network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) if !ip.is_unicast_link_local() && !ip.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)))
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(text: &str) -> Destination {
        Destination::new(text.parse().unwrap())
    }

    #[test]
    fn every_place_of_an_ipv4_address_within_a_translators_prefix_counts() {
        for (address, expected) in [
            ("64:ff9b::7f00:1", "127.0.0.1"),
            // RFC 6052 section 2.2: /48, /56, /64, /96.
            ("64:ff9b:1:7f00:0:100::", "127.0.0.1"),
            ("64:ff9b:1:107f:0:1::", "127.0.0.1"),
            ("64:ff9b:1:203:7f:0:100:0", "127.0.0.1"),
            ("64:ff9b:1:405:0:607:7f00:1", "127.0.0.1"),
            ("64:ff9b:1::a9fe:a9fe", "169.254.169.254"),
            ("2002:7f00:1::1", "127.0.0.1"),
            ("::127.0.0.1", "127.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
        ] {
            let all: Vec<_> = destination(address).all().collect();
            assert!(all.contains(&expected.parse().unwrap()), "{address}: {all:?}");
            assert!(destination(address).is_for_this_machine(), "{address}");
        }
        for address in ["64:ff9b::c000:201", "64:ff9b:1::c000:201", "2001:db8::1", "192.0.2.1"] {
            assert!(!destination(address).is_for_this_machine(), "{address}");
        }
    }

    #[test]
    fn an_address_is_covered_where_it_certainly_leads() {
        let covered = |address: &str, by: &str| {
            let by: IpAddr = by.parse().unwrap();
            destination(address).is_covered(|ip| ip == by)
        };
        for (address, by) in [
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("64:ff9b::a00:1", "10.0.0.1"),
            ("64:ff9b:1::a00:1", "10.0.0.1"),
            ("0.0.0.0", "127.0.0.1"),
            ("0.0.0.0", "0.0.0.0"),
            ("::", "::1"),
        ] {
            assert!(covered(address, by), "{address} {by}");
        }
        for (address, by) in [
            // It may lead elsewhere.
            ("64:ff9b:1:405::a00:1", "10.0.0.1"),
            ("2002:a00:1::1", "10.0.0.1"),
            ("::10.0.0.1", "10.0.0.1"),
            ("::", "127.0.0.1"),
        ] {
            assert!(!covered(address, by), "{address} {by}");
        }
    }

    #[test]
    fn an_address_that_nothing_here_has_is_not_this_machines() {
        for address in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_this_machine(address.parse().unwrap()), "{address}");
        }
        for address in ["192.0.2.77", "2001:db8::77"] {
            assert!(!is_this_machine(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        for (client, network) in [
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("fe80::1:2", "fe80::1:2"),
            ("::1", "::1"),
        ] {
            assert_eq!(client_network(client.parse().unwrap()), network.parse::<IpAddr>().unwrap());
        }
    }
}
