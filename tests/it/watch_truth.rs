//! `conniver watch` against the truth: what the connections' own ends know, what `ss` prints, and what
//! the namespace's counters say.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use conniver::record::{How, Origin};

use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::program::{BINARY, wait_until};
use crate::harness::watching::{Watching, sockets};

/// Two machines with a cable between them; of the segments with data that come to the second one,
/// every so many is dropped.
fn lossy_cable(every: u32) -> [Namespace; 2] {
    let [client, server] = [(); 2].map(|()| Namespace::new());
    client.cable(&server, "cable", 1);
    server.nft(&format!(
        "add table ip lossy; \
         add chain ip lossy in {{ type filter hook input priority 0; }}; \
         add rule ip lossy in ip length > 100 numgen inc mod {every} == 0 drop"
    ));
    [client, server]
}

/// Reads each request to its end, and answers with as many bytes as its first four say.
fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut request = Vec::new();
                stream.read_to_end(&mut request).unwrap();
                let [a, b, c, d, ..] = request[..] else { panic!("{request:?}") };
                let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap();
                stream.write_all(&vec![b'a'; length]).unwrap();
            });
        }
    });
}

/// What a client knows of its connection.
#[derive(Debug, Clone, Copy)]
struct Truth {
    sent: u64,
    received: u64,
    lasted: Duration,
}

/// One connection: some kilobytes each way, and a pause.
fn talk(server: SocketAddr, number: usize) -> (u16, Truth) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(server).unwrap();
    let port = stream.local_addr().unwrap().port();
    let (request, answer) = (4 + number % 7 * 3000, number % 5 * 2000);
    let mut bytes = vec![b'q'; request];
    bytes[..4].copy_from_slice(&u32::try_from(answer).unwrap().to_be_bytes());
    stream.write_all(&bytes).unwrap();
    match number % 20 {
        0 => std::thread::sleep(Duration::from_millis(1500)),
        1 | 2 => std::thread::sleep(Duration::from_millis(150)),
        _ => {}
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let received = stream.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(received, answer);
    let (sent, received) = (request as u64, received as u64);
    (port, Truth { sent, received, lasted: began.elapsed() })
}

#[test]
fn connections_short_and_long_with_loss_all_have_true_records() {
    let what = "connections_short_and_long_with_loss_all_have_true_records";
    if !available(what) || !has_tool("ss", what) {
        return;
    }
    const COUNT: usize = 2000;
    let [client, server] = lossy_cable(40);
    let listener = server.enter(|| TcpListener::bind("10.1.0.2:0").unwrap());
    let address = listener.local_addr().unwrap();
    serve(listener);
    let before = client.retransmitted();
    let watch = Watching::start_by(&mut client.command(BINARY), &["--interval", "200ms"]);

    let (next, truths) = (AtomicUsize::new(0), Mutex::new(HashMap::new()));
    client.enter(|| {
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= COUNT {
                            return;
                        }
                        let (port, truth) = talk(address, number);
                        let earlier = truths.lock().unwrap().insert(port, truth);
                        assert!(earlier.is_none(), "port {port} was used twice");
                    }
                });
            }
        });
    });
    let truths = truths.into_inner().unwrap();
    assert_eq!(truths.len(), COUNT);
    // What waits for its time to be over has no socket any more.
    wait_until("the last socket is gone", || {
        client.sh_output("ss -Htan state all exclude time-wait exclude listening").is_empty()
    });
    let retransmitted = client.retransmitted() - before;
    let watched = watch.stop();
    assert!(watched.status.success(), "{}", watched.stderr);

    let records: HashMap<u16, _> = sockets(watched.lines)
        .into_iter()
        .map(|socket| (socket.socket.local_addr.port(), socket))
        .collect();
    let missing = |least: Duration| {
        let long = truths.iter().filter(|(_, truth)| truth.lasted >= least);
        long.filter(|(port, _)| !records.contains_key(port)).count()
    };
    assert_eq!(missing(Duration::from_millis(100)), 0);
    assert!(missing(Duration::ZERO) * 100 <= COUNT, "{}", missing(Duration::ZERO));

    let (mut resent, mut lost) = (0, 0);
    for (port, truth) in &truths {
        let Some(record) = records.get(port) else { continue };
        let leg = &record.socket;
        assert_eq!(record.header.origin, Some(Origin::Connected), "{record:?}");
        assert_eq!((leg.tx_bytes, record.delivery.acked), (truth.sent, Some(truth.sent)));
        let fin = leg.rx_bytes - truth.received;
        // The peer's end of stream is a byte to the kernel.
        assert!(fin <= u64::from(record.ending.fin_received.is_none()), "{record:?} {truth:?}");
        assert_eq!(record.ending.how, Some(How::Fin), "{record:?}");
        // Null only of what ended while the first dump was made.
        if let Some(seen_after) = record.seen_after {
            let longest = record.duration + seen_after;
            assert!(longest + Duration::from_millis(50) >= truth.lasted, "{record:?} {truth:?}");
        }
        resent += leg.closed_info.as_ref().unwrap().retransmits.unwrap();
        lost += leg.lost.unwrap();
        if truth.lasted >= Duration::from_secs(1) {
            let process = record.header.process.as_ref().unwrap();
            assert_eq!(process.pid, Some(std::process::id()), "{record:?}");
        }
    }
    assert!(retransmitted >= 20, "{retransmitted}");
    assert_eq!(resent, retransmitted);
    assert!(lost > 0 && lost <= resent, "{lost} of {resent}");
}

