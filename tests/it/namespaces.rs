//! Networks that swallow, refuse and lose, made of namespaces.

use std::net::TcpStream;
use std::time::Duration;

use conniver::record::{By, How, Outcome, Phase, Record};

use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::read_until_reset;
use crate::harness::program::{BINARY, PATIENCE, Proxy};

fn failed_pair(namespace: &Namespace, target: &str, args: &[&str]) -> Record {
    let proxy = Proxy::start(&mut namespace.command(BINARY), &[&format!("0:{target}")], args);
    namespace.enter(|| {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read_until_reset(&mut client), b"");
    });
    proxy.the_record()
}

#[test]
fn an_upstream_behind_a_black_hole_times_out_and_shows_the_syns_sent_again() {
    if !available("an_upstream_behind_a_black_hole_times_out_and_shows_the_syns_sent_again") {
        return;
    }
    let namespace = Namespace::new();
    namespace.nft("add table inet hole; add chain inet hole in { type filter hook input priority 0; }; add rule inet hole in tcp dport 9 drop");
    // The first SYN is repeated after 1 s.
    let record = failed_pair(&namespace, "127.0.0.1:9", &["--connect-timeout", "1500ms"]);
    assert_eq!(record.outcome, Some(Outcome::Timeout));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Connect, By::Proxy, How::Timeout)
    );
    assert_eq!(ending.error_code.as_deref(), Some("CONNECT_TIMEOUT"));
    assert_eq!(record.attempts[0].error_code.as_deref(), Some("CONNECT_TIMEOUT"));
    assert_eq!(record.attempts[0].syn_retransmits, Some(1));
    let connect = record.phases.connect.unwrap();
    assert!(
        connect >= Duration::from_millis(1500) && connect < Duration::from_millis(1900),
        "{connect:?}"
    );
}

#[test]
fn an_upstream_that_the_network_calls_unreachable_is_recorded_as_the_networks() {
    if !available("an_upstream_that_the_network_calls_unreachable_is_recorded_as_the_networks") {
        return;
    }
    let namespace = Namespace::new();
    namespace.ip(&["route", "add", "unreachable", "192.0.2.0/24"]);
    let record = failed_pair(&namespace, "192.0.2.1:80", &[]);
    assert_eq!(record.outcome, Some(Outcome::Unreachable));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Connect, By::Network, How::Error)
    );
    assert_eq!(ending.error_code.as_deref(), Some("EHOSTUNREACH"));
    assert_eq!(ending.error.as_deref(), Some("No route to host"));
}
