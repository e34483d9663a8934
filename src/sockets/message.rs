//! What sock_diag(7) answers: netlink messages with `inet_diag_msg` (linux/inet_diag.h).
//!
//! Pure functions of bytes. netlink-packet-sock-diag would copy every attribute into memory of its
//! own, some ten times for each socket of a dump; here they stay where the kernel put them.
#![cfg_attr(not(feature = "watch"), allow(dead_code, reason = "only a watch makes dumps"))]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::tcp_info::{Snapshot, State};

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
pub(super) const BY_FAMILY: u16 = 20;

/// Sizes of `nlmsghdr`, `inet_diag_msg` and `nlattr`.
const HEADER: usize = 16;
const SOCKET: usize = 72;
const ATTRIBUTE: usize = 4;

/// Types of attributes (linux/inet_diag.h).
mod attribute {
    pub(super) const INFO: u16 = 2;
    pub(super) const VEGAS_INFO: u16 = 3;
    pub(super) const CONGESTION: u16 = 4;
    pub(super) const DCTCP_INFO: u16 = 9;
    pub(super) const BBR_INFO: u16 = 16;
    pub(super) const CGROUP_ID: u16 = 21;
}

/// A netlink message.
#[derive(Debug)]
pub(super) enum Message<'b> {
    Socket(DiagSocket<'b>),
    /// The end of a dump.
    Done,
    /// The kernel refused the request.
    Error(io::Error),
    /// Of no interest here.
    Other,
}

/// A socket as sock_diag describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiagSocket<'b> {
    /// `inet_diag_msg`.
    fixed: &'b [u8; SOCKET],
    /// Attributes, one after the other.
    attributes: &'b [u8],
}

/// The messages in what one recv(2) returned. What is cut off at its end is left out.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let length = usize::try_from(u32_at(header, 0)).ok()?;
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(message(u16_at(header, 4), body))
    })
}

fn message(kind: u16, body: &[u8]) -> Message<'_> {
    match (kind, i32::from(kind)) {
        (BY_FAMILY, _) => match body.split_first_chunk() {
            Some((fixed, attributes)) => Message::Socket(DiagSocket { fixed, attributes }),
            None => Message::Error(io::ErrorKind::InvalidData.into()),
        },
        (_, libc::NLMSG_DONE) => match errno(body) {
            None | Some(0) => Message::Done,
            Some(errno) => Message::Error(io::Error::from_raw_os_error(errno)),
        },
        (_, libc::NLMSG_ERROR) => match errno(body) {
            None => Message::Error(io::ErrorKind::InvalidData.into()),
            Some(errno) => Message::Error(io::Error::from_raw_os_error(errno)),
        },
        _ => Message::Other,
    }
}

/// The errno of an `nlmsgerr`, or of the end of a dump, where it is negative.
fn errno(body: &[u8]) -> Option<i32> {
    let (errno, _) = body.split_first_chunk::<4>()?;
    Some(i32::from_ne_bytes(*errno).saturating_neg())
}

impl<'b> DiagSocket<'b> {
    /// The state; `None` for one that is not known here.
    pub(crate) fn state(&self) -> Option<State> {
        State::from_linux(self.fixed[1])
    }

    /// The socket's own address. IPv4 addresses of IPv6 sockets are IPv4 addresses.
    pub(crate) fn local(&self) -> SocketAddr {
        self.address(4, 8)
    }

