//! Name resolution by the system's resolver.

use std::collections::HashSet;
use std::net::SocketAddr;

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType};

use super::Family;
use super::candidates::interleave;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, How, Outcome, Phase};

/// The error code when all addresses are of the family that is not dialled.
pub(super) const OTHER_FAMILY: &str = "ADDRESS_FAMILY";

/// Whether an error code is one of name resolution.
pub(super) fn is_code(code: &str) -> bool {
    code == OTHER_FAMILY || ["EAI_", "RESOLVE_"].iter().any(|of| code.starts_with(of))
}

/// Looks up the addresses of a name, at least one, with port 0, in the order in which they are
/// tried: the system's (RFC 6724), with alternating families. Blocks until the system's resolver
/// answers.
pub(super) fn look_up(host: &str, family: Family) -> Result<Vec<SocketAddr>, Fault> {
    match addresses(host, family) {
        Ok(found) if !found.is_empty() => Ok(interleave(found)),
        // Some systems report that a name does not exist if it has only addresses of the other
        // family.
        Err(error) if family != Family::Any && is_final(&error) => {
            match addresses(host, Family::Any) {
                Ok(others) if !others.is_empty() => Err(other_family(family)),
                _ => Err(fault(&error)),
            }
        }
        Err(error) => Err(fault(&error)),
        Ok(_) => Err(no_address()),
    }
}

/// Whether a repetition would give the same error.
fn is_final(error: &LookupError) -> bool {
    use LookupErrorKind::*;
    !matches!(error.kind(), Again | Memory | System)
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
    let mut seen = HashSet::new();
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints))?.flatten();
    // Keeps the scope of link-local addresses.
    Ok(found.map(|entry| entry.sockaddr).filter(|&address| seen.insert(address)).collect())
}

/// The failure of a look-up.
pub(super) fn failed(fault: Fault) -> Failure {
    Failure {
        phase: Phase::Resolve,
        outcome: Outcome::Dns,
        by: By::Resolver,
        how: How::Error,
        fault: Some(fault),
    }
}

/// The failure when a client has too many waiting look-ups.
pub(super) fn overloaded() -> Failure {
    let text = "too many lookups of this client are pending; try again later";
    Failure {
        phase: Phase::Resolve,
        outcome: Outcome::Limit,
        by: By::Proxy,
        how: How::Limit,
        fault: Some(Fault { code: "RESOLVE_LIMIT".into(), text: text.into() }),
    }
}

pub(super) fn no_address() -> Fault {
    Fault { code: "EAI_NODATA".into(), text: "the name has no address".into() }
}

fn other_family(family: Family) -> Fault {
    let text = match family {
        Family::V6 => "the name has only IPv4 addresses",
        _ => "the name has only IPv6 addresses",
    };
    Fault { code: OTHER_FAMILY.into(), text: text.into() }
}

/// The error when the look-up's thread is gone because the program ends.
pub(super) fn shutting_down() -> Fault {
    Fault { code: "EAI_FAIL".into(), text: "the lookup was cancelled".into() }
}

fn fault(error: &LookupError) -> Fault {
    let (code, text) = match error.kind() {
        LookupErrorKind::NoData => return no_address(),
        LookupErrorKind::NoName => ("EAI_NONAME", "the name does not exist"),
        LookupErrorKind::Again => ("EAI_AGAIN", "the name servers did not answer"),
        LookupErrorKind::Memory => ("EAI_MEMORY", "the resolver ran out of memory"),
        LookupErrorKind::Family => ("EAI_FAMILY", "the name has no address of a supported family"),
        LookupErrorKind::System => ("EAI_SYSTEM", "the resolver failed with a system error"),
        _ => ("EAI_FAIL", "the resolver failed"),
    };
    Fault { code: code.into(), text: text.into() }
}
