//! Who may use the proxy, and what may be reached through it.

mod address;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guesses;
mod own_user;
mod rule;
mod users;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use address::{Destination, is_this_machines};
pub(crate) use address::{client_network, is_own};
pub(crate) use guesses::Guesses;
pub(crate) use own_user::{Owner, Owners};
pub use rule::{Network, ParseNetworkError, ParseRuleError, TargetRule};
pub(crate) use users::Credentials;
pub use users::{Users, UsersError};

use crate::conn::is_on_this_machine;
use crate::fault::Fault;
use crate::target::Target;

/// Who may use the proxy, and what may be reached through it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Access {
    /// Clients that may connect. Empty: whoever can.
    pub from: Vec<Network>,
    /// Only programs of the user that runs the proxy, those of root, and those that this process has
    /// started may connect. Linux tells whose a client on the same machine is; of any other, and on
    /// other systems, it is not known, and it may not connect.
    pub own_user_only: bool,
    /// Who may ask for a target. `None`: every client.
    pub users: Option<Users>,
    /// Targets that clients may choose. Empty: all.
    pub allow: Vec<TargetRule>,
    /// Targets that are never reached.
    pub deny: Vec<TargetRule>,
}

/// Who wants to reach a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The command line: it named the target itself.
    Operator,
    /// A client on this machine.
    LocalClient,
    /// Any other client.
    RemoteClient,
    /// A client of another machine that rules of the kernel diverted on its way. It has not chosen
    /// this machine to reach its target.
    DivertedClient,
}

impl Asker {
    /// The client of this connection. One whose address is the one that it connected to is on this
    /// machine too.
    pub(crate) fn client(remote: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        match is_on_this_machine(remote, local) {
            true => Self::LocalClient,
            false => Self::RemoteClient,
        }
    }

    /// The client of a connection that was diverted on its way to `target`, so that our own address
    /// says nothing of it. The machine's addresses are only listed where it matters.
    pub(crate) fn diverted(remote: Option<SocketAddr>, target: Option<SocketAddr>) -> Self {
        let matters = target.is_some_and(|to| Destination::new(to.ip()).is_for_this_machine());
        match remote.map(|address| address.ip().to_canonical()) {
            Some(ip) if ip.is_loopback() || matters && is_this_machines(ip) => Self::LocalClient,
            _ => Self::DivertedClient,
        }
    }

    /// One who speaks for a client at `source` has that client's rights at most.
    pub(crate) fn speaking_for(self, source: SocketAddr) -> Self {
        match (self, Self::client(Some(source), None)) {
            (Self::LocalClient, Self::RemoteClient) => Self::RemoteClient,
            _ => self,
        }
    }
}

impl Access {
    /// Why a client with this address may not connect.
    pub(crate) fn refuse_client(&self, remote: Option<SocketAddr>) -> Option<Fault> {
        let is_named = |remote: SocketAddr| {
            self.from.iter().any(|network| network.contains(remote.ip().to_canonical()))
        };
        let refused = !self.from.is_empty() && !remote.is_some_and(is_named);
        refused.then(|| Fault {
            code: "CLIENT_DENIED".into(),
            text: "the client's address is in no --allow-from network".into(),
        })
    }

    /// The `deny` rule that forbids a target, as far as its name or its address tells.
    pub fn denied_by(&self, target: &Target) -> Option<&TargetRule> {
        let destination = target.literal().map(|address| Destination::new(address.ip()));
        let covers = |rule: &TargetRule| {
            let mut ips = destination.iter().flat_map(Destination::all);
            ips.any(|ip| rule.covers(SocketAddr::new(ip, target.port())))
        };
        self.deny.iter().find(|rule| rule.names(target) || covers(rule))
    }

