//! Who may use the proxy, and what may be reached through it.

mod address;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod own_user;
mod rule;
mod users;
mod wrong_passwords;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use address::{Destination, is_this_machine};
pub(crate) use address::{client_network, is_own};
pub(crate) use own_user::{Owner, Owners};
pub use rule::{Network, ParseNetworkError, ParseRuleError, TargetRule};
pub(crate) use users::Credentials;
pub use users::{Users, UsersError};
pub(crate) use wrong_passwords::PasswordGuesses;

use crate::conn::is_on_this_machine;
use crate::fault::Fault;
use crate::target::Target;

/// Who may use the proxy, and what may be reached through it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Access {
    /// Clients that may connect. Empty: all.
    pub from: Vec<Network>,
    /// Only programs of the user that runs the proxy, those of root, and those that this process
    /// has started may connect. Only Linux can tell the owner of a client, and only on the same
    /// machine; all other clients are refused.
    pub own_user_only: bool,
    /// Users that may send requests, by password. `None`: no authentication.
    pub users: Option<Users>,
    /// Targets that clients may request. Empty: all.
    pub allow: Vec<TargetRule>,
    /// Targets that are never reached.
    pub deny: Vec<TargetRule>,
}

/// Where a request for a target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestOrigin {
    /// The command line, which names the target itself.
    Operator,
    /// A client on this machine.
    LocalClient,
    /// Any other client.
    RemoteClient,
    /// A client on another machine whose connection kernel rules diverted. It did not choose to
    /// connect to this machine.
    DivertedClient,
}

impl RequestOrigin {
    /// The origin of a connection from `remote` to `local`. A client with the same address as the
    /// listener is on this machine too.
    pub(crate) fn for_client(remote: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        match is_on_this_machine(remote, local) {
            true => Self::LocalClient,
            false => Self::RemoteClient,
        }
    }

    /// The origin of a connection that was diverted on its way to `target`, so that our local
    /// address does not matter. The machine's addresses are only listed if the target is on this
    /// machine.
    pub(crate) fn for_diverted(remote: Option<SocketAddr>, target: Option<SocketAddr>) -> Self {
        let matters = target.is_some_and(|to| Destination::new(to.ip()).is_for_this_machine());
        match remote.map(|address| address.ip().to_canonical()) {
            Some(ip) if ip.is_loopback() || matters && is_this_machine(ip) => Self::LocalClient,
            _ => Self::DivertedClient,
        }
    }

    /// The origin when this client forwards for a client at `source`: at most that client's rights.
    pub(crate) fn on_behalf_of(self, source: SocketAddr) -> Self {
        match (self, Self::for_client(Some(source), None)) {
            (Self::LocalClient, Self::RemoteClient) => Self::RemoteClient,
            _ => self,
        }
    }
}

impl Access {
    /// Whether a client with this address may connect.
    pub(crate) fn check_client(&self, remote: Option<SocketAddr>) -> Result<(), Fault> {
        let is_named = |remote: SocketAddr| {
            self.from.iter().any(|network| network.contains(remote.ip().to_canonical()))
        };
        if self.from.is_empty() || remote.is_some_and(is_named) {
            return Ok(());
        }
        Err(Fault {
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

    /// Checks a target by the name or address that was asked for, before any look-up.
    pub(crate) fn check_target(&self, origin: RequestOrigin, target: &Target) -> Result<(), Fault> {
        if self.deny.iter().any(|rule| rule.names(target)) {
            return Err(denied("a --deny rule matches the target"));
        }
        // A name may still lead to an address that a rule allows.
        let may_be_allowed =
            |rule: &TargetRule| rule.names(target) || rule.may_cover(target.port());
        if origin == RequestOrigin::Operator
            || self.allow.is_empty()
            || self.allow.iter().any(may_be_allowed)
        {
            return Ok(());
        }
        Err(denied("no --allow rule matches the target"))
    }

    /// Checks a target whose name a parent proxy looks up. Its addresses are not known here, so only
    /// rules on names can allow it.
    pub(crate) fn check_unresolved(
        &self,
        origin: RequestOrigin,
        target: &Target,
    ) -> Result<(), Fault> {
        if target.is_localhost() {
            const LOOPBACK: [IpAddr; 2] =
                [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            return self.check_destinations(origin, target, &LOOPBACK.map(Destination::new));
        }
        let is_named = self.allow.iter().any(|rule| rule.names_host(target));
        if !is_named && self.deny.iter().any(|rule| rule.may_cover(target.port())) {
            return Err(denied(
                "no --allow rule matches the name, and --deny networks cannot be applied to it \
                 because the parent proxy resolves it",
            ));
        }
        if origin != RequestOrigin::Operator
            && !self.allow.is_empty()
            && !self.allow.iter().any(|rule| rule.names(target))
        {
            return Err(denied(
                "no --allow rule matches the target, whose name the parent proxy resolves",
            ));
        }
        let has_rules = origin == RequestOrigin::RemoteClient || !self.deny.is_empty();
        if has_rules && !is_named && target.is_ambiguous_name() {
            return Err(denied(
                "the parent proxy could read the name as another name or as an address",
            ));
        }
        Ok(())
    }

    /// Checks one address of a target before it is dialled.
    pub(crate) fn check_address(
        &self,
        origin: RequestOrigin,
        target: &Target,
        address: SocketAddr,
    ) -> Result<(), Fault> {
        self.check_destinations(origin, target, &[Destination::new(address.ip())])
    }

    /// Checks a target that leads to one of these addresses.
    fn check_destinations(
        &self,
        origin: RequestOrigin,
        target: &Target,
        destinations: &[Destination],
    ) -> Result<(), Fault> {
        let at = |ip: IpAddr| SocketAddr::new(ip, target.port());
        let mut all = destinations.iter().flat_map(Destination::all);
        if all.any(|ip| self.deny.iter().any(|rule| rule.covers(at(ip)))) {
            return Err(denied("a --deny rule matches the target's address"));
        }
        if origin == RequestOrigin::Operator {
            return Ok(());
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
            return Err(denied("no --allow rule matches the target's address"));
        }
        let is_guarded = match origin {
            RequestOrigin::Operator | RequestOrigin::LocalClient => false,
            RequestOrigin::DivertedClient => {
                destinations.iter().any(Destination::is_for_this_machine)
            }
            // Targets behind this machine's firewall must be allowed explicitly.
            RequestOrigin::RemoteClient => {
                destinations.iter().any(|to| to.is_for_this_machine() || to.is_this_machine())
            }
        };
        let is_named = || allow.iter().any(|rule| rule.is_of_one_name() && rule.names(target));
        if is_guarded && !is_named() && !are_covered(TargetRule::covers_by_network) {
            return Err(denied(
                "only local clients may connect to this machine's own, loopback and link-local \
                 addresses",
            ));
        }
        Ok(())
    }
}

fn denied(text: &'static str) -> Fault {
    Fault { code: "TARGET_DENIED".into(), text: text.into() }
}

#[cfg(test)]
mod tests;
