//! Streams: what the relay splices must arrive as what it copies does.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::Duration;

use conniver::record::{By, Outcome};
use socket2::SockRef;

use crate::harness::forwarding::Forwarding;
use crate::harness::has_tool;
use crate::harness::noise::{Noise, Summing, receive};
use crate::harness::peers::{Upstream, noise, read_all, sha256};
use crate::harness::program::{BINARY, PATIENCE, Proxy, wait_until};

/// An upstream that sends `bytes` to every connection and ends.
fn source(bytes: Vec<u8>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        std::thread::scope(|scope| {
            for mut stream in listener.incoming().flatten() {
                let bytes = &bytes;
                // Clients of these tests may end early.
                scope.spawn(move || drop(stream.write_all(bytes)));
            }
        });
    });
    address
}

/// `count` downloads at once that are all stuck for a while, then read to their ends.
fn stuck_downloads(proxy: &Proxy, count: usize, expected: &str) {
    let mut clients: Vec<TcpStream> = (0..count).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        // What comes fills the buffers on the way, and what the proxy has in hand waits.
        client.peek(&mut [0]).unwrap();
    }
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(move || assert_eq!(sha256(&read_all(client)), expected));
        }
    });
}

fn assert_all_ok(proxy: &Proxy, count: usize, bytes: usize) {
    for record in proxy.wait_for_records(count) {
        assert_eq!(record.outcome, Some(Outcome::Ok));
        assert_eq!(record.client.tx_bytes, bytes as u64);
        assert_eq!(record.delivery.to_client.unwrap().undelivered, Some(0));
    }
}

#[test]
fn many_streams_at_once_arrive_whole_and_leave_no_descriptor() {
    let bytes = noise(20_000_000);
    let expected = sha256(&bytes);
    let proxy = Proxy::forwarding_to(source(bytes), &[]);
    let before = proxy.descriptors();
    stuck_downloads(&proxy, 16, &expected);
    assert_all_ok(&proxy, 16, 20_000_000);
    // Pipes are closed when nobody needed them for a while.
    wait_until("all descriptors are closed", || proxy.descriptors() == before);
}

