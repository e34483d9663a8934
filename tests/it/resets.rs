//! Resets: one side's crosses to the other, after all that had arrived before it, and the record
//! says whose it was.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use conniver::record::{By, Delivered, How, Outcome, Phase, Record};
use socket2::{Domain, Socket, Type};

use crate::harness::forwarding::Forwarding;
use crate::harness::noise::{Noise, Sum, Summing, send, sum_of};
use crate::harness::peers::{exchange, read_until_reset, reset};
use crate::harness::program::{BINARY, PATIENCE, wait_until};

const BOTH: [By; 2] = [By::Client, By::Upstream];

/// What every record of a reset by this side while relaying says; what was delivered to the other.
fn assert_reset_by(side: By, record: Record) -> Delivered {
    assert_eq!(record.outcome, Some(Outcome::Reset), "{side:?}");
    let ending = record.ending.unwrap();
    assert_eq!((ending.phase, ending.first_by, ending.first_how), (Phase::Relay, side, How::Reset));
    assert_eq!((ending.second_by, ending.second_how, ending.gap), (None, None, None));
    assert_eq!(ending.error_code.as_deref(), Some("ECONNRESET"));
    let upstream = record.upstream.unwrap();
    let (by, other) = match side {
        By::Client => (record.client, upstream),
        _ => (upstream, record.client),
    };
    // Reading or writing, whichever met it.
    assert_eq!(by.rx_err_code.or(by.tx_err_code).as_deref(), Some("ECONNRESET"), "{side:?}");
    assert_eq!((other.rx_err_code, other.tx_err_code), (None, None), "{side:?}");
    assert_eq!(by.eof_info, None, "the peer's reset came before any end of ours");
    assert!(other.eof_info.is_some() && other.rx_eof_at.is_none(), "{side:?}");
    let delivered = match side {
        By::Client => record.delivery.to_upstream,
        _ => record.delivery.to_client,
    };
    delivered.unwrap()
}

