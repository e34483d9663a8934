//! Who may use the proxy, and what may be reached through it.

mod address;
mod own_user;
mod rule;
mod users;

use std::net::SocketAddr;

pub(crate) use address::is_own;
use address::{canonical, is_for_this_machine, is_this_machines};
pub use rule::{Network, ParseNetworkError, ParseRuleError, TargetRule};
pub(crate) use users::Credentials;
pub use users::{Users, UsersError};

use crate::fault::{Fault, text_of};
use crate::ingress::Target;

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
}

impl Asker {
    /// The client of this connection. One whose address is the one that it connected to is on this
    /// machine too.
    pub(crate) fn client(remote: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        let (remote, local) =
            (remote.map(|a| a.ip().to_canonical()), local.map(|a| a.ip().to_canonical()));
        let is_local = remote.is_some_and(|ip| ip.is_loopback() || Some(ip) == local);
        if is_local { Self::LocalClient } else { Self::RemoteClient }
    }

    /// The client of a connection that was diverted on its way to `target`, so that our own address
    /// says nothing of it. The machine's addresses are only listed where it matters.
    pub(crate) fn diverted(remote: Option<SocketAddr>, target: Option<SocketAddr>) -> Self {
        let matters = target.is_some_and(|target| is_for_this_machine(canonical(target.ip())));
        match remote.map(|address| address.ip().to_canonical()) {
            Some(ip) if ip.is_loopback() || matters && is_this_machines(ip) => Self::LocalClient,
            _ => Self::RemoteClient,
        }
    }
}

impl Access {
    /// Why a client may not connect; its address, and ours.
    pub(crate) fn refuse_client(
        &self,
        remote: Option<SocketAddr>,
        local: Option<SocketAddr>,
    ) -> Option<Fault> {
        let refused =
            |text: &'static str| Some(Fault { code: "CLIENT_DENIED".into(), text: text.into() });
        let is_named = |remote: SocketAddr| {
            self.from.iter().any(|network| network.contains(remote.ip().to_canonical()))
        };
        if !self.from.is_empty() && !remote.is_some_and(is_named) {
            return refused("no --allow-from network has the client's address");
        }
        if !self.own_user_only {
            return None;
        }
        let ends = remote.zip(local);
        match ends.map_or(Ok(false), |(remote, local)| own_user::is_own(remote, local)) {
            Ok(true) => None,
            Ok(false) => refused("the client is a program of another user"),
            Err(error) => {
                tracing::warn!("asking whose program a client is: {}", text_of(&error));
                refused("the system cannot tell whose program the client is")
            }
        }
    }

    /// Why a target may not be reached, as far as its name tells.
    pub(crate) fn refuse_target(&self, asker: Asker, target: &Target) -> Option<Fault> {
        if self.deny.iter().any(|rule| rule.names(target)) {
            return Some(denied("a --deny rule names the target"));
        }
        // A name may still lead to an address that a rule allows.
        let may_be_allowed =
            |rule: &TargetRule| rule.names(target) || rule.may_cover(target.port());
        let refused = asker != Asker::Operator
            && !self.allow.is_empty()
            && !self.allow.iter().any(may_be_allowed);
        refused.then(|| denied("no --allow rule names the target"))
    }

    /// Why this address of a target may not be dialled.
    pub(crate) fn refuse_address(
        &self,
        asker: Asker,
        target: &Target,
        address: SocketAddr,
    ) -> Option<Fault> {
        let address = SocketAddr::new(canonical(address.ip()), address.port());
        if self.deny.iter().any(|rule| rule.covers(address)) {
            return Some(denied("a --deny rule covers the target's address"));
        }
        if asker == Asker::Operator {
            return None;
        }
        let allows = |rule: &TargetRule| rule.names(target) || rule.covers(address);
        if !self.allow.is_empty() && !self.allow.iter().any(allows) {
            return Some(denied("no --allow rule covers the target's address"));
        }
        let names = |rule: &TargetRule| {
            rule.is_of_one_name() && rule.names(target) || rule.covers_by_network(address)
        };
        let refused = asker == Asker::RemoteClient
            && is_for_this_machine(address.ip())
            && !self.allow.iter().any(names);
        refused.then(|| {
            denied("only clients on this machine may reach its loopback and link-local addresses")
        })
    }
}

