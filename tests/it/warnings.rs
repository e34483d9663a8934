//! Each warning with its cause imposed, and none without any.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use conniver::record::{By, Leg, Record, WarningCode};
use socket2::{Domain, Socket, Type};

use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::lossy_path::Path;
use crate::harness::namespace::{Namespace, available};
use crate::harness::network::{Network, Way};
use crate::harness::noise::{Noise, receive, send};
use crate::harness::peers::{echo_server, exchange, noise, reset};
use crate::harness::program::{BINARY, Proxy, wait_until};

/// What a record warns of, and on which socket. But for the wait to be accepted, which happens on a
/// busy machine, whatever a test is about.
fn codes(record: &Record) -> Vec<(WarningCode, Option<Leg>)> {
    let warnings =
        record.warnings.iter().filter(|warning| warning.code != WarningCode::AcceptQueue);
    warnings.map(|warning| (warning.code, warning.leg)).collect()
}

fn value(record: &Record, code: WarningCode, leg: Leg) -> u64 {
    let found = record.warnings.iter().filter(|w| (w.code, w.leg) == (code, Some(leg)));
    let values: Vec<u64> = found.map(|warning| warning.value).collect();
    let &[value] = &values[..] else { panic!("{code:?} of {leg:?}: {:?}", record.warnings) };
    value
}

/// A forwarding whose proxy and upstream are in a namespace, and so are the clients to be.
fn forwarding_in(namespace: &Namespace, args: &[&str]) -> Forwarding {
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
    Forwarding::to(listener, &mut namespace.command(BINARY), args)
}

fn connect(namespace: &Namespace, address: SocketAddr) -> TcpStream {
    namespace.enter(|| TcpStream::connect(address).unwrap())
}

fn pair_in(namespace: &Namespace, forwarding: &Forwarding) -> Ends {
    forwarding.pair_of(connect(namespace, forwarding.proxy.address()))
}

/// Twenty small exchanges, and the end: nothing that any kernel would have trouble with. What the
/// record says of it.
fn record_of(forwarding: &Forwarding, ends: Ends) -> Record {
    for _ in 0..20 {
        for (mut from, mut to) in [(&ends.client, &ends.upstream), (&ends.upstream, &ends.client)] {
            from.write_all(&noise(1000)).unwrap();
            to.read_exact(&mut [0; 1000]).unwrap();
        }
    }
    end(ends);
    forwarding.proxy.the_record()
}

/// Both ends end and hear that the other one has.
fn end(Ends { client, upstream }: Ends) {
    for (from, mut to) in [(&client, &upstream), (&upstream, &client)] {
        from.shutdown(Shutdown::Write).unwrap();
        assert_eq!(to.read(&mut [0]).unwrap(), 0);
    }
}

/// What is warned of when this holds for the namespace's connections.
fn warned_of_under(setting: &str) -> Vec<(WarningCode, Option<Leg>)> {
    let namespace = Namespace::new();
    namespace.sh(&format!("echo 0 > /proc/sys/net/ipv4/{setting}"));
    let forwarding = forwarding_in(&namespace, &[]);
    let ends = pair_in(&namespace, &forwarding);
    codes(&record_of(&forwarding, ends))
}

fn both(code: WarningCode) -> [(WarningCode, Option<Leg>); 2] {
    [Leg::Client, Leg::Upstream].map(|leg| (code, Some(leg)))
}

#[test]
fn a_clean_pair_has_no_warnings() {
    let forwarding = Forwarding::new(&[]);
    let ends = forwarding.pair();
    let record = record_of(&forwarding, ends);
    assert_eq!(codes(&record), []);

    let echo = echo_server();
    let proxy = Proxy::serving(&[]);
    exchange(&mut crate::connect::connect(&proxy, echo), b"x");
    assert_eq!(codes(&proxy.the_record()), []);
}

#[test]
fn a_clean_pair_over_a_cable_has_no_warnings() {
    if !available("a_clean_pair_over_a_cable_has_no_warnings") {
        return;
    }
    let [near, far] = [Namespace::new(), Namespace::new()];
    near.cable(&far, "cable", 77);
    let listener = far.enter(|| TcpListener::bind("10.77.0.2:0").unwrap());
    let forwarding = Forwarding::to(listener, &mut near.command(BINARY), &[]);
    let ends = pair_in(&near, &forwarding);
    assert_eq!(codes(&record_of(&forwarding, ends)), []);
}

#[test]
fn options_that_are_missing_are_warned_of() {
    if !available("options_that_are_missing_are_warned_of") {
        return;
    }
    assert_eq!(warned_of_under("tcp_sack"), both(WarningCode::NoSack));
    assert_eq!(warned_of_under("tcp_timestamps"), both(WarningCode::NoTimestamps));
    assert_eq!(warned_of_under("tcp_window_scaling"), both(WarningCode::NoWindowScaling));
}

