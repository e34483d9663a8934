//! Checks the host of a request, against DNS rebinding: a web page could reach a listener on
//! loopback under a name of its own, which the browser sends as the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{Request, Version};

/// Why a request's host is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostError {
    /// None or several: RFC 9112 section 3.2 requires exactly one.
    Malformed,
    /// It is not a name or address of loopback.
    Foreign,
}

/// Checks that a request over loopback is for a name or an address of loopback. A URL in the
/// request line takes precedence over the Host field (RFC 9112 section 3.2.2).
pub(super) fn check_loopback_host<B>(request: &Request<B>) -> Result<(), HostError> {
    let is_loopback = match request.uri().authority() {
        Some(authority) => is_loopback(authority),
        None => {
            let mut hosts = request.headers().get_all(HOST).iter();
            match (hosts.next(), hosts.next()) {
                // HTTP/1.0 does not require one, and browsers speak 1.1.
                (None, _) if request.version() == Version::HTTP_10 => true,
                (Some(host), None) => {
                    Authority::try_from(host.as_bytes()).is_ok_and(|host| is_loopback(&host))
                }
                _ => return Err(HostError::Malformed),
            }
        }
    };
    if is_loopback { Ok(()) } else { Err(HostError::Foreign) }
}

/// `localhost`, a name under it (RFC 6761 section 6.3), or a loopback address; on any port, because
/// it may be forwarded.
fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    if authority.as_str().contains('@') {
        return false;
    }
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(v6) = v6 {
        let address = v6.parse::<Ipv6Addr>().map(|ip| IpAddr::V6(ip).to_canonical());
        return address.is_ok_and(|ip| ip.is_loopback());
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return address.is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost") && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, hosts: &[&str], version: Version) -> Result<(), HostError> {
        let mut request = Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check_loopback_host(&request.body(()).unwrap())
    }

    #[test]
    fn only_names_and_addresses_of_loopback_are_hosts_on_loopback() {
        for host in [
            "localhost",
            "LOCALHOST:9100",
            "localhost.",
            "a.b.localhost:1",
            "127.0.0.1",
            "127.9.8.7:9100",
            "[::1]",
            "[::1]:9100",
            "[::ffff:127.0.0.1]:9100",
        ] {
            assert_eq!(check("/metrics", &[host], Version::HTTP_11), Ok(()), "{host}");
            let url = format!("http://{host}/metrics");
            assert_eq!(check(&url, &["evil.example"], Version::HTTP_11), Ok(()), "{url}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9100",
            "127.0.0.1.evil.example",
            "evillocalhost",
            ".localhost",
            "192.0.2.1",
            "0.0.0.0",
            "[2001:db8::1]:9100",
            "[::]",
            "localhost@evil.example",
            "evil.example@localhost",
            "local host",
            "",
        ] {
            let found = check("/metrics", &[host], Version::HTTP_11);
            assert_eq!(found, Err(HostError::Foreign), "{host}");
        }
        let found = check("http://evil.example/metrics", &["localhost"], Version::HTTP_11);
        assert_eq!(found, Err(HostError::Foreign));
    }

    #[test]
    fn a_request_has_one_host_unless_it_is_of_http_1_0() {
        let malformed = Err(HostError::Malformed);
        assert_eq!(check("/", &[], Version::HTTP_11), malformed);
        assert_eq!(check("/", &[], Version::HTTP_10), Ok(()));
        for version in [Version::HTTP_10, Version::HTTP_11] {
            assert_eq!(check("/", &["localhost", "localhost"], version), malformed);
        }
        assert_eq!(check("/", &["evil.example"], Version::HTTP_10), Err(HostError::Foreign));
    }
}
