//! Names to addresses, by the system's resolver.

use std::net::SocketAddr;

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType};

use super::{Failure, Family};
use crate::fault::Fault;
use crate::record::{By, How, Outcome, Phase};

/// The addresses of a name with port 0, at least one, in the order in which they are tried: the
/// system's (RFC 6724), with the families taking turns. Blocks until the system's resolver answers.
pub(super) fn look_up(host: &str, family: Family) -> Result<Vec<SocketAddr>, Fault> {
    let found = addresses(host, family).map_err(|error| fault(&error))?;
    if found.is_empty() { Err(no_address()) } else { Ok(interleaved(found)) }
}

fn addresses(host: &str, family: Family) -> Result<Vec<SocketAddr>, LookupError> {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        address: match family {
            Family::Any => 0,
            Family::V4 => AddrFamily::Inet.into(),
            Family::V6 => AddrFamily::Inet6.into(),
        },
        ..AddrInfoHints::default()
    };
    let mut found = Vec::new();
    for entry in dns_lookup::getaddrinfo(Some(host), None, Some(hints))?.flatten() {
        // The scope of a link-local address stays in it.
        if !found.contains(&entry.sockaddr) {
            found.push(entry.sockaddr);
        }
    }
    Ok(found)
}

/// RFC 8305 section 4: the family of the first address, which the system prefers, takes turns with
/// the other one.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == v6_first);
    let (mut turn, mut next) = (preferred.into_iter(), other.into_iter());
    let mut mixed = Vec::with_capacity(turn.len() + next.len());
    while let Some(address) = turn.next() {
        mixed.push(address);
        std::mem::swap(&mut turn, &mut next);
    }
    mixed.extend(next);
    mixed
}

/// What the pair's record says when there is no address.
pub(super) fn failed(fault: Fault) -> Failure {
    Failure {
        phase: Phase::Resolve,
        outcome: Outcome::Dns,
        by: By::Resolver,
        how: How::Error,
        fault: Some(fault),
    }
}

pub(super) fn no_address() -> Fault {
    Fault { code: "EAI_NODATA".into(), text: "the name has no address".into() }
}

/// The look-up's thread is gone: the program ends.
pub(super) fn cut_off() -> Fault {
    Fault { code: "EAI_FAIL".into(), text: "the look-up was cut off".into() }
}

fn fault(error: &LookupError) -> Fault {
    let (code, text) = match error.kind() {
        LookupErrorKind::NoData => return no_address(),
        LookupErrorKind::NoName => ("EAI_NONAME", "the name does not exist"),
        LookupErrorKind::Again => ("EAI_AGAIN", "the resolver gave no answer for now"),
        LookupErrorKind::Memory => ("EAI_MEMORY", "the resolver ran out of memory"),
        LookupErrorKind::Family => ("EAI_FAMILY", "the name has no address of a known family"),
        LookupErrorKind::System => ("EAI_SYSTEM", "the resolver met an error of the system"),
        _ => ("EAI_FAIL", "the resolver failed"),
    };
    Fault { code: code.into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_resolvers_first_begins() {
        let (v6, v4) = (["[::1]:1", "[::2]:1", "[::3]:1"], ["127.0.0.1:1", "127.0.0.2:1"]);
        assert_eq!(
            interleaved(list(&[v6[0], v6[1], v6[2], v4[0], v4[1]])),
            list(&[v6[0], v4[0], v6[1], v4[1], v6[2]])
        );
        assert_eq!(interleaved(list(&[v4[0], v4[1], v6[0]])), list(&[v4[0], v6[0], v4[1]]));
        assert_eq!(interleaved(list(&v4)), list(&v4));
        assert_eq!(interleaved(Vec::new()), Vec::new());
    }
}
