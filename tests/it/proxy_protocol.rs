//! The PROXY protocol: clients that are announced to the proxy, and that it announces.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use conniver::record::{By, How, Mode, Outcome, Phase, Record};

use crate::arguments::unwrapped;
use crate::connect::refused;
use crate::curl::serve;
use crate::harness::clients::Server;
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{
    Upstream, echo_server, echo_server_on, exchange, noise, read_all, read_until_reset, sha256,
};
use crate::harness::program::{BINARY, PATIENCE, Proxy, wait_until};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 4242 80\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// [`LINE`] in the second version, with an extension.
fn binary() -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 198, 51, 100, 2, 0x10, 0x92, 0, 80];
    [SIGNATURE, &[0x21, 0x11, 0, 17], &addresses, b"\x04\0\x02xx"].concat()
}

/// One exchange with an echo server after `said`, and its record.
fn pair_after(proxy: &Proxy, said: &[u8]) -> (SocketAddr, Record) {
    let mut client = proxy.connect();
    let address = client.local_addr().unwrap();
    client.write_all(&[said, b"hello"].concat()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"hello");
    (address, proxy.the_record())
}

fn is_client(record: &Record, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    assert_eq!(record.client_host, Some(address.ip().to_string()));
    assert_eq!(record.client_port, Some(address.port()));
}

#[test]
fn who_is_announced_is_the_client_and_what_follows_in_the_same_packet_goes_to_the_upstream() {
    for header in [LINE.to_vec(), binary()] {
        let proxy = Proxy::forwarding_to(echo_server(), &["--accept-proxy"]);
        let (address, record) = pair_after(&proxy, &header);
        is_client(&record, "192.0.2.1:4242");
        assert_eq!((record.mode, record.outcome), (Some(Mode::Forward), Some(Outcome::Ok)));
        let client = &record.client;
        assert_eq!(client.remote_addr, Some(address));
        assert_eq!(client.own_rx_bytes, header.len() as u64);
        assert_eq!(client.rx_bytes, header.len() as u64 + 5);
        let upstream = record.upstream.as_ref().unwrap();
        assert_eq!((upstream.tx_bytes, upstream.own_tx_bytes), (5, 0));
        assert!(record.phases.request.is_some());
    }
}

#[test]
fn an_announced_ipv4_address_inside_an_ipv6_one_is_itself() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--accept-proxy"]);
    let (_, record) = pair_after(&proxy, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 7 8\r\n");
    is_client(&record, "192.0.2.1:7");
}

#[test]
fn who_speaks_for_itself_keeps_its_own_address() {
    let local = [SIGNATURE, &[0x20, 0, 0, 3], b"abc"].concat();
    for header in [b"PROXY UNKNOWN 1 2 3\r\n".to_vec(), local] {
        let proxy = Proxy::forwarding_to(echo_server(), &["--accept-proxy"]);
        let (address, record) = pair_after(&proxy, &header);
        is_client(&record, &address.to_string());
        assert_eq!(record.client.own_rx_bytes, header.len() as u64);
    }
}

#[test]
fn a_header_in_one_byte_pieces_precedes_every_way_in() {
    let echo = echo_server();
    let connect = format!("CONNECT {echo} HTTP/1.1\r\nHost: {echo}\r\n\r\n");
    // Who may reach loopback from elsewhere is another matter.
    let args = ["-D", "0", "--accept-proxy", "--allow", "127.0.0.0/8"];
    for header in [LINE.to_vec(), binary()] {
        let forward = format!("0:{echo}");
        let proxy = Proxy::start(&mut Command::new(BINARY), &[&forward], &args);
        for (&address, request) in proxy.addresses().iter().zip(["", &connect]) {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.set_nodelay(true).unwrap();
            for byte in [&header, request.as_bytes()].concat() {
                client.write_all(&[byte]).unwrap();
            }
            if !request.is_empty() {
                let mut granted = [0; 12];
                client.read_exact(&mut granted).unwrap();
                assert_eq!(&granted, b"HTTP/1.1 200");
                while !granted.ends_with(b"\r\n\r\n") {
                    granted.rotate_left(1);
                    client.read_exact(&mut granted[11..]).unwrap();
                }
            }
            assert_eq!(exchange(&mut client, b"hello"), b"hello");
        }
        let records = proxy.wait_for_records(2);
        for record in records {
            is_client(&record, "192.0.2.1:4242");
            let request = if record.mode == Some(Mode::Forward) { 0 } else { connect.len() };
            assert_eq!(record.client.own_rx_bytes, (header.len() + request) as u64);
        }
    }
}

