//! An origin that keeps its connections open, and counts them; and a client that keeps its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::harness::peers::reset;
use crate::harness::program::{PATIENCE, Proxy};

/// Answers every request with its name, the number of the connection, the number of the request on
/// it, and the path. Some paths make it do something else.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// A request as an origin read it.
struct Request {
    method: String,
    path: String,
    head: String,
    body: Vec<u8>,
}

impl Origin {
    pub(crate) fn new(name: &'static str) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), name)
    }

    pub(crate) fn on(listener: TcpListener, name: &'static str) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_nodelay(true).unwrap();
                let connection = counted.fetch_add(1, SeqCst) + 1;
                std::thread::spawn(move || serve(&stream, name, connection));
            }
        });
        Self { address, connections }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request for a path, with these fields.
    pub(crate) fn get(&self, path: &str, fields: &str) -> String {
        format!("GET {} HTTP/1.1\r\nHost: x\r\n{fields}\r\n", self.url(path))
    }

    pub(crate) fn target(&self) -> Option<String> {
        Some(self.address.to_string())
    }
}

fn serve(stream: &TcpStream, name: &str, connection: usize) {
    let mut reader = BufReader::new(stream);
    for count in 1.. {
        let Some(request) = read_request(&mut reader, stream) else { return };
        let Request { method, path, head, body } = &request;
        let text = match &**path {
            "/head" => head.clone(),
            "/body" => format!("{} bytes", body.len()),
            _ => format!("{name} {connection}.{count} {path}"),
        };
        let length = format!("Content-Length: {}", text.len());
        let mut writer = stream;
        let mut write = |text: String| {
            // The proxy may have closed.
            let _ = writer.write_all(text.as_bytes());
        };
        match &**path {
            "/chunked" => {
                let size = text.len();
                write(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x};x\r\n{text}\r\n\
                     0\r\nX: y\r\n\r\n"
                ));
            }
            "/interim" => write(format!(
                "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n{length}\r\n\r\n{text}"
            )),
            "/close" => {
                write(format!("HTTP/1.1 200 OK\r\n{length}\r\nConnection: close\r\n\r\n{text}"));
                return;
            }
            "/then-close" => {
                write(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n{text}"));
                return;
            }
            "/unframed" => {
                write(format!("HTTP/1.1 200 OK\r\n\r\n{text}"));
                return;
            }
            "/extra" => write(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n{text}EXTRA")),
            // What it had not read by then does not matter.
            "/leave" if count > 1 => return,
            "/reset" if count > 1 => return reset(stream.try_clone().unwrap()),
            "/down" => return reset(stream.try_clone().unwrap()),
            "/upgrade" => {
                let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n";
                write(format!("{switching}Connection: Upgrade\r\n\r\n"));
                let _ = std::io::copy(&mut reader, &mut writer);
                return;
            }
            // Authentication of the connection, as NTLM's: the second request on it is let in.
            "/login" if count == 1 => write(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM x\r\nContent-Length: 0\r\n\r\n"
                    .to_owned(),
            ),
            _ if method == "HEAD" => write(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n")),
            _ => write(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n{text}")),
        }
    }
}

fn read_request(reader: &mut impl BufRead, mut stream: &TcpStream) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    if head.contains("\r\nExpect: ") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let length = field("Content-Length: ").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = head.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    Some(Request { method, path, head, body })
}

/// A client that keeps its connection to a proxy.
pub(crate) struct Client(pub(crate) BufReader<TcpStream>);

impl Client {
    pub(crate) fn of(proxy: &Proxy) -> Self {
        Self::on(proxy.connect())
    }

    pub(crate) fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// The head and the body of the next response that has a body by its fields.
    pub(crate) fn read(&mut self) -> (String, String) {
        let head = self.read_head();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let mut body = String::new();
        if field("Transfer-Encoding: ").is_some() {
            while !body.ends_with("\r\n\r\n") {
                assert!(self.0.read_line(&mut body).unwrap() > 0, "the body ends early: {body}");
            }
            return (head, body);
        }
        let length = field("Content-Length: ").map_or(0, |length| length.parse().unwrap());
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        body.push_str(str::from_utf8(&bytes).unwrap());
        (head, body)
    }

    pub(crate) fn read_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "the head ends early: {head}");
        }
        head
    }

    /// The body of the response to a request.
    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.send(request);
        let (head, body) = self.read();
        assert!(!head.to_ascii_lowercase().contains("connection:"), "{head}");
        body
    }

    /// What comes until the proxy ends the connection.
    pub(crate) fn read_to_end(&mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }
}
