//! What still comes for a client that has ended its stream: it may have closed altogether, which is
//! a good end, or go on reading and then break off, which is none.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use conniver::record::{By, How, Outcome, Record};
use socket2::{Domain, Socket, Type};

use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::peers::reset;

/// As long as a TLS alert that says goodbye.
const GOODBYE: [u8; 24] = [0x17; 24];

/// A pair after an exchange; nothing is on its way.
fn after_an_exchange(forwarding: &Forwarding) -> Ends {
    let mut ends = forwarding.pair();
    ends.client.write_all(b"ask").unwrap();
    ends.upstream.read_exact(&mut [0; 3]).unwrap();
    ends.upstream.write_all(b"answer").unwrap();
    ends.client.read_exact(&mut [0; 6]).unwrap();
    ends
}

/// Waits for this peer's end of stream.
fn wait_for_end(mut of: &TcpStream) {
    assert_eq!(of.read(&mut [0]).unwrap(), 0);
}

/// This side's end came first, and then a reset of its; the outcome of both.
fn assert_ended_first(by: By, record: &Record, outcome: Outcome) {
    assert_eq!(record.outcome, Some(outcome), "{record:?}");
    let ending = record.ending.as_ref().unwrap();
    assert_eq!((ending.first_by, ending.first_how), (by, How::Fin), "{record:?}");
    assert_eq!(ending.error_code.as_deref(), Some("EPIPE"), "{record:?}");
}

#[test]
fn last_words_for_a_client_that_has_closed_are_no_reset() {
    let forwarding = Forwarding::new(&[]);
    let Ends { client, mut upstream } = after_an_exchange(&forwarding);
    drop(client);
    wait_for_end(&upstream);
    upstream.write_all(&GOODBYE).unwrap();
    let record = forwarding.proxy.the_record();
    assert_ended_first(By::Client, &record, Outcome::Ok);
    let to_client = record.delivery.to_client.unwrap();
    let counts = (to_client.written, to_client.acked, to_client.undelivered);
    assert_eq!(counts, (6 + 24, Some(6), Some(24)));
    let client = record.client;
    assert!(client.rx_eof_at.is_some());
    assert_eq!(client.rx_err_code.or(client.tx_err_code).as_deref(), Some("EPIPE"));
}

#[test]
fn last_words_for_an_upstream_that_has_closed_are_a_reset() {
    let forwarding = Forwarding::new(&[]);
    let Ends { mut client, upstream } = after_an_exchange(&forwarding);
    drop(upstream);
    wait_for_end(&client);
    client.write_all(&GOODBYE).unwrap();
    let record = forwarding.proxy.the_record();
    assert_ended_first(By::Upstream, &record, Outcome::Reset);
    assert_eq!(record.delivery.to_upstream.unwrap().undelivered, Some(24));
}

#[test]
fn a_client_that_reads_on_after_its_end_and_then_closes_has_broken_off() {
    let forwarding = Forwarding::new(&[]);
    let Ends { mut client, mut upstream } = after_an_exchange(&forwarding);
    client.shutdown(Shutdown::Write).unwrap();
    wait_for_end(&upstream);
    upstream.write_all(b"more").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    drop(client);
    upstream.write_all(&GOODBYE).unwrap();
    let record = forwarding.proxy.the_record();
    assert_ended_first(By::Client, &record, Outcome::Reset);
    let to_client = record.delivery.to_client.unwrap();
    assert_eq!((to_client.acked, to_client.undelivered), (Some(6 + 4), Some(24)));
}

#[test]
fn a_reset_of_a_client_that_left_everything_unread_has_broken_off() {
    // How full its buffers are when its window closes depends on their size.
    for room in [1, 4096, 65_536, 300_000] {
        let forwarding = Forwarding::new(&[]);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(room).unwrap();
        socket.connect(&forwarding.proxy.address().into()).unwrap();
        let Ends { client, mut upstream } = forwarding.pair_of(socket.into());
        upstream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        while upstream.write(&[0x55; 65_536]).is_ok() {}
        client.shutdown(Shutdown::Write).unwrap();
        wait_for_end(&upstream);
        reset(client);
        let record = forwarding.proxy.the_record();
        assert_ended_first(By::Client, &record, Outcome::Reset);
        assert!(record.delivery.to_client.unwrap().undelivered.unwrap() > 0);
    }
}
