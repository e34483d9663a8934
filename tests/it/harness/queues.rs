//! What waits in the queues of a connection on this machine, by sock_diag(7): a sender learns that
//! the other end has read all that it sent.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::program::PATIENCE;

/// `AF_NETLINK`, `NETLINK_SOCK_DIAG`, `SOCK_DIAG_BY_FAMILY` and `NLM_F_REQUEST`.
const NETLINK: i32 = 16;
const SOCK_DIAG: i32 = 4;
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;

/// `AF_INET` and `IPPROTO_TCP`.
const INET: u8 = 2;
const TCP: u8 = 6;

/// `INET_DIAG_INFO`: its attribute, and the bit that asks for it.
const INFO: u16 = 2;
const WITH_INFO: u8 = 1 << (INFO - 1);

/// The offsets of `idiag_dport` and `idiag_rqueue` behind the `nlmsghdr`, the end of `inet_diag_msg`, and the offset of
/// `tcpi_bytes_received` in `tcp_info`.
const PEER_PORT: usize = 16 + 6;
const UNREAD: usize = 16 + 56;
const ATTRIBUTES: usize = 16 + 72;
const RECEIVED: usize = 128;

/// A socket to ask by, in the network namespace of the thread that opens it.
pub(crate) struct Queues(Socket);

impl Queues {
    pub(crate) fn open() -> Self {
        let protocol = Some(Protocol::from(SOCK_DIAG));
        Self(Socket::new(Domain::from(NETLINK), Type::DGRAM, protocol).unwrap())
    }

    /// Waits until the program at the other end of `stream` has read all of the `sent` bytes that were
    /// written to it so far, or has closed its socket. (Acknowledged says less: it may not have been
    /// read; and may come later: by a delayed ACK.)
    pub(crate) fn wait_until_read(&self, stream: &TcpStream, sent: usize) {
        // Without a peer, the connection has been reset.
        let (here, Ok(there)) = (stream.local_addr().unwrap(), stream.peer_addr()) else { return };
        let began = Instant::now();
        while let Some((received, unread)) = self.received_and_unread(there, here) {
            if received >= sent as u64 && unread == 0 {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "the other end does not read");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// How many bytes the socket with these addresses has received, and how many of them wait to be
    /// read.
    fn received_and_unread(&self, local: SocketAddr, peer: SocketAddr) -> Option<(u64, u32)> {
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (local, peer) else {
            panic!("only IPv4 is asked for")
        };
        let [source, destination] = [from, to].map(|address| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.ip().octets());
            bytes
        });
        let mut request = [
            &0_u32.to_ne_bytes()[..],
            &BY_FAMILY.to_ne_bytes(),
            &REQUEST.to_ne_bytes(),
            &[0; 8], // sequence and port
            &[INET, TCP, WITH_INFO, 0],
            &u32::MAX.to_ne_bytes(), // any state
            &from.port().to_be_bytes(),
            &to.port().to_be_bytes(),
            &source,
            &destination,
            &0_u32.to_ne_bytes(),    // any interface
            &u64::MAX.to_ne_bytes(), // no cookie
        ]
        .concat();
        let length = u32::try_from(request.len()).unwrap();
        request[..4].copy_from_slice(&length.to_ne_bytes());
        self.0.send(&request).unwrap();
        let mut answer = vec![0; 4096];
        let length = (&self.0).read(&mut answer).unwrap();
        answer.truncate(length);
        // A listener on the port is found as well; it has no peer.
        if answer[4..6] != BY_FAMILY.to_ne_bytes() || answer[PEER_PORT..PEER_PORT + 2] == [0, 0] {
            return None;
        }
        let unread = u32::from_ne_bytes(answer[UNREAD..UNREAD + 4].try_into().unwrap());
        let info = attribute(&answer[ATTRIBUTES..], INFO)?;
        let received = u64::from_ne_bytes(info[RECEIVED..RECEIVED + 8].try_into().unwrap());
        Some((received, unread))
    }
}

/// The attribute of this kind (`struct rtattr`, aligned to 4 bytes).
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [a, b, c, d, ..] = *bytes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        if u16::from_ne_bytes([c, d]) == wanted {
            return bytes.get(4..length);
        }
        bytes = bytes.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}

#[test]
fn bytes_are_seen_until_they_are_read() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let queues = Queues::open();
    queues.wait_until_read(&client, 0);
    std::io::Write::write_all(&mut client, b"hello").unwrap();
    assert_eq!(queues.received_and_unread(there, here), Some((5, 5)));
    accepted.read_exact(&mut [0; 5]).unwrap();
    queues.wait_until_read(&client, 5);
    assert_eq!(queues.received_and_unread(there, here), Some((5, 0)));
    assert_eq!(queues.received_and_unread(there, "127.0.0.1:1".parse().unwrap()), None);
}
