//! A sock_diag(7) query for one connection. /proc/net/tcp would list all connections, and may skip
//! some while they come and go.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const BY_FAMILY: u16 = 20;

/// `nlmsghdr`, and with it `inet_diag_req_v2` and `inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
const ANSWER: usize = HEADER + 72;

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

/// `TCP_FIN_WAIT1`, `TCP_LAST_ACK` and `TCP_CLOSING` (net/tcp_states.h).
const CLOSING: [u8; 3] = [4, 9, 11];

/// A sock_diag socket.
#[derive(Debug)]
pub(crate) struct SockDiag(Socket);

impl SockDiag {
    pub(crate) fn open() -> io::Result<Self> {
        let protocol = Protocol::from(libc::NETLINK_SOCK_DIAG);
        Socket::new(Domain::from(libc::AF_NETLINK), Type::DGRAM, Some(protocol)).map(Self)
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
        self.0.send(&request(socket, peer))?;
        // The kernel answers before send(2) returns.
        let mut buffer = [0; 1024];
        let length = (&self.0).read(&mut buffer)?;
        answer(buffer.get(..length).unwrap_or_default())
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small constants")]
fn request(socket: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let family = if socket.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    };
    let scope = match socket {
        SocketAddr::V6(socket) => socket.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let any_state = u32::MAX;
    let no_cookie = u64::MAX;
    [
        &(REQUEST as u32).to_ne_bytes()[..],
        &BY_FAMILY.to_ne_bytes(),
        &(libc::NLM_F_REQUEST as u16).to_ne_bytes(),
        &[0; 8], // sequence and port
        &[family as u8, libc::IPPROTO_TCP as u8, 0, 0],
        &any_state.to_ne_bytes(),
        &socket.port().to_be_bytes(),
        &peer.port().to_be_bytes(),
        &address(socket.ip()),
        &address(peer.ip()),
        &scope.to_ne_bytes(),
        &no_cookie.to_ne_bytes(),
    ]
    .concat()
}

/// Parses the answer: `inet_diag_msg`, or an errno in `nlmsgerr`.
pub(super) fn answer(message: &[u8]) -> io::Result<Option<SocketOwner>> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?))
    };
    let kind = message.get(4..6).and_then(|kind| kind.try_into().ok());
    match kind.map(u16::from_ne_bytes) {
        Some(BY_FAMILY) if message.len() >= ANSWER => {
            let is_connected = message.get(HEADER + 6..HEADER + 8) != Some(&[0, 0]);
            let is_closing = message.get(HEADER + 1).is_some_and(|state| CLOSING.contains(state));
            let owner = number(HEADER + 64).zip(number(HEADER + 68)).map(|(uid, inode)| {
                SocketOwner { uid, inode: (inode != 0).then_some(inode), is_closing }
            });
            Ok(owner.filter(|_| is_connected))
        }
        Some(kind) if i32::from(kind) == libc::NLMSG_ERROR => {
            let errno = number(HEADER).map_or(0, |errno| errno.cast_signed().saturating_neg());
            match errno {
                libc::ENOENT => Ok(None),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
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