/// A figure in what ss prints, after this word.
fn figure(shown: &str, word: &str) -> Option<f64> {
    let value = shown.split_whitespace().find_map(|part| part.strip_prefix(word))?;
    value.split('/').next_back().unwrap().parse().ok()
}

#[test]
fn figures_are_those_that_ss_prints() {
    let what = "figures_are_those_that_ss_prints";
    if !available(what) || !has_tool("ss", what) {
        return;
    }
    let [client, server] = lossy_cable(10);
    let listener = server.enter(|| TcpListener::bind("10.1.0.2:0").unwrap());
    let address = listener.local_addr().unwrap();
    let args = ["--interval", "20ms", "--events", "socket,sample"];
    let watch = Watching::start_by(&mut client.command(BINARY), &args);
    let stream = client.enter(|| TcpStream::connect(address).unwrap());
    let port = stream.local_addr().unwrap().port();
    let (mut accepted, _) = listener.accept().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (&stream).write_all(&[b'x'; 1_000_000]).unwrap());
        accepted.read_exact(&mut vec![0; 1_000_000]).unwrap();
    });
    let show = || client.sh_output(&format!("ss -HtinO state established sport = :{port}"));
    let mut shown = String::new();
    wait_until("all is acknowledged and quiet", || {
        let before = std::mem::replace(&mut shown, show());
        figure(&shown, "unacked:").is_none() && figure(&before, "rtt:") == figure(&shown, "rtt:")
    });
    // A dump that shows a newer connection has shown this one as it is now.
    let newer = client.enter(|| TcpStream::connect(address).unwrap());
    watch.sampled(newer.local_addr().unwrap().port());
    drop((stream, accepted));
    let record = watch.ended(port);

    let milliseconds = |time: Option<Duration>| time.unwrap().as_secs_f64() * 1000.0;
    let rtt = shown.split_whitespace().find_map(|part| part.strip_prefix("rtt:")).unwrap();
    let rtt: Vec<f64> = rtt.split('/').map(|part| part.parse().unwrap()).collect();
    let eof = record.socket.eof_info.as_ref().unwrap();
    for (ours, theirs) in [(eof.rtt, rtt[0]), (eof.rtt_var, rtt[1])] {
        assert!((milliseconds(ours) - theirs).abs() <= 0.001, "{eof:?}, {shown}");
    }
    let linux = record.socket.closed_info.as_ref().unwrap().sys_info.linux().unwrap();
    let resent = u32::try_from(record.socket.closed_info.as_ref().unwrap().retransmits.unwrap());
    assert!(figure(&shown, "retrans:").unwrap() > 0.0, "{shown}");
    assert_eq!(Some(f64::from(resent.unwrap())), figure(&shown, "retrans:"), "{shown}");
    assert_eq!(linux.bytes_sent.map(|n| n as f64), figure(&shown, "bytes_sent:"), "{shown}");
    assert_eq!(record.socket.tx_bytes, 1_000_000);
    assert_eq!(Some(1_000_001.0), figure(&shown, "bytes_acked:"), "{shown}");
}
