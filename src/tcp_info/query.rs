//! The one room with `unsafe`: every call on a socket that no well-kept crate makes safe.
//!
//! Each system answers into a zeroed buffer and says how much it wrote; nothing else of the
//! buffer is ever looked at.
#![allow(unsafe_code)]

use super::Error;
use super::snapshot::Socket;

/// Larger than any structure today; gVisor answers EINVAL to short buffers, and newer kernels
/// return more than is known here.
#[cfg(unix)]
const BUFFER: usize = 512;

/// `getsockopt` into a zeroed buffer: the bytes that the kernel wrote.
#[cfg(unix)]
fn get<const N: usize>(
    socket: &impl Socket,
    level: libc::c_int,
    name: libc::c_int,
) -> std::io::Result<([u8; N], usize)> {
    use std::os::fd::AsRawFd;
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
    if result == 0 {
        Ok((buffer, N.min(length as usize)))
    } else {
        Err(std::io::Error::last_os_error())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) mod system {
    use super::*;

    pub(in crate::tcp_info) fn structure(socket: &impl Socket) -> Result<Box<[u8]>, Error> {
        let (buffer, length) =
            get::<BUFFER>(socket, libc::IPPROTO_TCP, libc::TCP_INFO).map_err(Error::from_os)?;
        super::super::snapshot::filled(&buffer[..length])
    }

    pub(in crate::tcp_info) fn congestion(socket: &impl Socket) -> Option<Box<str>> {
        // TCP_CA_NAME_MAX is 16, its NUL included.
        let (buffer, length) = get::<16>(socket, libc::IPPROTO_TCP, libc::TCP_CONGESTION).ok()?;
        let name = buffer[..length].split(|&byte| byte == 0).next()?;
        Some(std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?.into())
    }

    pub(in crate::tcp_info) fn congestion_info(socket: &impl Socket, name: &str) -> Box<[u8]> {
        if !super::super::congestion::has_data(name) {
            return Box::default();
        }
        match get::<64>(socket, libc::IPPROTO_TCP, libc::TCP_CC_INFO) {
            Ok((buffer, length)) => buffer[..length].into(),
            Err(_) => Box::default(),
        }
    }
}

#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
pub(super) mod system {
    use super::*;

    #[cfg(target_os = "freebsd")]
    const INFO: libc::c_int = libc::TCP_INFO;
    #[cfg(not(target_os = "freebsd"))]
    const INFO: libc::c_int = libc::TCP_CONNECTION_INFO;

    pub(in crate::tcp_info) fn structure(socket: &impl Socket) -> Result<Box<[u8]>, Error> {
        let (buffer, length) =
            get::<BUFFER>(socket, libc::IPPROTO_TCP, INFO).map_err(Error::from_os)?;
        if length == 0 {
            return Err(Error::Unsupported);
        }
        Ok(buffer[..length].into())
    }

    pub(in crate::tcp_info) fn congestion(_socket: &impl Socket) -> Option<Box<str>> {
        None
    }

    pub(in crate::tcp_info) fn congestion_info(_socket: &impl Socket, _name: &str) -> Box<[u8]> {
        Box::default()
    }
}

#[cfg(windows)]
pub(super) mod system {
    use std::os::windows::io::{AsRawSocket, AsSocket};

    use windows_sys::Win32::Networking::WinSock::{
        SIO_TCP_INFO, TCP_INFO_v0, TCP_INFO_v1, WSAGetLastError, WSAIoctl,
    };

    use super::*;

    pub(in crate::tcp_info) fn structure(socket: &impl Socket) -> Result<Box<[u8]>, Error> {
        // Version 1 has pointer-sized fields; the decoder knows their 64-bit places.
        let newest = if cfg!(target_pointer_width = "64") {
            version(socket, 1, size_of::<TCP_INFO_v1>())
        } else {
            Err(std::io::ErrorKind::Unsupported.into())
        };
        newest.or_else(|_| version(socket, 0, size_of::<TCP_INFO_v0>())).map_err(Error::from_os)
    }

    fn version(socket: &impl Socket, version: u32, size: usize) -> std::io::Result<Box<[u8]>> {
        let mut buffer = [0u8; size_of::<TCP_INFO_v1>()];
        let mut returned = 0u32;
        // SAFETY: `version` is readable for its four bytes; `buffer` is writable for `size` ≤ its
        // length, and u8 takes any bit pattern. With no OVERLAPPED the call completes before it
        // returns, so nothing writes into this frame afterwards.
        let result = unsafe {
            WSAIoctl(
                socket.as_socket().as_raw_socket() as usize,
                SIO_TCP_INFO,
                (&raw const version).cast(),
                4,
                buffer.as_mut_ptr().cast(),
                size as u32,
                &mut returned,
                std::ptr::null_mut(),
                None,
            )
        };
        if result == 0 {
            Ok(buffer[..size.min(returned as usize)].into())
        } else {
            // SAFETY: reads the calling thread's last error; no preconditions.
            Err(std::io::Error::from_raw_os_error(unsafe { WSAGetLastError() }))
        }
    }

    pub(in crate::tcp_info) fn congestion(_socket: &impl Socket) -> Option<Box<str>> {
        None
    }

    pub(in crate::tcp_info) fn congestion_info(_socket: &impl Socket, _name: &str) -> Box<[u8]> {
        Box::default()
    }
}

#[cfg(all(
    unix,
    not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd"
    ))
))]
pub(super) mod system {
    use super::*;

