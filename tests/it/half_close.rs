//! Half-closes: an end of stream in one direction leaves the other one alone, in both orders.

use std::net::Shutdown;
use std::thread;

use conniver::record::{By, How, Outcome, Phase, Record};

use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::noise::{Noise, Sum, receive, send};

const MEGABYTE: u64 = 1_000_000;

/// What the record says was sent and delivered, by both sockets' counters.
fn assert_counts(record: &Record, to_upstream: &Sum, to_client: &Sum) {
    let upstream = record.upstream.as_ref().unwrap();
    assert_eq!((record.client.rx_bytes, upstream.tx_bytes), (to_upstream.bytes, to_upstream.bytes));
    assert_eq!((upstream.rx_bytes, record.client.tx_bytes), (to_client.bytes, to_client.bytes));
    for (delivered, sum) in
        [(&record.delivery.to_upstream, to_upstream), (&record.delivery.to_client, to_client)]
    {
        let delivered = delivered.as_ref().unwrap();
        assert_eq!(delivered.written, sum.bytes);
        assert_eq!((delivered.acked, delivered.undelivered), (Some(sum.bytes), Some(0)));
    }
}

/// One side says so much and ends; only then the other one says 50 MB and ends.
fn half_close(first: By, said: u64) -> Record {
    let forwarding = Forwarding::new(&[]);
    let (first, second) = forwarding.pair().from(first);
    let first_to_end = first.local_addr().unwrap();
    let (sent, got) = thread::scope(|scope| {
        let reader = scope.spawn(|| receive(&second));
        let sent = send(&first, &mut Noise::seeded(1), said);
        first.shutdown(Shutdown::Write).unwrap();
        (sent, reader.join().unwrap())
    });
    assert_eq!(got, sent);
    // The end of stream has come through; 50 MB follow in the other direction.
    let (sent_after, got_after) = thread::scope(|scope| {
        let reader = scope.spawn(|| receive(&first));
        let sent = send(&second, &mut Noise::seeded(2), 50 * MEGABYTE);
        second.shutdown(Shutdown::Write).unwrap();
        (sent, reader.join().unwrap())
    });
    assert_eq!(got_after, sent_after);

    let record = forwarding.proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    if record.client.remote_addr == Some(first_to_end) {
        assert_counts(&record, &sent, &sent_after);
    } else {
        assert_counts(&record, &sent_after, &sent);
    }
    record
}

#[test]
fn a_client_that_ends_first_still_gets_50_mb_of_answer() {
    let record = half_close(By::Client, 23);
    let upstream = record.upstream.unwrap();
    assert!(record.client.rx_eof_at.unwrap() < upstream.rx_eof_at.unwrap());
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Relay, By::Client, How::Fin)
    );
    assert_eq!((ending.second_by, ending.second_how), (Some(By::Upstream), Some(How::Fin)));
    assert!(ending.gap.is_some() && ending.error_code.is_none());
}

#[test]
fn an_upstream_that_ends_first_still_gets_50_mb_of_request() {
    let record = half_close(By::Upstream, 23);
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Upstream, How::Fin));
    assert_eq!((ending.second_by, ending.second_how), (Some(By::Client), Some(How::Fin)));
    assert_eq!(record.phases.response, None, "the upstream spoke first");
}

#[test]
fn an_end_of_stream_behind_a_stream_leaves_50_mb_of_answer_whole() {
    let ending = half_close(By::Client, 20 * MEGABYTE).ending.unwrap();
    assert_eq!((ending.first_by, ending.second_by), (By::Client, Some(By::Upstream)));
}

#[test]
fn an_upstream_that_ends_at_once_still_gets_50_mb_of_request() {
    let record = half_close(By::Upstream, 0);
    // It never said anything, and had ended before the first byte came for it.
    let upstream = record.upstream.as_ref().unwrap();
    let until_its_end = upstream.rx_eof_at.unwrap() - upstream.opened_at;
    let first_byte = record.phases.first_byte.unwrap();
    assert_eq!(first_byte, std::time::Duration::from_nanos(until_its_end.unsigned_abs()));
    assert_eq!(record.phases.response, None);
    assert_eq!(record.ending.unwrap().first_by, By::Upstream);
}

#[test]
fn an_upstream_that_speaks_first_is_heard_before_the_client_has_said_anything() {
    let forwarding = Forwarding::new(&[]);
    let Ends { client, upstream } = forwarding.pair();
    let greeting = b"220 ready when you are\r\n";
    let mut heard = [0; 24];
    std::io::Write::write_all(&mut &upstream, greeting).unwrap();
    std::io::Read::read_exact(&mut &client, &mut heard).unwrap();
    assert_eq!(&heard, greeting);
    let request = send(&client, &mut Noise::seeded(3), 10);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive(&upstream), request);
    drop(upstream);
    assert_eq!(receive(&client).bytes, 0);

    let record = forwarding.proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    assert!(record.phases.first_byte.is_some());
    assert_eq!(record.phases.response, None, "there was no request to answer yet");
    assert!(record.client.first_tx_at.unwrap() < record.client.first_rx_at.unwrap());
}
