//! What HTTP clients are told when the parent, or this machine, does not reach the target: never 500,
//! which says that the proxy itself is broken.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use crate::connect::refused;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::Upstream;
use crate::harness::program::{BINARY, Proxy};

const CONNECT: &str = "CONNECT name.invalid:443 HTTP/1.1\r\nHost: name.invalid:443\r\n\r\n";
const ABSOLUTE: &str = "GET http://name.invalid/ HTTP/1.1\r\nHost: name.invalid\r\n\r\n";

fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
}

/// Ends its stream, and waits for the other's, so that nothing is lost to a reset.
fn end(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    // The proxy may end it with a reset.
    let _ = stream.read_to_end(&mut Vec::new());
}

/// The status of a whole answer.
fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect(answer)
}

#[test]
fn an_http_parents_failure_is_a_gateways() {
    let mut wrong = Vec::new();
    for (answer, allowed) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", &[502][..]),
        ("HTTP/1.1 401 Unauthorized\r\n\r\n", &[403]),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", &[403]),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnever", &[502]),
        ("HTTP/1.1 405 Method Not Allowed\r\n\r\n", &[403]),
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", &[403]),
        ("HTTP/1.1 408 Request Timeout\r\n\r\n", &[504]),
        ("HTTP/1.1 429 Too Many Requests\r\n\r\n", &[502, 503]),
        ("HTTP/1.1 500 Internal Server Error\r\n\r\n", &[502]),
        ("HTTP/1.1 501 Not Implemented\r\n\r\n", &[502]),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", &[502]),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", &[502, 503]),
        ("HTTP/1.1 504 Gateway Timeout\r\n\r\n", &[504]),
        ("HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", &[502]),
        ("HTTP/1.1 999 Request denied\r\n\r\n", &[502]),
        ("SSH-2.0-OpenSSH_9\r\n", &[502]),
        ("HTTP/1.1 200 OK\r\n", &[502]),
        ("", &[502]),
    ] {
        let parent = Upstream::once(move |mut stream| {
            read_head(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            end(stream);
        });
        let proxy = Proxy::serving(&["--via", &format!("http://{}", parent.address)]);
        let told = refused(&proxy, CONNECT.as_bytes());
        parent.join();
        if !allowed.contains(&status(&told)) {
            wrong.push(format!("{answer:?}: not one of {allowed:?}, but {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_socks_parents_failure_is_a_gateways() {
    let mut wrong = Vec::new();
    for (reply, allowed) in [
        (&[5, 1][..], &[502][..]),
        (&[5, 2], &[403]),
        (&[5, 3], &[502]),
        (&[5, 4], &[502]),
        (&[5, 5], &[502]),
        (&[5, 6], &[504]),
        (&[5, 7], &[502, 403]),
        (&[5, 8], &[502]),
        (&[5, 9], &[502]),
        (&[5, 0xff], &[502]),
        // No SOCKS, and nothing at all.
        (&[4, 90], &[502]),
        (&[], &[502]),
    ] {
        for request in [CONNECT, ABSOLUTE] {
            let parent = Upstream::once(move |mut stream| {
                stream.read_exact(&mut [0; 3]).unwrap();
                stream.write_all(&[5, 0]).unwrap();
                stream.read_exact(&mut [0; 7 + "name.invalid".len()]).unwrap();
                if let [version, code] = reply {
                    stream.write_all(&[*version, *code, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
                }
                end(stream);
            });
            let proxy = Proxy::serving(&["--via", &format!("socks5h://{}", parent.address)]);
            let told = refused(&proxy, request.as_bytes());
            parent.join();
            if !allowed.contains(&status(&told)) {
                let method = request.split(' ').next().unwrap();
                wrong.push(format!("{reply:?} to {method}: not one of {allowed:?}, but {told:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_socks_parent_that_takes_no_way_to_authenticate_is_a_refusal() {
    for (method, allowed) in [([5, 0xff], 403), ([4, 0], 502)] {
        for request in [CONNECT, ABSOLUTE] {
            let parent = Upstream::once(move |mut stream| {
                stream.read_exact(&mut [0; 3]).unwrap();
                stream.write_all(&method).unwrap();
                end(stream);
            });
            let proxy = Proxy::serving(&["--via", &format!("socks5h://{}", parent.address)]);
            assert_eq!(status(&refused(&proxy, request.as_bytes())), allowed, "{method:?}");
            parent.join();
        }
    }
}

#[test]
fn no_ephemeral_port_left_is_503() {
    if !available("no_ephemeral_port_left_is_503") {
        return;
    }
    let namespace = Namespace::new();
    let target = namespace.enter(|| TcpListener::bind("127.0.0.1:1080").unwrap());
    let address = target.local_addr().unwrap();
    let proxy = Proxy::start(&mut namespace.command(BINARY), &[], &["-D", "0"]);
    namespace.sh("echo 50000 50007 > /proc/sys/net/ipv4/ip_local_port_range");
    // Every port that a connection to this target could have.
    let _taken = namespace.enter(|| {
        let connect = || TcpStream::connect(address);
        let taken: Vec<_> = std::iter::from_fn(|| connect().ok()).collect();
        assert!(!taken.is_empty());
        taken
    });
    for request in [
        format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n"),
        format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n\r\n"),
    ] {
        let told = namespace.enter(|| refused(&proxy, request.as_bytes()));
        assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
        assert!(told.contains("EADDRNOTAVAIL"), "{told}");
    }
}
