//! The clients of the proxy: every way in, every way out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use conniver::record::{Mode, Outcome};
use tokio::net::TcpStream;

use super::counted::{Count, Counted};
use super::plan::{End, LENGTH, Plan};
use crate::harness::noise::Noise;

/// Where to go, and by which ways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// The proxy's, for HTTP and SOCKS.
    pub(super) dynamic: SocketAddr,
    /// The proxy's, forwarding to the origin.
    pub(super) forward: SocketAddr,
    /// The proxy's, forwarding to where nobody listens.
    pub(super) forward_refused: SocketAddr,
    pub(super) origin: SocketAddr,
    /// Where nobody listens.
    pub(super) deaf: SocketAddr,
}

/// What a client did, and what its record has to say.
pub(super) struct Done {
    pub(super) mode: Mode,
    pub(super) outcome: Outcome,
    pub(super) count: Count,
}

const MODES: [Mode; 5] = [Mode::Forward, Mode::Connect, Mode::Socks4, Mode::Socks5, Mode::Http];

/// One pair in so many is refused by its upstream, and one in so many has a client that is slow.
const REFUSED: u64 = 20;
const SLOW: u64 = 20;

pub(super) async fn one(places: Places, mut noise: Noise) -> io::Result<Done> {
    let mode = noise.pick(&MODES);
    let is_refused = noise.number().is_multiple_of(REFUSED);
    let target = if is_refused { places.deaf } else { places.origin };
    let proxy = match (mode, is_refused) {
        (Mode::Forward, true) => places.forward_refused,
        (Mode::Forward, false) => places.forward,
        _ => places.dynamic,
    };
    let connected = TcpStream::connect(proxy).await;
    if is_refused
        && mode == Mode::Forward
        && connected.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    {
        // The reset was there before anyone looked.
        return Ok(Done { mode, outcome: Outcome::Refused, count: Count::default() });
    }
    let mut stream = Counted::new(connected?);
    if mode == Mode::Http {
        let wanted = noise.number() % 100_000;
        fetch(&mut stream, target, wanted).await?;
        let outcome = if is_refused { Outcome::Refused } else { Outcome::Ok };
        return Ok(Done { mode, outcome, count: stream.count });
    }
    let is_connected = ask(&mut stream, mode, target).await?;
    if is_connected == is_refused && mode != Mode::Forward {
        return Err(io::Error::other(format!("{mode} to {target}: connected: {is_connected}")));
    }
    if is_refused {
        match mode {
            Mode::Forward => stream.wait_for_reset().await?,
            _ => stream.receive_to_the_end().await?,
        }
        return Ok(Done { mode, outcome: Outcome::Refused, count: stream.count });
    }
    let plan = Plan::random(&mut noise);
    let is_slow = noise.number().is_multiple_of(SLOW);
    let outcome = match plan.end {
        End::ClientFirst | End::UpstreamFirst => Outcome::Ok,
        End::ClientResets | End::UpstreamResets => Outcome::Reset,
    };
    let failed = |error| io::Error::other(format!("{mode}, {plan:?}, slow {is_slow}: {error}"));
    converse(&mut stream, plan, is_slow).await.map_err(failed)?;
    let count = stream.count;
    if plan.end == End::ClientResets {
        stream.reset()?;
    }
    Ok(Done { mode, outcome, count })
}

async fn converse(stream: &mut Counted, plan: Plan, is_slow: bool) -> io::Result<()> {
    let left = plan.up - LENGTH as u64;
    stream.send(&plan.to_bytes()).await?;
    match plan.end {
        End::ClientFirst => {
            stream.send_some(left).await?;
            stream.end().await?;
            receive(stream, plan.down, is_slow).await?;
            stream.receive_to_the_end().await
        }
        End::UpstreamFirst => {
            receive(stream, plan.down, is_slow).await?;
            stream.receive_to_the_end().await?;
            stream.send_some(left).await?;
            stream.end().await
        }
        End::ClientResets => {
            stream.send_some(left).await?;
            receive(stream, plan.down, is_slow).await
        }
        End::UpstreamResets => {
            stream.send_some(left - 1).await?;
            receive(stream, plan.down, is_slow).await?;
            stream.send_some(1).await?;
            stream.wait_for_reset().await
        }
    }
}

/// A slow reader takes at least a millisecond for every 4 KiB.
async fn receive(stream: &mut Counted, bytes: u64, is_slow: bool) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let piece = if is_slow { left.min(4096) } else { left };
        stream.receive_exactly(piece).await?;
        left -= piece;
        if is_slow {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(())
}

async fn fetch(stream: &mut Counted, target: SocketAddr, bytes: u64) -> io::Result<()> {
    // Otherwise the proxy would wait for another request.
    let request = format!(
        "GET http://{target}/{bytes} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"
    );
    stream.send(request.as_bytes()).await?;
    stream.receive_to_the_end().await
}

/// Asks the proxy for a target; whether it is connected.
async fn ask(stream: &mut Counted, mode: Mode, target: SocketAddr) -> io::Result<bool> {
    let SocketAddr::V4(v4) = target else { return Err(io::ErrorKind::Unsupported.into()) };
    let (ip, port) = (v4.ip().octets(), v4.port().to_be_bytes());
    let address = |before: &[u8], after: &[&[u8]]| [before, &after.concat()].concat();
    match mode {
        Mode::Connect => {
            stream.send(format!("CONNECT {target} HTTP/1.1\r\n\r\n").as_bytes()).await?;
            Ok(stream.receive_head().await?.starts_with(b"HTTP/1.1 200 "))
        }
        Mode::Socks4 => {
            stream.send(&address(&[4, 1], &[&port, &ip, &[0]])).await?;
            let granted = stream.receive(2).await?.get(1) == Some(&90);
            stream.receive_exactly(6).await?;
            Ok(granted)
        }
        Mode::Socks5 => {
            stream.send(&[5, 1, 0]).await?;
            stream.receive_exactly(2).await?;
            stream.send(&address(&[5, 1, 0, 1], &[&ip, &port])).await?;
            let succeeded = stream.receive(2).await?.get(1) == Some(&0);
            stream.receive_exactly(8).await?;
            Ok(succeeded)
        }
        _ => Ok(true),
    }
}
