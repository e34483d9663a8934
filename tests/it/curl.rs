//! An unmodified program: curl, through the proxy, from a real HTTP server.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;

use conniver::record::Outcome;

use crate::harness::has_tool;
use crate::harness::peers::{Upstream, noise, sha256};
use crate::harness::program::Proxy;

/// Serves `body` to one HTTP/1.1 request; the bytes of the response, head included.
pub(crate) fn serve(stream: TcpStream, body: &[u8]) -> u64 {
    let mut request = BufReader::new(&stream).lines();
    while request.next().is_some_and(|line| !line.unwrap().is_empty()) {}
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    (&stream).write_all(head.as_bytes()).unwrap();
    (&stream).write_all(body).unwrap();
    (head.len() + body.len()) as u64
}

#[test]
fn curl_fetches_100_mb_and_every_count_agrees_with_the_kernels() {
    if !has_tool("curl", "curl_fetches_100_mb_and_every_count_agrees_with_the_kernels") {
        return;
    }
    let body = noise(100_000_000);
    let hash = sha256(&body);
    let upstream = Upstream::once(move |stream| serve(stream, &body));
    let proxy = Proxy::forwarding_to(upstream.address, &[]);

    let url = format!("http://{}/", proxy.address());
    let fetched = Command::new("curl").args(["-sS", "--noproxy", "*", &url]).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(sha256(&fetched.stdout), hash);
    let served = upstream.join();

    let record = proxy.the_record();
    let (client, upstream) = (&record.client, record.upstream.as_ref().unwrap());
    assert_eq!(record.outcome, Some(Outcome::Ok));
    assert_eq!((client.tx_bytes, upstream.rx_bytes), (served, served));
    assert_eq!(client.rx_bytes, upstream.tx_bytes);

    let kernel =
        |leg: &conniver::Report| leg.closed_info.clone().unwrap().sys_info.linux().unwrap().clone();
    let (at_client, at_upstream) = (kernel(client), kernel(upstream));
    // The client accepted by us: no SYN of ours is counted; our FIN is, once acknowledged.
    assert_eq!(at_client.bytes_acked, Some(client.tx_bytes + 1));
    // curl's FIN, and the server's.
    assert_eq!(at_client.bytes_received, Some(client.rx_bytes + 1));
    assert_eq!(at_upstream.bytes_received, Some(upstream.rx_bytes + 1));
    // To the upstream we connected: our SYN and our FIN.
    assert_eq!(at_upstream.bytes_acked, Some(upstream.tx_bytes + 2));

    let to_client = record.delivery.to_client.unwrap();
    assert_eq!(
        (to_client.written, to_client.acked, to_client.undelivered),
        (served, Some(served), Some(0))
    );
    let to_upstream = record.delivery.to_upstream.unwrap();
    assert_eq!(to_upstream.undelivered, Some(0));
    assert_eq!((record.delta.to_client, record.delta.to_upstream), (served, client.rx_bytes));
}
