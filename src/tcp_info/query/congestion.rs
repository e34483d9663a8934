//! Linux's congestion control, by socket: its name and its own data.

use super::getsockopt::get;
use crate::tcp_info::{Socket, congestion};

/// The algorithm's name (`TCP_CONGESTION`). `None` once the connection is gone.
pub(in crate::tcp_info) fn congestion(socket: &impl Socket) -> Option<Box<str>> {
    // TCP_CA_NAME_MAX is 16, its NUL included.
    let (buffer, length) = get::<16>(socket, libc::IPPROTO_TCP, libc::TCP_CONGESTION).ok()?;
    let name = buffer[..length].split(|&byte| byte == 0).next()?;
    Some(std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?.into())
}

/// The data of the algorithm `name` (`TCP_CC_INFO`); empty where it has none to tell.
pub(in crate::tcp_info) fn congestion_info(socket: &impl Socket, name: &str) -> Box<[u8]> {
    if !congestion::has_data(name) {
        return Box::default();
    }
    match get::<64>(socket, libc::IPPROTO_TCP, libc::TCP_CC_INFO) {
        Ok((buffer, length)) => buffer[..length].into(),
        Err(_) => Box::default(),
    }
}
