//! Socket options of both legs.

use std::io;
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};

/// A dead peer is found after 60 s + 6 × 10 s, so that a pair on a dead path yields a record.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(10), 6);

/// Sets what every relayed socket has: what one side writes at once leaves at once, a dead peer
/// is found, and an urgent byte keeps its place in the stream. Sockets that a listener accepts
/// inherit all of it.
pub(crate) fn set(socket: &Socket) -> io::Result<()> {
    let (idle, interval, probes) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(probes);
    #[cfg(windows)]
    let _ = probes;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    crate::tcp_info::tell_remaining(socket);
    socket.set_out_of_band_inline(true)
}
