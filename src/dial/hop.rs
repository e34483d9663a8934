//! Counts the proxies on this machine that a connection has passed through, by the IP time to live
//! (RFC 791) or hop limit (RFC 8200).
//!
//! Two proxies that forward to each other cannot recognise each other's connections, and the
//! relayed data does not show the path. But packets within a machine pass no router, so a proxy
//! that dials an address of this machine for a client on this machine can act like a router: it
//! sends packets with one hop less than they arrived with. Other clients start with the system's
//! default. Linux stores the TTL of the packet that opened a connection as the multicast TTL of the
//! accepted socket.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of proxies on this machine that a connection may pass through. Longer chains are
/// loops.
pub(crate) const MOST_HOPS: u32 = 16;

/// How long the list of this machine's addresses is cached.
const RENEWED: Duration = Duration::from_secs(10);

/// Number of proxies that a client's connection has passed through: the default TTL minus that of
/// its packets. 0 on other systems, for clients on other machines, and for clients with a TTL of
/// their own.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn hops_so_far(client: &tokio::net::TcpStream, from: SocketAddr) -> u32 {
    let socket = socket2::SockRef::from(client);
    // A socket for both families reports it for IPv4 packets either way.
    let left = match from.ip().to_canonical() {
        IpAddr::V4(_) => socket.multicast_ttl_v4(),
        IpAddr::V6(_) => socket.multicast_hops_v6(),
    };
    let hops = match (left, default_for(from.ip())) {
        (Ok(left), Some(default)) => default.saturating_sub(left),
        _ => 0,
    };
    if hops > 0 && hops <= MOST_HOPS && is_here(from.ip()) { hops } else { 0 }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn hops_so_far(_client: &tokio::net::TcpStream, _from: SocketAddr) -> u32 {
    0
}

/// Sets the TTL of a socket to one hop less, for the next proxy on this machine.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn add_hop(socket: &socket2::Socket, to: SocketAddr, hops_so_far: u32) {
    if !is_here(to.ip()) {
        return;
    }
    let Some(default) = default_for(to.ip()) else { return };
    let left = default.saturating_sub(hops_so_far + 1).max(1);
    let set = match to {
        SocketAddr::V4(_) => socket.set_ttl_v4(left),
        SocketAddr::V6(to) if to.ip().to_ipv4_mapped().is_some() => socket.set_ttl_v4(left),
        SocketAddr::V6(_) => socket.set_unicast_hops_v6(left),
    };
    if let Err(error) = set {
        tracing::debug!("cannot set the time to live: {}", crate::fault::text_of(&error));
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn add_hop(_socket: &socket2::Socket, _to: SocketAddr, _hops_so_far: u32) {}

/// The default TTL of the system.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn default_for(ip: IpAddr) -> Option<u32> {
    use socket2::{Domain, Socket, Type};
    use std::sync::OnceLock;

    static V4: OnceLock<Option<u32>> = OnceLock::new();
    static V6: OnceLock<Option<u32>> = OnceLock::new();
    let socket = |domain| Socket::new(domain, Type::STREAM, None).ok();
    match ip.to_canonical() {
        IpAddr::V4(_) => *V4.get_or_init(|| socket(Domain::IPV4)?.ttl_v4().ok()),
        IpAddr::V6(_) => *V6.get_or_init(|| socket(Domain::IPV6)?.unicast_hops_v6().ok()),
    }
}

/// Whether an address is this machine's: loopback, an interface's, or any in the network of an
/// address on the loopback interface, all of which Linux delivers to itself.
pub(crate) fn is_here(ip: IpAddr) -> bool {
    static KNOWN: Mutex<Option<(Instant, Vec<Local>)>> = Mutex::new(None);

    let ip = ip.to_canonical();
    if ip.is_loopback() || ip.is_unspecified() {
        return true;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let known = match &mut *known {
        Some((since, known)) if now.duration_since(*since) < RENEWED => known,
        stale => &mut stale.insert((now, locals())).1,
    };
    known.iter().any(|local| local.has(ip))
}

/// Addresses of this machine.
#[derive(Debug)]
enum Local {
    Address(IpAddr),
    Network(ipnet::IpNet),
}

impl Local {
    fn has(&self, ip: IpAddr) -> bool {
        match self {
            Self::Address(address) => *address == ip,
            Self::Network(network) => network.contains(&ip),
        }
    }
}

fn locals() -> Vec<Local> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::debug!("cannot list this machine's addresses: {error}");
        Vec::new()
    });
    let loopback: Vec<&str> = interfaces
        .iter()
        .filter(|interface| interface.is_loopback())
        .map(|interface| interface.name.as_str())
        .collect();
    let local = |interface: &if_addrs::Interface| {
        let bits = match &interface.addr {
            if_addrs::IfAddr::V4(address) => address.prefixlen,
            if_addrs::IfAddr::V6(address) => address.prefixlen,
        };
        // IPv6 has no such rule: only the address itself is local.
        let is_all = interface.ip().is_ipv4() && loopback.contains(&interface.name.as_str());
        match ipnet::IpNet::new(interface.ip(), bits) {
            Ok(network) if is_all => Local::Network(network),
            _ => Local::Address(interface.ip()),
        }
    };
    interfaces.iter().map(local).collect()
}