    /// Why a target may not be reached, as far as its name tells.
    pub(crate) fn refuse_target(&self, asker: Asker, target: &Target) -> Option<Fault> {
        if self.deny.iter().any(|rule| rule.names(target)) {
            return Some(denied("a --deny rule matches the target"));
        }
        // A name may still lead to an address that a rule allows.
        let may_be_allowed =
            |rule: &TargetRule| rule.names(target) || rule.may_cover(target.port());
        let refused = asker != Asker::Operator
            && !self.allow.is_empty()
            && !self.allow.iter().any(may_be_allowed);
        refused.then(|| denied("no --allow rule matches the target"))
    }

    /// Why a target may not be reached by a name that a parent proxy looks up: its addresses are not
    /// known here, so that only rules on names can allow it.
    pub(crate) fn refuse_unresolved(&self, asker: Asker, target: &Target) -> Option<Fault> {
        if target.is_localhost() {
            const LOOPBACK: [IpAddr; 2] =
                [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            return self.refuse_destinations(asker, target, &LOOPBACK.map(Destination::new));
        }
        let is_named = self.allow.iter().any(|rule| rule.names_host(target));
        if !is_named && self.deny.iter().any(|rule| rule.may_cover(target.port())) {
            return Some(denied(
                "no --allow rule matches the name, and --deny networks cannot be applied to it \
                 because the parent proxy resolves it",
            ));
        }
        if asker != Asker::Operator
            && !self.allow.is_empty()
            && !self.allow.iter().any(|rule| rule.names(target))
        {
            return Some(denied(
                "no --allow rule matches the target, whose name the parent proxy resolves",
            ));
        }
        let has_rules = asker == Asker::RemoteClient || !self.deny.is_empty();
        (has_rules && !is_named && target.is_ambiguous_name()).then(|| {
            denied("the parent proxy could read the name as another name or as an address")
        })
    }

    /// Why this address of a target may not be dialled.
    pub(crate) fn refuse_address(
        &self,
        asker: Asker,
        target: &Target,
        address: SocketAddr,
    ) -> Option<Fault> {
        self.refuse_destinations(asker, target, &[Destination::new(address.ip())])
    }

    /// Why a target that leads to one of these addresses may not be reached.
    fn refuse_destinations(
        &self,
        asker: Asker,
        target: &Target,
        destinations: &[Destination],
    ) -> Option<Fault> {
        let at = |ip: IpAddr| SocketAddr::new(ip, target.port());
        let mut all = destinations.iter().flat_map(Destination::all);
        if all.any(|ip| self.deny.iter().any(|rule| rule.covers(at(ip)))) {
            return Some(denied("a --deny rule matches the target's address"));
        }
        if asker == Asker::Operator {
            return None;
        }
        let allow = &self.allow;
        let are_covered = |by: fn(&TargetRule, SocketAddr) -> bool| {
            destinations.iter().any(|to| {
                to.is_covered(|ip| allow.iter().any(|rule| by(rule, at(ip))))
                    || to.is_translated()
                        && allow.iter().any(|rule| rule.covers_translated(at(to.itself())))
            })
        };
        if !allow.is_empty()
            && !allow.iter().any(|rule| rule.names(target))
            && !are_covered(TargetRule::covers)
        {
            return Some(denied("no --allow rule matches the target's address"));
        }
        let is_guarded = match asker {
            Asker::Operator | Asker::LocalClient => false,
            Asker::DivertedClient => destinations.iter().any(Destination::is_for_this_machine),
            // What it may reach in a way that leads past this machine's firewall is to be said.
            Asker::RemoteClient => {
                destinations.iter().any(|to| to.is_for_this_machine() || to.is_this_machines())
            }
        };
        let is_named = || allow.iter().any(|rule| rule.is_of_one_name() && rule.names(target));
        (is_guarded && !is_named() && !are_covered(TargetRule::covers_by_network)).then(|| {
            denied(
                "only local clients may connect to this machine's own, loopback and link-local \
                 addresses",
            )
        })
    }
}

fn denied(text: &'static str) -> Fault {
    Fault { code: "TARGET_DENIED".into(), text: text.into() }
}

#[cfg(test)]
mod tests;
