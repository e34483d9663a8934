//! A path with a delay, losses and a rate: a TUN device in each of two namespaces, and threads that carry
//! the packets between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
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
) -> Arc<AtomicU64> {
    let [near, far] = [(from, 1), (to, 2)].map(|(namespace, last)| {
        let tun = namespace.enter(|| DeviceBuilder::new().name(device).build_sync().unwrap());
        namespace.ip(&["addr", "add", &format!("10.{net}.0.{last}/24"), "dev", device]);
        namespace.ip(&["link", "set", device, "up"]);
        Arc::new(tun)
    });
    let lost = Arc::new(AtomicU64::new(0));
    carry(Arc::clone(&near), Arc::clone(&far), path, Arc::clone(&lost));
    carry(far, near, Path { loses: None, ..path }, Arc::clone(&lost));
    lost
}

fn carry(from: Arc<SyncDevice>, to: Arc<SyncDevice>, path: Path, lost: Arc<AtomicU64>) {
    let (sender, under_way) = channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut packet = vec![0; MTU];
        let mut with_payload = 0;
        let mut free_at = Instant::now();
        while let Ok(bytes) = from.recv(&mut packet) {
            with_payload += u32::from(bytes > 100);
            let now = Instant::now();
            free_at = free_at.max(now);
            let is_its_turn =
                bytes > 100 && path.loses.is_some_and(|every| with_payload % every == 0);
            if is_its_turn || free_at > now + QUEUE {
                lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if let Some(rate) = path.rate {
                free_at += Duration::from_secs_f64(bytes as f64 / f64::from(rate));
            }
            if sender.send((free_at + path.delay, packet[..bytes].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, packet) in under_way {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // The namespace may be gone.
            let _ = to.send(&packet);
        }
    });
}
