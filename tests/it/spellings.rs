//! A target's spelling passes no rule: every way in, directly and through every kind of parent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use conniver::record::{Outcome, Record};

use crate::harness::program::{BINARY, PATIENCE, Proxy};

/// How a target is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WayIn {
    Forward,
    Connect,
    Http,
    Socks4a,
    Socks5,
}

const WAYS_IN: [WayIn; 5] =
    [WayIn::Forward, WayIn::Connect, WayIn::Http, WayIn::Socks4a, WayIn::Socks5];

/// Kinds of parents, and none.
const PARENTS: [Option<&str>; 4] = [None, Some("http"), Some("socks5"), Some("socks5h")];

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage";

/// A server of one page for any number of connections.
fn page_server(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.extend(byte);
                }
                // Who has gone needs no page.
                let _ = stream.write_all(PAGE);
            });
        }
    });
    address
}

/// What a client is told that asks for a page in this way, to the end of its connection.
fn ask(proxy: SocketAddr, way: WayIn, host: &str, port: u16) -> Vec<u8> {
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    // SOCKS has names without brackets, though some clients leave them on.
    let name = host.as_bytes();
    let port_bytes = port.to_be_bytes();
    let request = match way {
        WayIn::Forward => get.to_vec(),
        WayIn::Connect => {
            [format!("CONNECT {host}:{port} HTTP/1.1\r\n\r\n").as_bytes(), get].concat()
        }
        WayIn::Http => format!(
            "GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .into_bytes(),
        WayIn::Socks4a => {
            [b"\x04\x01", &port_bytes[..], b"\0\0\0\x01\0", name, b"\0", get].concat()
        }
        WayIn::Socks5 => {
            let length = [u8::try_from(name.len()).unwrap()];
            [b"\x05\x01\0\x05\x01\0\x03", &length[..], name, &port_bytes, get].concat()
        }
    };
    let mut client = TcpStream::connect(proxy).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    // A refused forwarding is reset at once.
    let _ = client.write_all(&request).and_then(|()| client.read_to_end(&mut said).map(drop));
    said
}

fn has_page(said: &[u8]) -> bool {
    said.ends_with(b"\r\n\r\npage")
}

/// A proxy with a forwarding to each host, and a listener for HTTP and SOCKS.
fn proxy_for(hosts: &[&str], port: u16, args: &[&str]) -> Proxy {
    let forwards: Vec<_> = hosts.iter().map(|host| format!("0:{host}:{port}")).collect();
    let forwards: Vec<_> = forwards.iter().map(String::as_str).collect();
    Proxy::start(&mut Command::new(BINARY), &forwards, &[&["-D", "0"], args].concat())
}

/// Asks for every host in every way: what each said, by host and way.
fn ask_all<'h>(
    proxy: &Proxy,
    hosts: &[&'h str],
    port: u16,
) -> Vec<(&'h str, WayIn, Vec<u8>, Record)> {
    let mut all = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        for way in WAYS_IN {
            let listener = if way == WayIn::Forward { index } else { hosts.len() };
            let said = ask(proxy.addresses()[listener], way, host, port);
            let record = proxy.wait_for_records(all.len() + 1).pop().unwrap();
            all.push((*host, way, said, record));
        }
    }
    all
}

fn is_denied(record: &Record) -> bool {
    let code = record.ending.as_ref().and_then(|ending| ending.error_code.as_deref());
    record.outcome == Some(Outcome::Denied) && code == Some("TARGET_DENIED")
}

#[test]
fn a_denied_target_is_denied_in_every_spelling_and_way() {
    const HOSTS: [&str; 11] = [
        "[::1]",
        "127.1",
        "0x7f.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "0",
        "[::]",
        "169.254.43518",
        "[64:ff9b:1::a9fe:a9fe]",
        "012.1",
        "[64:ff9b::a00:1]",
    ];
    let port = page_server("127.0.0.1:0").port();
    for parent in PARENTS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = parent.map(|scheme| format!("{scheme}://{}", listener.local_addr().unwrap()));
        let via = url.as_ref().map_or(Vec::new(), |url| vec!["--via", url]);
        let denied = ["127.0.0.0/8", "::1", "169.254.0.0/16", "10.0.0.0/8"];
        let rules: Vec<_> = denied.iter().flat_map(|network| ["--deny", network]).collect();
        let proxy = proxy_for(&HOSTS, port, &[rules, via].concat());
        for (host, way, said, record) in ask_all(&proxy, &HOSTS, port) {
            assert!(is_denied(&record), "{host} {way:?} {parent:?}: {record:?}");
            assert!(!has_page(&said) && record.upstream.is_none(), "{host} {way:?} {parent:?}");
            assert_eq!(record.target, Some(format!("{host}:{port}")));
        }
        let asked = listener.accept().map(drop).unwrap_err();
        assert_eq!(asked.kind(), std::io::ErrorKind::WouldBlock, "the parent was asked");
    }
}

