//! Every spelling of what a rule names is what it names, on every way out.

use super::*;

/// Targets that are the same to rules.
struct Class {
    /// Networks that have all of them.
    networks: &'static [&'static str],
    spellings: &'static [&'static str],
    /// Those that lead there on some systems alone: forbidden, but not allowed, by these networks.
    perhaps: &'static [&'static str],
    /// They are this machine's or its link's, whichever machine it is.
    is_for_this_machine: bool,
}

const CLASSES: &[Class] = &[
    Class {
        networks: &["127.0.0.0/8"],
        spellings: &[
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "127.9.9.9",
            "0177.0.0.1",
            "0177.1",
            "00177.0.0.01",
            "0x7f.1",
            "0x7f.0.0.1",
            "0X7F.0.1",
            "0x7f.0x0.0x0.0x1",
            "127.0x1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "127.0.0.1.",
            "127.1.",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:FFFF:127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::7f00:1]",
            "[64:ff9b:1:7f00:0:100::]",
            "[64:ff9b:1:7f:0:1::]",
        ],
        perhaps: &[
            "[64:ff9b:1:0:7f:0:100:0]",
            "[64:ff9b:1:203:405:607:7f00:1]",
            "[2002:7f00:1::1]",
            "[::127.0.0.1]",
        ],
        is_for_this_machine: true,
    },
    Class {
        networks: &["::1"],
        spellings: &["[::1]", "[0::1]", "[0:0:0:0:0:0:0:1]", "[::0.0.0.1]", "[::]"],
        perhaps: &["0.0.0.0", "0"],
        is_for_this_machine: true,
    },
    Class {
        networks: &["127.0.0.0/8", "::1"],
        spellings: &[
            "localhost",
            "LocalHost.",
            "a.localhost",
            "localhost.localdomain",
            "0.0.0.0",
            "0",
            "00",
            "0x0",
            "0.0",
            "0.0.0",
            "0.0.0.0.",
            "[::]",
            "[0::0]",
            "[::0.0.0.0]",
            "[::ffff:0.0.0.0]",
            "[::ffff:0:0]",
            "[64:ff9b::]",
        ],
        perhaps: &[],
        is_for_this_machine: true,
    },
    Class {
        networks: &["127.0.0.0/8"],
        spellings: &["0.0.0.0", "0", "[::ffff:0.0.0.0]"],
        perhaps: &["[::]", "[::0]"],
        is_for_this_machine: true,
    },
    Class {
        networks: &["0.0.0.0", "::"],
        spellings: &["0", "0x0.0", "[::]", "[::ffff:0:0]"],
        perhaps: &[],
        is_for_this_machine: true,
    },
    Class {
        networks: &["169.254.0.0/16"],
        spellings: &[
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "169.16689662",
            "169.254.43518",
            "0251.0376.0251.0376",
            "0xa9.0xfe.0xa9.0xfe",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::a9fe:a9fe]",
        ],
        perhaps: &["[2002:a9fe:a9fe::]", "[::169.254.169.254]"],
        is_for_this_machine: true,
    },
    Class {
        networks: &["fe80::/10"],
        spellings: &["[fe80::1]", "[FE80:0::1]", "[febf::1]"],
        perhaps: &[],
        is_for_this_machine: true,
    },
    Class {
        networks: &["10.0.0.0/8"],
        spellings: &[
            "10.0.0.1",
            "10.1",
            "012.1",
            "0xa.1",
            "167772161",
            "0x0a000001",
            "01200000001",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::a00:1]",
            "[64:ff9b:1::a00:1]",
        ],
        perhaps: &["[2002:a00:1::1]", "[::10.0.0.1]"],
        is_for_this_machine: false,
    },
    Class {
        networks: &["172.16.0.0/12"],
        spellings: &["172.16.0.1", "0xac.0x10.1", "2886729729"],
        perhaps: &[],
        is_for_this_machine: false,
    },
    Class {
        networks: &["192.168.0.0/16"],
        spellings: &["192.168.1.1", "3232235777", "0300.0250.1.1", "192.168.257", "0xc0a80101"],
        perhaps: &[],
        is_for_this_machine: false,
    },
    Class {
        networks: &["fc00::/7"],
        spellings: &["[fd00::1]", "[fc00:0:0::1]"],
        perhaps: &[],
        is_for_this_machine: false,
    },
];

/// By whom names are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WayOut {
    Direct,
    Http,
    Socks5,
    Socks5h,
}