    pub(in crate::tcp_info) fn structure(_socket: &impl Socket) -> Result<Box<[u8]>, Error> {
        Err(Error::Unsupported)
    }

    pub(in crate::tcp_info) fn congestion(_socket: &impl Socket) -> Option<Box<str>> {
        None
    }

    pub(in crate::tcp_info) fn congestion_info(_socket: &impl Socket, _name: &str) -> Box<[u8]> {
        Box::default()
    }
}

/// Bytes that were written to the socket and not acknowledged by the peer yet, a FIN counting as
/// one (`SIOCOUTQ`; after a reset: what was never delivered). `None` where the system cannot tell.
#[cfg(all(feature = "proxy", any(target_os = "linux", target_os = "android")))]
pub(crate) fn send_queue(socket: &impl Socket) -> Option<u64> {
    use std::os::fd::AsRawFd;
    let mut queued: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (the same number as SIOCOUTQ) writes one int to the pointer, which is valid
    // for the call.
    let result =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    (result == 0).then(|| u64::try_from(queued).unwrap_or(0))
}

/// Not known on this system.
#[cfg(all(feature = "proxy", not(any(target_os = "linux", target_os = "android"))))]
pub(crate) fn send_queue(_socket: &impl Socket) -> Option<u64> {
    None
}

/// Asks the socket to say with every [`receive`] how much it still has (`TCP_INQ`). Kernels before
/// 4.18 do not know it: then nothing is said.
#[cfg(all(feature = "proxy", any(target_os = "linux", target_os = "android")))]
pub(crate) fn tell_remaining(socket: &impl Socket) {
    use std::os::fd::AsRawFd;
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
#[cfg(all(feature = "proxy", any(target_os = "linux", target_os = "android")))]
pub(crate) fn receive(
    socket: &impl Socket,
    buffer: &mut [u8],
) -> std::io::Result<(usize, Option<u32>)> {
    use std::os::fd::AsRawFd;
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
        return Err(std::io::Error::last_os_error());
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
#[cfg(all(feature = "proxy", any(target_os = "linux", target_os = "android")))]
pub(crate) fn registered(
    descriptor: std::os::fd::OwnedFd,
) -> std::io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    use tokio::io::{Interest, unix::AsyncFd};
    // SAFETY: an OwnedFd is an open descriptor, always the same one, and closes it only when it is
    // dropped, which the AsyncFd that owns it does after it has deregistered.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}
