//! The wrapper over std's and tokio's streams.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use conniver::tcp_info::State;
use conniver::{Builder, Conn, Report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::peers::reset;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (connected, listener.accept().unwrap().0)
}

fn tokio_pair() -> (tokio::net::TcpStream, TcpStream) {
    let (connected, accepted) = pair();
    connected.set_nonblocking(true).unwrap();
    (tokio::net::TcpStream::from_std(connected).unwrap(), accepted)
}

/// A builder whose closing report comes out of the receiver.
fn reporting() -> (Builder, Receiver<Report>) {
    let (sender, reports) = channel();
    (Conn::builder().on_close(move |report| sender.send(report).unwrap()), reports)
}

#[test]
fn a_std_stream_is_counted_and_reported_once_when_it_is_closed() {
    let (stream, mut peer) = pair();
    let (builder, reports) = reporting();
    let mut conn = builder.reconnects(2).wrap(stream);
    conn.write_all(b"hello").unwrap();
    peer.read_exact(&mut [0; 5]).unwrap();
    peer.write_all(b"hi").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    conn.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hi");

    let report = conn.close();
    assert_eq!(reports.recv().unwrap(), report);
    assert!(reports.recv().is_err(), "the callback ran once");
    assert_eq!((report.tx_bytes, report.rx_bytes, report.reconnects), (5, 2, 2));
    assert_eq!(report.remote_addr, Some(peer.local_addr().unwrap()));
    assert_eq!((&report.rx_err, &report.tx_err, &report.info_err), (&None, &None, &None));
    assert!(report.opened_at <= report.first_tx_at.unwrap());
    assert!(report.first_tx_at <= report.first_rx_at && report.last_rx_at <= report.rx_eof_at);
    assert!(report.rx_eof_at <= report.closed_at);
    assert_eq!(report.opened_info.unwrap().state, Some(State::Established));
    assert_eq!(report.closed_info.unwrap().state, Some(State::CloseWait));
    assert_eq!(report.eof_info.unwrap().state, Some(State::CloseWait));
    assert_eq!(report.warnings, ["reconnects=2"]);
    assert_eq!(report.write_blocked, None, "a blocking stream cannot tell");
}

#[test]
fn a_dropped_stream_is_reported_once() {
    let (stream, _peer) = pair();
    let (builder, reports) = reporting();
    drop(builder.wrap(stream));
    assert!(reports.recv().unwrap().closed_at.is_some());
    assert!(reports.recv().is_err());
}

#[test]
fn a_stream_that_broke_is_reported_with_the_error() {
    let (stream, peer) = pair();
    let (builder, reports) = reporting();
    let mut conn = builder.wrap(stream);
    reset(peer);
    let error = conn.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    drop(conn);
    let report = reports.recv().unwrap();
    assert_eq!(report.rx_err.as_deref(), Some("Connection reset by peer"));
    assert_eq!(report.rx_err_code.as_deref(), Some("ECONNRESET"));
    assert_eq!(report.eof_info, None, "the peer's reset came first");
    assert_eq!(report.closed_info.unwrap().state, Some(State::Close));
}

#[test]
fn a_stream_in_a_panicking_thread_is_reported() {
    let (stream, _peer) = pair();
    let (builder, reports) = reporting();
    let panicked = std::thread::spawn(move || {
        let _conn = builder.wrap(stream);
        panic!("a panic on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(reports.recv().unwrap().closed_at.is_some());
}

#[test]
fn the_opening_is_reported_on_request() {
    let (stream, _peer) = pair();
    let (sender, reports) = channel();
    let conn = Conn::builder().on_open(move |report| sender.send(report).unwrap()).wrap(stream);
    let report = reports.recv().unwrap();
    assert!(
        report.opened_info.is_some() && report.closed_at.is_none() && report.closed_info.is_none()
    );
    drop(conn);
    assert!(reports.recv().is_err());
}

#[test]
fn a_half_close_passes_through_a_wrapped_std_stream() {
    let (stream, mut peer) = pair();
    let mut conn = Conn::new(stream);
    conn.write_all(b"request").unwrap();
    conn.shutdown_write().unwrap();
    let mut request = String::new();
    peer.read_to_string(&mut request).unwrap();
    peer.write_all(b"answer").unwrap();
    drop(peer);
    let mut answer = String::new();
    conn.read_to_string(&mut answer).unwrap();
    assert_eq!((request.as_str(), answer.as_str()), ("request", "answer"));
    let report = conn.close();
    assert_eq!(report.eof_info.unwrap().state, Some(State::Established), "from before our end");
}

#[tokio::test]
async fn a_half_close_passes_through_a_wrapped_tokio_stream() {
    let (stream, mut peer) = tokio_pair();
    let (builder, reports) = reporting();
    let mut conn = builder.wrap(stream);
    conn.write_all(b"request").await.unwrap();
    conn.shutdown().await.unwrap();
    assert!(reports.try_recv().is_err(), "half-closed is not closed");
    let mut request = String::new();
    peer.read_to_string(&mut request).unwrap();
    peer.write_all(b"answer").unwrap();
    drop(peer);
    let mut answer = String::new();
    conn.read_to_string(&mut answer).await.unwrap();
    assert_eq!((request.as_str(), answer.as_str()), ("request", "answer"));
    drop(conn);
    let report = reports.recv().unwrap();
    assert_eq!((report.tx_bytes, report.rx_bytes), (7, 6));
    assert!(report.rx_eof_at.is_some());
    assert_eq!(report.eof_info.unwrap().state, Some(State::Established));
}

#[tokio::test]
async fn time_in_which_a_tokio_stream_would_not_take_bytes_is_counted() {
    let (stream, mut peer) = tokio_pair();
    let mut conn = Conn::new(stream);
    let held_back = Duration::from_millis(200);
    let reader = std::thread::spawn(move || {
        std::thread::sleep(held_back);
        std::io::copy(&mut peer, &mut std::io::sink()).unwrap()
    });
    // More than the buffers of both sockets take.
    let bytes = vec![0; 64 << 20];
    conn.write_all(&bytes).await.unwrap();
    let report = conn.close();
    assert_eq!(reader.join().unwrap(), 64 << 20);
    assert!(report.write_blocked.unwrap() >= held_back / 2, "{:?}", report.write_blocked);
}

#[test]
fn a_stream_without_a_socket_is_counted_and_says_that_nothing_is_known() {
    let mut conn = Conn::builder().wrap_any(std::io::Cursor::new(Vec::new()));
    Write::write_all(&mut conn, b"12345").unwrap();
    let report = conn.close();
    assert_eq!((report.tx_bytes, report.local_addr), (5, None));
    assert_eq!((report.opened_info, report.closed_info), (None, None));
    assert_eq!(report.info_err_code.as_deref(), Some("ENOTSOCK"));
}

#[test]
fn a_socket_that_is_not_tcp_is_wrapped_and_says_why_nothing_is_known() {
    let (stream, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let report = Conn::new(stream).close();
    assert_eq!(report.info_err_code.as_deref(), Some("ENOPROTOOPT"));
    assert_eq!(
        report.info_err.as_deref(),
        Some("asking for TCP information: the socket is not a TCP socket")
    );
}

#[test]
fn a_report_has_the_keys_of_a_leg_and_reads_back() {
    let (stream, _peer) = pair();
    let report = Conn::new(stream).close();
    let map = report.to_map();
    assert_eq!(map["closedInfo"]["sysInfo"]["os"], "linux");
    let again: Report = serde_json::from_value(map.into()).unwrap();
    assert_eq!(again, report);
}
