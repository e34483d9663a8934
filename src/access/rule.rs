//! Networks and targets as they are named on the command line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use crate::target::{Target, parse_address, unclear_address};

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// A text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseNetworkError(String);

impl fmt::Display for ParseNetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = unclear_address(&self.0, None) {
            return write!(f, "'{}' {problem}", self.0);
        }
        let several = several(&self.0);
        write!(
            f,
            "'{}' is not a network; expected one such as 10.0.0.0/8 or 2001:db8::/32, or an address{several}",
            self.0
        )?;
        match &*self.0.to_ascii_lowercase() {
            "*" | "any" | "all" => f.write_str("; for everyone, give 0.0.0.0/0 and ::/0"),
            "localhost" => f.write_str("; for this machine, give 127.0.0.0/8 and ::1"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ParseNetworkError {}

/// What is said of a list where one is expected.
fn several(text: &str) -> &'static str {
    if text.contains([',', ' ']) { "; for several, repeat the option" } else { "" }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        let is_clear = unclear_address(text, None).is_none();
        let network = Self::read(text).filter(|_| is_clear);
        network.ok_or_else(|| ParseNetworkError(text.to_owned()))
    }
}

/// Converts a network of IPv4-mapped IPv6 addresses to IPv4.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let v4 = mapped.and_then(|(ip, length)| Ipv4Net::new(ip, length).ok());
    v4.map_or(network, IpNet::V4)
}

impl From<IpAddr> for Network {
    fn from(ip: IpAddr) -> Self {
        Self(IpNet::from(ip.to_canonical()))
    }
}

impl Network {
    /// The network of a text that may be meant otherwise ([`unclear_address`]).
    fn read(text: &str) -> Option<Self> {
        let network = match text.split_once('/') {
            None => parse_address(text).map(IpNet::from),
            Some((address, length)) => {
                let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
                let length = length.parse().ok().filter(|_| is_number);
                parse_address(address)
                    .zip(length)
                    .and_then(|(ip, length)| IpNet::new(ip, length).ok())
            }
        };
        network.map(canonical).map(Self)
    }

    /// Whether it has this address, which is no IPv4-mapped one.
    pub(crate) fn contains(&self, canonical: IpAddr) -> bool {
        self.0.contains(&canonical)
    }

    /// Whether it has a loopback address.
    pub fn has_loopback(&self) -> bool {
        let [v4, v6] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        self.0.addr().is_loopback() || self.contains(v4) || self.contains(v6)
    }
}

/// The targets of a rule: `10.0.0.0/8`, `[2001:db8::/32]:443`, `example.com:80`, `*.example.com`,
/// `*:25`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRule {
    hosts: Hosts,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    Network(Network),
    /// In lower case, without a final dot.
    Name(String),
    /// What follows `*`, with its dot.
    Suffix(String),
}

impl fmt::Display for TargetRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::All => f.write_str("*")?,
            Hosts::Network(Network(IpNet::V6(network))) if self.port.is_some() => {
                write!(f, "[{network}]")?;
            }
            Hosts::Network(Network(network)) => write!(f, "{network}")?,
            Hosts::Name(name) => f.write_str(name)?,
            Hosts::Suffix(suffix) => write!(f, "*{suffix}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A text that is not a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseRuleError(String);

impl fmt::Display for ParseRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = unclear_address(&self.0, Some("*:")) {
            return write!(f, "'{}' {problem}", self.0);
        }
        let problem = match self.0.contains("://") {
            true => "is a URL; a rule has only a host and optionally a port",
            false => "is not a valid rule",
        };
        write!(
            f,
            "'{}' {problem}; expected a network (10.0.0.0/8), a host name, *.SUFFIX or *, \
             optionally followed by :PORT (then with IPv6 in brackets){}",
            self.0,
            several(&self.0)
        )
    }
}

impl std::error::Error for ParseRuleError {}

impl FromStr for TargetRule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let error = || ParseRuleError(text.to_owned());
        if unclear_address(text, Some("*:")).is_some() {
            return Err(error());
        }
        if let Some(network) = Network::read(text) {
            return Ok(Self { hosts: Hosts::Network(network), port: None });
        }
        let (hosts, port) = match text.rsplit_once(':') {
            Some((hosts, port)) if !port.ends_with(']') => {
                (hosts, Some(port.parse().map_err(|_| error())?))
            }
            _ => (text, None),
        };
        let bracketed = hosts.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let hosts = if let Some(inner) = bracketed {
            Hosts::Network(Network::read(inner).ok_or_else(error)?)
        } else if hosts.contains(':') {
            return Err(error());
        } else if hosts == "*" {
            Hosts::All
        } else if let Some(network) = Network::read(hosts) {
            Hosts::Network(network)
        } else {
            // The same names are valid as in a target. Addresses have been read above.
            let (suffix, name) = match hosts.strip_prefix("*.") {
                Some(name) => (true, name),
                None => (false, hosts),
            };
            let named = Target::new(name, 1).map_err(|_| error())?;
            match suffix {
                _ if name.contains('*') => return Err(error()),
                true => Hosts::Suffix(format!(".{}", named.host())),
                false => Hosts::Name(named.host()),
            }
        };
        Ok(Self { hosts, port })
    }
}

