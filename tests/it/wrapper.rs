//! The wrapper over std's and tokio's streams.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use conniver::tcp_info::Snapshot;
use conniver::tcp_info::State;
use conniver::{Builder, Conn, Report, TcpInfo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::reset;
use crate::harness::tls::TlsServer;

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
fn a_value_of_the_programs_own_goes_with_the_connection_to_the_callbacks() {
    #[derive(Debug, PartialEq)]
    struct Request(u32);
    let (stream, _peer) = pair();
    let (builder, reports) = reporting();
    let conn = builder.context(Request(7)).wrap(stream);
    assert_eq!(conn.context(), Some(&Request(7)));
    assert_eq!(conn.context::<u32>(), None, "it has another type");
    drop(conn);
    let report = reports.recv().unwrap();
    assert_eq!(report.context(), Some(&Request(7)));
    assert!(!report.to_map().contains_key("context"), "it is the program's own");
}

#[test]
fn a_panic_in_a_callback_harms_neither_the_stream_nor_who_closes_it() {
    let (stream, mut peer) = pair();
    let (closing, closed) = channel();
    let mut conn = Conn::builder()
        .on_open(|_| panic!("a panic on purpose, at open"))
        .on_close(move |report| {
            closing.send(report).unwrap();
            panic!("a panic on purpose, at close")
        })
        .wrap(stream);
    conn.write_all(b"hello").unwrap();
    let mut request = [0; 5];
    peer.read_exact(&mut request).unwrap();
    assert_eq!(&request, b"hello");
    assert_eq!(conn.close().tx_bytes, 5);
    assert_eq!(closed.recv().unwrap().tx_bytes, 5);
    assert_eq!(peer.read(&mut request).unwrap(), 0, "the socket is closed");
}

#[test]
fn what_both_looks_saw_is_warned_of_once() {
    if !available("what_both_looks_saw_is_warned_of_once") {
        return;
    }
    let namespace = Namespace::new();
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    namespace.nft(&format!(
        "add table inet lossy; \
         add chain inet lossy in {{ type filter hook input priority 0; }}; \
         add rule inet lossy in tcp dport {} tcp flags & (syn | ack) == syn \
         numgen inc mod 1000 == 0 drop",
        address.port()
    ));
    let report = Conn::new(namespace.enter(|| TcpStream::connect(address).unwrap())).close();
    let seen = [&report.opened_info, &report.closed_info];
    let seen = seen.map(|info| info.as_ref().unwrap().retransmits);
    assert_eq!(seen, [Some(1), Some(1)], "the lost SYN");
    assert_eq!(report.warnings, ["retransmits=1", "retransTotal=1"]);
}

#[test]
fn all_of_it_can_go_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Conn<TcpStream>>();
    is_send::<Conn<tokio::net::TcpStream>>();
    is_send::<Builder>();
    is_send::<Report>();
    is_send::<TcpInfo>();
    is_send::<Snapshot>();
}

#[test]
fn a_report_is_one_line_for_people() {
    let (stream, peer) = pair();
    let mut conn = Conn::builder().reconnects(1).wrap(stream);
    conn.write_all(b"hello").unwrap();
    let (local, remote) = (peer.peer_addr().unwrap(), peer.local_addr().unwrap());
    let open = conn.report().to_string();
    let start = format!("{local} -> {remote}: open, sent 5 bytes, received 0 bytes, RTT ");
    assert!(open.starts_with(&start) && !open.contains("at close"), "{open}");

    let report = conn.close();
    let shown = |duration: Option<Duration>| format!("{:.1?}", duration.unwrap());
    let opened = report.opened_info.as_ref().unwrap();
    let end = report.eof_info.as_ref().unwrap();
    let lasted = u64::try_from(report.closed_at.unwrap() - report.opened_at).unwrap();
    assert_eq!(
        report.to_string(),
        format!(
            "{local} -> {remote}: {}, sent 5 bytes, received 0 bytes, RTT {} ±{} at open, {} ±{} at \
             close; reconnects=1",
            shown(Some(Duration::from_nanos(lasted))),
            shown(opened.rtt),
            shown(opened.rtt_var),
            shown(end.rtt),
            shown(end.rtt_var),
        )
    );
    let unknown = Conn::builder().wrap_any(std::io::empty()).close().to_string();
    assert!(unknown.starts_with("? -> ?: ") && unknown.ends_with("RTT ? at open, ? at close"));
}

#[test]
fn the_raw_structure_can_be_had_and_decoded_later() {
    let (stream, _peer) = pair();
    let conn = Conn::new(stream);
    let snapshot = Snapshot::of(&conn).unwrap();
    let info = snapshot.decode();
    assert_eq!(snapshot.bytes().len(), info.sys_info_length);
    assert_eq!((snapshot.bytes()[0], info.state), (1, Some(State::Established)));
    assert_eq!(info.sys_info.to_map()["state"], "ESTABLISHED");
    assert_eq!(info.to_map()["sysInfo"], serde_json::Value::from(info.sys_info.to_map()));
}

/// A client's settings by which the server's certificate is trusted.
fn trusting(server: &TlsServer) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&server.certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// What a connection under TLS carried is more than what was said, and the kernel's own counts agree
/// (which include the end of the stream, and the SYN).
fn assert_tells_of_the_tcp_connection(report: &Report, answer: &[u8]) {
    assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(answer));
    let handshake = 500;
    assert!(report.tx_bytes > REQUEST.len() as u64 + handshake / 2, "{report}");
    assert!(report.rx_bytes > answer.len() as u64 + handshake, "{report}");
    let info = report.closed_info.as_ref().unwrap();
    let received = info.sys_info.linux().unwrap().bytes_received.unwrap();
    assert!(received.abs_diff(report.rx_bytes) <= 1, "{received}: {report}");
}

#[test]
fn a_wrapped_std_stream_goes_under_tls() {
    if !has_tool("openssl", "a_wrapped_std_stream_goes_under_tls") {
        return;
    }
    let server = TlsServer::start_as("site.test", &[]);
    let (builder, reports) = reporting();
    let conn = builder.wrap(TcpStream::connect(server.address).unwrap());
    let name = ServerName::try_from("site.test").unwrap();
    let session = rustls::ClientConnection::new(trusting(&server), name).unwrap();
    let mut stream = rustls::StreamOwned::new(session, conn);
    stream.write_all(REQUEST).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    drop(stream);
    assert_tells_of_the_tcp_connection(&reports.recv().unwrap(), &answer);
}

#[tokio::test]
async fn a_wrapped_tokio_stream_goes_under_tls() {
    if !has_tool("openssl", "a_wrapped_tokio_stream_goes_under_tls") {
        return;
    }
    let server = TlsServer::start_as("site.test", &[]);
    let (builder, reports) = reporting();
    let conn = builder.wrap(tokio::net::TcpStream::connect(server.address).await.unwrap());
    let name = ServerName::try_from("site.test").unwrap();
    let connector = tokio_rustls::TlsConnector::from(trusting(&server));
    let mut stream = connector.connect(name, conn).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    drop(stream);
    assert_tells_of_the_tcp_connection(&reports.recv().unwrap(), &answer);
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
        Some("cannot get TCP information: the socket is not a TCP socket")
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
