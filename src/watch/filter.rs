//! Which sockets are watched.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use crate::access::Network;
use crate::record::Origin;
use crate::target::{Target, unclear_address};

/// Selects sockets. All conditions must hold; the default has none.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Filter {
    /// Held by this process.
    pub pid: Option<u32>,
    /// Created in this cgroup or in one below it: a directory, or a path as in `/proc/PID/cgroup`.
    pub cgroup: Option<PathBuf>,
    /// To one of these servers: the peer of a socket that connected, the own address of one that was
    /// accepted.
    pub to: Vec<Endpoint>,
    /// From one of these clients: the own address of a socket that connected, the peer of one that was
    /// accepted.
    pub from: Vec<Endpoint>,
    /// Opened by this side.
    pub origin: Option<Origin>,
}

impl Filter {
    /// Whether the addresses fit, of a socket that this side has opened.
    pub(super) fn accepts(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        origin: Option<Origin>,
    ) -> bool {
        let (to, from) = match origin {
            Some(Origin::Connected) => (remote, local),
            Some(Origin::Accepted) => (local, remote),
            // Either may be the server.
            None => return self.origin.is_none() && self.may_accept(local, remote),
        };
        let fits = |endpoints: &[Endpoint], address| {
            endpoints.is_empty() || endpoints.iter().any(|endpoint| endpoint.contains(address))
        };
        self.origin.is_none_or(|wanted| Some(wanted) == origin)
            && fits(&self.to, to)
            && fits(&self.from, from)
    }

    /// Whether the addresses fit, whichever side has opened the socket.
    pub(super) fn may_accept(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let either = [Origin::Connected, Origin::Accepted].into_iter();
        let mut either = either.filter(|origin| self.origin.is_none_or(|wanted| wanted == *origin));
        either.any(|origin| self.accepts(local, remote, Some(origin)))
    }

    /// Whether only a dump shows that a socket fits.
    pub(super) fn needs_dump(&self) -> bool {
        self.pid.is_some() || self.cgroup.is_some()
    }
}

/// Addresses and ports: `10.0.0.0/8`, `db.example:5432`, `[2001:db8::1]:443`, `:80`, `:8000-8999`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    hosts: Hosts,
    /// `None`: every port.
    ports: Option<RangeInclusive<u16>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    Networks(Vec<Network>),
    /// A name that was not looked up yet.
    Name(String),
}

/// A text that is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseEndpointError(String);

impl fmt::Display for ParseEndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        if let Some(problem) = unclear_address(text, Some(":")) {
            return write!(f, "'{text}' {problem}");
        }
        let (hosts, port) = text.rsplit_once(':').unwrap_or((text, ""));
        if text.contains("://") {
            write!(f, "'{text}' is a URL; write its host and port, such as example.com:443")
        } else if text == "*" {
            write!(f, "'*' is every endpoint; omit the option")
        } else if parse_ports(text).is_some() {
            write!(f, "'{text}' has no colon; write :{text} for ports")
        } else if hosts != "*" && hosts.contains('*') {
            write!(
                f,
                "'{text}' is a pattern, but a name is looked up; give one name, an address or a network such as \
                 10.0.0.0/8"
            )
        } else if !port.is_empty() && parse_hosts(hosts).is_some() && parse_ports(port).is_none() {
            write!(
                f,
                "'{port}' is not a port; expected a number from 1 to 65535, or a range such as 8000-8999"
            )
        } else {
            write!(
                f,
                "'{text}' is not an endpoint; expected HOST:PORT, HOST, :PORT or a network such as \
                 10.0.0.0/8, with an IPv6 address before a port in brackets"
            )
        }
    }
}

impl std::error::Error for ParseEndpointError {}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let error = || ParseEndpointError(text.to_owned());
        if unclear_address(text, Some(":")).is_some() || text == "*" {
            return Err(error());
        }
        if let Some(hosts) = parse_network(text) {
            return Ok(Self { hosts, ports: None });
        }
        let (hosts, ports) = match text.rsplit_once(':') {
            Some((hosts, port)) if !port.ends_with(']') => {
                (hosts, Some(parse_ports(port).ok_or_else(error)?))
            }
            // A name of digits and a hyphen is more probably a range of ports.
            _ if text.is_empty() || parse_ports(text).is_some() => return Err(error()),
            _ => (text, None),
        };
        Ok(Self { hosts: parse_hosts(hosts).ok_or_else(error)?, ports })
    }
}

/// What stands before a port.
fn parse_hosts(text: &str) -> Option<Hosts> {
    if text.is_empty() || text == "*" {
        return Some(Hosts::All);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return parse_network(inner);
    }
    if text.contains([':', '*']) {
        return None;
    }
    // Any port completes a target; it is not looked at.
    let name = || Some(Hosts::Name(Target::new(text, 1).ok()?.lookup_name()));
    parse_network(text).or_else(name)
}

