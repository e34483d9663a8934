//! Clients and upstreams: plain sockets on threads.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use socket2::SockRef;

use super::noise::Noise;
use super::program::PATIENCE;

/// An upstream that serves one connection on a thread.
pub(crate) struct Upstream<T> {
    pub(crate) address: SocketAddr,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Upstream<T> {
    /// Accepts one connection and lets `serve` have it.
    pub(crate) fn once(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, serve)
    }

    pub(crate) fn on(
        listener: TcpListener,
        serve: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            serve(stream)
        });
        Self { address, thread }
    }

    /// What `serve` returned.
    pub(crate) fn join(self) -> T {
        self.thread.join().unwrap()
    }
}

/// An echo server for any number of connections, until the test's process ends.
pub(crate) fn echo_server() -> SocketAddr {
    echo_server_on("127.0.0.1:0")
}

pub(crate) fn echo_server_on(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = &stream;
                let mut writer = &stream;
                // Clients of these tests end in all ways.
                let _ = io::copy(&mut reader, &mut writer);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

/// A port on which nobody listens, and which nobody else gets while this is held.
pub(crate) fn deaf_port() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Ends a connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Bytes that look random and are the same every time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Noise::seeded(0).fill(&mut bytes);
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One request and its answer, to show that a pair is up.
pub(crate) fn exchange(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).unwrap();
    let mut answer = vec![0; request.len()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// Reads to the end of stream.
pub(crate) fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

/// Reads until the connection is reset; what came before it.
pub(crate) fn read_until_reset(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => all,
        other => panic!("expected a reset after {} bytes, got {other:?}", all.len()),
    }
}

/// Where a server answers as if it were far away: what it says comes so much later.
pub(crate) fn far_away(server: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(server).unwrap();
            for end in [&near, &far] {
                end.set_nodelay(true).unwrap();
            }
            pass_on(near.try_clone().unwrap(), far.try_clone().unwrap(), Duration::ZERO);
            pass_on(far, near, delay);
        }
    });
    address
}

/// Passes on what comes, and its end, each piece so much later. What the other one no longer wants
/// is its own affair.
fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, on_its_way) = channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(bytes) = from.read(&mut buffer) {
            let sent = sender.send((Instant::now() + delay, buffer[..bytes].to_vec()));
            if bytes == 0 || sent.is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((due, bytes)) = on_its_way.recv() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if bytes.is_empty() {
                let _ = to.shutdown(Shutdown::Write);
            } else if to.write_all(&bytes).is_err() {
                return;
            }
        }
    });
}
