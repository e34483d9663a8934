//! Peers that vanish without a word: keepalive finds them, although nobody sends anything.

use std::time::Duration;

use conniver::record::{By, How, Outcome, Phase};
use socket2::{SockRef, TcpKeepalive};

use crate::harness::forwarding::Forwarding;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::read_until_reset;

/// A quiet pair, one side of which vanishes. Keepalive of the proxy's own socket is set to its
/// shortest from outside; that it takes two minutes by itself, a longer test shows.
fn vanishes(side: By) {
    let namespace = Namespace::new();
    let (forwarding, ends) = Forwarding::with_pair_in(&namespace, &["--events", "open,close"]);
    forwarding.proxy.wait_for_open(1);
    let (vanishing, mut other) = ends.from(side);
    let socket = forwarding.proxy.socket_facing(&vanishing);
    let socket = SockRef::from(&socket);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 6);
    let second = Duration::from_secs(1);
    let shortest = TcpKeepalive::new().with_time(second).with_interval(second).with_retries(2);
    socket.set_tcp_keepalive(&shortest).unwrap();
    namespace.swallow(&vanishing);

    assert_eq!(read_until_reset(&mut other), b"");
    let record = forwarding.proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Timeout));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Relay, side, How::Timeout)
    );
    assert_eq!((ending.second_by, ending.second_how), (None, None));
    assert_eq!(ending.error_code.as_deref(), Some("ETIMEDOUT"));
}

#[test]
fn an_upstream_that_vanished_is_found_and_recorded_as_timed_out() {
    if available("an_upstream_that_vanished_is_found_and_recorded_as_timed_out") {
        vanishes(By::Upstream);
    }
}

#[test]
fn a_client_that_vanished_is_found_and_recorded_as_timed_out() {
    if available("a_client_that_vanished_is_found_and_recorded_as_timed_out") {
        vanishes(By::Client);
    }
}