/// Reads in pieces, slowly, until the connection is reset; what came before.
fn read_slowly_until_reset(mut stream: &TcpStream, piece: usize) -> Sum {
    let mut summing = Summing::default();
    let mut chunk = vec![0; piece];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => panic!("an end of stream instead of a reset after {:?}", summing.sum()),
            Ok(bytes) => summing.add(&chunk[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return summing.sum(),
            Err(error) => panic!("{error} instead of a reset after {:?}", summing.sum()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A forwarding whose upstreams have little room to receive.
fn to_narrow_upstreams(room: usize) -> Forwarding {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // What it accepts inherits it.
    socket.set_recv_buffer_size(room).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(16).unwrap();
    Forwarding::to(TcpListener::from(socket), &mut Command::new(BINARY), &[])
}

/// A client that has little room to receive.
fn narrow_client(proxy: SocketAddr, room: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(room).unwrap();
    socket.connect(&proxy.into()).unwrap();
    socket.into()
}

/// Waits until the proxy's kernel has all that was sent.
fn wait_until_arrived(stream: &TcpStream) {
    wait_until("all that was sent is acknowledged", || {
        let info = conniver::TcpInfo::of(stream).unwrap();
        let linux = info.sys_info.linux().unwrap();
        (linux.un_acked, linux.not_sent_bytes) == (Some(0), Some(0))
    });
}

#[test]
fn a_reset_before_any_data_reaches_the_other_side() {
    for side in BOTH {
        let forwarding = Forwarding::new(&["--events", "open,close"]);
        let (by, mut other) = forwarding.pair().from(side);
        forwarding.proxy.wait_for_open(1);
        reset(by);
        assert_eq!(read_until_reset(&mut other), b"");
        let delivered = assert_reset_by(side, forwarding.proxy.the_record());
        assert_eq!((delivered.written, delivered.undelivered), (0, Some(0)));
    }
}

#[test]
fn an_upstream_that_resets_as_it_accepts_is_always_recorded_as_the_upstreams() {
    let forwarding = Forwarding::new(&[]);
    for _ in 0..50 {
        let (upstream, mut client) = forwarding.pair().from(By::Upstream);
        reset(upstream);
        assert_eq!(read_until_reset(&mut client), b"");
    }
    for record in forwarding.proxy.wait_for_records(50) {
        assert_eq!(record.outcome, Some(Outcome::Reset), "{record:?}");
        let ending = record.ending.unwrap();
        // It may come before the proxy has seen that it is connected.
        assert!(matches!(ending.phase, Phase::Connect | Phase::Relay), "{ending:?}");
        assert_eq!((ending.first_by, ending.first_how), (By::Upstream, How::Reset));
        assert_eq!(ending.error_code.as_deref(), Some("ECONNRESET"));
    }
}

#[test]
fn a_client_that_resets_before_it_is_accepted_is_no_end_of_stream_for_the_upstream() {
    let forwarding = Forwarding::new(&[]);
    forwarding.proxy.pause();
    for _ in 0..20 {
        reset(TcpStream::connect(forwarding.proxy.address()).unwrap());
    }
    forwarding.proxy.resume();
    for record in forwarding.proxy.wait_for_records(20) {
        assert_eq!(record.outcome, Some(Outcome::Reset), "{record:?}");
        let ending = record.ending.unwrap();
        assert_eq!((ending.first_by, ending.first_how), (By::Client, How::Reset));
    }
    // Some of them may have been connected to before their client's reset was noticed.
    for mut upstream in forwarding.waiting() {
        assert_eq!(read_until_reset(&mut upstream), b"");
    }
}

#[test]
fn a_reset_after_an_exchange_reaches_the_other_side() {
    for side in BOTH {
        let forwarding = Forwarding::new(&[]);
        let (mut by, mut other) = forwarding.pair().from(side);
        other.write_all(b"ask").unwrap();
        by.read_exact(&mut [0; 3]).unwrap();
        by.write_all(b"answer").unwrap();
        other.read_exact(&mut [0; 6]).unwrap();
        reset(by);
        assert_eq!(read_until_reset(&mut other), b"");
        let delivered = assert_reset_by(side, forwarding.proxy.the_record());
        assert_eq!((delivered.acked, delivered.undelivered), (Some(6), Some(0)));
    }
}

#[test]
fn what_the_other_side_has_not_read_yet_survives_a_reset() {
    for side in BOTH {
        let forwarding = Forwarding::new(&[]);
        let (by, other) = forwarding.pair().from(side);
        let sent = send(&by, &mut Noise::seeded(1), 50_000);
        wait_until_arrived(&by);
        reset(by);
        // The pair is over before the other side reads for the first time.
        let delivered = assert_reset_by(side, forwarding.proxy.the_record());
        assert_eq!((delivered.acked, delivered.undelivered), (Some(50_000), Some(0)));
        assert_eq!(read_slowly_until_reset(&other, 10_000), sent);
    }
}

/// One side sends so much and resets when all of it has arrived at the proxy; the other one has
/// little room, reads in pieces of that size, slowly, and must get everything, then the reset.
fn reset_behind(side: By, bytes: u64, piece: usize) {
    let forwarding = to_narrow_upstreams(piece);
    let client = narrow_client(forwarding.proxy.address(), piece);
    let (by, other) = forwarding.pair_of(client).from(side);
    let (sent, got) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_slowly_until_reset(&other, piece));
        let sent = send(&by, &mut Noise::seeded(2), bytes);
        wait_until_arrived(&by);
        reset(by);
        (sent, reader.join().unwrap())
    });
    assert_eq!(got, sent, "{side:?}");
    let delivered = assert_reset_by(side, forwarding.proxy.the_record());
    assert_eq!((delivered.acked, delivered.undelivered), (Some(bytes), Some(0)));
}

#[test]
fn a_reset_does_not_eat_what_a_slow_reader_still_has_to_get() {
    for side in BOTH {
        reset_behind(side, 200_000, 4096);
    }
}

#[test]
fn a_reset_does_not_eat_a_stream_that_a_slow_reader_still_has_to_get() {
    for side in BOTH {
        reset_behind(side, 4_000_000, 65_536);
    }
}

/// Sends noise until nothing more of it is taken for a while; how much its own kernel took.
fn fill(mut stream: &TcpStream, noise: &mut Noise) -> u64 {
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut taken = 0;
    let mut chunk = vec![0; 65_536];
    loop {
        noise.fill(&mut chunk);
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let Ok(bytes) = stream.write(rest) else { return taken };
            taken += bytes as u64;
            rest = &rest[bytes..];
        }
    }
}

