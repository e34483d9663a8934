//! A proxy, origin A that answers as it likes, origin B, and a client that keeps its connection.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::response::{find, parse};
use crate::harness::program::Proxy;
use crate::harness::queues::Queues;

/// What A says of its own accord. No client may ever take it for B's answer.
pub(super) const POISON: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON";

/// B's answer.
pub(super) const SECRET: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nFROM-B";

/// A's answer to the request after that.
pub(super) const AGAIN: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nFROM-A-AGAIN";

/// Whoever has said nothing for so long keeps a connection open that should have been closed.
const SILENCE: Duration = Duration::from_secs(5);

/// How the proxy reaches A and B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    /// Through a parent proxy that answers for both.
    Parent,
}

/// When A says more than its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Poison {
    Never,
    /// In the same write.
    AtOnce,
    /// When the client has sent its request for B.
    Later,
}

pub(super) struct Lab {
    pub(super) proxy: Proxy,
    way: Way,
    a: SocketAddr,
    b: SocketAddr,
    /// Who waits for the connection with this number's request.
    waiting: Waiting,
    last: AtomicU64,
}

/// One exchange with A: what its origin sends, and how.
pub(super) struct Exchange<'c> {
    pub(super) method: &'c str,
    pub(super) sent: &'c [u8],
    /// It comes in two pieces that the proxy reads one by one.
    pub(super) cut: Option<usize>,
    pub(super) ends: bool,
    pub(super) poison: Poison,
    /// The requests after the first one are in the same packet.
    pub(super) pipelined: bool,
}

/// All that a client received.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    /// The proxy ended the connection.
    pub(super) is_over: bool,
    pub(super) port: u16,
}

impl Lab {
    pub(super) fn new(way: Way) -> Self {
        let waiting = Waiting::default();
        let [a, b] = [(); 2].map(|()| origin(Arc::clone(&waiting)));
        let proxy = match way {
            Way::Direct => Proxy::serving(&[]),
            Way::Parent => Proxy::serving(&["--via", &format!("http://{a}")]),
        };
        Self { proxy, way, a, b, waiting, last: AtomicU64::new(0) }
    }

    fn authorities(&self) -> [String; 2] {
        match self.way {
            Way::Direct => [self.a, self.b].map(|address| address.to_string()),
            // Nobody but the parent can know these names (RFC 6761).
            Way::Parent => ["a.invalid", "b.invalid"].map(str::to_owned),
        }
    }

    fn next_number(&self) -> (u64, Receiver<TcpStream>) {
        let number = self.last.fetch_add(1, Relaxed) + 1;
        let (sender, connection) = channel();
        self.waiting.lock().unwrap().insert(number, sender);
        (number, connection)
    }

    /// A client asks A, then, on the same connection, B, and A again.
    pub(super) fn run(&self, exchange: &Exchange<'_>) -> Received {
        let (number, connection) = self.next_number();
        let [a, b] = self.authorities();
        let method = exchange.method;
        let ask_a = format!("{method} http://{a}/{number} HTTP/1.1\r\nHost: {a}\r\n\r\n");
        let ask_b = format!("GET http://{b}/secret HTTP/1.1\r\nHost: {b}\r\n\r\n");
        let ask_again = format!("GET http://{a}/again HTTP/1.1\r\nHost: {a}\r\n\r\n");
        let mut client = Client::new(&self.proxy);
        let others = [&*ask_b, &*ask_again].concat();
        let first = [&*ask_a, if exchange.pipelined { &*others } else { "" }].concat();
        client.stream.write_all(first.as_bytes()).unwrap();
        let Ok(mut origin) = connection.recv_timeout(SILENCE) else {
            client.read_to_end();
            return client.received;
        };
        exchange.answer(&mut origin);
        let again = origin.try_clone().unwrap();
        std::thread::spawn(move || serve(again, None));
        client.read_until(|bytes| {
            !matches!(parse(bytes, method), Ok(Some(response)) if response.is_whole == Some(true))
        });
        if client.is_silent {
            return client.received;
        }
        if !exchange.pipelined {
            // The proxy may have closed, as it should.
            let _ = client.stream.write_all(ask_b.as_bytes());
        }
        if exchange.poison == Poison::Later {
            let _ = origin.write_all(POISON);
        }
        if !exchange.pipelined {
            client.read_until(|bytes| find(bytes, b"FROM-B").is_none());
            let _ = client.stream.write_all(ask_again.as_bytes());
        }
        client.read_to_end();
        client.received
    }