    /// The peer's address; port 0 when it has none.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.address(6, 24)
    }

    /// Identifies the socket as long as the machine runs.
    pub(crate) fn cookie(&self) -> u64 {
        u64::from(u32_at(self.fixed, 44)) | u64::from(u32_at(self.fixed, 48)) << 32
    }

    /// Bytes written and not acknowledged, with our FIN.
    pub(crate) fn send_queue(&self) -> u32 {
        u32_at(self.fixed, 60)
    }

    /// The user that created it. Absent in messages on a socket's end, which say 0.
    pub(crate) fn uid(&self) -> u32 {
        u32_at(self.fixed, 64)
    }

    /// The inode, as /proc shows it. `None` before it is accepted and after its program has closed
    /// it.
    pub(crate) fn inode(&self) -> Option<u32> {
        Some(u32_at(self.fixed, 68)).filter(|&inode| inode != 0)
    }

    /// TCP information. `None` for what is only left of a connection (FIN-WAIT-2 without a socket),
    /// and where the kernel was not asked for it.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let (mut info, mut congestion, mut data) = (None, None, &[][..]);
        for (kind, value) in self.attributes() {
            match kind {
                attribute::INFO => info = Some(value),
                attribute::CONGESTION => congestion = value.split(|&byte| byte == 0).next(),
                attribute::VEGAS_INFO | attribute::DCTCP_INFO | attribute::BBR_INFO => data = value,
                _ => {}
            }
        }
        let congestion = congestion.and_then(|name| std::str::from_utf8(name).ok());
        Some(Snapshot::from_parts(info?, congestion.filter(|name| !name.is_empty()), data))
    }

    /// The cgroup that it was created in, as the inode of its directory. Linux 5.9.
    pub(crate) fn cgroup(&self) -> Option<u64> {
        let of_cgroup = self.attributes().find(|(kind, _)| *kind == attribute::CGROUP_ID);
        of_cgroup.and_then(|(_, value)| value.try_into().ok()).map(u64::from_ne_bytes)
    }

    fn attributes(&self) -> impl Iterator<Item = (u16, &'b [u8])> {
        let mut rest = self.attributes;
        std::iter::from_fn(move || {
            let (header, _) = rest.split_first_chunk::<ATTRIBUTE>()?;
            let length = usize::from(u16_at(header, 0));
            let value = rest.get(ATTRIBUTE..length)?;
            rest = rest.get(aligned(length)..).unwrap_or_default();
            Some((u16_at(header, 2), value))
        })
    }

    fn address(&self, port: usize, ip: usize) -> SocketAddr {
        let byte = |at: usize| self.fixed.get(at).copied().unwrap_or_default();
        let port = u16::from_be_bytes([byte(port), byte(port + 1)]);
        let octets: [u8; 16] = std::array::from_fn(|at| byte(ip + at));
        if i32::from(self.fixed[0]) == libc::AF_INET {
            let [a, b, c, d, ..] = octets;
            return SocketAddr::from((Ipv4Addr::new(a, b, c, d), port));
        }
        let ip = Ipv6Addr::from(octets);
        match ip.to_canonical() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                SocketAddrV6::new(ip, port, 0, u32_at(self.fixed, 40)).into()
            }
            ip => SocketAddr::new(ip, port),
        }
    }
}

/// Netlink pads to four bytes.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message of this type with this body, padded.
    pub(in crate::sockets) fn encoded(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_socket_with_its_attributes_is_read_wherever_its_bytes_end() {
        let mut fixed = [0; SOCKET];
        fixed[..8].copy_from_slice(&[10, 8, 0, 0, 0, 80, 0x12, 0x34]);
        fixed[18..24].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        fixed[24..40].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        fixed[44..52].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
        fixed[60] = 8;
        fixed[68] = 9;
        let attributes = [
            attribute(99, &[1]),
            attribute(attribute::INFO, &[8; 200]),
            attribute(attribute::CONGESTION, b"bbr\0"),
            attribute(attribute::BBR_INFO, &[0; 20]),
            attribute(attribute::CGROUP_ID, &5_u64.to_ne_bytes()),
        ];
        let whole = [
            encoded(BY_FAMILY, &[&fixed[..], &attributes.concat()].concat()),
            encoded(u16::try_from(libc::NLMSG_DONE).unwrap(), &[0; 4]),
        ];
        let whole = whole.concat();
        let all: Vec<_> = messages(&whole).collect();
        let [Message::Socket(socket), Message::Done] = &all[..] else { panic!("{all:?}") };
        assert_eq!(socket.local(), "10.0.0.1:80".parse().unwrap());
        assert_eq!(socket.remote(), "[::1]:4660".parse().unwrap());
        assert_eq!(socket.cookie(), 1 | 2 << 32);
        assert_eq!(socket.send_queue(), 8);
        assert_eq!((socket.uid(), socket.inode(), socket.cgroup()), (0, Some(9), Some(5)));
        let snapshot = socket.snapshot().unwrap();
        assert_eq!((snapshot.bytes().len(), socket.state()), (200, Some(State::CloseWait)));
        let info = snapshot.decode();
        assert_eq!(info.sys_info.linux().unwrap().cc_algorithm.as_deref(), Some("bbr"));
        for end in 0..whole.len() {
            let socket = messages(&whole[..end]).find_map(|message| match message {
                Message::Socket(socket) => Some(socket.snapshot()),
                _ => None,
            });
            assert_eq!(socket.is_some(), end >= whole.len() - 20, "{end} of {}", whole.len());
        }
    }

    #[test]
    fn an_error_is_told_by_its_errno() {
        let refused = (-libc::EPERM).to_ne_bytes();
        for kind in [libc::NLMSG_ERROR, libc::NLMSG_DONE] {
            let bytes = encoded(u16::try_from(kind).unwrap(), &refused);
            let all: Vec<_> = messages(&bytes).collect();
            let [Message::Error(error)] = &all[..] else { panic!("{all:?}") };
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        }
    }

    #[test]
    fn a_message_without_a_length_ends_the_reading() {
        assert_eq!(messages(&[0; 64]).count(), 0);
        let short = encoded(BY_FAMILY, &[0; SOCKET - 1]);
        assert!(matches!(messages(&short).next(), Some(Message::Error(_))));
    }
}
