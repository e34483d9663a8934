//! Listeners that contradict each other, so that they cannot all listen, or no connection could ever
//! succeed.

use std::net::{IpAddr, SocketAddr};

use conniver::access::{Access, Network, TargetRule};
use conniver::ingress::{Forward, Target};
use conniver::proxy::{Family, Via};

/// A sentence on two options that listen on one address: the error of the system would blame somebody
/// else.
pub(super) fn overlap(all: &[(&'static str, SocketAddr)]) -> Option<String> {
    all.iter().enumerate().find_map(|(at, (option, address))| {
        let mut later = all.get(at + 1..).unwrap_or_default().iter();
        let (other, with, shared) = later
            .find_map(|(other, with)| Some((*other, *with, shared_address(*address, *with)?)))?;
        let sentence = match *address == with {
            true if *option == other => format!("{option} {address} is given twice"),
            true => format!("{option} and {other} both listen on {address}"),
            false => format!("{option} {address} and {other} {with} both listen on {shared}"),
        };
        Some(format!("{sentence}; choose another port for one of them"))
    })
}

/// The address on which both listen, if there is one. Port 0 is any free one.
fn shared_address(one: SocketAddr, other: SocketAddr) -> Option<SocketAddr> {
    if one.port() != other.port() || one.port() == 0 {
        return None;
    }
    let [(one_ip, one), (other_ip, other)] =
        [one, other].map(|address| (address.ip().to_canonical(), address));
    // A socket on every IPv6 address takes IPv4 too.
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    if one_ip == other_ip || covers(one_ip, other_ip) {
        return Some(other);
    }
    covers(other_ip, one_ip).then_some(one)
}

/// A sentence on a parent proxy that is this very proxy.
pub(super) fn own_parent(via: &Via, listening: &[(&'static str, SocketAddr)]) -> Option<String> {
    let (option, address) = own_port(via.parent(), listening, IsLocalhostOwn(true))?;
    Some(format!(
        "--via {via} is this proxy's own listener {option} {address}, so connections would loop; \
         choose another parent proxy"
    ))
}

/// A sentence on a target that is this very proxy.
pub(super) fn own_target(
    forward: &Forward,
    listening: &[(&'static str, SocketAddr)],
) -> Option<String> {
    let Forward { listen, target } = forward;
    // Another server may listen on the other address of the name.
    let (option, address) = own_port(target, listening, IsLocalhostOwn(false))?;
    Some(format!(
        "-L {listen}:{target} leads to this proxy's own listener {option} {address}, so \
         connections would loop; choose another target"
    ))
}

/// A sentence on a target that is never to be reached.
pub(super) fn denied_target(forward: &Forward, deny: &[TargetRule]) -> Option<String> {
    let Forward { listen, target } = forward;
    let mut access = Access::default();
    access.deny = deny.to_vec();
    let rule = access.denied_by(target)?;
    Some(format!(
        "--deny {rule} forbids the only target of -L {listen}:{target}: all its connections will \
         be refused"
    ))
}

/// A sentence on a listener whose clients are all refused: they come from this machine, which the networks do not have.
pub(super) fn refused_clients(
    from: &[Network],
    listening: &[(&'static str, SocketAddr)],
) -> Option<String> {
    // What is diverted comes from anywhere.
    let is_local = |(option, address): &&(&str, SocketAddr)| {
        !["--redirect", "--tproxy"].contains(option) && address.ip().to_canonical().is_loopback()
    };
    if from.is_empty() || from.iter().any(Network::has_loopback) {
        return None;
    }
    let (option, address) = listening.iter().find(is_local)?;
    let (ip, port) = (address.ip(), address.port());
    Some(format!(
        "{option} {address} can be reached from this machine only, and --allow-from refuses its \
         clients; add --allow-from {ip}, or, for other machines, listen on '*:{port}'"
    ))
}

/// A sentence on a target whose address can never be connected to.
pub(super) fn impossible_target(forward: &Forward, family: Family) -> Option<String> {
    let Forward { listen, target } = forward;
    let ip = target.literal()?.ip().to_canonical();
    let problem = match (ip, family) {
        (IpAddr::V6(_), Family::V4) => "has an IPv6 address, which -4 excludes; omit -4",
        (IpAddr::V4(_), Family::V6) => "has an IPv4 address, which -6 excludes; omit -6",
        // RFC 4007 section 6: without its zone it may be on any link.
        (IpAddr::V6(ip), _) if ip.is_unicast_link_local() => {
            "has a link-local address without its interface; use a name that resolves to both"
        }
        _ => return None,
    };
    Some(format!("-L {listen}:{target} {problem}"))
}

/// Whether the name `localhost` is taken for the address that is listened on.
#[derive(Clone, Copy)]
struct IsLocalhostOwn(bool);

/// The option that listens where `target` leads, and its address.
fn own_port<'l>(
    target: &Target,
    listening: &'l [(&'static str, SocketAddr)],
    IsLocalhostOwn(localhost): IsLocalhostOwn,
) -> Option<&'l (&'static str, SocketAddr)> {
    let literal = target.literal().map(|address| address.ip().to_canonical());
    let is_localhost = localhost && target.host().eq_ignore_ascii_case("localhost");
    listening.iter().find(|(_, address)| {
        let own = address.ip().to_canonical();
        let is_reached = match literal {
            // To connect to the unspecified address is to connect to loopback.
            Some(ip) if ip.is_unspecified() || ip.is_loopback() => {
                own == ip || own.is_unspecified() || ip.is_unspecified() && own.is_loopback()
            }
            Some(ip) => own == ip,
            None => is_localhost && (own.is_loopback() || own.is_unspecified()),
        };
        is_reached && address.port() == target.port()
    })
}
