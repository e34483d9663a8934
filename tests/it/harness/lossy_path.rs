//! A path with a delay, losses and a rate: a TUN device in each of two namespaces, and threads that carry
//! the packets between them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tun_rs::{DeviceBuilder, SyncDevice};

use super::namespace::Namespace;

/// What a path does to packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    /// Each way.
    pub(crate) delay: Duration,
    /// Every so many packets with payload that go from the first namespace to the second, one is lost.
    pub(crate) loses: Option<u32>,
    /// Bytes a second, each way. What would wait longer than [`QUEUE`] for its turn is dropped.
    pub(crate) rate: Option<u32>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Passes,
    IsLost,
    /// Arrives so much later than its neighbors.
    IsLate(Duration),
}

/// Decides on each IP packet of one direction of a path.
pub(crate) type Rule = Box<dyn FnMut(&[u8]) -> Fate + Send>;

/// The packets of a path that were not carried as they came.
#[derive(Debug, Default)]
pub(crate) struct Mishaps {
    pub(crate) lost: AtomicU64,
    pub(crate) late: AtomicU64,
}

const MTU: usize = 1500;

const QUEUE: Duration = Duration::from_millis(40);

/// Lays a path between two namespaces: a device of this name at both ends. The first one has
/// 10.NET.0.1, the second one 10.NET.0.2. It ends when a namespace does. Returned are the packets that it
/// has lost so far.
pub(crate) fn lay(
    from: &Namespace,
    to: &Namespace,
    device: &str,
    net: u8,
    path: Path,
) -> Arc<Mishaps> {
    let mut with_payload = 0;
    let loses: Rule = Box::new(move |packet| {
        let is_long = packet.len() > 100;
        with_payload += u32::from(is_long);
        match path.loses {
            Some(every) if is_long && with_payload % every == 0 => Fate::IsLost,
            _ => Fate::Passes,
        }
    });
    lay_with_rules(from, to, device, net, path, [loses, passes()])
}

/// A direction on which nothing happens.
pub(crate) fn passes() -> Rule {
    Box::new(|_| Fate::Passes)
}

/// The same, with a rule for what goes from the first namespace to the second one, and one for what
/// comes back. The path's own losses do not count.
pub(crate) fn lay_with_rules(
    from: &Namespace,
    to: &Namespace,
    device: &str,
    net: u8,
    path: Path,
    [there, back]: [Rule; 2],
) -> Arc<Mishaps> {
    let [near, far] = [(from, 1), (to, 2)].map(|(namespace, last)| {
        let tun = namespace.enter(|| DeviceBuilder::new().name(device).build_sync().unwrap());
        namespace.ip(&["addr", "add", &format!("10.{net}.0.{last}/24"), "dev", device]);
        namespace.ip(&["link", "set", device, "up"]);
        Arc::new(tun)
    });
    let mishaps = Arc::<Mishaps>::default();
    carry(Arc::clone(&near), Arc::clone(&far), path, there, Arc::clone(&mishaps));
    carry(far, near, path, back, Arc::clone(&mishaps));
    mishaps
}

/// A packet under way: due, numbered in the order of arrival.
type UnderWay = Reverse<(Instant, u64, Vec<u8>)>;

fn carry(
    from: Arc<SyncDevice>,
    to: Arc<SyncDevice>,
    path: Path,
    mut rule: Rule,
    mishaps: Arc<Mishaps>,
) {
    let (sender, under_way) = channel::<UnderWay>();
    thread::spawn(move || {
        let mut packet = vec![0; MTU];
        let mut free_at = Instant::now();
        for number in 0.. {
            let Ok(bytes) = from.recv(&mut packet) else { return };
            let fate = rule(&packet[..bytes]);
            let now = Instant::now();
            free_at = free_at.max(now);
            if fate == Fate::IsLost || free_at > now + QUEUE {
                mishaps.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if let Some(rate) = path.rate {
                free_at += Duration::from_secs_f64(bytes as f64 / f64::from(rate));
            }
            let mut due = free_at + path.delay;
            if let Fate::IsLate(by) = fate {
                mishaps.late.fetch_add(1, Ordering::Relaxed);
                due += by;
            }
            if sender.send(Reverse((due, number, packet[..bytes].to_vec()))).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || deliver(&under_way, &to));
}

/// Hands over each packet when it is due.
fn deliver(under_way: &Receiver<UnderWay>, to: &SyncDevice) {
    let mut waiting = BinaryHeap::new();
    loop {
        let due = waiting.peek().map(|Reverse((due, ..)): &UnderWay| *due);
        let arrived = match due {
            None => under_way.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => under_way.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match arrived {
            Ok(packet) => waiting.push(packet),
            // Nothing more comes from a namespace that is gone.
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        while waiting.peek().is_some_and(|Reverse((due, ..))| *due <= Instant::now()) {
            let Some(Reverse((.., packet))) = waiting.pop() else { return };
            // The namespace may be gone.
            let _ = to.send(&packet);
        }
    }
}

/// A TCP segment over IPv4, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) payload: usize,
    /// As it stands in the header, without its scale.
    pub(crate) window: u16,
    /// It carries nothing but an acknowledgement.
    pub(crate) is_pure_ack: bool,
}

impl Segment {
    /// None of what is no such packet.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        const TCP: u8 = 6;
        const ACK_ALONE: u8 = 0x10;
        let first = *packet.first()?;
        if first >> 4 != 4 || *packet.get(9)? != TCP {
            return None;
        }
        let tcp = packet.get(usize::from(first & 15) * 4..)?;
        let payload = tcp.len().checked_sub(usize::from(tcp.get(12)? >> 4) * 4)?;
        Some(Self {
            sequence: u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?),
            payload,
            window: u16::from_be_bytes(tcp.get(14..16)?.try_into().ok()?),
            is_pure_ack: payload == 0 && *tcp.get(13)? == ACK_ALONE,
        })
    }
}
