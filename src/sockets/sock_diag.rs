//! A sock_diag(7) query for one connection. /proc/net/tcp would list all connections, and may skip
//! some while they come and go.

use std::io::{self, Read};
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::message::{Message, messages};
use super::request;
use crate::tcp_info::State;

/// Who holds a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The user that created it.
    pub(crate) uid: u32,
    /// The socket's inode, as /proc shows it.
    pub(crate) inode: u32,
}

/// The owner of a connected socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketOwner {
    /// The user that made it. Of a socket that its program has closed, 0 may mean that the kernel
    /// does not know it any more.
    pub(crate) uid: u32,
    /// `None` when its program has closed it.
    pub(crate) inode: Option<u32>,
    /// The peer has not acknowledged yet that it is closed. Later, the kernel only keeps its
    /// addresses.
    pub(crate) is_closing: bool,
}

/// A netlink socket of sock_diag.
pub(super) fn netlink_socket() -> io::Result<Socket> {
    let protocol = Protocol::from(libc::NETLINK_SOCK_DIAG);
    Socket::new(Domain::from(libc::AF_NETLINK), Type::DGRAM, Some(protocol))
}

/// A sock_diag socket.
#[derive(Debug)]
pub(crate) struct SockDiag(Socket);

impl SockDiag {
    pub(crate) fn open() -> io::Result<Self> {
        netlink_socket().map(Self)
    }

    /// Who holds the socket whose own address is `socket` and whose peer is `peer`. `None` when there
    /// is no such connection, or nobody holds the socket any more.
    pub(crate) fn holder(
        &self,
        socket: SocketAddr,
        peer: SocketAddr,
    ) -> io::Result<Option<Holder>> {
        let holder = |SocketOwner { uid, inode, .. }| Some(Holder { uid, inode: inode? });
        Ok(self.owner(socket, peer)?.and_then(holder))
    }

    /// The owner of that socket, also after it was closed.
    pub(crate) fn owner(
        &self,
        socket: SocketAddr,
        peer: SocketAddr,
    ) -> io::Result<Option<SocketOwner>> {
        self.0.send(&request::lookup(socket, peer))?;
        // The kernel answers before send(2) returns.
        let mut buffer = [0; 1024];
        let length = (&self.0).read(&mut buffer)?;
        answer(buffer.get(..length).unwrap_or_default())
    }
}

/// The owner in the answer: that of a connection, not of a listener on its port.
pub(super) fn answer(bytes: &[u8]) -> io::Result<Option<SocketOwner>> {
    match messages(bytes).next() {
        Some(Message::Socket(socket)) => {
            let closing = [State::FinWait1, State::LastAck, State::Closing];
            let is_closing = socket.state().is_some_and(|state| closing.contains(&state));
            let owner = SocketOwner { uid: socket.uid(), inode: socket.inode(), is_closing };
            Ok(Some(owner).filter(|_| socket.remote().port() != 0))
        }
        Some(Message::Error(error)) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Some(Message::Error(error)) => Err(error),
        Some(Message::Done | Message::Other) | None => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use socket2::SockAddr;

    use super::*;

    fn user(socket: SocketAddr, peer: SocketAddr) -> Option<u32> {
        SockDiag::open().unwrap().holder(socket, peer).unwrap().map(|holder| holder.uid)
    }

    fn own() -> Option<u32> {
        Some(rustix::process::geteuid().as_raw())
    }

    #[test]
    fn the_kernel_knows_the_user_of_either_end_in_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            assert_eq!(user(here, there), own());
            let (_accepted, _) = listener.accept().unwrap();
            assert_eq!(user(there, here), own());
        }
    }

    #[test]
    fn an_ipv6_socket_that_speaks_ipv4_is_found_by_its_ipv4_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{port}").parse().unwrap();
        client.connect(&SockAddr::from(mapped)).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        assert_eq!(user(peer, accepted.local_addr().unwrap()), own());
    }

    #[test]
    fn a_socket_that_its_program_has_closed_is_nobodys() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        drop(client);
        assert_eq!(user(here, there), None);
    }

    #[test]
    fn a_listener_on_the_port_is_not_taken_for_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert_eq!(user(listener.local_addr().unwrap(), nobody), None);
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        for message in [&[][..], &[0; 15], &[0; 16], &[20; 40], &[2, 0, 0, 0, 2, 0]] {
            assert!(answer(message).is_err(), "{message:?}");
        }
    }
}
