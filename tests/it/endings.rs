//! How pairs end: half-closes and resets cross as they would without a proxy, and are recorded.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::time::Duration;

use conniver::record::{By, How, Line, Outcome};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use crate::harness::peers::{
    Upstream, echo_server, echo_server_on, exchange, noise, read_all, reset,
};
use crate::harness::program::{BINARY, PATIENCE, Proxy, read_lines, wait_until};
use crate::harness::{has_tool, random_endings, run};

#[test]
fn who_ended_first_and_how_is_as_the_peers_did_in_random_endings() {
    random_endings::compare(1000, 1);
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
        let own = ["--allow-from", "127.0.0.0/8", "--allow-from", "::1/128"];
        let proxy = Proxy::start(&mut std::process::Command::new(BINARY), &[&forward], &own);
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
