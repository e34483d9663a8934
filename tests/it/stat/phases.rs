//! Where the time went, beside what curl says of the same request.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::{record, request, serve};
use crate::harness::peers::far_away;
use crate::harness::tls::TlsServer;
use crate::harness::{has_tool, run};

/// What a server lets pass where a test is about that.
const DELAY: Duration = Duration::from_millis(100);

/// Answers late, and is late again within the head and within the body.
fn slow_server() -> SocketAddr {
    serve(|mut stream| {
        request(&stream);
        for piece in ["HTTP/1.1 200 OK\r\n", "Content-Length: 10\r\n\r\nfirst", "later"] {
            std::thread::sleep(DELAY);
            stream.write_all(piece.as_bytes()).unwrap();
        }
    })
}

/// curl's times for the same request: when the connection was there, TLS was, the first byte came,
/// and all was over.
fn curl_times(args: &[&str]) -> [Duration; 4] {
    let format = "%{time_connect} %{time_appconnect} %{time_starttransfer} %{time_total}";
    let common = ["-sS", "--noproxy", "*", "-o", "/dev/null", "-w", format];
    let times = run("curl", &[&common, args].concat());
    let times = times.split(' ').map(|time| Duration::from_secs_f64(time.parse().unwrap()));
    times.collect::<Vec<_>>().try_into().unwrap()
}

/// The same of ours, as sums of phases.
fn our_times(args: &[&str]) -> [Duration; 4] {
    let (stat, is_ok) = record(args);
    assert!(is_ok, "{stat:?}");
    let phases = &stat.exchange.phases;
    let connect = phases.resolve.unwrap_or_default() + phases.connect.unwrap();
    let secure = connect + phases.tls.unwrap_or_default();
    let first_byte = secure + phases.server.unwrap();
    let total = first_byte + phases.transfer.unwrap();
    assert!(total <= stat.exchange.duration, "{stat:?}");
    [connect, phases.tls.map_or(Duration::ZERO, |_| secure), first_byte, total]
}

/// The smallest of each of several runs: what the machine's noise adds is gone from it.
fn smallest(times: impl Fn() -> [Duration; 4]) -> [Duration; 4] {
    let runs: Vec<_> = (0..5).map(|_| times()).collect();
    std::array::from_fn(|at| runs.iter().map(|times| times[at]).min().unwrap())
}

#[test]
fn phases_agree_with_curls_where_the_server_is_slow() {
    if !has_tool("curl", "phases_agree_with_curls_where_the_server_is_slow") {
        return;
    }
    let url = format!("http://{}/", slow_server());
    let (ours, curls) = (smallest(|| our_times(&[&url])), smallest(|| curl_times(&[&url])));
    for (ours, curls) in ours.into_iter().zip(curls) {
        assert!(ours.abs_diff(curls) < DELAY / 4, "{ours:?} and curl's {curls:?}");
    }
    let [connect, _, first_byte, total] = ours;
    assert!(connect < DELAY && total >= 3 * DELAY, "{ours:?}");
    assert!(first_byte >= DELAY && first_byte < 2 * DELAY, "{ours:?}");
}

#[test]
fn phases_agree_with_curls_where_the_path_is_long() {
    let name = "phases_agree_with_curls_where_the_path_is_long";
    if !has_tool("curl", name) || !has_tool("openssl", name) {
        return;
    }
    let server = TlsServer::start();
    let port = far_away(server.address, DELAY).port();
    let url = format!("https://localhost:{port}/");
    let ours = smallest(|| our_times(&["-4", "--cacert", &server.certificate, &url]));
    let curls = smallest(|| curl_times(&["-4", "--cacert", &server.certificate, &url]));
    for (ours, curls) in ours.into_iter().zip(curls) {
        assert!(ours.abs_diff(curls) < DELAY / 4, "{ours:?} and curl's {curls:?}");
    }
    let [connect, secure, first_byte, _] = ours;
    // The handshake of TLS 1.3 is one turn, the request another one.
    assert!(connect < DELAY && (DELAY..2 * DELAY).contains(&secure), "{ours:?}");
    assert!((2 * DELAY..3 * DELAY).contains(&first_byte), "{ours:?}");
}
