//! Segments that were really lost, beside those that were sent again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use conniver::record::Record;

use crate::harness::clients::client;
use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::has_tool;
use crate::harness::lossy_path::Path;
use crate::harness::namespace::{Namespace, available};
use crate::harness::network::{Network, Way};
use crate::harness::noise::{Noise, receive, send};
use crate::harness::peers::noise;
use crate::harness::program::{Proxy, wait_until};

/// What was lost on the way to the client, and what was sent again.
fn to_client(record: &Record) -> (Option<u64>, Option<u64>) {
    let resent = record.client.closed_info.as_ref().unwrap().retransmits;
    (record.client.lost, resent)
}

/// Serves a body to one request of each connection.
fn serve(listener: TcpListener, body: Vec<u8>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut request = BufReader::new(&stream).lines();
            while request.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            (&stream).write_all(head.as_bytes()).unwrap();
            (&stream).write_all(&body).unwrap();
        }
    });
}

#[test]
fn nothing_is_lost_of_downloads_that_a_slow_reader_holds_up() {
    if !has_tool("curl", "nothing_is_lost_of_downloads_that_a_slow_reader_holds_up") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, noise(6_000_000));
    let proxy = Proxy::forwarding_to(address, &[]);
    let url = format!("http://{}/", proxy.address());
    for _ in 0..3 {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "--limit-rate", "3M", &url]);
        assert_eq!(client(&mut curl).len(), 6_000_000);
    }
    for record in proxy.wait_for_records(3) {
        let upstream = record.upstream.as_ref().unwrap();
        assert_eq!((record.client.lost, upstream.lost), (Some(0), Some(0)), "{record:?}");
    }
}

/// A download over 20 ms of which every so many segments with data that come to the client's machine
/// is dropped there, as nft's own counter counts them; acknowledgements and what has no data pass.
fn download_that_loses(every: u32, setting: &str) -> (Record, u64) {
    let path = Path { delay: Duration::from_millis(10), loses: None, rate: None };
    let network = Network::with(Way::ToClient, path);
    // What the device's own queue has no room for would be lost as well, and not counted.
    network.proxy.ip(&["link", "set", "client", "txqueuelen", "20000"]);
    network.proxy.sh(setting);
    let forwarding = network.forwarding(&[]);
    network.client.nft(&format!(
        "add table ip lossy; \
         add counter ip lossy dropped; \
         add chain ip lossy in {{ type filter hook input priority 0; }}; \
         add rule ip lossy in tcp sport {port} ip length > 100 numgen inc mod {every} == 0 \
         counter name dropped drop",
        port = forwarding.proxy.address().port()
    ));
    let ends = network.pair(&forwarding);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            send(&ends.upstream, &mut Noise::seeded(3), 8_000_000);
            ends.upstream.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(receive(&ends.client).bytes, 8_000_000);
    });
    drop(ends);
    let record = forwarding.proxy.the_record();
    (record, network.client.counted("dropped"))
}

#[test]
fn lost_is_the_number_of_segments_that_a_path_dropped() {
    if !available("lost_is_the_number_of_segments_that_a_path_dropped") {
        return;
    }
    for every in [50, 100] {
        let (record, dropped) = download_that_loses(every, "true");
        let (lost, resent) = to_client(&record);
        let (lost, resent) = (lost.unwrap(), resent.unwrap());
        assert!(dropped >= 50, "{dropped}");
        assert!(lost.abs_diff(dropped) * 50 <= dropped, "{lost} of {dropped}, {resent} sent again");
        assert!(lost <= resent);
    }
}

#[test]
fn what_was_sent_again_because_its_acknowledgement_was_lost_is_not_lost() {
    let name = "what_was_sent_again_because_its_acknowledgement_was_lost_is_not_lost";
    if !available(name) {
        return;
    }
    let namespace = Namespace::new();
    let (forwarding, Ends { client, upstream }) = Forwarding::with_pair_in(&namespace, &[]);
    // Of the client's acknowledgements, none arrives that does not tell of something that came twice.
    namespace.nft(&format!(
        "add table inet vanished; \
         add chain inet vanished in {{ type filter hook input priority 0; }}; \
         add rule inet vanished in tcp dport {} tcp option sack missing drop",
        forwarding.proxy.address().port()
    ));
    (&upstream).write_all(b"early").unwrap();
    (&client).read_exact(&mut [0; 5]).unwrap();
    wait_until("it is sent again", || namespace.retransmitted() > 0);
    namespace.nft("delete table inet vanished");
    (&upstream).write_all(b"later").unwrap();
    (&client).read_exact(&mut [0; 5]).unwrap();
    drop((client, upstream));
    let (lost, resent) = to_client(&forwarding.proxy.the_record());
    assert!(resent >= Some(1), "{resent:?}");
    assert_eq!(lost, Some(0), "{resent:?} sent again");
}

#[test]
fn without_selective_acknowledgements_nobody_knows_what_was_lost() {
    if !available("without_selective_acknowledgements_nobody_knows_what_was_lost") {
        return;
    }
    let (record, dropped) = download_that_loses(500, "echo 0 > /proc/sys/net/ipv4/tcp_sack");
    let (lost, resent) = to_client(&record);
    assert!(dropped > 0 && resent.unwrap() >= dropped, "{resent:?} of {dropped}");
    assert_eq!(lost, None);
}
