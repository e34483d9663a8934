//! Congestion control on systems where it is not queried.

use crate::tcp_info::Socket;

pub(in crate::tcp_info) fn congestion(_socket: &impl Socket) -> Option<Box<str>> {
    None
}

pub(in crate::tcp_info) fn congestion_info(_socket: &impl Socket, _name: &str) -> Box<[u8]> {
    Box::default()
}