/// What the proxy does with a client that says this, and then waits for an answer.
fn reset_after(proxy: &Proxy, said: &[u8], count: usize) -> Record {
    let mut client = proxy.connect();
    client.write_all(said).unwrap();
    assert_eq!(read_until_reset(&mut client), b"");
    let mut records = proxy.wait_for_records(count);
    assert_eq!(records.len(), count);
    records.pop().unwrap()
}

fn assert_ending(record: &Record, outcome: Outcome, by: By, how: How, code: &str) {
    let ending = record.ending.as_ref().unwrap();
    assert_eq!(record.outcome, Some(outcome), "{ending:?}");
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Request, by, how),
        "{ending:?}"
    );
    assert_eq!(ending.error_code.as_deref(), Some(code), "{ending:?}");
    assert!(record.upstream.is_none() && record.attempts.is_empty());
    assert!(record.phases.request.is_some());
}

#[test]
fn what_is_no_header_is_a_reset_and_a_record_and_nothing_is_left() {
    let proxy = Proxy::forwarding_to("127.0.0.1:9", &["--accept-proxy"]);
    let descriptors = proxy.descriptors();
    let too_long = format!("PROXY UNKNOWN {}", "x".repeat(93));
    let header = |rest: &[u8]| [SIGNATURE, rest].concat();
    let said = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x05\x01\0".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4242\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 ::1 4242 80\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4242 80\n".to_vec(),
        b"PROXY \xff\xfe\r\n".to_vec(),
        too_long.into_bytes(),
        b"\r\n\r\n\0\r\nQUIX\n".to_vec(),
        header(&[0x11, 0x11, 0, 12]),
        header(&[0x2f, 0x11, 0, 12]),
        header(&[0x21, 0x51, 0, 12]),
        header(&[0x21, 0x21, 0, 12]),
    ];
    for (index, said) in said.iter().enumerate() {
        let record = reset_after(&proxy, said, index + 1);
        assert_ending(&record, Outcome::Protocol, By::Client, How::Error, "PROXY_PROTOCOL");
        // The target of this way in is known all the same.
        assert_eq!(record.target.as_deref(), Some("127.0.0.1:9"));
        assert_eq!(record.client_port, record.client.remote_addr.map(|a| a.port()));
    }
    wait_until("all descriptors are closed", || proxy.descriptors() <= descriptors);
}

#[test]
fn a_header_that_does_not_come_to_its_end_is_waited_for_no_longer_than_a_request() {
    let args = ["--accept-proxy", "--request-timeout", "200ms"];
    let proxy = Proxy::forwarding_to("127.0.0.1:9", &args);
    // As long as a length can say.
    let endless = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff], &[0; 100]].concat();
    for (index, said) in [&b""[..], b"PROXY TCP4", &endless].into_iter().enumerate() {
        let record = reset_after(&proxy, said, index + 1);
        assert_ending(&record, Outcome::Timeout, By::Proxy, How::Timeout, "REQUEST_TIMEOUT");
        assert!(record.phases.request.unwrap().as_millis() >= 200);
    }
    let mut client = proxy.connect();
    client.write_all(b"PROXY TCP4").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_until_reset(&mut client), b"");
    let record = proxy.wait_for_records(4).pop().unwrap();
    assert_ending(&record, Outcome::Protocol, By::Client, How::Fin, "REQUEST_INCOMPLETE");
}

