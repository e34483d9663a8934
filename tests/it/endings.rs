//! How pairs end: half-closes and resets cross as they would without a proxy, and are recorded.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::time::Duration;

use conniver::record::{By, How, Line, Outcome, Phase};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use crate::harness::peers::{
    Upstream, echo_server, echo_server_on, exchange, noise, read_all, read_until_reset, reset,
    sha256,
};
use crate::harness::program::{BINARY, PATIENCE, Proxy, read_lines, wait_until};
use crate::harness::{has_tool, run};

#[test]
fn a_client_that_ends_first_still_gets_all_of_the_answer() {
    let upstream = Upstream::once(|mut stream| {
        let request = read_all(&mut stream);
        stream.write_all(&noise(20_000_000)).unwrap();
        request
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let mut client = proxy.connect();
    client.write_all(b"all that I have to say").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(sha256(&read_all(&mut client)), sha256(&noise(20_000_000)));
    drop(client);
    assert_eq!(upstream.join(), b"all that I have to say");

    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Relay, By::Client, How::Fin)
    );
    assert_eq!((ending.second_by, ending.second_how), (Some(By::Upstream), Some(How::Fin)));
    assert!(ending.gap.is_some() && ending.error_code.is_none());
    assert!(record.client.rx_eof_at.unwrap() < record.upstream.unwrap().rx_eof_at.unwrap());
}

#[test]
fn an_upstream_that_ends_first_still_gets_all_of_the_request() {
    let upstream = Upstream::once(|mut stream| {
        stream.write_all(b"go on").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        sha256(&read_all(&mut stream))
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let mut client = proxy.connect();
    assert_eq!(read_all(&mut client), b"go on");
    client.write_all(&noise(20_000_000)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(upstream.join(), sha256(&noise(20_000_000)));

    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Upstream, How::Fin));
    assert_eq!((ending.second_by, ending.second_how), (Some(By::Client), Some(How::Fin)));
    assert_eq!(record.phases.response, None, "the upstream spoke first");
}

#[test]
fn a_reset_of_the_upstream_reaches_the_client() {
    let upstream = Upstream::once(|mut stream| {
        let mut request = [0; 4];
        stream.read_exact(&mut request).unwrap();
        reset(stream);
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let mut client = proxy.connect();
    client.write_all(b"ping").unwrap();
    assert_eq!(read_until_reset(&mut client), b"");
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Relay, By::Upstream, How::Reset)
    );
    assert_eq!((ending.second_by, ending.second_how, ending.gap), (None, None, None));
    assert_eq!(ending.error_code.as_deref(), Some("ECONNRESET"));
    let upstream = record.upstream.unwrap();
    assert_eq!(upstream.rx_err_code.as_deref(), Some("ECONNRESET"));
    assert_eq!(upstream.eof_info, None, "the peer's reset came before any end of ours");
    assert!(record.client.eof_info.is_some());
}

#[test]
fn a_reset_of_the_client_reaches_the_upstream() {
    let (sender, reset_seen) = channel();
    let upstream = Upstream::once(move |mut stream| {
        let mut request = [0; 4];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(&request).unwrap();
        sender.send(read_until_reset(&mut stream)).unwrap();
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let mut client = proxy.connect();
    exchange(&mut client, b"ping");
    reset(client);
    assert_eq!(reset_seen.recv().unwrap(), b"");
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Client, How::Reset));
}

#[test]
fn a_reset_after_an_end_of_stream_is_noticed_although_nothing_is_sent() {
    let (sender, end_seen) = channel();
    let upstream = Upstream::once(move |mut stream| {
        read_all(&mut stream);
        // The client's end of stream has come; now only a reset can.
        sender.send(()).unwrap();
        let mut watched = [PollFd::new(stream.as_fd(), PollFlags::empty())];
        poll(&mut watched, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        stream.take_error().unwrap().map(|error| error.kind())
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let client = proxy.connect();
    client.shutdown(Shutdown::Write).unwrap();
    end_seen.recv_timeout(PATIENCE).unwrap();
    reset(client);
    // EPIPE is what a reset becomes after an end of stream.
    assert_eq!(upstream.join(), Some(std::io::ErrorKind::BrokenPipe));
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Client, How::Fin), "its end came first");
}

/// A client of a proxy whose upstream does not read, with the way to it full; how much was sent.
fn fill(proxy: &Proxy) -> (TcpStream, u64) {
    let mut client = proxy.connect();
    client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let chunk = noise(65_536);
    let mut sent = 0;
    while let Ok(bytes) = client.write(&chunk) {
        sent += bytes as u64;
    }
    (client, sent)
}

#[test]
fn a_reset_is_noticed_while_the_other_side_takes_no_more() {
    let (sender, go_on) = channel::<()>();
    let upstream = Upstream::once(move |stream| {
        go_on.recv().unwrap();
        drop(stream);
    });
    let proxy = Proxy::forwarding_to(upstream.address, &["--linger", "300ms"]);
    let (client, _) = fill(&proxy);
    reset(client);
    // The upstream still holds its connection and reads nothing.
    let record = proxy.the_record();
    sender.send(()).unwrap();
    upstream.join();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Client, How::Reset));
    let to_upstream = record.delivery.to_upstream.unwrap();
    assert!(
        to_upstream.undelivered.unwrap() > 0,
        "our reset purged what the upstream did not take"
    );
    assert_eq!(to_upstream.acked.unwrap() + to_upstream.undelivered.unwrap(), to_upstream.written);
}

