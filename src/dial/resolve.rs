//! Names to addresses, by the system's resolver.

use std::net::{IpAddr, SocketAddr};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType};

use crate::fault::Fault;

/// The addresses of a name, in the order in which the system wants them tried (RFC 6724).
///
/// getaddrinfo blocks; it runs on a thread for such work. Given up, it ends there by itself.
pub(super) async fn look_up(host: String, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    match tokio::task::spawn_blocking(move || addresses(&host)).await {
        Ok(Ok(ips)) => Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
        Ok(Err(error)) => Err(fault(&error)),
        Err(_) => Err(Fault { code: "EAI_FAIL".into(), text: "the look-up was cut off".into() }),
    }
}

fn addresses(host: &str) -> Result<Vec<IpAddr>, LookupError> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let mut found = Vec::new();
    for entry in dns_lookup::getaddrinfo(Some(host), None, Some(hints))?.flatten() {
        let ip = entry.sockaddr.ip();
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    Ok(found)
}

fn fault(error: &LookupError) -> Fault {
    let (code, text) = match error.kind() {
        LookupErrorKind::NoName => ("EAI_NONAME", "the name does not exist"),
        LookupErrorKind::NoData => ("EAI_NODATA", "the name has no address"),
        LookupErrorKind::Again => ("EAI_AGAIN", "the resolver gave no answer for now"),
        LookupErrorKind::Memory => ("EAI_MEMORY", "the resolver ran out of memory"),
        LookupErrorKind::Family => ("EAI_FAMILY", "the name has no address of a known family"),
        LookupErrorKind::System => ("EAI_SYSTEM", "the resolver met an error of the system"),
        _ => ("EAI_FAIL", "the resolver failed"),
    };
    Fault { code: code.into(), text: text.into() }
}
