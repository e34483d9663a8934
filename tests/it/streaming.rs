//! Streams: what the relay splices must arrive as what it copies does.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use conniver::record::Outcome;
use socket2::SockRef;

use crate::harness::has_tool;
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

#[test]
fn a_reader_that_stops_for_a_second_holds_the_sender_up_and_gets_everything() {
    let bytes = noise(30_000_000);
    let expected = sha256(&bytes);
    let upstream = Upstream::once(move |mut stream| stream.write_all(&bytes).unwrap());
    let proxy = Proxy::forwarding_to(upstream.address, &[]);
    let mut client = proxy.connect();
    client.peek(&mut [0]).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(sha256(&read_all(&mut client)), expected);
    drop(client);
    upstream.join();
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Ok));
    let blocked = record.client.write_blocked.unwrap();
    assert!(blocked > Duration::from_millis(700), "the client's pause shows: {blocked:?}");
    assert!(record.upstream.unwrap().write_blocked.unwrap() < Duration::from_millis(100));
}

#[test]
fn with_few_descriptors_streams_are_copied_and_arrive_whole() {
    let bytes = noise(10_000_000);
    let expected = sha256(&bytes);
    let forward = format!("0:{}", source(bytes));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 48; exec \"$0\" \"$@\"", BINARY]);
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