#[test]
fn a_reset_after_both_ends_of_stream_is_no_clean_end() {
    if !has_tool("ss", "a_reset_after_both_ends_of_stream_is_no_clean_end") {
        return;
    }
    let upstream = Upstream::once(|mut stream| {
        read_all(&mut stream);
        stream.write_all(&noise(1_000_000)).unwrap();
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&proxy.address().into()).unwrap();
    let client: TcpStream = socket.into();
    client.shutdown(Shutdown::Write).unwrap();
    upstream.join();
    // The proxy has passed the upstream's end on; it waits behind what the client did not take.
    let listener = proxy.address().to_string();
    wait_until("the proxy has ended its stream", || {
        !run("ss", &["-tnH", "state", "last-ack", "src", &listener]).is_empty()
    });
    reset(client);
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    assert!(record.delivery.to_client.unwrap().undelivered.unwrap() > 0);
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Client, How::Fin));
    assert!(ending.error_code.is_some());
}

#[test]
fn an_urgent_byte_keeps_its_place_and_stalls_nothing() {
    let upstream = Upstream::once(|mut stream| read_all(&mut stream));
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let client = proxy.connect();
    // All three are there when the proxy reads for the first time.
    proxy.pause();
    let socket = SockRef::from(&client);
    socket.send(b"before").unwrap();
    socket.send_out_of_band(b"!").unwrap();
    socket.send(b"after").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    proxy.resume();
    assert_eq!(upstream.join(), b"before!after");
    assert_eq!(proxy.the_record().outcome, Some(Outcome::Ok));
}

#[test]
fn both_sockets_look_for_dead_peers() {
    if !has_tool("ss", "both_sockets_look_for_dead_peers") {
        return;
    }
    let proxy = Proxy::forwarding_to(echo_server(), &["--events", "open,close"]);
    let mut client = proxy.connect();
    exchange(&mut client, b"up");
    let mut lines = Vec::new();
    wait_until("the open line is written", || {
        lines = read_lines(&proxy.records_file());
        !lines.is_empty()
    });
    let Line::Open(record) = &lines[0] else { panic!("{lines:?}") };
    for leg in [&record.client, record.upstream.as_ref().unwrap()] {
        let (local, remote) = (leg.local_addr.unwrap(), leg.remote_addr.unwrap());
        let shown = run("ss", &["-tonH", &format!("src {local} and dst {remote}")]);
        assert!(shown.contains("timer:(keepalive,"), "{shown}");
    }
}

#[test]
fn a_reset_does_not_eat_the_answer_that_came_before_it() {
    answer_then_reset(200_000, 4096);
}

#[test]
fn a_reset_does_not_eat_a_stream_that_came_before_it() {
    answer_then_reset(4_000_000, 65_536);
}