#[test]
fn messages_of_all_sizes_in_both_directions_keep_their_order() {
    let sizes = [1, 64, 65_535, 65_536, 65_537, 131_072, 300_000, 5, 1_000_000, 2];
    let upstream = Upstream::once(move |stream| {
        let mut writer = stream.try_clone().unwrap();
        let answer = std::thread::spawn(move || {
            for (index, size) in sizes.iter().cycle().take(100).enumerate() {
                writer.write_all(&noise(size + index)).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut stream = stream;
        let got = sha256(&read_all(&mut stream));
        answer.join().unwrap();
        got
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let mut client = proxy.connect();
    let mut writer = client.try_clone().unwrap();
    let expected: Vec<u8> =
        sizes.iter().cycle().take(100).enumerate().flat_map(|(i, size)| noise(size + i)).collect();
    let expected = sha256(&expected);
    let request = std::thread::spawn(move || {
        for (index, size) in sizes.iter().cycle().take(100).enumerate() {
            writer.write_all(&noise(size + index)).unwrap();
            if index % 10 == 0 {
                // A pause lets the stream go quiet.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(sha256(&read_all(&mut client)), expected);
    request.join().unwrap();
    assert_eq!(upstream.join(), expected);
}

#[test]
fn an_urgent_byte_amid_a_stream_keeps_its_place_and_stalls_nothing() {
    let (sender, streaming) = channel();
    let upstream = Upstream::once(move |mut stream| {
        let mut all = vec![0; 5_000_000];
        stream.read_exact(&mut all).unwrap();
        sender.send(()).unwrap();
        stream.read_to_end(&mut all).unwrap();
        all
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let mut client = proxy.connect();
    let head = noise(5_000_000);
    client.write_all(&head).unwrap();
    streaming.recv_timeout(PATIENCE).unwrap();
    // Data on both sides of the mark, and the end of stream, are all there when it reads again.
    proxy.pause();
    let tail = noise(50_000);
    client.write_all(&tail).unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(&tail).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    proxy.resume();
    let expected = [&head[..], &tail, b"!", &tail].concat();
    assert_eq!(sha256(&upstream.join()), sha256(&expected));
}

/// The most that the kernel lets one socket hold, received and to be sent.
fn kernel_buffers() -> u64 {
    ["tcp_rmem", "tcp_wmem"]
        .map(|name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap())
        .map(|sizes| sizes.split_whitespace().next_back().unwrap().parse::<u64>().unwrap())
        .iter()
        .sum()
}

/// One side sends for as long as the other one has not seen enough, which stops reading for 5 s.
fn a_reader_stops(sender: By) {
    let forwarding = Forwarding::new(&[]);
    let (sender_end, reader_end) = forwarding.pair().from(sender);
    let (sent, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sent_sum, got) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut noise = Noise::seeded(1);
            let mut summing = Summing::default();
            let mut chunk = vec![0; 65_536];
            while !enough.load(Relaxed) {
                noise.fill(&mut chunk);
                (&sender_end).write_all(&chunk).unwrap();
                summing.add(&chunk);
                sent.fetch_add(chunk.len() as u64, Relaxed);
            }
            sender_end.shutdown(Shutdown::Write).unwrap();
            summing.sum()
        });
        reader_end.peek(&mut [0]).unwrap();
        std::thread::sleep(Duration::from_secs(4));
        let stuck_at = sent.load(Relaxed);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(sent.load(Relaxed), stuck_at, "{sender:?} still gets on");
        // Both ends' own sockets, the proxy's two, and a pipe.
        let room = 2 * kernel_buffers() + (1 << 20);
        assert!(stuck_at < room, "{sender:?} got on to {stuck_at} bytes");
        let more = scope.spawn(|| receive(&reader_end));
        wait_until("it gets on", || sent.load(Relaxed) > stuck_at + 20_000_000);
        enough.store(true, Relaxed);
        (sending.join().unwrap(), more.join().unwrap())
    });
    assert_eq!(got, sent_sum);
    drop((sender_end, reader_end));

    let record = forwarding.proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    let upstream = record.upstream.unwrap();
    let (from, to) = match sender {
        By::Client => (record.client, upstream),
        _ => (upstream, record.client),
    };
    assert_eq!((from.rx_bytes, to.tx_bytes), (got.bytes, got.bytes));
    let blocked = to.write_blocked.unwrap();
    assert!(blocked > Duration::from_secs(4), "the reader's pause shows: {blocked:?}");
    assert!(from.write_blocked.unwrap() < Duration::from_millis(100));
}

#[test]
fn an_upstream_that_stops_reading_for_5_s_holds_the_client_up_and_gets_everything() {
    a_reader_stops(By::Client);
}

#[test]
fn a_client_that_stops_reading_for_5_s_holds_the_upstream_up_and_gets_everything() {
    a_reader_stops(By::Upstream);
}

#[test]
fn with_few_descriptors_streams_are_copied_and_arrive_whole() {
    let bytes = noise(10_000_000);
    let expected = sha256(&bytes);
    let forward = format!("0:{}", source(bytes));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", BINARY]);
    let proxy = Proxy::start(&mut command, &[&forward], &[]);
    stuck_downloads(&proxy, 12, &expected);
    assert_all_ok(&proxy, 12, 10_000_000);
}

#[test]
fn an_unprivileged_user_with_many_streams_gets_them_whole() {
    let what = "an_unprivileged_user_with_many_streams_gets_them_whole";
    if !nix::unistd::geteuid().is_root() {
        return crate::harness::skip(what, "it becomes another user, which needs root");
    }
    if !has_tool("setpriv", what) {
        return;
    }
    let bytes = noise(8_000_000);
    let expected = sha256(&bytes);
    let forward = format!("0:{}", source(bytes));
    // A place that this user can reach, with a directory that it can write to.
    let directory = tempfile::Builder::new().prefix("conniver").tempdir_in("/tmp").unwrap();
    let binary = directory.path().join("conniver");
    std::fs::copy(BINARY, &binary).unwrap();
    std::os::unix::fs::chown(directory.path(), Some(65_534), Some(65_534)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary);
    // More 1 MiB pipes than fs.pipe-user-pages-soft allows.
    let proxy = Proxy::start_in(directory, &mut command, &[&forward], &[]);
    stuck_downloads(&proxy, 80, &expected);
    assert_all_ok(&proxy, 80, 8_000_000);
}

#[test]
fn where_splice_is_refused_streams_are_copied() {
    if !has_tool("strace", "where_splice_is_refused_streams_are_copied") {
        return;
    }
    let bytes = noise(10_000_000);
    let expected = sha256(&bytes);
    let forward = format!("0:{}", source(bytes));
    // From the first call on; and from a later one, when bytes are in a pipe already.
    for (calls, error) in [("1+", "EINVAL"), ("4+", "EPERM"), ("2+2", "ENOSYS")] {
        let mut command = Command::new("strace");
        let inject = format!("inject=splice:error={error}:when={calls}");
        command.args(["-f", "-q", "-o", "/dev/null", "-e", "trace=splice", "-e", &inject, BINARY]);
        let proxy = Proxy::start(&mut command, &[&forward], &[]);
        assert_eq!(sha256(&read_all(&mut proxy.connect())), expected, "{error} from {calls}");
    }
}

#[test]
fn bytes_that_come_one_at_a_time_go_on_one_at_a_time() {
    let upstream = Upstream::once(|mut stream| {
        let mut counts = BTreeMap::new();
        let mut chunk = [0; 64];
        while let Ok(bytes @ 1..) = stream.read(&mut chunk) {
            *counts.entry(bytes).or_insert(0) += 1;
            stream.write_all(&chunk[..bytes]).unwrap();
        }
        counts
    });
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let mut client = proxy.connect();
    for byte in 0..=255 {
        assert_eq!(crate::harness::peers::exchange(&mut client, &[byte]), [byte]);
    }
    drop(client);
    assert_eq!(upstream.join(), BTreeMap::from([(1, 256)]));
}