#[test]
fn nobody_else_than_who_is_allowed_may_announce_a_client() {
    let args = ["--accept-proxy", "--allow-from", "192.0.2.0/24"];
    let proxy = Proxy::forwarding_to(echo_server(), &args);
    // Nobody waits for its header.
    assert_eq!(read_until_reset(&mut proxy.connect()), b"");
    let record = proxy.the_record();
    assert_eq!(record.ending.unwrap().error_code.as_deref(), Some("CLIENT_DENIED"));
    assert_eq!(record.client_host.as_deref(), Some("127.0.0.1"));

    // A password is asked for on -D alone, and is none of who announces clients.
    for (option, guard) in
        [("--redirect", &[][..]), ("--tproxy", &[]), ("-D", &["--auth-file", "/dev/null"])]
    {
        let mut command = Command::new(BINARY);
        command.args(["proxy", option, "0.0.0.0:0", "--accept-proxy"]).args(guard);
        let output = command.output().unwrap();
        let said = unwrapped(&String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("restrict its clients with --allow-from CIDR;"), "{said}");
    }
}

#[test]
fn a_client_that_is_announced_from_elsewhere_reaches_no_loopback() {
    let echo = echo_server();
    let proxy = Proxy::serving(&["--accept-proxy"]);
    let ask = |source: &str| {
        let header = format!("PROXY TCP4 {source} 127.0.0.1 1 1\r\n");
        format!("{header}CONNECT {echo} HTTP/1.1\r\n\r\n").into_bytes()
    };
    let answer = refused(&proxy, &ask("192.0.2.1"));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let mut client = proxy.connect();
    client.write_all(&ask("127.0.0.9")).unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn curl_announces_itself() {
    if !has_tool("curl", "curl_announces_itself") {
        return;
    }
    let body = noise(100_000);
    let hash = sha256(&body);
    let upstream = Upstream::once(move |stream| serve(stream, &body));
    let proxy = Proxy::forwarding_to(upstream.address, &["--accept-proxy"]);
    let url = format!("http://{}/", proxy.address());
    let mut curl = Command::new("curl");
    let fetched =
        curl.args(["-sS", "--noproxy", "*", "--haproxy-protocol", &url]).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(sha256(&fetched.stdout), hash);
    upstream.join();
    let record = proxy.the_record();
    is_client(&record, &record.client.remote_addr.unwrap().to_string());
    assert!(record.client.own_rx_bytes > 30);
}

#[test]
fn a_chain_of_proxies_hands_the_client_on() {
    let echo = echo_server();
    for (version, length) in [("v1", None), ("v2", Some(28))] {
        let inner = Proxy::forwarding_to(echo, &["--accept-proxy"]);
        let args = ["--accept-proxy", "--send-proxy", version];
        let middle = Proxy::forwarding_to(inner.address(), &args);
        let outer = Proxy::forwarding_to(middle.address(), &["--send-proxy", version]);
        let (address, record) = pair_after(&outer, b"");
        let header = record.upstream.as_ref().unwrap().own_tx_bytes;
        assert!(length.is_none_or(|length| length == header), "{header}");
        assert_eq!(record.upstream.as_ref().unwrap().tx_bytes, header + 5);
        assert!(record.phases.response.is_some());
        for proxy in [middle, inner] {
            let record = proxy.the_record();
            is_client(&record, &address.to_string());
            assert_eq!(record.client.own_rx_bytes, header);
            assert_eq!(record.outcome, Some(Outcome::Ok));
        }
    }
}

#[test]
fn the_upstream_is_told_both_addresses_before_anything_else() {
    let upstream = Upstream::once(|mut stream| {
        stream.write_all(b"220 hello\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream)
    });
    let args = ["--accept-proxy", "--send-proxy", "v1"];
    let proxy = Proxy::forwarding_to(upstream.address, &args);
    let mut client = proxy.connect();
    client.write_all(&binary()).unwrap();
    assert_eq!(read_all(&mut client), b"220 hello\r\n");
    client.shutdown(Shutdown::Write).unwrap();
    // As it was announced to us.
    assert_eq!(upstream.join(), LINE);
    let record = proxy.the_record();
    let upstream = record.upstream.as_ref().unwrap();
    assert_eq!(upstream.own_tx_bytes, LINE.len() as u64);
    assert_eq!(upstream.tx_bytes, LINE.len() as u64);
    // The server spoke first: the header was no question.
    assert!(record.phases.first_byte.is_some() && record.phases.response.is_none());
}

#[test]
fn through_a_parent_the_header_goes_to_the_target_and_not_to_the_parent() {
    let target = Upstream::once(|mut stream| read_all(&mut stream));
    let parent = Proxy::serving(&[]);
    let via = format!("http://{}", parent.address());
    let proxy = Proxy::forwarding_to(target.address, &["--via", &via, "--send-proxy", "v1"]);
    let mut client = proxy.connect();
    let (from, to) = (client.local_addr().unwrap(), proxy.address());
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"");
    let header = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port());
    assert_eq!(String::from_utf8(target.join()).unwrap(), format!("{header}hello"));
    let (record, at_parent) = (proxy.the_record(), parent.the_record());
    let upstream = record.upstream.as_ref().unwrap();
    assert_eq!(upstream.own_tx_bytes, at_parent.client.own_rx_bytes + header.len() as u64);
    assert_eq!(at_parent.upstream.unwrap().own_tx_bytes, 0);
}

