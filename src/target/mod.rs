//! The target of a connection: a host and a port, before any look-up.

mod spelling;
mod unclear;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

pub(crate) use spelling::parse_address;
use spelling::{ends_in_number, parse_in_brackets};
pub(crate) use unclear::unclear_address;

/// A target as requested, `host:port`, with IPv6 addresses in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Shared by all clones.
    host: Arc<str>,
    port: u16,
}

/// Why a text is not a valid target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseTargetError {
    text: String,
    reason: &'static str,
}

const NO_PORT: &str = "the port is not a number from 1 to 65535";

impl fmt::Display for ParseTargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = self.problem();
        write!(f, "{problem}; expected HOST:PORT, with an IPv6 address in brackets")
    }
}

impl ParseTargetError {
    /// What is wrong, without the form that is expected.
    pub(crate) fn problem(&self) -> String {
        format!("'{}' is not a valid target: {}", self.text, self.reason)
    }

    /// The reason without the text, which may contain a password.
    pub(crate) fn reason(&self) -> &'static str {
        self.reason
    }
}

impl std::error::Error for ParseTargetError {}

impl Target {
    /// A target of a host, which is a name or an address, and a port. An IPv6 address may stand in
    /// brackets.
    ///
    /// # Errors
    ///
    /// The host is invalid, or the port is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, ParseTargetError> {
        let error = |reason| ParseTargetError { text: format!("{host}:{port}"), reason };
        if port == 0 {
            return Err(error(NO_PORT));
        }
        let host = match (host.strip_prefix('['), host.contains(':')) {
            // Some SOCKS clients pass on the brackets of a URL.
            (Some(rest), _) => in_brackets(rest).map_err(error)?,
            (None, true) => parse_in_brackets(host).map(|_| host).map_err(|reason| {
                error(if host.contains('%') { reason } else { "the host contains a colon" })
            })?,
            (None, false) => host,
        };
        check_host(host).map_err(error)?;
        Ok(Self { host: host.into(), port })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host in lower case, without brackets and final dot: a name or an address.
    pub fn host(&self) -> String {
        let bare = self.host.strip_suffix('.').unwrap_or(&self.host);
        bare.to_ascii_lowercase()
    }

    /// The name to look up or to tell a parent proxy, in lower case. A final dot stays: it says that
    /// the name is complete, so that no search domain is appended to it (resolv.conf(5)).
    pub fn lookup_name(&self) -> String {
        self.host.to_ascii_lowercase()
    }

    /// The address, where the host is one, in any spelling that inet_aton(3) takes.
    pub fn literal(&self) -> Option<SocketAddr> {
        parse_address(&self.host).map(|ip| SocketAddr::new(ip, self.port))
    }

    /// Whether the host is an address in an unusual spelling, which parsers read differently.
    pub(crate) fn has_unusual_spelling(&self) -> bool {
        self.literal().is_some() && self.host.parse::<std::net::IpAddr>().is_err()
    }

    /// Whether the host is one of the names that stand for loopback addresses (RFC 6761 section
    /// 6.3); `localhost.localdomain` is what systemd's resolver takes for one as well.
    pub(crate) fn is_localhost(&self) -> bool {
        let host = self.host();
        ["localhost", "localhost.localdomain"].iter().any(|name| {
            host.strip_suffix(name).is_some_and(|above| above.is_empty() || above.ends_with('.'))
        })
    }

    /// Whether the host is a name that some resolvers take for another name or for an address, so
    /// that it cannot be compared with others: it is not ASCII (UTS #46 maps such names), or ends in
    /// a number.
    pub(crate) fn is_ambiguous_name(&self) -> bool {
        self.literal().is_none() && (!self.host.is_ascii() || ends_in_number(&self.host()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string().into(), port: address.port() }
    }
}

impl TryFrom<&str> for Target {
    type Error = ParseTargetError;

    fn try_from(text: &str) -> Result<Self, ParseTargetError> {
        text.parse()
    }
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        let error = |reason| ParseTargetError { text: text.to_owned(), reason };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| error("the port is missing"))?;
        // str::parse would take a sign as well.
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|&port| digits && port != 0);
        let port = port.ok_or_else(|| error(NO_PORT))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => in_brackets(rest).map_err(error)?,
            None if host.contains(':') => return Err(error("the host contains a colon")),
            None => host,
        };
        check_host(host).map_err(error)?;
        Ok(Self { host: host.into(), port })
    }
}

