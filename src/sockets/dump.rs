//! All TCP sockets of the network namespace at one moment, by sock_diag(7).

use std::io::{self, Read};

use socket2::Socket;

use super::message::{DiagSocket, Message, messages};
use super::request::{self, Family};
use super::sock_diag::netlink_socket;

/// The kernel fills at most this much at once (net/netlink/af_netlink.c): some 80 sockets.
const BUFFER: usize = 32 << 10;

/// Asks for all sockets.
#[derive(Debug)]
pub(crate) struct Dumper {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Dumper {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: netlink_socket()?, buffer: vec![0; BUFFER] })
    }

    /// Calls `each` with every socket: listeners, connections, and those that are still being made.
    /// `between` runs after each part of the answer, so that a long dump delays nothing else for
    /// long.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or cannot tell about TCP sockets.
    pub(crate) fn dump(
        &mut self,
        mut each: impl FnMut(DiagSocket<'_>),
        mut between: impl FnMut(),
    ) -> io::Result<()> {
        self.dump_family(Family::V4, &mut each, &mut between)?;
        match self.dump_family(Family::V6, &mut each, &mut between) {
            // A kernel without IPv6.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        }
    }

    fn dump_family(
        &mut self,
        family: Family,
        each: &mut impl FnMut(DiagSocket<'_>),
        between: &mut impl FnMut(),
    ) -> io::Result<()> {
        self.socket.send(&request::dump(family))?;
        loop {
            let length = (&self.socket).read(&mut self.buffer)?;
            for message in messages(self.buffer.get(..length).unwrap_or_default()) {
                match message {
                    Message::Socket(socket) => each(socket),
                    Message::Done => return Ok(()),
                    Message::Error(error) => return Err(error),
                    Message::Other => {}
                }
            }
            between();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::tcp_info::State;

    #[test]
    fn a_dump_has_the_listener_and_both_ends_with_their_tcp_information() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let listening = listener.local_addr().unwrap();
            let client = TcpStream::connect(listening).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            let mut found = Vec::new();
            let mut dumper = Dumper::open().unwrap();
            // The socket can be used again.
            for _ in 0..2 {
                found.clear();
                let note = |socket: DiagSocket<'_>| {
                    if [socket.local(), socket.remote()].contains(&listening) {
                        let info = socket.snapshot().unwrap().decode();
                        let state = info.state.unwrap();
                        found.push((socket.local(), socket.remote().port(), state));
                    }
                };
                dumper.dump(note, || ()).unwrap();
            }
            assert!(found.contains(&(listening, 0, State::Listen)), "{found:?}");
            assert!(found.contains(&(listening, peer.port(), State::Established)), "{found:?}");
            assert!(found.contains(&(peer, listening.port(), State::Established)), "{found:?}");
            assert_eq!(found.len(), 3, "{found:?}");
            drop((client, accepted));
        }
    }
}