#[test]
fn a_peer_that_announces_smaller_segments_than_the_path_takes_is_warned_of() {
    if !available("a_peer_that_announces_smaller_segments_than_the_path_takes_is_warned_of") {
        return;
    }
    let [near, far] = [Namespace::new(), Namespace::new()];
    near.cable(&far, "cable", 78);
    far.ip(&["route", "change", "10.78.0.0/24", "dev", "cable", "advmss", "500"]);
    let listener = far.enter(|| TcpListener::bind("10.78.0.2:0").unwrap());
    let forwarding = Forwarding::to(listener, &mut near.command(BINARY), &[]);
    let ends = pair_in(&near, &forwarding);
    let record = record_of(&forwarding, ends);
    assert_eq!(codes(&record), [(WarningCode::SmallMss, Some(Leg::Upstream))]);
    // The timestamps option takes 12 of them.
    assert_eq!(value(&record, WarningCode::SmallMss, Leg::Upstream), 488);
}

#[test]
fn a_path_that_clears_the_marks_of_ecn_is_warned_of_and_one_that_does_not_is_not() {
    let name = "a_path_that_clears_the_marks_of_ecn_is_warned_of_and_one_that_does_not_is_not";
    if !available(name) {
        return;
    }
    let namespace = Namespace::new();
    namespace.sh("echo 1 > /proc/sys/net/ipv4/tcp_ecn");
    let untouched = forwarding_in(&namespace, &[]);
    let ends = pair_in(&namespace, &untouched);
    assert_eq!(codes(&record_of(&untouched, ends)), []);
    namespace.nft(
        "add table ip bleach; \
         add chain ip bleach out { type filter hook output priority 0; }; \
         add rule ip bleach out ip ecn != not-ect ip ecn set not-ect",
    );
    let bleached = forwarding_in(&namespace, &[]);
    let ends = pair_in(&namespace, &bleached);
    assert_eq!(codes(&record_of(&bleached, ends)), both(WarningCode::EcnBleached));
}

#[test]
fn syns_and_syn_acks_that_were_lost_are_warned_of_and_are_no_other_retransmissions() {
    let name = "syns_and_syn_acks_that_were_lost_are_warned_of_and_are_no_other_retransmissions";
    if !available(name) {
        return;
    }
    let namespace = Namespace::new();
    let forwarding = forwarding_in(&namespace, &[]);
    let port = forwarding.proxy.address().port();
    // The first of each; a quota counts bytes.
    namespace.nft(&format!(
        "add table ip lost; \
         add chain ip lost in {{ type filter hook input priority 0; }}; \
         add rule ip lost in tcp sport {port} tcp flags & (syn | ack) == (syn | ack) quota until 100 bytes drop; \
         add rule ip lost in tcp dport != {port} tcp flags & (syn | ack) == syn quota until 100 bytes drop"
    ));
    let ends = pair_in(&namespace, &forwarding);
    let record = record_of(&forwarding, ends);
    assert_eq!(codes(&record), both(WarningCode::SynRetransmits));
    assert_eq!(value(&record, WarningCode::SynRetransmits, Leg::Upstream), 1);
    assert_eq!(record.attempts[0].syn_retransmits, Some(1));
}

#[test]
fn retransmissions_and_timeouts_are_warned_of() {
    if !available("retransmissions_and_timeouts_are_warned_of") {
        return;
    }
    let namespace = Namespace::new();
    let args = ["--events", "sample,close"];
    let forwarding = forwarding_in(&namespace, &args);
    let mut ends = pair_in(&namespace, &forwarding);
    namespace.swallow(&ends.client);
    ends.upstream.write_all(b"late").unwrap();
    wait_until("the timer has run out", || {
        let text = std::fs::read_to_string(forwarding.proxy.records_file()).unwrap();
        text.contains("\"reason\":\"retransmissionTimeout\"")
    });
    namespace.nft("delete table inet vanished");
    ends.client.read_exact(&mut [0; 4]).unwrap();
    let record = record_of(&forwarding, ends);
    assert!(value(&record, WarningCode::RetransmissionTimeouts, Leg::Client) >= 1);
    assert!(value(&record, WarningCode::Retransmits, Leg::Client) >= 1);
    assert!(codes(&record).iter().all(|(_, leg)| *leg == Some(Leg::Client)));
}

/// A socket that has little room to receive.
fn narrow(room: usize) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(room).unwrap();
    socket
}

/// 190 ms there and back, on which a window of 30 kB moves 150 kB a second.
const LONG: Path = Path { delay: Duration::from_millis(95), loses: None, rate: None };

#[test]
fn a_receive_buffer_too_small_for_its_path_is_no_closed_window() {
    if !available("a_receive_buffer_too_small_for_its_path_is_no_closed_window") {
        return;
    }
    // The client reads at once all that comes. All of it is in the proxy's socket long before it has
    // gone, or it is more than that takes.
    for bytes in [300_000, 6_000_000] {
        let network = Network::with(Way::ToClient, LONG);
        let forwarding = network.forwarding(&[]);
        // Of a buffer, half is for payload.
        let client = network.client.enter(|| {
            let client = narrow(if bytes > 1_000_000 { 400_000 } else { 30_000 });
            client.connect(&forwarding.proxy.address().into()).unwrap();
            TcpStream::from(client)
        });
        let ends = forwarding.pair_of(client);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                send(&ends.upstream, &mut Noise::seeded(1), bytes);
                ends.upstream.shutdown(Shutdown::Write).unwrap();
            });
            assert_eq!(receive(&ends.client).bytes, bytes);
        });
        drop(ends);
        let record = forwarding.proxy.the_record();
        assert_eq!(codes(&record), [(WarningCode::WindowLimited, Some(Leg::Client))]);
        let held = value(&record, WarningCode::WindowLimited, Leg::Client);
        assert!((200_000_000..20_000_000_000).contains(&held), "{held}");
    }
}

