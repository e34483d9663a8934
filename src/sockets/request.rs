//! Questions to sock_diag(7): `nlmsghdr` and `inet_diag_req_v2` (linux/inet_diag.h).
#![cfg_attr(not(feature = "watch"), allow(dead_code, reason = "only a watch makes dumps"))]

use std::net::{IpAddr, SocketAddr};

use super::message::BY_FAMILY;

/// `nlmsghdr`, and with it `inet_diag_req_v2`.
const REQUEST: usize = 16 + 56;

/// `INET_DIAG_INFO`, `INET_DIAG_VEGASINFO` (which stands for the data of every congestion control)
/// and `INET_DIAG_CONG`, (2, 3, 4) as bits of `idiag_ext`, the first attribute being the lowest one.
const EXTENSIONS: u8 = 0b1110;

/// Listeners, and connections that have a socket of their own: all states but `TCP_SYN_RECV`,
/// `TCP_TIME_WAIT`, `TCP_CLOSE` and `TCP_NEW_SYN_RECV` (net/tcp_states.h).
const STATES: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11;

/// A dump of one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    /// Includes IPv6 sockets with IPv4 peers.
    V6,
}

/// Asks for all sockets of a family, with their TCP information.
pub(super) fn dump(family: Family) -> Vec<u8> {
    let unspecified = match family {
        Family::V4 => SocketAddr::from(([0; 4], 0)),
        Family::V6 => SocketAddr::from(([0_u16; 8], 0)),
    };
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    encode(flags, EXTENSIONS, STATES, unspecified, unspecified)
}

/// Asks for the socket whose own address is `socket` and whose peer is `peer`.
pub(super) fn lookup(socket: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    encode(libc::NLM_F_REQUEST, 0, u32::MAX, socket, peer)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small constants")]
fn encode(
    flags: libc::c_int,
    extensions: u8,
    states: u32,
    socket: SocketAddr,
    peer: SocketAddr,
) -> Vec<u8> {
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
    let no_cookie = u64::MAX;
    [
        &(REQUEST as u32).to_ne_bytes()[..],
        &BY_FAMILY.to_ne_bytes(),
        &(flags as u16).to_ne_bytes(),
        &[0; 8], // sequence and port
        &[family as u8, libc::IPPROTO_TCP as u8, extensions, 0],
        &states.to_ne_bytes(),
        &socket.port().to_be_bytes(),
        &peer.port().to_be_bytes(),
        &address(socket.ip()),
        &address(peer.ip()),
        &scope.to_ne_bytes(),
        &no_cookie.to_ne_bytes(),
    ]
    .concat()
}