/// An upstream that answers and resets, and a client with little room that reads slowly, in pieces:
/// it must get everything, then the reset.
fn answer_then_reset(length: usize, piece: usize) {
    let answer = noise(length);
    let expected = sha256(&answer);
    let upstream = Upstream::once(move |mut stream| {
        stream.write_all(&answer).unwrap();
        // All of it is in the proxy's kernel before the reset goes out.
        wait_until("all is acknowledged", || unacknowledged(&stream) == 0);
        reset(stream);
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);

    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(piece).unwrap();
    socket.connect(&proxy.address().into()).unwrap();
    let mut client: TcpStream = socket.into();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = Vec::new();
    let mut chunk = vec![0; piece];
    let end = loop {
        match client.read(&mut chunk) {
            Ok(0) => panic!("an end of stream after {} bytes instead of a reset", got.len()),
            Ok(bytes) => got.extend_from_slice(&chunk[..bytes]),
            Err(error) => break error,
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!((got.len(), sha256(&got)), (length, expected));
    upstream.join();

    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    let to_client = record.delivery.to_client.unwrap();
    assert_eq!((to_client.acked, to_client.undelivered), (Some(length as u64), Some(0)));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.first_by, ending.first_how, ending.second_by),
        (By::Upstream, How::Reset, None)
    );
}

/// Bytes that the peer's kernel has not acknowledged, as this side's kernel counts them.
fn unacknowledged(stream: &TcpStream) -> u64 {
    let info = conniver::TcpInfo::of(stream).unwrap();
    let linux = info.sys_info.linux().unwrap();
    u64::from(linux.un_acked.unwrap()) + u64::from(linux.not_sent_bytes.unwrap())
}

#[test]
fn bytes_that_a_reset_left_undelivered_are_counted() {
    let (sender, go_on) = channel::<()>();
    // An upstream that never reads, so that what the client sends stays in the proxy's queue.
    let upstream = Upstream::once(move |stream| {
        go_on.recv().unwrap();
        reset(stream);
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let (_client, sent) = fill(&proxy);
    sender.send(()).unwrap();
    upstream.join();
    let record = proxy.the_record();
    let to_upstream = record.delivery.to_upstream.unwrap();
    assert_eq!(to_upstream.acked.unwrap() + to_upstream.undelivered.unwrap(), to_upstream.written);
    assert!(to_upstream.undelivered.unwrap() > 0);
    assert!(to_upstream.written <= sent);
    assert_eq!(record.ending.unwrap().first_by, By::Upstream);
}

#[test]
fn both_families_and_names_reach_the_upstream() {
    let port = echo_server().port();
    let port_v6 = echo_server_on("[::1]:0").port();
    for forward in [
        format!("0:127.0.0.1:{port}"),
        format!("0:localhost:{port}"),
        format!("[::1]:0:127.0.0.1:{port}"),
        format!("0:[::1]:{port_v6}"),
        format!("*:0:127.0.0.1:{port}"),
    ] {
        let here = ["--allow-from", "127.0.0.0/8", "--allow-from", "::1"];
        let proxy = Proxy::start(&mut std::process::Command::new(BINARY), &[&forward], &here);
        let ip = if forward.starts_with('[') { "::1" } else { "127.0.0.1" };
        let mut client = TcpStream::connect((ip, proxy.address().port())).unwrap();
        assert_eq!(exchange(&mut client, b"hello"), b"hello", "{forward}");
        drop(client);
        let record = proxy.the_record();
        assert_eq!(record.outcome, Some(Outcome::Ok), "{forward}");
        assert_eq!(record.client_host.as_deref(), Some(ip), "{forward}");
    }
}

#[test]
fn a_client_that_speaks_to_an_upstream_that_has_closed_is_never_called_not_connected() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(b"answer").unwrap();
        }
    });
    let proxy = Proxy::forwarding_to(address, &[]);
    for _ in 0..50 {
        let mut client = proxy.connect();
        client.write_all(b"ask!").unwrap();
        assert_eq!(read_all(&mut client), b"answer");
        // As TLS does: a last word to a peer that has closed already, which answers with a reset.
        client.write_all(b"bye").unwrap();
    }
    for record in proxy.wait_for_records(50) {
        let ending = record.ending.unwrap();
        assert_eq!((ending.first_by, ending.first_how), (By::Upstream, How::Fin));
        let upstream = record.upstream.unwrap();
        for code in
            [ending.error_code, upstream.tx_err_code, upstream.rx_err_code].into_iter().flatten()
        {
            assert!(matches!(&*code, "EPIPE" | "ECONNRESET"), "{code}");
        }
    }
}