#[test]
fn a_peer_that_stops_reading_is_warned_of_whether_it_goes_on_or_breaks_off() {
    for leg in [Leg::Client, Leg::Upstream] {
        // What the proxy's socket takes at once, and more than it takes.
        for (bytes, goes_on) in [(400_000, false), (20_000_000, false), (20_000_000, true)] {
            let listener = narrow(10_000);
            listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            listener.listen(16).unwrap();
            let forwarding = Forwarding::to(listener.into(), &mut Command::new(BINARY), &[]);
            let client = narrow(10_000);
            client.connect(&forwarding.proxy.address().into()).unwrap();
            let ends = forwarding.pair_of(client.into());
            let (reader, sender) = match leg {
                Leg::Client => (ends.client, ends.upstream),
                _ => (ends.upstream, ends.client),
            };
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // A reader that breaks off takes the rest of it away.
                    _ = (&sender).write_all(&vec![7; bytes]);
                    _ = sender.shutdown(Shutdown::Write);
                });
                std::thread::sleep(Duration::from_millis(1000));
                if goes_on {
                    assert_eq!(receive(&reader).bytes, bytes as u64);
                } else {
                    reset(reader);
                }
            });
            drop(sender);
            let record = forwarding.proxy.the_record();
            let closed = value(&record, WarningCode::ZeroWindow, leg);
            assert!((500_000_000..2_000_000_000).contains(&closed), "{leg:?} {bytes}: {closed}");
            let is_small = |(code, _): &(WarningCode, _)| *code == WarningCode::WindowLimited;
            assert!(!codes(&record).iter().any(is_small), "{:?}", record.warnings);
        }
    }
}

#[test]
fn packets_out_of_order_are_warned_of() {
    if !available("packets_out_of_order_are_warned_of") {
        return;
    }
    let namespace = Namespace::new();
    let forwarding = forwarding_in(&namespace, &[]);
    let port = forwarding.proxy.address().port();
    namespace.nft(&format!(
        "add table ip lossy; \
         add chain ip lossy in {{ type filter hook input priority 0; }}; \
         add rule ip lossy in tcp dport {port} ip length > 500 numgen inc mod 5 == 0 drop"
    ));
    let ends = pair_in(&namespace, &forwarding);
    std::thread::scope(|scope| {
        scope.spawn(|| send(&ends.client, &mut Noise::seeded(7), 3_000_000));
        (&ends.upstream).read_exact(&mut vec![0; 3_000_000]).unwrap();
    });
    let record = record_of(&forwarding, ends);
    assert!(value(&record, WarningCode::OutOfOrder, Leg::Client) >= 1);
    assert!(!codes(&record).contains(&(WarningCode::OutOfOrder, Some(Leg::Upstream))));
}

#[test]
fn bytes_that_nobody_acknowledged_in_time_are_warned_of() {
    if !available("bytes_that_nobody_acknowledged_in_time_are_warned_of") {
        return;
    }
    let namespace = Namespace::new();
    let forwarding = forwarding_in(&namespace, &["--linger", "300ms"]);
    let (mut vanished, mut other) = pair_in(&namespace, &forwarding).from(By::Client);
    other.write_all(b"x").unwrap();
    vanished.read_exact(&mut [0]).unwrap();
    vanished.shutdown(Shutdown::Write).unwrap();
    assert_eq!(other.read(&mut [0]).unwrap(), 0);
    namespace.swallow(&vanished);
    other.write_all(&noise(1234)).unwrap();
    drop(other);
    let record = forwarding.proxy.the_record();
    assert_eq!(value(&record, WarningCode::QueueNotEmptied, Leg::Client), 1234);
    let delivered = record.delivery.to_client.as_ref().unwrap();
    assert_eq!((delivered.acked, delivered.undelivered), (Some(1), None));
}

#[test]
fn an_attempt_that_failed_shows_its_syns_in_the_warnings() {
    if !available("an_attempt_that_failed_shows_its_syns_in_the_warnings") {
        return;
    }
    let namespace = Namespace::new();
    namespace.nft(
        "add table inet hole; add chain inet hole in { type filter hook input priority 0; }; \
         add rule inet hole in tcp dport 9 drop",
    );
    let args = ["--connect-timeout", "1500ms"];
    let proxy = Proxy::start(&mut namespace.command(BINARY), &["0:127.0.0.1:9"], &args);
    drop(connect(&namespace, proxy.address()));
    let record = proxy.the_record();
    assert_eq!(codes(&record), [(WarningCode::SynRetransmits, Some(Leg::Upstream))]);
}
