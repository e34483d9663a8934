//! The listening sockets of the last dumps.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// A listener that no dump has shown since so many is forgotten: a socket that it accepted may have
/// ended between the last two.
const KEPT: u64 = 2;

/// Listeners by their ports; each with its address and the last dump that showed it.
#[derive(Debug, Default)]
pub(super) struct Listeners(HashMap<u16, Vec<(IpAddr, u64)>>);

impl Listeners {
    /// Notes a listener that this dump shows.
    pub(super) fn note(&mut self, listener: SocketAddr, dump: u64) {
        let on_port = self.0.entry(listener.port()).or_default();
        match on_port.iter_mut().find(|(ip, _)| *ip == listener.ip()) {
            Some((_, last)) => *last = dump,
            None => on_port.push((listener.ip(), dump)),
        }
    }

    /// Forgets those that are gone.
    pub(super) fn forget_before(&mut self, dump: u64) {
        self.0.retain(|_, on_port| {
            on_port.retain(|(_, last)| last + KEPT > dump);
            !on_port.is_empty()
        });
    }

    /// The listener that accepts connections to this address.
    pub(super) fn of(&self, local: SocketAddr) -> Option<SocketAddr> {
        let on_port = self.0.get(&local.port())?.iter().map(|(ip, _)| *ip);
        // An unspecified IPv6 address takes IPv4 as well; the kernel prefers the closer one.
        let rank = |ip: &IpAddr| match ip {
            ip if *ip == local.ip() => Some(0),
            IpAddr::V4(ip) if ip.is_unspecified() && local.is_ipv4() => Some(1),
            IpAddr::V6(ip) if ip.is_unspecified() => Some(2),
            _ => None,
        };
        let ranked = on_port.filter_map(|ip| Some((rank(&ip)?, ip)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, ip)| SocketAddr::new(ip, local.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_the_closest_one_on_the_port_until_it_is_gone() {
        let mut listeners = Listeners::default();
        for (listener, dump) in [("[::]:80", 1), ("0.0.0.0:80", 2), ("10.0.0.1:80", 3)] {
            listeners.note(listener.parse().unwrap(), dump);
        }
        let of = |listeners: &Listeners, local: &str| {
            listeners.of(local.parse().unwrap()).map(|listener| listener.to_string())
        };
        assert_eq!(of(&listeners, "10.0.0.1:80").as_deref(), Some("10.0.0.1:80"));
        assert_eq!(of(&listeners, "10.0.0.2:80").as_deref(), Some("0.0.0.0:80"));
        assert_eq!(of(&listeners, "[::1]:80").as_deref(), Some("[::]:80"));
        assert_eq!(of(&listeners, "10.0.0.1:81"), None);
        listeners.forget_before(4);
        assert_eq!(of(&listeners, "10.0.0.2:80"), None);
        assert_eq!(of(&listeners, "10.0.0.1:80").as_deref(), Some("10.0.0.1:80"));
    }
}
