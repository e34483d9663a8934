//! Events of destroyed TCP sockets: sock_diag(7) tells whoever listens, any user, the last TCP
//! information of each socket of the network namespace (Linux 4.4).
//!
//! They carry addresses, cookie, queues and TCP information: neither user nor inode nor cgroup, nor
//! the name of the congestion control.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::Socket;

use super::message::{DiagSocket, Message, messages};
use super::sock_diag::netlink_socket;

/// `SKNLGRP_INET_TCP_DESTROY` (1) and `SKNLGRP_INET6_TCP_DESTROY` (3) of linux/sock_diag.h, as bits:
/// the first group is the lowest one.
const GROUPS: u32 = 0b101;

/// An event has some 400 bytes.
const BUFFER: usize = 4096;

/// A socket that receives events.
#[derive(Debug)]
pub(crate) struct DestroyEvents {
    socket: Socket,
    buffer: Vec<u8>,
}

/// What reading all waiting events has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    /// How many events there were.
    pub(crate) events: usize,
    /// The receive buffer was full, and the kernel has dropped events.
    pub(crate) overflowed: bool,
}

impl DestroyEvents {
    /// Begins to receive. The kernel accounts some 1 kB of `receive_buffer`, in bytes, for each
    /// event that waits; without CAP_NET_ADMIN it grants at most net.core.rmem_max.
    pub(crate) fn open(receive_buffer: usize) -> io::Result<Self> {
        let socket = netlink_socket()?;
        if set_socket_recv_buffer_size_force(&socket, receive_buffer).is_err() {
            socket.set_recv_buffer_size(receive_buffer)?;
        }
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// Calls `each` with every event that waits. Never blocks.
    ///
    /// # Errors
    ///
    /// The socket cannot be read.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(DiagSocket<'_>)) -> io::Result<Drained> {
        let mut drained = Drained::default();
        loop {
            match (&self.socket).read(&mut self.buffer) {
                Ok(length) => {
                    for message in messages(self.buffer.get(..length).unwrap_or_default()) {
                        if let Message::Socket(socket) = message {
                            drained.events += 1;
                            each(socket);
                        }
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    drained.overflowed = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(drained),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for DestroyEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    /// Makes a connection that sends three bytes, and ends it.
    fn short_connection(address: &str) -> [std::net::SocketAddr; 2] {
        let listener = TcpListener::bind(address).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"abc").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut accepted, peer) = listener.accept().unwrap();
        io::copy(&mut accepted, &mut io::sink()).unwrap();
        [peer, listener.local_addr().unwrap()]
    }

    #[test]
    fn the_end_of_a_socket_comes_with_its_last_tcp_information() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let mut events = DestroyEvents::open(1 << 20).unwrap();
            let [client, server] = short_connection(address);
            let mut acked = None;
            let deadline = Instant::now() + Duration::from_secs(10);
            while acked.is_none() && Instant::now() < deadline {
                let note = |socket: DiagSocket<'_>| {
                    if (socket.local(), socket.remote()) == (client, server) {
                        let info = socket.snapshot().unwrap().decode();
                        acked = info.sys_info.linux().unwrap().bytes_acked;
                    }
                };
                events.drain(note).unwrap();
                std::thread::yield_now();
            }
            // SYN, three bytes, FIN.
            assert_eq!(acked, Some(5));
        }
    }

    #[test]
    fn a_full_buffer_is_told_once() {
        let mut events = DestroyEvents::open(2048).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut drained = Drained::default();
        while !drained.overflowed && Instant::now() < deadline {
            for _ in 0..20 {
                short_connection("127.0.0.1:0");
            }
            drained = events.drain(|_| ()).unwrap();
        }
        assert!(drained.overflowed && drained.events < 20, "{drained:?}");
    }
}
