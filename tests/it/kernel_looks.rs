//! What the kernel is asked, compared with what other tools are told and with what was imposed.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use conniver::TcpInfo;
use conniver::record::WarningCode;
use conniver::tcp_info::{LinuxInfo, State};

use crate::harness::peers::{Upstream, echo_server, exchange, noise, read_all};
use crate::harness::program::{PATIENCE, Proxy};
use crate::harness::{has_tool, run, skip};

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (connected, listener.accept().unwrap().0)
}

fn linux(info: &TcpInfo) -> LinuxInfo {
    info.sys_info.linux().unwrap().clone()
}

/// `ss -tin` on one socket: its words, `key:value` and `key value` alike.
fn ss(stream: &TcpStream) -> HashMap<String, String> {
    let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let filter = format!("src {local} and dst {remote}");
    let said = run("ss", &["-tinH", &filter]);
    said.split_whitespace()
        .filter_map(|word| word.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn figures_agree_with_ss_on_the_same_socket() {
    if !has_tool("ss", "figures_agree_with_ss_on_the_same_socket") {
        return;
    }
    let (mut client, mut server) = pair();
    for length in [1, 700, 300_000] {
        client.write_all(&noise(length)).unwrap();
        server.read_exact(&mut vec![0; length]).unwrap();
        server.write_all(&noise(length)).unwrap();
        client.read_exact(&mut vec![0; length]).unwrap();
    }
    for stream in [&client, &server] {
        // Delayed acknowledgements are over when two looks around ss agree.
        let began = Instant::now();
        let (before, shown) = loop {
            assert!(began.elapsed() < PATIENCE, "the connection does not come to rest");
            let before = linux(&TcpInfo::of(stream).unwrap());
            let shown = ss(stream);
            let after = linux(&TcpInfo::of(stream).unwrap());
            if (before.segs_in, before.segs_out) == (after.segs_in, after.segs_out) {
                break (before, shown);
            }
        };
        let number = |key: &str| shown.get(key).map_or(0, |value| value.parse::<u64>().unwrap());
        assert_eq!(before.tx_mss.map(u64::from), Some(number("mss")), "{shown:?}");
        assert_eq!(before.rx_mss.map(u64::from), Some(number("rcvmss")));
        assert_eq!(before.adv_mss.map(u64::from), Some(number("advmss")));
        assert_eq!(before.pmtu.map(u64::from), Some(number("pmtu")));
        assert_eq!(before.tx_c_window.map(u64::from), Some(number("cwnd")));
        assert_eq!(before.bytes_acked, Some(number("bytes_acked")));
        assert_eq!(before.bytes_received, Some(number("bytes_received")));
        assert_eq!(before.bytes_sent, Some(number("bytes_sent")));
        assert_eq!(before.segs_out.map(u64::from), Some(number("segs_out")));
        assert_eq!(before.segs_in.map(u64::from), Some(number("segs_in")));
        assert_eq!(before.data_segs_out.map(u64::from), Some(number("data_segs_out")));
        assert_eq!(before.data_segs_in.map(u64::from), Some(number("data_segs_in")));
        // ss prints ms with up to three digits: µs.
        let (rtt, rtt_var) = shown["rtt"].split_once('/').unwrap();
        let micros = |text: &str| Duration::from_secs_f64(text.parse::<f64>().unwrap() / 1000.0);
        assert_eq!((before.rtt.unwrap(), before.rtt_var.unwrap()), (micros(rtt), micros(rtt_var)));
        assert_eq!(before.min_rtt.unwrap(), micros(&shown["minrtt"]));
        let scales =
            format!("{},{}", before.tx_window_scale.unwrap(), before.rx_window_scale.unwrap());
        assert_eq!(shown["wscale"], scales, "ss prints the peer's scale first");
    }
}

#[test]
fn an_idle_connections_ages_are_its_idle_time() {
    let (mut client, mut server) = pair();
    let before = Instant::now();
    client.write_all(b"ping").unwrap();
    server.read_exact(&mut [0; 4]).unwrap();
    server.write_all(b"pong").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let info = TcpInfo::of(&client).unwrap();
    let longest = before.elapsed();
    // The kernel counts in jiffies.
    let grain = Duration::from_millis(10);
    for (name, age) in [
        ("lastTxAt", info.last_tx_at),
        ("lastRxAt", info.last_rx_at),
        ("lastRxAckAt", info.last_rx_ack_at),
    ] {
        let age = age.unwrap();
        assert!(
            age + grain >= Duration::from_millis(300) && age <= longest + grain,
            "{name} {age:?} of {longest:?}"
        );
    }
    assert_eq!(info.last_tx_ack_at, None, "the kernel never fills it");
}

#[test]
fn the_wait_in_the_accept_queue_is_recorded() {
    let proxy = Proxy::forwarding_to(echo_server(), &[]);
    // Up and running once before it is stopped.
    exchange(&mut proxy.connect(), b"x");
    proxy.pause();
    let mut client = proxy.connect();
    let connected = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    let held_back = connected.elapsed();
    proxy.resume();
    exchange(&mut client, b"x");
    let answered = connected.elapsed();
    drop(client);
    let records = proxy.wait_for_records(2);
    let held = records.iter().find(|record| record.seq == 2).unwrap();
    let waited = held.phases.accept_queue.unwrap();
    let grain = Duration::from_millis(10);
    assert!(
        waited + grain >= held_back && waited <= answered + grain,
        "{waited:?} of {held_back:?} to {answered:?}"
    );
    let warning = held.warnings.iter().find(|warning| warning.code == WarningCode::AcceptQueue);
    assert_eq!(u128::from(warning.unwrap().value), waited.as_nanos());
}

#[test]
fn the_acknowledgement_of_our_fin_does_not_enter_the_recorded_rtt() {
    let upstream = Upstream::once(|mut stream| {
        let mut request = [0; 64];
        for _ in 0..200 {
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&request).unwrap();
        }
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let mut client = proxy.connect();
    for _ in 0..200 {
        exchange(&mut client, &[7; 64]);
    }
    // The upstream ends; the proxy's FIN reaches a client that has nothing to send, so that its
    // acknowledgement may be delayed.
    assert_eq!(read_all(&mut client), b"");
    std::thread::sleep(Duration::from_millis(100));
    drop(client);
    upstream.join();
    let record = proxy.the_record();
    let before = record.client.eof_info.unwrap();
    assert!(before.rtt.unwrap() < Duration::from_millis(2), "{before:?}");
    assert_eq!(before.state, Some(State::Established));
    assert!(before.min_rtt.unwrap() <= before.rtt.unwrap());
    assert_eq!(before.not_sent_bytes, Some(0));
    let after = record.client.closed_info.unwrap();
    assert_eq!(after.state, Some(State::Close));
    assert!(after.rtt > before.rtt, "the delayed acknowledgement shows after it: {after:?}");
}

#[test]
fn a_download_after_the_clients_half_close_leaves_busy_time_before_our_fin() {
    let upstream = Upstream::once(|mut stream| {
        let request = read_all(&mut stream);
        assert_eq!(request, b"download");
        stream.write_all(&noise(20_000_000)).unwrap();
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let mut client = proxy.connect();
    client.write_all(b"download").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // A reader that cannot keep up: 20 MB in at least 100 ms.
    let mut chunk = vec![0; 200_000];
    let mut received = 0;
    loop {
        match client.read(&mut chunk).unwrap() {
            0 => break,
            bytes => received += bytes,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(received, 20_000_000);
    drop(client);
    upstream.join();
    let record = proxy.the_record();
    let before = record.client.eof_info.unwrap();
    assert!(before.busy_time.unwrap() > Duration::ZERO, "{before:?}");
    assert_eq!(before.state, Some(State::CloseWait), "the client had ended, we had not");
    let upload = record.upstream.unwrap().eof_info.unwrap();
    assert_eq!(upload.state, Some(State::Established), "the half-close to the upstream came first");
}

#[test]
fn the_congestion_controls_own_data_is_asked_for_under_its_name() {
    let name = "the_congestion_controls_own_data_is_asked_for_under_its_name";
    let (mut client, mut server) = pair();
    let socket = socket2::SockRef::from(&client);
    if socket.set_tcp_congestion(b"bbr").is_err() {
        return skip(name, "this kernel has no BBR");
    }
    client.write_all(&noise(300_000)).unwrap();
    server.read_exact(&mut vec![0; 300_000]).unwrap();
    let bbr = linux(&TcpInfo::of(&client).unwrap());
    assert_eq!(bbr.cc_algorithm.as_deref(), Some("bbr"));
    assert!(bbr.cc_bbr_bw > Some(0) && bbr.cc_bbr_min_rtt.is_some(), "{bbr:?}");
    assert!(bbr.cc_bbr_pacing_gain.is_some() && bbr.cc_bbr_c_window_gain.is_some(), "{bbr:?}");
    assert_eq!(bbr.cc_vegas_rtt, None);

    socket2::SockRef::from(&client).set_tcp_congestion(b"reno").unwrap();
    let reno = linux(&TcpInfo::of(&client).unwrap());
    assert_eq!((reno.cc_algorithm.as_deref(), reno.cc_bbr_bw), (Some("reno"), None));
}
