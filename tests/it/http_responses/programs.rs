//! Unmodified clients that would use a connection again, and an origin that leaves its own open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::lab::{POISON, SECRET};
use crate::harness::clients::without_proxies;
use crate::harness::program::{PATIENCE, Proxy};
use crate::harness::{has_tool, skip};

/// Heads that clients read as a response with a length, and that a proxy may misread. All are sent
/// with `hello`.
const HEADS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
    "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX[]: y\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\ngarbage\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n",
];

/// Passes on what a client and the proxy say to each other, and says when B is asked for.
fn tap(proxy: SocketAddr) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let proxy = TcpStream::connect(proxy).unwrap();
            let both = (client.try_clone().unwrap(), proxy.try_clone().unwrap());
            let sender = sender.clone();
            std::thread::spawn(move || pass_on(client, proxy, Some(&sender)));
            std::thread::spawn(move || pass_on(both.1, both.0, None));
        }
    });
    (address, asked)
}

/// What one side no longer wants is its own affair.
fn pass_on(mut from: TcpStream, mut to: TcpStream, asked: Option<&Sender<()>>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..length];
        let is_written = to.write_all(bytes).is_ok();
        if let Some(asked) = asked
            && super::find(bytes, b"/secret").is_some()
        {
            let _ = asked.send(());
        }
        if !is_written {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Answers every request and leaves its connections open, as long as this lives.
struct Open {
    address: SocketAddr,
    held: Arc<Mutex<Vec<TcpStream>>>,
    is_asked: Arc<AtomicBool>,
}

impl Open {
    fn answering(response: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::<Mutex<Vec<TcpStream>>>::default();
        let is_asked = Arc::<AtomicBool>::default();
        let (holding, asked) = (Arc::clone(&held), Arc::clone(&is_asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                holding.lock().unwrap().push(stream.try_clone().unwrap());
                let (response, asked) = (response.clone(), Arc::clone(&asked));
                std::thread::spawn(move || {
                    for line in BufReader::new(&stream).lines() {
                        match line {
                            Ok(line) if line.is_empty() => {
                                // Before, because the client may be done at once.
                                asked.store(true, SeqCst);
                                let _ = (&stream).write_all(&response);
                            }
                            Ok(_) => {}
                            Err(_) => return,
                        }
                    }
                });
            }
        });
        Self { address, held, is_asked }
    }

    fn poison(&self) {
        for mut stream in self.held.lock().unwrap().iter() {
            let _ = stream.write_all(POISON);
        }
    }
}

/// Runs a client that fetches from A, then from B, through the proxy that its command names as
/// `PROXY`, and prints B's answer last.
fn assert_never_answered_by_a(program: &str, args: &[&str]) {
    let mut wrong = Vec::new();
    for head in HEADS {
        let a = Open::answering([head.as_bytes(), b"hello"].concat());
        let b = Open::answering(SECRET.to_vec());
        let proxy = Proxy::serving(&[]);
        let (tap, asked) = tap(proxy.address());
        let (a_url, b_url) =
            (format!("http://{}/", a.address), format!("http://{}/secret", b.address));
        let of = |arg: &&str| {
            arg.replace("PROXY", &tap.to_string()).replace("A_URL", &a_url).replace("B_URL", &b_url)
        };
        let mut command = Command::new(program);
        without_proxies(&mut command).args(args.iter().map(of));
        command.env("http_proxy", format!("http://{tap}"));
        let output = std::thread::scope(|scope| {
            let a = &a;
            scope.spawn(move || {
                if asked.recv_timeout(PATIENCE).is_ok() {
                    a.poison();
                }
            });
            command.output().unwrap()
        });
        assert!(a.is_asked.load(SeqCst), "{program} did not reach A");
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.trim_end().ends_with("FROM-B") || said.contains("POISON") {
            let errors = String::from_utf8_lossy(&output.stderr);
            wrong.push(format!("{head:?}: {said:?} {errors}"));
        }
    }
    assert!(wrong.is_empty(), "{program}:\n{}", wrong.join("\n"));
}

#[test]
fn curl_never_gets_one_hosts_answer_for_another() {
    if has_tool("curl", "curl_never_gets_one_hosts_answer_for_another") {
        let args = ["-sS", "-m", "5", "-x", "PROXY", "A_URL", "-o", "/dev/null", "B_URL"];
        assert_never_answered_by_a("curl", &args);
    }
}

#[test]
fn wget_never_gets_one_hosts_answer_for_another() {
    if has_tool("wget", "wget_never_gets_one_hosts_answer_for_another") {
        assert_never_answered_by_a(
            "wget",
            &["-q", "-T", "5", "-t", "1", "-O", "-", "A_URL", "B_URL"],
        );
    }
}

const HTTP_CLIENT: &str = r#"
import http.client, sys
proxy, *urls = sys.argv[1:]
host, port = proxy.split(":")
connection = http.client.HTTPConnection(host, int(port), timeout=5)
for url in urls:
    try:
        connection.request("GET", url)
        print(connection.getresponse().read().decode())
    except (http.client.HTTPException, OSError) as error:
        print(repr(error))
        connection.close()
"#;

const URLLIB3: &str = r#"
import sys, urllib3
proxy, *urls = sys.argv[1:]
manager = urllib3.ProxyManager("http://" + proxy, timeout=5, maxsize=1, retries=False)
for url in urls:
    try:
        print(manager.request("GET", url).data.decode())
    except urllib3.exceptions.HTTPError as error:
        print(repr(error))
"#;

#[test]
fn pythons_http_client_never_gets_one_hosts_answer_for_another() {
    if has_tool("python3", "pythons_http_client_never_gets_one_hosts_answer_for_another") {
        assert_never_answered_by_a("python3", &["-c", HTTP_CLIENT, "PROXY", "A_URL", "B_URL"]);
    }
}

#[test]
fn urllib3_never_gets_one_hosts_answer_for_another() {
    // Debian's Python, which has Debian's urllib3.
    let (python, name) = ("/usr/bin/python3", "urllib3_never_gets_one_hosts_answer_for_another");
    if !has_tool(python, name) {
        return;
    }
    let found = Command::new(python).args(["-c", "import urllib3"]).status().unwrap();
    if found.success() {
        assert_never_answered_by_a(python, &["-c", URLLIB3, "PROXY", "A_URL", "B_URL"]);
    } else {
        skip(name, "it has no urllib3");
    }
}

#[test]
fn ab_finishes_although_the_origin_leaves_its_connections_open() {
    if !has_tool("ab", "ab_finishes_although_the_origin_leaves_its_connections_open") {
        return;
    }
    for (response, failed) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "Non-2xx responses"),
        (
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
            "Non-2xx responses",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "Non-2xx responses",
        ),
        ("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", "Write errors"),
    ] {
        let origin = Open::answering(response.into());
        let proxy = Proxy::serving(&[]);
        for keep_alive in [&[][..], &["-k"]] {
            let mut ab = Command::new("ab");
            ab.args(["-q", "-s", "5", "-n", "20", "-c", "4", "-X", &proxy.address().to_string()]);
            ab.args(keep_alive).arg(format!("http://{}/", origin.address));
            let output = ab.output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let is_done = |line: &str| line.split_whitespace().eq(["Complete", "requests:", "20"]);
            let is_well = output.status.success() && said.lines().any(is_done);
            assert!(is_well && !said.contains(failed), "{response:?}, {keep_alive:?}: {said}");
        }
    }
}
