//! Networks that swallow, refuse, lose and delay, made of namespaces: the record tells what they did.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use conniver::record::{By, How, Outcome, Phase, Record, Report, WarningCode};

use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::lossy_path::Path;
use crate::harness::namespace::{Namespace, available};
use crate::harness::network::{FAR, FAR_AND_LOSSY, Network, Way};
use crate::harness::noise::{Noise, receive, send};
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

#[test]
fn a_syn_that_got_lost_is_recorded_with_its_second() {
    if !available("a_syn_that_got_lost_is_recorded_with_its_second") {
        return;
    }
    let namespace = Namespace::new();
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
    namespace.nft(&format!(
        "add table inet lossy; \
         add chain inet lossy in {{ type filter hook input priority 0; }}; \
         add rule inet lossy in tcp dport {} tcp flags & (syn | ack) == syn \
         numgen inc mod 1000 == 0 drop",
        listener.local_addr().unwrap().port()
    ));
    let forwarding = Forwarding::to(listener, &mut namespace.command(BINARY), &[]);
    let client = namespace.enter(|| TcpStream::connect(forwarding.proxy.address()).unwrap());
    drop(forwarding.pair_of(client));
    let record = forwarding.proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    assert_eq!(record.attempts[0].syn_retransmits, Some(1));
    // The first SYN is repeated after 1 s.
    let connect = record.phases.connect.unwrap();
    assert!(
        connect >= Duration::from_millis(990) && connect < Duration::from_millis(1500),
        "{connect:?}"
    );
    let warned = record.warnings.iter().find(|w| w.code == WarningCode::SynRetransmits).unwrap();
    assert_eq!(warned.value, 1);
}

#[test]
fn a_reset_that_the_network_made_reads_as_that_of_the_side_behind_it() {
    if !available("a_reset_that_the_network_made_reads_as_that_of_the_side_behind_it") {
        return;
    }
    let namespace = Namespace::new();
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let forwarding = Forwarding::to(listener, &mut namespace.command(BINARY), &[]);
    let client = namespace.enter(|| TcpStream::connect(forwarding.proxy.address()).unwrap());
    let Ends { mut client, upstream } = forwarding.pair_of(client);
    namespace.nft(&format!(
        "add table inet wall; \
         add chain inet wall in {{ type filter hook input priority 0; }}; \
         add rule inet wall in tcp dport {port} reject with tcp reset"
    ));
    client.write_all(b"too late").unwrap();
    assert_eq!(read_until_reset(&mut client), b"");
    drop(upstream);
    let record = forwarding.proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Upstream, How::Reset));
    assert_eq!(record.delivery.to_upstream.unwrap().undelivered, Some(8));
}

#[test]
fn retransmissions_are_those_that_the_kernel_counts() {
    if !available("retransmissions_are_those_that_the_kernel_counts") {
        return;
    }
    for way in [Way::ToClient, Way::ToUpstream] {
        let network = Network::with(way, FAR_AND_LOSSY);
        let forwarding = network.forwarding(&[]);
        let Ends { client, upstream } = network.pair(&forwarding);
        let (from, to) = match way {
            Way::ToUpstream => (client, upstream),
            _ => (upstream, client),
        };
        std::thread::scope(|scope| {
            scope.spawn(move || send(&from, &mut Noise::seeded(1), 1_000_000));
            assert_eq!(receive(&to).bytes, 1_000_000);
        });
        drop(to);
        let record = forwarding.proxy.the_record();
        let of = |leg: &Report| leg.closed_info.as_ref().unwrap().retransmits.unwrap();
        let upstream = record.upstream.as_ref().unwrap();
        let [path, cable] = match way {
            Way::ToUpstream => [of(upstream), of(&record.client)],
            _ => [of(&record.client), of(upstream)],
        };
        assert_eq!(path + cable, network.proxy.retransmitted(), "{way:?}");
        let lost = network.mishaps.lost.load(Ordering::Relaxed);
        assert!(lost > 0 && path >= lost, "{way:?}: {lost} were lost, {path} sent again");
        let warned = record.warnings.iter().find(|w| w.code == WarningCode::Retransmits).unwrap();
        assert_eq!(warned.value, path, "{way:?}");
    }
}

#[test]
fn round_trips_and_connecting_take_as_long_as_the_path() {
    if !available("round_trips_and_connecting_take_as_long_as_the_path") {
        return;
    }
    let path = Path { delay: Duration::from_millis(200), ..FAR };
    let network = Network::with(Way::ToUpstream, path);
    let forwarding = network.forwarding(&[]);
    let Ends { mut client, mut upstream } = network.pair(&forwarding);
    client.write_all(b"ask").unwrap();
    upstream.read_exact(&mut [0; 3]).unwrap();
    drop((client, upstream));
    let record = forwarding.proxy.the_record();
    let leg = record.upstream.unwrap();
    let min_rtt =
        |leg: &Report| leg.closed_info.as_ref().unwrap().sys_info.linux().unwrap().min_rtt.unwrap();
    for (what, time) in [
        ("connect", record.phases.connect.unwrap()),
        ("rtt at open", leg.opened_info.as_ref().unwrap().rtt.unwrap()),
        ("minRTT", min_rtt(&leg)),
    ] {
        let ratio = time.div_duration_f64(2 * path.delay);
        assert!((1.0..1.1).contains(&ratio), "{what} {time:?}");
    }
    // The proxy splits the path: this leg is another one.
    assert!(min_rtt(&record.client) < path.delay / 2);
}

#[test]
fn a_small_mtu_on_one_leg_is_seen_in_its_segments() {
    if !available("a_small_mtu_on_one_leg_is_seen_in_its_segments") {
        return;
    }
    const HEADERS: u64 = 20 + 20;
    const TIMESTAMPS: u64 = 12;
    let network = Network::new();
    for end in [&network.client, &network.proxy] {
        end.ip(&["link", "set", "client", "mtu", "1000"]);
    }
    let forwarding = network.forwarding(&[]);
    drop(network.pair(&forwarding));
    let record = forwarding.proxy.the_record();
    let mss = |leg: &Report| leg.closed_info.as_ref().unwrap().tx_mss.unwrap();
    assert_eq!(mss(&record.client), 1000 - HEADERS - TIMESTAMPS);
    assert_eq!(mss(record.upstream.as_ref().unwrap()), 1500 - HEADERS - TIMESTAMPS);
}
