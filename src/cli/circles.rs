//! Options of `proxy` that contradict each other, so that no connection could ever succeed.

use std::net::SocketAddr;

use conniver::access::{Access, TargetRule};
use conniver::ingress::{Forward, Target};
use conniver::proxy::Via;

/// A sentence on a parent proxy that is this very proxy.
pub(super) fn own_parent(via: &Via, listening: &[(&'static str, SocketAddr)]) -> Option<String> {
    let (option, address) = own_port(via.parent(), listening, IsLocalhostOwn(true))?;
    Some(format!(
        "--via {via} is this proxy's own listener {option} {address}, so connections would loop; \
         choose another parent proxy"
    ))
}

/// A sentence on a target that is this very proxy.
pub(super) fn own_target(
    forward: &Forward,
    listening: &[(&'static str, SocketAddr)],
) -> Option<String> {
    let Forward { listen, target } = forward;
    // Another server may listen on the other address of the name.
    let (option, address) = own_port(target, listening, IsLocalhostOwn(false))?;
    Some(format!(
        "-L {listen}:{target} leads to this proxy's own listener {option} {address}, so \
         connections would loop; choose another target"
    ))
}

/// A sentence on a target that is never to be reached.
pub(super) fn denied_target(forward: &Forward, deny: &[TargetRule]) -> Option<String> {
    let Forward { listen, target } = forward;
    let mut access = Access::default();
    access.deny = deny.to_vec();
    let rule = access.denied_by(target)?;
    Some(format!(
        "--deny {rule} forbids the only target of -L {listen}:{target}: all its connections will \
         be refused"
    ))
}

/// Whether the name `localhost` is taken for the address that is listened on.
#[derive(Clone, Copy)]
struct IsLocalhostOwn(bool);

/// The option that listens where `target` leads, and its address.
fn own_port<'l>(
    target: &Target,
    listening: &'l [(&'static str, SocketAddr)],
    IsLocalhostOwn(localhost): IsLocalhostOwn,
) -> Option<&'l (&'static str, SocketAddr)> {
    let literal = target.literal().map(|address| address.ip().to_canonical());
    let is_localhost = localhost && target.host().eq_ignore_ascii_case("localhost");
    listening.iter().find(|(_, address)| {
        let own = address.ip().to_canonical();
        let is_reached = match literal {
            // To connect to the unspecified address is to connect to loopback.
            Some(ip) if ip.is_unspecified() || ip.is_loopback() => {
                own == ip || own.is_unspecified() || ip.is_unspecified() && own.is_loopback()
            }
            Some(ip) => own == ip,
            None => is_localhost && (own.is_loopback() || own.is_unspecified()),
        };
        is_reached && address.port() == target.port()
    })
}