/// A network, or an address. The unspecified one, on which a server listens for all, stands for all
/// addresses.
fn parse_network(text: &str) -> Option<Hosts> {
    let network: Network = text.parse().ok()?;
    if network == IpAddr::from(Ipv6Addr::UNSPECIFIED).into() {
        // Such a socket takes IPv4 as well.
        return Some(Hosts::All);
    }
    let is_all_of_ipv4 = network == IpAddr::from(Ipv4Addr::UNSPECIFIED).into();
    let network = if is_all_of_ipv4 { "0.0.0.0/0".parse().ok()? } else { network };
    Some(Hosts::Networks(vec![network]))
}

/// A port, or the first and the last of several.
fn parse_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|&port: &u16| is_number && port != 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

impl Endpoint {
    /// Looks up the name, if it has one. Without that, no socket fits a name.
    ///
    /// # Errors
    ///
    /// The name has no address, or cannot be looked up.
    pub fn resolve(mut self) -> io::Result<Self> {
        if let Hosts::Name(name) = &self.hosts {
            let addresses = (name.as_str(), 0).to_socket_addrs()?;
            self.hosts = Hosts::Networks(addresses.map(|address| address.ip().into()).collect());
        }
        Ok(self)
    }

    /// The name that is to be looked up. `None` for addresses.
    pub fn name(&self) -> Option<&str> {
        match &self.hosts {
            Hosts::Name(name) => Some(name),
            Hosts::All | Hosts::Networks(_) => None,
        }
    }

    fn contains(&self, address: SocketAddr) -> bool {
        let fits = match &self.hosts {
            Hosts::All => true,
            Hosts::Networks(networks) => {
                networks.iter().any(|network| network.contains(address.ip()))
            }
            Hosts::Name(_) => false,
        };
        fits && self.ports.as_ref().is_none_or(|ports| ports.contains(&address.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn an_endpoint_is_addresses_a_port_or_both() {
        for (text, address, fits) in [
            ("10.0.0.0/8", "10.1.2.3:4", true),
            ("10.0.0.0/8", "11.1.2.3:4", false),
            ("10.1.2.3", "10.1.2.3:4", true),
            ("10.1.2.3:4", "10.1.2.3:4", true),
            ("10.1.2.3:5", "10.1.2.3:4", false),
            (":4", "10.1.2.3:4", true),
            (":4", "[::1]:5", false),
            ("[::1]:4", "[::1]:4", true),
            ("::1", "[::1]:4", true),
            ("2001:db8::/32", "[2001:db8::1]:4", true),
            ("127.1:4", "127.0.0.1:4", true),
            ("localhost:4", "127.0.0.1:4", false),
            (":80-90", "10.1.2.3:90", true),
            (":80-90", "10.1.2.3:91", false),
            ("*:4", "10.1.2.3:4", true),
            ("10.0.0.0/8:4", "10.1.2.3:4", true),
            ("10.0.0.0/8:4", "10.1.2.3:5", false),
            ("[2001:db8::/32]:4", "[2001:db8::1]:4", true),
            ("[::1]", "[::1]:4", true),
            ("0.0.0.0:4", "10.1.2.3:4", true),
            ("0.0.0.0:4", "[::1]:4", false),
            ("[::]:4", "10.1.2.3:4", true),
        ] {
            assert_eq!(endpoint(text).contains(address.parse().unwrap()), fits, "{text}");
        }
        let local = endpoint("localhost:4");
        assert_eq!((local.name(), local.ports.clone()), (Some("localhost"), Some(4..=4)));
        let resolved = local.resolve().unwrap();
        assert!(resolved.contains("127.0.0.1:4".parse().unwrap()), "{resolved:?}");
        assert!(!resolved.contains("127.0.0.1:5".parse().unwrap()));
        for text in [
            "",
            ":",
            ":0",
            ":65536",
            "5432",
            "192.168",
            "::1:4",
            "a:b",
            "10.0.0.0/33",
            "[::1",
            "a b",
            "*.example",
            "*",
            "80-90",
            ":90-80",
            ":80-",
            "host:",
            "host:https",
            "[host]:80",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_server_is_the_peer_of_who_connected_and_oneself_where_one_accepted() {
        let [local, remote] = ["10.0.0.1:80", "10.0.0.2:4000"].map(|text| text.parse().unwrap());
        let to = |text: &str| Filter { to: vec![endpoint(text)], ..Filter::default() };
        let accepted = Some(Origin::Accepted);
        assert!(to("10.0.0.1").accepts(local, remote, accepted));
        assert!(!to("10.0.0.2").accepts(local, remote, accepted));
        assert!(to("10.0.0.2").accepts(local, remote, Some(Origin::Connected)));
        assert!(to("10.0.0.2").accepts(local, remote, None));
        assert!(!to("10.0.0.3").accepts(local, remote, None));
        let from = Filter { from: vec![endpoint(":4000")], ..Filter::default() };
        assert!(from.accepts(local, remote, accepted));
        assert!(!from.accepts(local, remote, Some(Origin::Connected)));

        let listening = Filter { origin: accepted, ..to("10.0.0.2") };
        assert!(!listening.may_accept(local, remote));
        assert!(listening.may_accept(remote, local));
        assert!(!listening.accepts(remote, local, None));
    }
}
