//! What a watch is told.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::Filter;

/// Settings of a [`Watch`](super::Watch).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Which sockets. Default: all.
    pub filter: Filter,
    /// Interval between dumps. Default: 1 s; never shorter than
    /// [`SHORTEST_INTERVAL`](Self::SHORTEST_INTERVAL). Where a dump takes more than a tenth of it in CPU time, dumps are
    /// further apart.
    pub interval: Duration,
    /// Which lines are written. Default: those of ended sockets.
    pub events: Events,
    /// Interval between samples of a socket that moves no data. Default: 60 s.
    pub quiet_sample_interval: Duration,
    /// Look up the program of each socket. Default: yes.
    pub process: bool,
    /// Size of the buffer for events, bytes. When it is full, the kernel drops events. Default: 8 MiB,
    /// room for some 6,000; without CAP_NET_ADMIN the kernel grants at most net.core.rmem_max.
    pub receive_buffer: usize,
    /// The host's name in every line. Default: the machine's.
    pub host: String,
    /// Keys and values in every line.
    pub labels: BTreeMap<String, String>,
    /// The run's ID in every line. Default: a new one.
    pub run_id: Uuid,
}

impl Settings {
    /// Shortest interval between dumps.
    pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            interval: Duration::from_secs(1),
            events: Events::default(),
            quiet_sample_interval: Duration::from_secs(60),
            process: true,
            receive_buffer: 8 << 20,
            host: dns_lookup::get_hostname().unwrap_or_default(),
            labels: BTreeMap::new(),
            run_id: Uuid::now_v7(),
        }
    }
}

/// The lines that a watch writes; `overflow` lines are always written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Events {
    /// The run began.
    pub start: bool,
    /// A socket's connection has ended.
    pub socket: bool,
    /// Samples of open sockets.
    pub sample: bool,
    /// The run ended.
    pub stop: bool,
}

impl Events {
    /// No lines.
    pub const NONE: Self = Self { start: false, socket: false, sample: false, stop: false };
}

impl Default for Events {
    fn default() -> Self {
        Self { socket: true, ..Self::NONE }
    }
}
