//! Who may reach what, by rule.

mod spellings;

use super::*;

fn access(allow: &[&str], deny: &[&str]) -> Access {
    let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Access { allow: rules(allow), deny: rules(deny), ..Access::default() }
}

/// Whether the target may be reached at this address.
fn reaches(access: &Access, origin: RequestOrigin, target: &str, address: &str) -> bool {
    let target = target.parse().unwrap();
    access.check_target(origin, &target).is_ok()
        && access.check_address(origin, &target, address.parse().unwrap()).is_ok()
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
        assert!(
            !reaches(&access, RequestOrigin::LocalClient, "name.test:80", address),
            "{address}"
        );
    }
    assert!(reaches(&access, RequestOrigin::LocalClient, "name.test:80", "192.0.2.1:80"));
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
            let is = reaches(&access, RequestOrigin::RemoteClient, "name.test:80", address);
            assert_eq!(is, reached, "{rules:?} {address}");
        }
        assert!(reaches(&access(&[], &[]), RequestOrigin::LocalClient, "name.test:80", address));
    }
    assert!(reaches(
        &access(&[], &[]),
        RequestOrigin::RemoteClient,
        "name.test:80",
        "192.0.2.1:80"
    ));
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
        assert_eq!(
            reaches(&access, RequestOrigin::LocalClient, target, address),
            reached,
            "{target}"
        );
    }
    assert!(reaches(&access, RequestOrigin::Operator, "other.test:80", "198.51.100.1:80"));
    assert!(!reaches(&access, RequestOrigin::Operator, "other.test:25", "198.51.100.1:25"));
}

#[test]
fn only_networks_that_are_named_are_admitted() {
    let none = Access::default();
    let some = Access { from: vec!["10.0.0.0/8".parse().unwrap()], ..Access::default() };
    for (client, admitted) in
        [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("127.0.0.1", false), ("::1", false)]
    {
        let client = Some(SocketAddr::new(client.parse().unwrap(), 5));
        assert_eq!(some.check_client(client).is_ok(), admitted, "{client:?}");
        assert_eq!(none.check_client(client), Ok(()));
    }
}

#[test]
fn a_client_is_local_by_loopback_or_by_its_own_address() {
    let origin = |remote: &str, local: &str| {
        RequestOrigin::for_client(Some(remote.parse().unwrap()), Some(local.parse().unwrap()))
    };
    assert_eq!(origin("127.0.0.1:5", "127.0.0.1:80"), RequestOrigin::LocalClient);
    assert_eq!(origin("[::ffff:127.0.0.1]:5", "[::1]:80"), RequestOrigin::LocalClient);
    assert_eq!(origin("192.0.2.1:5", "192.0.2.1:80"), RequestOrigin::LocalClient);
    assert_eq!(origin("192.0.2.2:5", "192.0.2.1:80"), RequestOrigin::RemoteClient);
    // No prefix of the network's makes a client local.
    assert_eq!(origin("[64:ff9b::7f00:1]:5", "[2001:db8::1]:80"), RequestOrigin::RemoteClient);
    assert_eq!(RequestOrigin::for_client(None, None), RequestOrigin::RemoteClient);
}

#[test]
fn a_client_that_was_diverted_is_not_local_by_the_address_that_it_wanted() {
    let origin = |remote: &str, target: &str| {
        RequestOrigin::for_diverted(Some(remote.parse().unwrap()), Some(target.parse().unwrap()))
    };
    assert_eq!(origin("127.0.0.1:5", "127.0.0.1:80"), RequestOrigin::LocalClient);
    assert_eq!(origin("[::ffff:127.0.0.1]:5", "192.0.2.1:80"), RequestOrigin::LocalClient);
    assert_eq!(origin("192.0.2.1:5", "127.0.0.1:80"), RequestOrigin::DivertedClient);
    assert_eq!(origin("192.0.2.1:5", "192.0.2.1:80"), RequestOrigin::DivertedClient);
}

