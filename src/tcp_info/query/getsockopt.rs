//! `getsockopt(2)` for what is no plain number.

use std::io;
use std::os::fd::AsRawFd;

use crate::tcp_info::Socket;

/// Larger than any structure today; gVisor answers EINVAL to short buffers, and newer kernels
/// return more than is known here.
pub(super) const BUFFER: usize = 512;

/// `getsockopt` into a zeroed buffer: the bytes that the kernel wrote.
pub(super) fn get<const N: usize>(
    socket: &impl Socket,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<([u8; N], usize)> {
    let mut buffer = [0u8; N];
    let mut length = libc::socklen_t::try_from(N).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: `buffer` is writable for `length` ≤ N bytes and outlives the call, u8 takes any bit
    // pattern, and the kernel writes at most `*length` bytes. A descriptor that is not valid makes
    // the call fail, it breaks nothing.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            buffer.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if result == 0 { Ok((buffer, N.min(length as usize))) } else { Err(io::Error::last_os_error()) }
}