#[test]
fn a_parent_that_would_take_plain_requests_is_asked_for_a_tunnel_to_say_the_header_in() {
    let target = Upstream::once(|mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8(head).unwrap()
    });
    let parent = Proxy::serving(&[]);
    let via = format!("http://{}", parent.address());
    let proxy = Proxy::serving(&["--via", &via, "--send-proxy", "v1"]);
    let mut client = proxy.connect();
    let address = target.address;
    write!(client, "GET http://{address}/x HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    assert!(read_all(&mut client).starts_with(b"HTTP/1.1 204 "));
    drop(client);
    let heard = target.join();
    assert!(heard.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{heard}");
    assert!(heard.contains("\r\nGET /x HTTP/1.1\r\n"), "{heard}");
    assert_eq!(proxy.the_record().mode, Some(Mode::Http));
    assert_eq!(parent.the_record().mode, Some(Mode::Connect));
}

#[test]
fn an_upstream_that_is_gone_before_it_was_told_is_a_record_like_any_other() {
    // It listens, and its process resets whoever comes.
    let upstream = Upstream::once(crate::harness::peers::reset);
    let proxy = Proxy::forwarding_to(upstream.address, &["--send-proxy", "v2"]);
    assert_eq!(read_until_reset(&mut proxy.connect()), b"");
    upstream.join();
    let record = proxy.the_record();
    assert_eq!(record.outcome, Some(Outcome::Reset));
    assert_eq!(record.ending.unwrap().first_by, By::Upstream);
}

#[test]
fn haproxy_understands_us_and_is_understood() {
    let name = "haproxy_understands_us_and_is_understood";
    if !has_tool("haproxy", name) || !available(name) {
        return;
    }
    // In a namespace of the test's own, every port is free.
    let namespace = Namespace::new();
    let echo = namespace.enter(|| echo_server_on("127.0.0.1:0"));
    let args = ["--accept-proxy"];
    let start = |target: &str, args: &[&str]| {
        Proxy::start(&mut namespace.command(BINARY), &[&format!("0:{target}")], args)
    };
    for (told, tells) in [("v1", "send-proxy-v2"), ("v2", "send-proxy")] {
        let last = start(&echo.to_string(), &args);
        let directory = tempfile::tempdir().unwrap();
        let configuration = directory.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n mode tcp\n timeout connect 30s\n timeout client 30s\n timeout server 30s\n\
             listen between\n bind 127.0.0.1:8888 accept-proxy\n server last {} {tells}\n",
            last.address()
        );
        std::fs::write(&configuration, text).unwrap();
        let mut haproxy = namespace.command("haproxy");
        haproxy.arg("-db").arg("-f").arg(configuration);
        let _haproxy = Server::start(haproxy.stdout(Stdio::null()).stderr(Stdio::null()));
        let first = start("127.0.0.1:8888", &["--send-proxy", told]);
        wait_until("haproxy listens", || {
            namespace.enter(|| TcpStream::connect("127.0.0.1:8888").is_ok())
        });
        let mut client = namespace.enter(|| first.connect());
        let address = client.local_addr().unwrap();
        assert_eq!(exchange(&mut client, b"hello"), b"hello");
        drop(client);
        let record = last.the_record();
        is_client(&record, &address.to_string());
        assert_eq!(record.target, Some(echo.to_string()));
    }
}