impl TargetRule {
    /// Whether the rule names this target by the host that was requested.
    pub(super) fn names(&self, target: &Target) -> bool {
        let host = target.host();
        self.has_port(target.port())
            && match &self.hosts {
                Hosts::All => true,
                Hosts::Network(_) => false,
                Hosts::Name(name) => *name == host,
                Hosts::Suffix(suffix) => {
                    target.literal().is_none()
                        && host.len() > suffix.len()
                        && host.ends_with(suffix)
                }
            }
    }

    /// Whether the rule names this target's host by name or suffix.
    pub(super) fn names_host(&self, target: &Target) -> bool {
        matches!(self.hosts, Hosts::Name(_) | Hosts::Suffix(_)) && self.names(target)
    }

    /// Whether the rule is a network within a NAT64 prefix that contains this address.
    pub(super) fn covers_translated(&self, address: SocketAddr) -> bool {
        // 64:ff9b:1::/48 is the largest.
        let is_part = |network: &Network| network.0.prefix_len() >= 48;
        matches!(&self.hosts, Hosts::Network(network) if is_part(network))
            && self.covers_by_network(address)
    }

    /// Whether the rule covers a target at this address.
    pub(super) fn covers(&self, canonical: SocketAddr) -> bool {
        matches!(self.hosts, Hosts::All) && self.has_port(canonical.port())
            || self.covers_by_network(canonical)
    }

    /// Whether the rule is a network that contains this address.
    pub(super) fn covers_by_network(&self, canonical: SocketAddr) -> bool {
        self.has_port(canonical.port())
            && matches!(&self.hosts, Hosts::Network(network) if network.contains(canonical.ip()))
    }

    /// Whether the rule is a network.
    pub fn is_of_network(&self) -> bool {
        matches!(self.hosts, Hosts::Network(_))
    }

    /// Whether the rule may cover a target with this port, depending on its address.
    pub(super) fn may_cover(&self, port: u16) -> bool {
        self.is_of_network() && self.has_port(port)
    }

    /// Whether the rule is a single host name.
    pub(super) fn is_of_one_name(&self) -> bool {
        matches!(self.hosts, Hosts::Name(_))
    }

    fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_names_no_targets_is_refused_with_the_forms_that_do() {
        for text in [
            "",
            "10.0.0.0/33",
            "host:",
            "host:x",
            "host:70000",
            "[::1",
            "[host]:80",
            "a b",
            "a.*",
            "*.*.b",
            "http://host",
            "user@host",
            ".example.com",
            "a..b",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "fe80::1%lo",
        ] {
            let error = text.parse::<TargetRule>().expect_err(text).to_string();
            assert!(error.contains("expected a network"), "{error}");
        }
        for text in ["10.0.0.0/33", "host", "", "10.0.0.1:80", "10", "10/8", "::1:22"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn rules_with_and_without_ports_are_read() {
        let network = |text: &str| Hosts::Network(text.parse().unwrap());
        for (text, hosts, port) in [
            ("10.0.0.0/8", network("10.0.0.0/8"), None),
            ("10.0.0.0/8:25", network("10.0.0.0/8"), Some(25)),
            ("10.0.0.1", network("10.0.0.1/32"), None),
            ("::1", network("::1/128"), None),
            ("::ffff:10.0.0.1", network("10.0.0.1/32"), None),
            ("[::1]", network("::1/128"), None),
            ("0x7f.1", network("127.0.0.1/32"), None),
            ("2130706433:80", network("127.0.0.1/32"), Some(80)),
            ("127.1/8", network("127.0.0.1/8"), None),
            ("::1:22/128", network("::1:22/128"), None),
            ("[::1:22]", network("::1:22/128"), None),
            ("[::1:22]:80", network("::1:22/128"), Some(80)),
            ("127.0.0.1.", network("127.0.0.1/32"), None),
            ("::ffff:10.0.0.0/104", network("10.0.0.0/8"), None),
            ("64:ff9b::/96", network("64:ff9b::/96"), None),
            ("[2001:db8::/32]:443", network("2001:db8::/32"), Some(443)),
            ("Example.com.", Hosts::Name("example.com".into()), None),
            ("*.Example.com:80", Hosts::Suffix(".example.com".into()), Some(80)),
            ("*:25", Hosts::All, Some(25)),
        ] {
            assert_eq!(text.parse(), Ok(TargetRule { hosts, port }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[\\[\\]:/a-z0-9.*]{0,30}|\\PC{0,40}") {
            if let Ok(rule) = text.parse::<TargetRule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
            let _ = text.parse::<Network>();
        }
    }
}