    /// A client asks the parent for a tunnel.
    pub(super) fn connect(&self, exchange: &Exchange<'_>) -> Received {
        let (number, connection) = self.next_number();
        let mut client = Client::new(&self.proxy);
        write!(client.stream, "CONNECT t{number}.invalid:443 HTTP/1.1\r\n\r\n").unwrap();
        let mut parent = connection.recv_timeout(SILENCE).unwrap();
        exchange.answer(&mut parent);
        client.read_until(|bytes| find(bytes, b"BANNER").is_none());
        client.received
    }
}

impl Exchange<'_> {
    /// The proxy may have refused the first piece and closed.
    fn answer(&self, origin: &mut TcpStream) {
        origin.set_nodelay(true).unwrap();
        let (first, second) = self.sent.split_at(self.cut.unwrap_or_default());
        if self.cut.is_some() {
            let _ = origin.write_all(first);
            Queues::open().wait_until_read(origin, first.len());
        }
        let poison = if self.poison == Poison::AtOnce { POISON } else { &[] };
        let _ = origin.write_all(&[second, poison].concat());
        if self.ends {
            let _ = origin.shutdown(Shutdown::Write);
        }
    }
}

struct Client {
    stream: TcpStream,
    received: Received,
    /// The proxy has said nothing for too long.
    is_silent: bool,
}

impl Client {
    fn new(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let port = stream.local_addr().unwrap().port();
        let received = Received { bytes: Vec::new(), is_over: false, port };
        Self { stream, received, is_silent: false }
    }

    fn read_to_end(&mut self) {
        self.read_until(|_| true);
    }

    fn read_until(&mut self, goes_on: impl Fn(&[u8]) -> bool) {
        let mut buffer = vec![0; 65_536];
        while !self.received.is_over && goes_on(&self.received.bytes) {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.received.is_over = true,
                Ok(length) => self.received.bytes.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_silent = true;
                    return;
                }
                Err(_) => self.received.is_over = true,
            }
        }
    }
}

/// Who waits for the connection with a number's request.
type Waiting = Arc<Mutex<HashMap<u64, Sender<TcpStream>>>>;

/// Listens for both A and B, and for the parent of both: by its path, a request is for B, for A again,
/// or for the exchange with this number.
fn origin(waiting: Waiting) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let waiting = Arc::clone(&waiting);
            std::thread::spawn(move || serve(stream, Some(waiting)));
        }
    });
    address
}

/// Answers the requests on a connection, until one is for an exchange.
fn serve(mut stream: TcpStream, waiting: Option<Waiting>) {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let end = loop {
            match find(&bytes, b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => match stream.read(&mut buffer) {
                    Ok(length @ 1..) => bytes.extend_from_slice(&buffer[..length]),
                    _ => return,
                },
            }
        };
        let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
        let asked = head.split_whitespace().nth(1).unwrap_or_default();
        let answer = match asked.rsplit_once('/') {
            Some((_, "secret")) => SECRET,
            Some((_, "again")) => AGAIN,
            _ => {
                let digits = |c: char| !c.is_ascii_digit();
                let number = match asked.rsplit_once('/') {
                    Some((_, number)) => number,
                    None => asked.split('.').next().unwrap_or_default().trim_start_matches(digits),
                };
                let waiting = waiting
                    .as_ref()
                    .and_then(|waiting| waiting.lock().unwrap().remove(&number.parse().ok()?));
                if let Some(waiting) = waiting {
                    // It may have stopped waiting.
                    let _ = waiting.send(stream);
                }
                return;
            }
        };
        let _ = stream.write_all(answer);
    }
}