fn denied(text: &'static str) -> Fault {
    Fault { code: "TARGET_DENIED".into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Access { allow: rules(allow), deny: rules(deny), ..Access::default() }
    }

    /// Whether the target may be reached at this address.
    fn reaches(access: &Access, asker: Asker, target: &str, address: &str) -> bool {
        let target = target.parse().unwrap();
        access.refuse_target(asker, &target).is_none()
            && access.refuse_address(asker, &target, address.parse().unwrap()).is_none()
    }

    #[test]
    fn every_spelling_of_an_address_is_the_same_address() {
        let access = access(&[], &["127.0.0.0/8", "10.0.0.0/8", "0.0.0.0", "::"]);
        for address in [
            "127.0.0.1:80",
            "[::ffff:127.0.0.1]:80",
            "[64:ff9b::7f00:1]:80",
            "[::ffff:10.1.2.3]:80",
            "[64:ff9b::a01:203]:80",
            "0.0.0.0:80",
            "[::]:80",
            "[::ffff:0.0.0.0]:80",
        ] {
            assert!(!reaches(&access, Asker::LocalClient, "name.test:80", address), "{address}");
        }
        assert!(reaches(&access, Asker::LocalClient, "name.test:80", "192.0.2.1:80"));
    }

    #[test]
    fn a_remote_client_reaches_no_address_of_this_machine_that_no_rule_names() {
        let own = [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "[::1]:80",
            "[::]:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "169.254.169.254:80",
            "[fe80::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[64:ff9b::a9fe:a9fe]:80",
        ];
        for address in own {
            for (rules, reached) in [
                (&[][..], false),
                (&["*"], false),
                (&["*.test"], false),
                (&["name.test"], true),
                (&["name.test:81"], false),
                (&["0.0.0.0/0", "::/0"], true),
            ] {
                let access = access(rules, &[]);
                let is = reaches(&access, Asker::RemoteClient, "name.test:80", address);
                assert_eq!(is, reached, "{rules:?} {address}");
            }
            assert!(reaches(&access(&[], &[]), Asker::LocalClient, "name.test:80", address));
        }
        assert!(reaches(&access(&[], &[]), Asker::RemoteClient, "name.test:80", "192.0.2.1:80"));
    }

    #[test]
    fn with_allow_rules_a_client_reaches_only_what_they_allow_and_the_operator_anything() {
        let access = access(&["*.example.com:443", "192.0.2.0/24"], &["bad.example.com", "*:25"]);
        for (target, address, reached) in [
            ("www.example.com:443", "198.51.100.1:443", true),
            ("WWW.Example.COM.:443", "198.51.100.1:443", true),
            ("www.example.com:80", "198.51.100.1:80", false),
            ("example.com:443", "198.51.100.1:443", false),
            ("bad.example.com:443", "198.51.100.1:443", false),
            ("other.test:80", "192.0.2.9:80", true),
            ("other.test:80", "198.51.100.1:80", false),
            ("other.test:25", "192.0.2.9:25", false),
        ] {
            assert_eq!(reaches(&access, Asker::LocalClient, target, address), reached, "{target}");
        }
        assert!(reaches(&access, Asker::Operator, "other.test:80", "198.51.100.1:80"));
        assert!(!reaches(&access, Asker::Operator, "other.test:25", "198.51.100.1:25"));
    }

    #[test]
    fn only_networks_that_are_named_are_admitted() {
        let none = Access::default();
        let some = Access { from: vec!["10.0.0.0/8".parse().unwrap()], ..Access::default() };
        for (client, admitted) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("127.0.0.1", false), ("::1", false)]
        {
            let client = Some(SocketAddr::new(client.parse().unwrap(), 5));
            assert_eq!(some.refuse_client(client, None).is_none(), admitted, "{client:?}");
            assert_eq!(none.refuse_client(client, None), None);
        }
    }

    #[test]
    fn a_client_is_local_by_loopback_or_by_its_own_address() {
        let asker = |remote: &str, local: &str| {
            Asker::client(Some(remote.parse().unwrap()), Some(local.parse().unwrap()))
        };
        assert_eq!(asker("127.0.0.1:5", "127.0.0.1:80"), Asker::LocalClient);
        assert_eq!(asker("[::ffff:127.0.0.1]:5", "[::1]:80"), Asker::LocalClient);
        assert_eq!(asker("192.0.2.1:5", "192.0.2.1:80"), Asker::LocalClient);
        assert_eq!(asker("192.0.2.2:5", "192.0.2.1:80"), Asker::RemoteClient);
        // No prefix of the network's makes a client local.
        assert_eq!(asker("[64:ff9b::7f00:1]:5", "[2001:db8::1]:80"), Asker::RemoteClient);
        assert_eq!(Asker::client(None, None), Asker::RemoteClient);
    }

    #[test]
    fn a_client_that_was_diverted_is_not_local_by_the_address_that_it_wanted() {
        let asker = |remote: &str, target: &str| {
            Asker::diverted(Some(remote.parse().unwrap()), Some(target.parse().unwrap()))
        };
        assert_eq!(asker("127.0.0.1:5", "127.0.0.1:80"), Asker::LocalClient);
        assert_eq!(asker("[::ffff:127.0.0.1]:5", "192.0.2.1:80"), Asker::LocalClient);
        assert_eq!(asker("192.0.2.1:5", "127.0.0.1:80"), Asker::RemoteClient);
        assert_eq!(asker("192.0.2.1:5", "192.0.2.1:80"), Asker::RemoteClient);
    }
}
