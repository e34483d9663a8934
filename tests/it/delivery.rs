//! The delivery receipt, against what the peer's own kernel got.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use conniver::TcpInfo;
use conniver::record::{By, Delivered, Record, WarningCode};
use socket2::SockRef;

use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::reset;
use crate::harness::program::{BINARY, wait_until};

const SENT: usize = 100_000;

/// Payload that this end's kernel has got, read or not.
fn received(end: &TcpStream) -> u64 {
    TcpInfo::of(end).unwrap().sys_info.linux().unwrap().bytes_received.unwrap()
}

fn delivered_to(side: By, record: Record) -> Delivered {
    match side {
        By::Client => record.delivery.to_client.unwrap(),
        _ => record.delivery.to_upstream.unwrap(),
    }
}

/// Sends until nothing more is taken for a while.
fn fill(mut stream: &TcpStream) {
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while stream.write(&[7; 65_536]).is_ok() {}
}

/// Waits until the proxy has written so much to its socket towards this end, of which the program holds
/// no other payload.
fn wait_until_written(forwarding: &Forwarding, end: &TcpStream, bytes: usize) {
    let socket = forwarding.proxy.socket_facing(end);
    wait_until("the proxy has written it", || {
        let info = TcpInfo::of(&socket).unwrap();
        let linux = info.sys_info.linux().unwrap();
        let in_flight = linux.un_acked.unwrap() * linux.tx_mss.unwrap();
        u64::from(in_flight + linux.not_sent_bytes.unwrap()) >= bytes as u64
    });
}

/// A namespace with a pair in it that has exchanged a few bytes.
fn pair_in(namespace: &Namespace, args: &[&str]) -> (Forwarding, Ends) {
    let (forwarding, ends) = Forwarding::with_pair_in(namespace, args);
    (&ends.client).write_all(b"hello").unwrap();
    (&ends.upstream).read_exact(&mut [0; 5]).unwrap();
    (forwarding, ends)
}

#[test]
fn what_a_reset_leaves_undelivered_is_what_the_peers_kernel_never_got() {
    for side in [By::Client, By::Upstream] {
        let forwarding = Forwarding::new(&[]);
        let (resets, sends) = forwarding.pair().from(side);
        // It reads nothing, so its window is shut when no more is taken.
        fill(&sends);
        let got = received(&resets);
        reset(resets);
        let delivered = delivered_to(side, forwarding.proxy.the_record());
        assert_eq!(delivered.acked, Some(got), "{side:?}");
        assert_eq!(delivered.undelivered, Some(delivered.written - got), "{side:?}");
        assert!(delivered.written > got, "{side:?}");
    }
}

#[test]
fn what_vanished_on_the_way_is_undelivered() {
    if !available("what_vanished_on_the_way_is_undelivered") {
        return;
    }
    let namespace = Namespace::new();
    let (forwarding, Ends { client, upstream }) = pair_in(&namespace, &[]);
    namespace.nft(&format!(
        "add table inet vanished; \
         add chain inet vanished in {{ type filter hook input priority 0; }}; \
         add rule inet vanished in tcp dport {} drop",
        upstream.local_addr().unwrap().port()
    ));
    (&client).write_all(&[7; SENT]).unwrap();
    wait_until_written(&forwarding, &upstream, SENT);
    let got = received(&upstream);
    assert_eq!(got, 5);
    reset(upstream);
    let delivered = delivered_to(By::Upstream, forwarding.proxy.the_record());
    assert_eq!((delivered.acked, delivered.undelivered), (Some(got), Some(SENT as u64)));
}

#[test]
fn what_arrived_without_word_of_it_counts_as_undelivered_too() {
    if !available("what_arrived_without_word_of_it_counts_as_undelivered_too") {
        return;
    }
    let namespace = Namespace::new();
    let (forwarding, Ends { client, upstream }) = pair_in(&namespace, &[]);
    // Of what the upstream sends, only its reset comes through.
    namespace.nft(&format!(
        "add table inet silenced; \
         add chain inet silenced in {{ type filter hook input priority 0; }}; \
         add rule inet silenced in tcp sport {} tcp flags & rst == 0 drop",
        upstream.local_addr().unwrap().port()
    ));
    (&client).write_all(b"again").unwrap();
    (&upstream).read_exact(&mut [0; 5]).unwrap();
    assert_eq!(received(&upstream), 10);
    reset(upstream);
    let delivered = delivered_to(By::Upstream, forwarding.proxy.the_record());
    assert_eq!((delivered.acked, delivered.undelivered), (Some(5), Some(5)));
}

#[test]
fn what_may_still_arrive_is_neither_delivered_nor_undelivered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // What it accepts inherits it.
    SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
    let forwarding = Forwarding::to(listener, &mut Command::new(BINARY), &["--linger", "200ms"]);
    let Ends { client, upstream } = forwarding.pair();
    (&client).write_all(&[7; SENT]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    upstream.shutdown(Shutdown::Write).unwrap();
    // Neither side is gone; the upstream just reads nothing.
    let record = forwarding.proxy.the_record();
    let got = received(&upstream);
    let queued = record.warnings.iter().find(|w| w.code == WarningCode::QueueNotEmptied).unwrap();
    let queued = queued.value;
    let delivered = delivered_to(By::Upstream, record);
    assert_eq!((delivered.acked, delivered.undelivered), (Some(got), None));
    assert!(queued > 0);
    assert_eq!(queued, delivered.written - got);
}