#[test]
fn an_allowed_target_is_reached_in_every_spelling_and_way() {
    const HOSTS: [&str; 5] = ["127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1.", "localhost"];
    let port = page_server("127.0.0.1:0").port();
    for scheme in PARENTS {
        let parent = Proxy::serving(&[]);
        let url = scheme.map(|scheme| format!("{scheme}://{}", parent.address()));
        let via = url.as_ref().map_or(Vec::new(), |url| vec!["--via", url]);
        let proxy = proxy_for(&HOSTS, port, &[vec!["--allow", "127.0.0.0/8"], via].concat());
        let all = ask_all(&proxy, &HOSTS, port);
        for (host, way, said, record) in &all {
            let what = format!("{host} {way:?} {scheme:?}: {record:?}");
            assert!(has_page(said), "{what} {}", String::from_utf8_lossy(said));
            assert_eq!(record.target, Some(format!("{host}:{port}")), "{what}");
            let host = host.strip_suffix('.').unwrap_or(host);
            assert_eq!(record.target_host.as_deref(), Some(host), "{what}");
        }
        if let Some(scheme) = scheme {
            // A parent is told the address and not its spelling, which it might read as another one.
            for record in parent.wait_for_records(all.len()) {
                let target = record.target.unwrap();
                let is_name = scheme != "socks5" && target == format!("localhost:{port}");
                assert!(is_name || target == format!("127.0.0.1:{port}"), "{scheme}: {target}");
            }
        }
    }
}

#[test]
fn a_name_that_a_parent_looks_up_needs_a_rule_that_names_it() {
    const NAME: [&str; 1] = ["name.invalid"];
    for scheme in PARENTS {
        let looks_up = matches!(scheme, Some("http" | "socks5h"));
        let parent = Proxy::serving(&[]);
        let url = scheme.map(|scheme| format!("{scheme}://{}", parent.address()));
        let via = url.as_ref().map_or(Vec::new(), |url| vec!["--via", url]);
        for (rules, line, is_named) in [
            (&["--deny", "10.0.0.0/8"][..], "so --deny cannot be applied", false),
            (&["--allow", "192.0.2.0/24"], "and --allow has only networks", false),
            (&["--deny", "10.0.0.0/8", "--allow", "*.invalid"], "so --deny cannot", true),
        ] {
            let proxy = proxy_for(&NAME, 9, &[rules, &via].concat());
            for (_, way, _, record) in ask_all(&proxy, &NAME, 9) {
                let what = format!("{scheme:?} {rules:?} {way:?}: {record:?}");
                // Of a forwarding, --allow need say nothing.
                let is_free = way == WayIn::Forward && rules[0] == "--allow";
                let expected = looks_up && !is_named && !is_free;
                assert_eq!(is_denied(&record), expected, "{what}");
                assert!(record.outcome == Some(Outcome::Dns) || looks_up, "{what}");
            }
            let said = proxy.stop().stderr;
            let lines = said.lines().filter(|said| said.contains(line)).count();
            assert_eq!(lines, usize::from(looks_up), "{said}");
        }
        let asked = parent.stop().records();
        assert_eq!(asked.len(), if looks_up { 6 } else { 0 }, "{asked:?}");
        assert!(asked.iter().all(|record| record.target_host.as_deref() == Some(NAME[0])));
    }
}

#[test]
fn what_is_no_host_is_refused_as_malformed() {
    const HOSTS: [&str; 6] = ["a..b", ".a", "127.0.0.1..", "127%2e1", "[fe80::1%lo]", "[127.1]"];
    let proxy = Proxy::serving(&["--via", "http://127.0.0.1:9"]);
    let mut count = 0;
    for host in HOSTS {
        for way in [WayIn::Connect, WayIn::Http, WayIn::Socks4a, WayIn::Socks5] {
            let said = ask(proxy.address(), way, host, 80);
            count += 1;
            let record = proxy.wait_for_records(count).pop().unwrap();
            assert_eq!(record.outcome, Some(Outcome::Protocol), "{host} {way:?}: {record:?}");
            assert!(!said.is_empty() && record.target.is_none(), "{host} {way:?}");
        }
        let output =
            Command::new(BINARY).args(["proxy", "-L", &format!("0:{host}:80")]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{host}");
    }
}

#[test]
fn the_upstreams_address_is_the_one_that_answered() {
    for (listening, host, dialled) in [
        ("127.0.0.1:0", "0", "0.0.0.0"),
        ("127.0.0.1:0", "0.0.0.0", "0.0.0.0"),
        ("127.0.0.1:0", "0x7f.1", "127.0.0.1"),
        ("[::1]:0", "[::]", "[::]"),
    ] {
        let server = page_server(listening);
        let proxy = Proxy::serving(&[]);
        assert!(has_page(&ask(proxy.address(), WayIn::Connect, host, server.port())), "{host}");
        let record = proxy.the_record();
        assert_eq!(record.upstream.unwrap().remote_addr, Some(server), "{host}");
        let dialled = format!("{dialled}:{}", server.port());
        assert_eq!(record.attempts[0].addr.to_string(), dialled, "{host}");
    }
}
