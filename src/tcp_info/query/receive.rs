//! Socket calls of the relay on Linux.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

use crate::tcp_info::Socket;

/// Enables reports of the remaining receive queue with every [`receive`] (`TCP_INQ`). Ignored by
/// kernels before 4.18.
pub(crate) fn enable_remaining(socket: &impl Socket) {
    const LENGTH: libc::socklen_t = 4;
    let on: [u8; LENGTH as usize] = 1i32.to_ne_bytes();
    // SAFETY: the kernel reads at most `LENGTH` bytes from `on`, which has them and outlives the call.
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

/// Room for one control message with an int in it, aligned as its header wants.
#[repr(C)]
struct Control {
    headers: [libc::cmsghdr; 0],
    bytes: [u8; Self::ROOM],
}

impl Control {
    // SAFETY: it is arithmetic on a length, without preconditions; an int has four bytes.
    const ROOM: usize = unsafe { libc::CMSG_SPACE(4) } as usize;
}

/// Reads once, without waiting: how many bytes, and how many are left in the receive queue, if
/// [`enable_remaining`] asked for it. What is left counts urgent data too, and is never 0 once the
/// peer's end of stream was received.
pub(crate) fn receive(socket: &impl Socket, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    let mut control = Control { headers: [], bytes: [0; Control::ROOM] };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain data, for which all zeros are valid: null pointers and no lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: `message` points to one iovec over `buffer`, which is writable for its length, and to
    // `control`, writable for its size; all of them outlive the call, and u8 takes any bit pattern.
    let result =
        unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(bytes) = usize::try_from(result) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: `message` still points to `control`. CMSG_FIRSTHDR gives its beginning, which is aligned
    // for a header, or null where the kernel wrote less than one. That pointer is to all of `control`,
    // so CMSG_DATA may go behind the header: there is room for an int, which was initialised before
    // the call, and the read does not ask for alignment.
    let remaining = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let is_remaining = !header.is_null()
            && ((*header).cmsg_level, (*header).cmsg_type) == (libc::IPPROTO_TCP, libc::TCP_CM_INQ);
        is_remaining.then(|| libc::CMSG_DATA(header).cast::<libc::c_int>().read_unaligned())
    };
    Ok((bytes, remaining.and_then(|left| u32::try_from(left).ok())))
}

/// A descriptor that the runtime watches, for reading. It is lent and never given away.
pub(crate) struct Registered(AsyncFd<OwnedFd>);

impl Deref for Registered {
    type Target = AsyncFd<OwnedFd>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Registers a descriptor with the runtime.
pub(crate) fn registered(descriptor: OwnedFd) -> io::Result<Registered> {
    // SAFETY: an OwnedFd is an open descriptor, always the same one, and closes it only when it is
    // dropped, which the AsyncFd that owns it does after it has deregistered. Nobody can exchange it
    // or take it out before: Registered gives shared references alone.
    Ok(Registered(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?))
}