#[test]
fn who_speaks_for_another_has_the_rights_of_both() {
    let [near, far] = ["127.0.0.1:5", "192.0.2.1:5"].map(|source| source.parse().unwrap());
    for origin in [
        RequestOrigin::Operator,
        RequestOrigin::LocalClient,
        RequestOrigin::RemoteClient,
        RequestOrigin::DivertedClient,
    ] {
        assert_eq!(origin.on_behalf_of(near), origin);
    }
    assert_eq!(RequestOrigin::LocalClient.on_behalf_of(far), RequestOrigin::RemoteClient);
    assert_eq!(RequestOrigin::DivertedClient.on_behalf_of(far), RequestOrigin::DivertedClient);
}

#[test]
fn only_a_rule_on_names_allows_a_name_that_is_looked_up_elsewhere() {
    let reaches = |allow: &[&str], deny: &[&str], origin: RequestOrigin, name: &str| {
        let (access, target) = (access(allow, deny), format!("{name}:80").parse().unwrap());
        access.check_target(origin, &target).is_ok()
            && access.check_unresolved(origin, &target).is_ok()
    };
    let local = RequestOrigin::LocalClient;
    for (allow, deny, name, reached) in [
        (&[][..], &[][..], "a.test", true),
        (&["192.0.2.0/24"], &[], "a.test", false),
        (&["192.0.2.0/24", "a.test"], &[], "a.test", true),
        (&["192.0.2.0/24:80", "*.test"], &[], "A.test.", true),
        (&["*"], &[], "a.test", true),
        (&["a.test:81"], &[], "a.test", false),
        (&[], &["10.0.0.0/8"], "a.test", false),
        (&[], &["10.0.0.1"], "a.test", false),
        (&[], &["10.0.0.0/8:25"], "a.test", true),
        (&[], &["10.0.0.0/8:80"], "a.test", false),
        (&[], &["b.test"], "a.test", true),
        // It says nothing of this name.
        (&["*"], &["10.0.0.0/8"], "a.test", false),
        (&["a.test"], &["10.0.0.0/8"], "a.test", true),
        (&["*.test"], &["10.0.0.0/8"], "a.test", true),
        (&["a.test"], &["10.0.0.0/8", "a.test"], "a.test", false),
        // Names of loopback.
        (&[], &["127.0.0.0/8"], "localhost", false),
        (&[], &["::1"], "a.localhost.", false),
        (&["localhost"], &["127.0.0.0/8"], "LOCALHOST", false),
        (&[], &["10.0.0.0/8"], "localhost", true),
        (&["127.0.0.0/8"], &[], "localhost", true),
        (&["192.0.2.0/24"], &[], "localhost", false),
        // What a parent may take for another name, or for an address.
        (&[], &["evil.test"], "ｅvil.test", false),
        (&[], &["127.0.0.1:81"], "4294967297", false),
        (&[], &[], "ｅvil.test", true),
    ] {
        assert_eq!(reaches(allow, deny, local, name), reached, "{name} {allow:?} {deny:?}");
    }
    // The command line's own target is one that --deny holds for as well.
    assert!(!reaches(&[], &["10.0.0.0/8"], RequestOrigin::Operator, "a.test"));
    assert!(reaches(&["192.0.2.0/24"], &[], RequestOrigin::Operator, "a.test"));
    // What is behind a parent is its own, but for names that are loopback's everywhere.
    let remote = RequestOrigin::RemoteClient;
    assert!(reaches(&[], &[], remote, "a.test"));
    for name in ["localhost", "a.localhost", "0b1111111.1", "１２７.1"] {
        assert!(!reaches(&[], &[], remote, name), "{name}");
    }
    assert!(reaches(&["localhost"], &[], remote, "localhost"));
    assert!(reaches(&["127.0.0.1"], &[], remote, "localhost"));
    assert!(!reaches(&["*"], &[], remote, "localhost"));
}
