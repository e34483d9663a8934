//! Exceptions from a parent proxy, in the syntax of `NO_PROXY`.

use ipnet::IpNet;

use crate::target::{Target, parse_address};

/// Targets that are reached without the parent proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception(Pattern);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    All,
    /// The name and all names below it; in lower case, without dots around it.
    Domain(String),
    Network(IpNet),
}

impl Exception {
    /// Parses a list in the syntax of `NO_PROXY` as curl defines it: names and addresses separated
    /// by commas or spaces. A name matches itself and all names below it, with or without a leading
    /// dot; an address may be a network, `10.0.0.0/8`; `*` matches everything. Invalid items match
    /// nothing.
    pub fn list(text: &str) -> Vec<Self> {
        let items = text.split(|c: char| c == ',' || c.is_whitespace());
        items.filter_map(Self::parse).collect()
    }

    fn parse(item: &str) -> Option<Self> {
        let bare = item.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(item);
        let address = || parse_address(bare).map(|ip| IpNet::from(ip.to_canonical()));
        if item == "*" {
            Some(Self(Pattern::All))
        } else if let Some(network) = bare.parse().ok().or_else(address) {
            Some(Self(Pattern::Network(network)))
        } else {
            let name = item.trim_matches('.').to_ascii_lowercase();
            (!name.is_empty()).then_some(Self(Pattern::Domain(name)))
        }
    }

    pub(super) fn covers(&self, target: &Target) -> bool {
        match (&self.0, target.literal()) {
            (Pattern::All, _) => true,
            (Pattern::Network(network), Some(address)) => {
                network.contains(&address.ip().to_canonical())
            }
            (Pattern::Domain(domain), None) => {
                let host = target.host();
                let above = host.strip_suffix(domain.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exceptions_mean_what_they_mean_to_curl() {
        for (list, target, covered) in [
            ("example.com", "example.com", true),
            ("example.com", "www.Example.COM.", true),
            ("example.com", "badexample.com", false),
            (".example.com", "example.com", true),
            (".example.com", "a.b.example.com", true),
            ("EXAMPLE.com.", "www.example.com", true),
            ("www.example.com", "example.com", false),
            ("com", "example.com", true),
            ("localhost,127.0.0.1", "127.0.0.1", true),
            ("localhost 127.0.0.1", "localhost", true),
            ("localhost", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "0x7f.1", true),
            ("127.1", "127.0.0.1", true),
            ("127.0.0.0/8", "2130706433", true),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.1.2.3/8", "10.255.0.1", true),
            ("10.0.0.0/8", "[::ffff:10.0.0.1]", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "10.example.com", false),
            ("1", "192.0.2.1", false),
            ("::1", "[::1]", true),
            ("[::1]", "[0::1]", true),
            ("fe80::/10", "[fe80::1]", true),
            ("*", "anything.test", true),
            ("*", "[::1]", true),
            ("*.example.com", "www.example.com", false),
            ("", "example.com", false),
            (" , . ,", "example.com", false),
        ] {
            let target = format!("{target}:80").parse().unwrap();
            let exceptions = Exception::list(list);
            let is = exceptions.iter().any(|exception| exception.covers(&target));
            assert_eq!(is, covered, "'{list}' and {target}");
        }
    }

    proptest! {
        #[test]
        fn any_list_is_read(list in "\\PC{0,60}|[0-9a-f:./, *\\[\\]]{0,60}") {
            let target = "www.example.com:80".parse().unwrap();
            let _ = Exception::list(&list).iter().any(|exception| exception.covers(&target));
        }
    }
}
