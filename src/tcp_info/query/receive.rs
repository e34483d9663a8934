//! What the relay asks of Linux's sockets beside TCP information.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

use crate::tcp_info::Socket;

/// Asks the socket to say with every [`receive`] how much it still has (`TCP_INQ`). Kernels before
/// 4.18 do not know it: then nothing is said.
pub(crate) fn tell_remaining(socket: &impl Socket) {
    const LENGTH: libc::socklen_t = 4;
    let on: [u8; LENGTH as usize] = 1i32.to_ne_bytes();
    // SAFETY: the kernel reads `LENGTH` bytes from `on`, which outlives the call.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INQ,
            on.as_ptr().cast(),
            LENGTH,
        )
    };
}

/// Reads once, without waiting: how many bytes, and how many are left in the receive queue, if
/// [`tell_remaining`] asked for it. What is left counts urgent data too, and is never 0 once the
/// peer's end of stream was received.
pub(crate) fn receive(socket: &impl Socket, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    /// Room for one control message with an int in it, aligned as its header wants.
    #[repr(C, align(8))]
    struct Control([u8; 24]);
    let mut control = Control([0; 24]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain data, for which all zeros are valid: null pointers and no lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: `message` points to one iovec over `buffer`, which is writable for its length, and to
    // `control`, writable for the length given; all of them outlive the call.
    let result =
        unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(bytes) = usize::try_from(result) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel has set msg_controllen to what it wrote into `control`, so a header that
    // CMSG_FIRSTHDR finds lies within it, and `control` is aligned for cmsghdr.
    let remaining = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() }
        .filter(|header| {
            (header.cmsg_level, header.cmsg_type) == (libc::IPPROTO_TCP, libc::TCP_CM_INQ)
        })
        // SAFETY: a TCP_CM_INQ message carries an int; `control` has room for header and int, and
        // the read does not ask for alignment.
        .map(|header| unsafe { libc::CMSG_DATA(header).cast::<libc::c_int>().read_unaligned() });
    Ok((bytes, remaining.and_then(|left| u32::try_from(left).ok())))
}

/// Registers a descriptor with the runtime, for reading.
pub(crate) fn registered(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is an open descriptor, always the same one, and closes it only when it is
    // dropped, which the AsyncFd that owns it does after it has deregistered.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}