const WAYS_OUT: [WayOut; 4] = [WayOut::Direct, WayOut::Http, WayOut::Socks5, WayOut::Socks5h];

/// Whether the target is reached, at one of its addresses at least.
fn reaches(access: &Access, origin: RequestOrigin, host: &str, way: WayOut) -> bool {
    let target: Target = format!("{host}:80").parse().unwrap();
    let at = |address: SocketAddr| access.check_address(origin, &target, address).is_ok();
    access.check_target(origin, &target).is_ok()
        && match (target.literal(), way) {
            (Some(address), _) => at(address),
            (None, WayOut::Http | WayOut::Socks5h) => {
                access.check_unresolved(origin, &target).is_ok()
            }
            // Of the names here all are loopback's.
            (None, WayOut::Direct | WayOut::Socks5) => ["127.0.0.1:80", "[::1]:80"]
                .map(|address| at(address.parse().unwrap()))
                .contains(&true),
        }
}

#[test]
fn every_spelling_is_what_a_rule_names_on_every_way_out() {
    let mut distinct = std::collections::BTreeSet::new();
    for Class { networks, spellings, perhaps, is_for_this_machine } in CLASSES {
        for way in WAYS_OUT {
            let all = spellings.iter().map(|host| (host, true));
            for (host, is_certain) in all.chain(perhaps.iter().map(|host| (host, false))) {
                distinct.insert(host);
                let what = format!("{host} {networks:?} {way:?}");
                for origin in [
                    RequestOrigin::Operator,
                    RequestOrigin::LocalClient,
                    RequestOrigin::RemoteClient,
                ] {
                    assert!(!reaches(&access(&[], networks), origin, host, way), "denied: {what}");
                    assert!(!reaches(&access(networks, networks), origin, host, way), "{what}");
                }
                let local = RequestOrigin::LocalClient;
                assert!(reaches(&access(&[], &[]), local, host, way), "{what}");
                assert!(reaches(&access(&[], &["198.51.100.0/24:81"]), local, host, way), "{what}");
                for origin in [local, RequestOrigin::RemoteClient] {
                    let reached = reaches(&access(networks, &[]), origin, host, way);
                    assert_eq!(reached, is_certain, "allowed: {what} {origin:?}");
                    assert!(
                        !reaches(&access(&["198.51.100.0/24"], &[]), origin, host, way),
                        "{what}"
                    );
                }
                let guarded = *is_for_this_machine;
                let reached = reaches(&access(&[], &[]), RequestOrigin::RemoteClient, host, way);
                assert_eq!(reached, !guarded, "{what}");
                assert_eq!(
                    reaches(&access(&["*"], &[]), RequestOrigin::RemoteClient, host, way),
                    !guarded
                );
            }
        }
    }
    assert!(distinct.len() >= 80, "{}", distinct.len());
}

#[test]
fn a_rule_in_any_spelling_names_the_same_address() {
    for (rule, host) in [
        ("127.1", "0x7f.1"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "[::ffff:7f00:1]"),
        ("127.1/8", "127.9.9.9"),
        ("0177.0.0.1", "127.1."),
        ("127.0.0.1.", "017700000001"),
        ("::ffff:127.0.0.0/104", "127.9.9.9"),
        ("::ffff:127.0.0.1", "127.1"),
        ("0", "0.0.0.0"),
        ("[0::1]", "[::1]"),
        ("64:ff9b::/96", "[64:ff9b::1.2.3.4]"),
        ("64:ff9b:1::/48", "[64:ff9b:1:203:405:607:7f00:1]"),
    ] {
        for way in WAYS_OUT {
            assert!(
                !reaches(&access(&[], &[rule]), RequestOrigin::LocalClient, host, way),
                "{rule} {host}"
            );
            for origin in [RequestOrigin::LocalClient, RequestOrigin::RemoteClient] {
                assert!(reaches(&access(&[rule], &[]), origin, host, way), "{rule} {host} {way:?}");
            }
        }
    }
    // All of IPv6 is not IPv4 behind a translator.
    let all_of_ipv6 = access(&["::/0"], &[]);
    for host in ["[64:ff9b::a00:1]", "[64:ff9b:1::a00:1]", "[::ffff:10.0.0.1]"] {
        assert!(!reaches(&all_of_ipv6, RequestOrigin::LocalClient, host, WayOut::Direct), "{host}");
    }
}
