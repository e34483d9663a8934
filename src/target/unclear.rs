//! Addresses in rules that can be read in two ways.

use std::net::{IpAddr, Ipv6Addr};

use super::parse_address;

/// Why it is not clear what an address in a rule means, and how to write each meaning. `None` if it is clear.
/// `ports`: what stands before a port without a host, where a rule may have a port.
///
/// inet_aton(3) takes `10` for 0.0.0.10 and `192.168` for 192.0.0.168, and `::1:22` is an IPv6 address. Whoever
/// writes these as a rule probably means a network, or a port.
pub(crate) fn unclear_address(text: &str, ports: Option<&str>) -> Option<String> {
    if text.contains(['[', ']']) {
        return None;
    }
    port_without_brackets(text, ports).or_else(|| short_address(text, ports))
}

/// An IPv6 address or network that ends like one with a port.
fn port_without_brackets(text: &str, ports: Option<&str>) -> Option<String> {
    let (hosts, port) = text.rsplit_once(':').filter(|(_, port)| is_port(port))?;
    let (address, length) = hosts.split_once('/').unwrap_or((hosts, ""));
    if !is_number(length) && !length.is_empty() {
        return None;
    }
    let address: Ipv6Addr = address.parse().ok()?;
    // Short groups at the end are usual in addresses.
    if port.len() < 3 && !address.is_loopback() && text.parse::<Ipv6Addr>().is_ok() {
        return None;
    }
    let with_port = match ports {
        Some(_) => format!("[{hosts}]:{port}"),
        None => format!("{hosts} without a port"),
    };
    Some(match text.parse::<Ipv6Addr>() {
        Ok(_) => {
            format!("can be an address, or an address and a port; write {text}/128 or {with_port}")
        }
        Err(_) => format!("has a port behind an IPv6 address; write {with_port}"),
    })
}

/// An IPv4 address of less than four decimal numbers which may be meant as a network, or as a port.
fn short_address(text: &str, ports: Option<&str>) -> Option<String> {
    let end = text.find(['/', ':']).unwrap_or(text.len());
    let (host, rest) = text.split_at_checked(end)?;
    if !rest.is_empty() && !rest.get(1..).is_some_and(is_number) {
        return None;
    }
    let parts: Vec<_> = host.split('.').collect();
    if parts.len() > 3 || !parts.iter().all(|part| is_number(part)) {
        return None;
    }
    let Some(IpAddr::V4(address)) = parse_address(host) else { return None };
    // 127.1 is what people write for 127.0.0.1, and 0 for 0.0.0.0.
    if address.is_loopback() || address.is_unspecified() {
        return None;
    }
    let network = parts.iter().all(|part| part.parse::<u8>().is_ok()).then(|| {
        let zeros = ".0".repeat(4 - parts.len());
        let length =
            if rest.starts_with('/') { String::new() } else { format!("/{}", 8 * parts.len()) };
        format!("{host}{zeros}{length}{rest}")
    });
    let port = ports.filter(|_| is_port(text)).map(|before| format!("{before}{text}"));
    // Only networks are written so, and the numbers that are left out are at the end.
    if let Some(network) = network.as_ref().filter(|_| rest.starts_with('/')) {
        return Some(format!("is not a network of four numbers; write {network}"));
    }
    if network.is_none() && port.is_none() && !is_port(text) {
        return None;
    }
    let forms = [Some(format!("{address}{rest}")), network, port];
    let forms: Vec<_> = forms.into_iter().flatten().collect();
    Some(format!("is short for {address}{rest}; write {}", forms.join(" or ")))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_port(text: &str) -> bool {
    is_number(text) && text.parse().is_ok_and(|port: u16| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_in_two_ways_is_told_with_each() {
        for (text, forms) in [
            ("::1:8899", "::1:8899/128 or [::1]:8899"),
            ("2001:db8::1:443", "2001:db8::1:443/128 or [2001:db8::1]:443"),
            ("::1:22", "::1:22/128 or [::1]:22"),
            ("::1:18899", "[::1]:18899"),
            ("2001:db8:1:2:3:4:5:6:80", "[2001:db8:1:2:3:4:5:6]:80"),
            ("2001:db8::/32:443", "[2001:db8::/32]:443"),
            ("10", "0.0.0.10 or 10.0.0.0/8 or *:10"),
            ("8080", "0.0.31.144 or *:8080"),
            ("10/8", "10.0.0.0/8"),
            ("10.1/16", "10.1.0.0/16"),
            ("192.168", "192.0.0.168 or 192.168.0.0/16"),
            ("192.168:80", "192.0.0.168:80 or 192.168.0.0/16:80"),
        ] {
            let told = unclear_address(text, Some("*:")).expect(text);
            assert!(told.ends_with(&format!("; write {forms}")), "{text} {told}");
        }
        for (text, form) in
            [("::1:22", "::1:22/128 or ::1 without a port"), ("10", "0.0.0.10 or 10.0.0.0/8")]
        {
            let told = unclear_address(text, None).expect(text);
            assert!(told.ends_with(&format!("; write {form}")), "{text} {told}");
        }
        for text in [
            "",
            ":80",
            "::",
            "::1",
            "::1:ab",
            "::1:0",
            "2001:db8:1:2:3:4:5:6",
            "2001:db8::/32",
            "::1:22/128",
            "2001:db8::1:22",
            "64:ff9b::/96",
            "[::1:22]",
            "[::1]:22",
            "::ffff:10.0.0.1",
            "10.0.0.1",
            "10.0.0.0/8",
            "10.0.0.1:80",
            "127.1",
            "127.1/8",
            "127.1:80",
            "0",
            "0/0",
            "2130706433",
            "2130706433:80",
            "167772161",
            "10.65536",
            "0x7f.1",
            "0177.0.0.1",
            "host:80",
            "web1",
            "1.example",
            "a:b:1",
            "99999999999",
        ] {
            assert_eq!(unclear_address(text, Some("*:")), None, "{text}");
        }
    }
}
