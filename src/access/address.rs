//! Addresses as rules see them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address that is written as an IPv6 one becomes itself: mapped (RFC 4291 section 2.5.5.2),
/// or under the prefix that NAT64 translates (RFC 6052 section 2.1).
pub(super) fn canonical(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => match v6.octets() {
            [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => {
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            _ => IpAddr::V6(v6),
        },
        v4 => v4,
    }
}

/// Loopback, link-local and unspecified addresses: what lies there trusts this machine and its link.
pub(super) fn is_for_this_machine(canonical: IpAddr) -> bool {
    match canonical {
        // RFC 1122 section 3.2.1.3: 0.0.0.0/8 is this host on this network.
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local(),
    }
}

/// Whether a connection to `dialled` arrives at a socket of this machine that is bound to `bound`.
pub(crate) fn is_own(dialled: IpAddr, bound: IpAddr) -> bool {
    // Connecting to an unspecified address connects to loopback.
    let dialled = match canonical(dialled) {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    match bound.to_canonical() {
        bound if bound == dialled => true,
        IpAddr::V6(bound) if bound.is_unspecified() => is_this_machines(dialled),
        IpAddr::V4(bound) if bound.is_unspecified() => {
            dialled.is_ipv4() && is_this_machines(dialled)
        }
        _ => false,
    }
}

/// Whether the address is one of this machine's.
pub(super) fn is_this_machines(ip: IpAddr) -> bool {
    ip.is_loopback()
        || match if_addrs::get_if_addrs() {
            Ok(interfaces) => interfaces.iter().any(|interface| interface.ip() == ip),
            Err(error) => {
                tracing::debug!("listing this machine's addresses: {error}");
                false
            }
        }
}
