//! The upstream: a process of its own with one port a kind of service.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::server;

/// Bytes of one bulk transfer.
pub(crate) const BULK: u64 = 2 << 30;
pub(crate) const CHUNK: usize = 256 << 10;

/// Bytes of the body of one HTTP answer.
pub(crate) const ANSWER: usize = 1024;

/// What an origin's port does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Sends [`BULK`] bytes and ends.
    Source,
    /// Reads to the end of stream, then ends.
    Sink,
    /// Sends back what comes.
    Echo,
    /// The same by one thread, for thousands of connections.
    EchoMany,
    /// Answers GET requests, any number a connection.
    Http,
}

impl Service {
    pub(crate) const ALL: [Service; 5] =
        [Service::Source, Service::Sink, Service::Echo, Service::EchoMany, Service::Http];

    /// Those to which a proxy has a port of its own.
    pub(crate) const FORWARDED: [Service; 4] =
        [Service::Source, Service::Sink, Service::Echo, Service::EchoMany];
}

/// The origin as its parent sees it; it ends with its standard input.
pub(crate) struct Origin {
    child: Child,
    addresses: Vec<SocketAddr>,
}

/// A process of this program in another role, which says where its services are.
pub(crate) fn started(role: &[&str], services: usize) -> (Child, Vec<SocketAddr>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--role")
        .args(role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.as_mut().unwrap());
    let lines = said.lines().take(services);
    let addresses = lines.map(|line| line.unwrap().parse().unwrap()).collect();
    (child, addresses)
}

impl Origin {
    pub(crate) fn start() -> Self {
        let (child, addresses) = started(&["origin"], Service::ALL.len());
        Self { child, addresses }
    }

    pub(crate) fn address(&self, service: Service) -> SocketAddr {
        self.addresses[Service::ALL.iter().position(|&s| s == service).unwrap()]
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A listener on a free port, which it says on standard output.
pub(crate) fn listener() -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(4096).unwrap();
    let listener = TcpListener::from(socket);
    println!("{}", listener.local_addr().unwrap());
    listener
}

/// The process: serves until its standard input ends.
pub(crate) fn serve() {
    for service in Service::ALL {
        let listener = listener();
        if service == Service::EchoMany {
            std::thread::spawn(|| server::echo_all(listener));
            continue;
        }
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Small stacks: there may be thousands.
                let thread = std::thread::Builder::new().stack_size(64 << 10);
                thread.spawn(move || one(service, &stream)).unwrap();
            }
        });
    }
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// One connection; how it ends is the client's business.
fn one(service: Service, mut stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    match service {
        Service::Source => {
            let chunk = vec![7; CHUNK];
            let mut left = BULK;
            while left > 0 {
                let bytes = left.min(CHUNK as u64) as usize;
                if stream.write_all(&chunk[..bytes]).is_err() {
                    return;
                }
                left -= bytes as u64;
            }
        }
        Service::Sink => {
            let mut chunk = vec![0; CHUNK];
            while stream.read(&mut chunk).is_ok_and(|bytes| bytes > 0) {}
        }
        Service::Echo | Service::EchoMany => {
            let mut chunk = [0; 4096];
            while let Ok(bytes @ 1..) = stream.read(&mut chunk) {
                if stream.write_all(&chunk[..bytes]).is_err() {
                    return;
                }
            }
        }
        Service::Http => answer_gets(stream),
    }
    let _ = stream.shutdown(Shutdown::Write);
}

/// Answers requests without bodies, one after another, until the client ends or asks for the end.
fn answer_gets(mut stream: &TcpStream) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER}\r\n\r\n");
    let answer = [head.as_bytes(), &[b'7'; ANSWER]].concat();
    let (mut request, mut length) = ([0; 4096], 0);
    loop {
        match stream.read(&mut request[length..]) {
            Ok(bytes @ 1..) => length += bytes,
            _ => return,
        }
        if !request[..length].ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8_lossy(&request[..length]).to_ascii_lowercase();
        let is_last = head.contains("http/1.0\r\n") || head.contains("connection: close\r\n");
        if stream.write_all(&answer).is_err() || is_last {
            return;
        }
        length = 0;
    }
}
