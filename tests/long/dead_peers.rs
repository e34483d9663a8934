//! Keepalive as the program sets it: a peer that vanished is found after 60 s + 6 × 10 s.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use conniver::record::{By, How, Outcome, Phase};

use crate::harness::forwarding::Forwarding;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::read_until_reset;
use crate::harness::program::{BINARY, wait_until};

/// When the last of the six probes has been waited for.
const FOUND: Duration = Duration::from_secs(120);

pub(crate) fn found_by_keepalive() -> String {
    if !available("dead_peers_found_by_keepalive") {
        std::process::exit(1);
    }
    let namespace = Namespace::new();
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let forwarding =
        Forwarding::to(listener, &mut namespace.command(BINARY), &["--events", "open,close"]);
    let pair = || {
        let client = namespace.enter(|| TcpStream::connect(forwarding.proxy.address()).unwrap());
        forwarding.pair_of(client)
    };
    let vanishing = [By::Client, By::Upstream].map(|side| (side, pair().from(side)));
    let healthy = pair();
    forwarding.proxy.wait_for_open(3);
    for (_, (vanishing, _)) in &vanishing {
        namespace.swallow(vanishing);
    }

    let mut took = Vec::new();
    for (side, (vanished, mut other)) in vanishing {
        other.set_read_timeout(Some(FOUND + Duration::from_secs(20))).unwrap();
        assert_eq!(read_until_reset(&mut other), b"", "{side:?}");
        let address = match side {
            By::Client => vanished.local_addr().unwrap(),
            _ => other.local_addr().unwrap(),
        };
        // The other pair's may come first.
        let mut record = None;
        wait_until("its record is there", || {
            let mut records = forwarding.proxy.wait_for_records(1).into_iter();
            record = records.find(|record| record.client.remote_addr == Some(address));
            record.is_some()
        });
        let record = record.unwrap();
        assert_eq!(record.outcome, Some(Outcome::Timeout));
        let ending = record.ending.as_ref().unwrap();
        assert_eq!(
            (ending.phase, ending.first_by, ending.first_how),
            (Phase::Relay, side, How::Timeout)
        );
        assert_eq!(ending.error_code.as_deref(), Some("ETIMEDOUT"));
        let duration = record.duration;
        assert!(duration >= FOUND && duration < FOUND + Duration::from_secs(10), "{duration:?}");
        took.push(format!("{side:?} after {:.1} s", duration.as_secs_f64()));
    }
    // A peer that answers its probes is left alone.
    let mut client = healthy.client;
    std::io::Write::write_all(&mut client, b"still here").unwrap();
    std::io::Read::read_exact(&mut &healthy.upstream, &mut [0; 10]).unwrap();
    took.join(", ")
}