/// Payload of this end's that the proxy's kernel has acknowledged.
fn arrived(stream: &TcpStream, side: By) -> u64 {
    let info = conniver::TcpInfo::of(stream).unwrap();
    let acked = info.sys_info.linux().unwrap().bytes_acked.unwrap();
    // The side that connected counts its SYN.
    acked - u64::from(side == By::Client)
}

#[test]
fn a_reset_behind_full_buffers_eats_nothing_of_what_is_in_them() {
    for side in BOTH {
        let forwarding = to_narrow_upstreams(65_536);
        let client = narrow_client(forwarding.proxy.address(), 65_536);
        let (by, other) = forwarding.pair_of(client).from(side);
        // The other side has not read anything; the proxy has bytes in its hands.
        let sent = fill(&by, &mut Noise::seeded(4));
        let arrived = arrived(&by, side);
        reset(by);
        let got = read_slowly_until_reset(&other, 65_536);
        assert!((arrived..=sent).contains(&got.bytes), "{side:?}: {arrived} {got:?} {sent}");
        assert_eq!(got, sum_of(&mut Noise::seeded(4), got.bytes), "{side:?}");
        let delivered = assert_reset_by(side, forwarding.proxy.the_record());
        assert_eq!((delivered.acked, delivered.undelivered), (Some(got.bytes), Some(0)));
    }
}

#[test]
fn a_reset_amid_data_of_both_directions_eats_none_that_came_before_it() {
    for side in BOTH {
        let forwarding = Forwarding::new(&[]);
        let (by, other) = forwarding.pair().from(side);
        // All the way from the other side is full of what nobody reads.
        fill(&other, &mut Noise::seeded(5));
        let (sent, got) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_slowly_until_reset(&other, 65_536));
            let sent = send(&by, &mut Noise::seeded(3), 3_000_000);
            wait_until_arrived(&by);
            // Closing with unread input resets.
            drop(by);
            (sent, reader.join().unwrap())
        });
        assert_eq!(got, sent, "{side:?}");
        let delivered = assert_reset_by(side, forwarding.proxy.the_record());
        assert_eq!((delivered.acked, delivered.undelivered), (Some(3_000_000), Some(0)));
    }
}

#[test]
fn a_reset_while_both_sides_send_reaches_the_sender() {
    for side in BOTH {
        let forwarding = Forwarding::new(&[]);
        let (mut by, mut other) = forwarding.pair().from(side);
        other.set_write_timeout(Some(PATIENCE)).unwrap();
        let sender = std::thread::spawn(move || {
            loop {
                if let Err(error) = other.write_all(&[0x55; 65_536]) {
                    return error.kind();
                }
            }
        });
        by.read_exact(&mut vec![0; 5_000_000]).unwrap();
        by.write_all(b"enough").unwrap();
        reset(by);
        assert_eq!(sender.join().unwrap(), io::ErrorKind::ConnectionReset, "{side:?}");
        let record = forwarding.proxy.the_record();
        assert_eq!(record.outcome, Some(Outcome::Reset));
        let ending = record.ending.unwrap();
        assert_eq!((ending.first_by, ending.first_how), (side, How::Reset));
    }
}

#[test]
fn a_reset_of_one_pair_leaves_the_others_alone() {
    let forwarding = Forwarding::new(&[]);
    let echo = |ends: crate::harness::forwarding::Ends| {
        let mut upstream = ends.upstream;
        std::thread::spawn(move || {
            io::copy(&mut upstream.try_clone().unwrap(), &mut upstream).unwrap()
        });
        ends.client
    };
    let mut staying = echo(forwarding.pair());
    exchange(&mut staying, b"up");
    for side in BOTH {
        let (by, mut other) = forwarding.pair().from(side);
        reset(by);
        assert_eq!(read_until_reset(&mut other), b"");
    }
    assert_eq!(exchange(&mut staying, b"still here"), b"still here");
}
