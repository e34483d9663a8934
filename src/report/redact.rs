//! Stand-ins for what identifies people and machines, before a report is handed on.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::connection::Connection;
use super::socket::Socket;

/// As many names, and as many addresses, have stand-ins of their own.
const MAX_NAMES: u32 = 100_000;

/// Replaces host names, addresses, users and the values of labels. The same value has the same stand-in,
/// numbered in the order in which values come, so that the same files give the same report.
///
/// Addresses become ones of 198.18.0.0/15 (RFC 2544) and 2001:db8::/32 (RFC 3849); loopback addresses
/// stay.
#[derive(Debug, Default)]
pub struct Redactor {
    names: HashMap<String, u32>,
    addresses: HashMap<IpAddr, u32>,
    values: HashMap<String, u32>,
    users: HashMap<u32, u32>,
}

/// The number of `value`, from 1; beyond the limit, the limit's.
fn number<K: std::hash::Hash + Eq>(numbers: &mut HashMap<K, u32>, value: K) -> u32 {
    let next = u32::try_from(numbers.len()).unwrap_or(MAX_NAMES) + 1;
    if next > MAX_NAMES {
        return numbers.get(&value).copied().unwrap_or(MAX_NAMES + 1);
    }
    *numbers.entry(value).or_insert(next)
}

impl Redactor {
    /// Replaces everything in a connection that identifies somebody.
    pub fn redact(&mut self, connection: &mut Connection) {
        connection.host = self.host(&connection.host);
        for value in connection.labels.values_mut() {
            *value = format!("value-{}", number(&mut self.values, value.clone()));
        }
        connection.listener = self.host_and_port(&connection.listener);
        for host in connection.client_host.iter_mut() {
            *host = self.host(host);
        }
        for target in connection.target.iter_mut() {
            *target = self.host_and_port(target);
        }
        for via in connection.via.iter_mut() {
            *via = match via.split_once("://") {
                Some((scheme, rest)) => format!("{scheme}://{}", self.host_and_port(rest)),
                None => self.host_and_port(via),
            };
        }
        for addr in connection.attempts.iter_mut().filter_map(|attempt| attempt.addr.as_mut()) {
            *addr = self.socket_addr(*addr);
        }
        let sockets = [Some(&mut connection.client), connection.upstream.as_mut()];
        for Socket { local_addr, remote_addr, .. } in sockets.into_iter().flatten() {
            for addr in [local_addr, remote_addr].into_iter().flatten() {
                *addr = self.socket_addr(*addr);
            }
        }
        for name in connection.tls.iter_mut().filter_map(|tls| tls.server_name.as_mut()) {
            *name = self.host(name);
        }
        for host in connection.http.iter_mut().filter_map(|http| http.host.as_mut()) {
            *host = self.host_and_port(host);
        }
        if let Some(process) = &mut connection.process {
            process.uid = process.uid.map(|uid| number(&mut self.users, uid));
            // It may have a home directory in it.
            process.exe = None;
        }
    }

    fn host(&mut self, host: &str) -> String {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse() {
            return self.ip(ip).to_string();
        }
        if host.eq_ignore_ascii_case("localhost") {
            return host.to_owned();
        }
        format!("host-{}", number(&mut self.names, host.to_ascii_lowercase()))
    }

    /// Replaces the host of a target.
    pub(super) fn host_and_port(&mut self, text: &str) -> String {
        if let Ok(addr) = text.parse() {
            return self.socket_addr(addr).to_string();
        }
        match text.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{}:{port}", self.host(host))
            }
            _ => self.host(text),
        }
    }

    fn socket_addr(&mut self, addr: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.ip(addr.ip()), addr.port())
    }

    fn ip(&mut self, ip: IpAddr) -> IpAddr {
        let ip = ip.to_canonical();
        if ip.is_loopback() || ip.is_unspecified() {
            return ip;
        }
        let number = number(&mut self.addresses, ip);
        match ip {
            IpAddr::V4(_) => {
                Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number).into()
            }
            IpAddr::V6(_) => {
                let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0).to_bits();
                Ipv6Addr::from_bits(documentation + u128::from(number)).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_has_the_same_stand_in_and_ports_and_loopback_stay() {
        let mut redactor = Redactor::default();
        for (text, stand_in) in [
            ("db.example:5432", "host-1:5432"),
            ("API.example:443", "host-2:443"),
            ("DB.example:80", "host-1:80"),
            ("192.0.2.7:443", "198.18.0.1:443"),
            ("[2001:db8:7::9]:443", "[2001:db8::2]:443"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("localhost:80", "localhost:80"),
            ("db.example", "host-1"),
            ("192.0.2.7", "198.18.0.1"),
        ] {
            assert_eq!(redactor.host_and_port(text), stand_in, "{text}");
        }
    }

    #[test]
    fn nothing_that_identifies_is_left_in_a_connection() {
        let line = r#"{"host":"laptop-of-jane","labels":{"team":"jane"},"listener":"192.0.2.1:1",
            "clientHost":"192.0.2.2","target":"jane.example:1","via":"http://proxy.jane.example:3128",
            "attempts":[{"addr":"192.0.2.3:1"}],"client":{"localAddr":"192.0.2.1:1","remoteAddr":"192.0.2.2:9"},
            "upstream":{"localAddr":"192.0.2.1:4","remoteAddr":"192.0.2.3:1"},
            "tls":{"serverName":"jane.example"},"http":{"host":"jane.example"},
            "process":{"uid":1007,"name":"curl","exe":"/home/jane/bin/curl"}}"#;
        let mut connection: Connection = serde_json::from_str(line).unwrap();
        Redactor::default().redact(&mut connection);
        let text = format!("{connection:?}");
        for word in ["jane", "192.0.2", "1007"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        assert_eq!(connection.target.as_deref(), Some("host-2:1"));
        assert_eq!(connection.tls.unwrap().server_name.as_deref(), Some("host-2"));
    }
}