/// The address before the closing bracket.
fn in_brackets(rest: &str) -> Result<&str, &'static str> {
    let inner = rest.strip_suffix(']').ok_or("a closing bracket is missing")?;
    parse_in_brackets(inner).map(|_| inner)
}

/// Checks that a host is fit for resolvers, records and logs.
fn check_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() || host == "." {
        return Err("the host is missing");
    }
    // RFC 1035 section 2.3.4: 255 octets on the wire are 253 characters, and perhaps a final dot.
    if host.len() > 254 {
        return Err("the host name is too long");
    }
    // '%' may be undone by whoever the name is passed on to.
    if host.chars().any(|c| c.is_control() || c.is_whitespace() || "/@[]?#\\\"<>%^|,;".contains(c))
    {
        return Err("the host contains a character that host names cannot have");
    }
    // RFC 1035 section 3.1: an empty label is the root, and stands at the end.
    let labels = host.strip_suffix('.').unwrap_or(host);
    if labels.split('.').any(str::is_empty) {
        return Err("the host name has an empty label");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_target_is_shown_as_it_was_asked_for_and_its_host_without_trimmings() {
        for (text, host) in [
            ("Example.COM:80", "example.com"),
            ("example.com.:443", "example.com"),
            ("[2001:DB8::1]:8080", "2001:db8::1"),
            ("192.0.2.7:1", "192.0.2.7"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
            assert_eq!(target.host(), host);
        }
        let name = |text: &str| text.parse::<Target>().unwrap().lookup_name();
        assert_eq!(name("DB.example.:5432"), "db.example.");
        assert_eq!(name("DB.example:5432"), "db.example");
        assert_eq!("[::1]:80".parse::<Target>().unwrap().literal(), "[::1]:80".parse().ok());
        assert_eq!("localhost:80".parse::<Target>().unwrap().literal(), None);
    }

    #[test]
    fn an_address_in_an_odd_spelling_is_shown_as_asked_for_and_is_that_address() {
        for (text, address, is_odd) in [
            ("127.1:80", "127.0.0.1:80", true),
            ("0X7f.1:80", "127.0.0.1:80", true),
            ("127.0.0.1.:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:80", false),
            ("[0::1]:80", "[::1]:80", false),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
            assert_eq!(target.literal(), Some(address.parse().unwrap()));
            assert_eq!(target.has_unusual_spelling(), is_odd, "{text}");
        }
        assert_eq!(Target::new("[::1]", 80).unwrap().to_string(), "[::1]:80");
        for host in ["fe80::1%lo", "[fe80::1%lo]", "[::1", "[a]", "a:b", "::1]"] {
            assert!(Target::new(host, 80).is_err(), "{host}");
        }
    }

    #[test]
    fn names_of_loopback_and_names_that_may_mean_another_are_told() {
        let target = |host: &str| Target::new(host, 80).unwrap();
        for host in ["localhost", "LOCALHOST.", "a.b.localhost", "localhost.localdomain"] {
            assert!(target(host).is_localhost(), "{host}");
        }
        for host in ["localhost.test", "notlocalhost", "example.com", "127.0.0.1"] {
            assert!(!target(host).is_localhost(), "{host}");
        }
        for host in ["127。0。0。1", "ｅxample.com", "4294967297", "1.2.3.4.5"] {
            assert!(target(host).is_ambiguous_name(), "{host}");
        }
        for host in ["example.com", "xn--bcher-kva.example", "127.1", "::1"] {
            assert!(!target(host).is_ambiguous_name(), "{host}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused_with_a_reason() {
        for text in [
            "",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+80",
            ":80",
            "::1:80",
            "[::1:80",
            "[name]:80",
            "ho st:80",
            "a@b:80",
            "a\0b:80",
            ".:80",
            "..:80",
            "a..b:80",
            ".a:80",
            "a..:80",
            "127.0.0.1..:80",
            "127%2e1:80",
            "[fe80::1%lo]:80",
            "[fe80::1%25lo]:80",
            "[127.0.0.1]:80",
        ] {
            let error = text.parse::<Target>().expect_err(text).to_string();
            assert!(error.contains("expected HOST:PORT"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_and_what_is_parsed_reads_back(text in "\\PC{0,40}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }
}
