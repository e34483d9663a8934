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

/// The offsets of `idiag_rqueue` and `idiag_wqueue` behind the `nlmsghdr`.
const RECEIVE_QUEUE: usize = 16 + 56;
const SEND_QUEUE: usize = 16 + 60;

/// A socket to ask by, in the network namespace of the thread that opens it.
pub(crate) struct Queues(Socket);

impl Queues {
    pub(crate) fn open() -> Self {
        let protocol = Some(Protocol::from(SOCK_DIAG));
        Self(Socket::new(Domain::from(NETLINK), Type::DGRAM, protocol).unwrap())
    }

    /// Waits until the program at the other end of `stream` has read all that was written to it, or
    /// has closed its socket.
    pub(crate) fn wait_until_read(&self, stream: &TcpStream) {
        let (here, there) = (stream.local_addr().unwrap(), stream.peer_addr());
        // Without a peer, the connection has been reset.
        let Ok(there) = there else { return };
        let began = Instant::now();
        loop {
            let unsent = self.lengths(here, there).map(|(_, send)| send);
            let unread = self.lengths(there, here).map(|(receive, _)| receive);
            match (unsent, unread) {
                (Some(0), Some(0)) | (None, _) | (_, None) => return,
                _ => {}
            }
            assert!(began.elapsed() < PATIENCE, "the other end does not read");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// The receive queue and the send queue of the socket with these addresses, in bytes.
    fn lengths(&self, local: SocketAddr, peer: SocketAddr) -> Option<(u32, u32)> {
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
            &[INET, TCP, 0, 0],
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
        let mut answer = [0; 1024];
        let length = (&self.0).read(&mut answer).unwrap();
        let is_socket = answer[4..6] == BY_FAMILY.to_ne_bytes() && length > SEND_QUEUE + 4;
        let number = |at: usize| u32::from_ne_bytes(answer[at..at + 4].try_into().unwrap());
        is_socket.then(|| (number(RECEIVE_QUEUE), number(SEND_QUEUE)))
    }
}

#[test]
fn bytes_are_seen_until_they_are_read() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let queues = Queues::open();
    queues.wait_until_read(&client);
    std::io::Write::write_all(&mut client, b"hello").unwrap();
    assert_eq!(queues.lengths(there, here), Some((5, 0)));
    accepted.read_exact(&mut [0; 5]).unwrap();
    queues.wait_until_read(&client);
    assert_eq!(queues.lengths(there, here), Some((0, 0)));
    assert_eq!(queues.lengths(there, "127.0.0.1:1".parse().unwrap()), None);
}
