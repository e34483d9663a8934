//! What a run of the proxy is told.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use uuid::Uuid;

use crate::access::Access;
use crate::dial::{Family, Via};
use crate::ingress::ProxyProtocol;
use crate::record::Detail;
use crate::socket_options::{Mark, SocketOptions};

/// Everything that the proxy can be told beside its listeners and its output.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Who may use the proxy, and what may be reached through it. Everyone, everything.
    pub access: Access,
    /// Clients begin with a PROXY protocol header, of either version. No.
    pub accept_proxy: bool,
    /// Upstreams are told of their clients by a PROXY protocol header. No.
    pub send_proxy: Option<ProxyProtocol>,
    /// Maximum time from accept until a client has said where it wants to go. 30 s; zero is no limit.
    pub request_timeout: Duration,
    /// Maximum time for the look-up, all attempts and a parent proxy's answer together. 10 s; zero is
    /// no limit.
    pub connect_timeout: Duration,
    /// Which addresses of a target are dialled. Those of both families.
    pub family: Family,
    /// The parent proxy of requests in absolute form, which are those for `http` URLs. None.
    pub http_via: Option<Via>,
    /// The parent proxy of all other connections. None.
    pub tunnel_via: Option<Via>,
    /// The mark of all sockets to upstreams. None.
    pub mark: Option<Mark>,
    /// What is told to the sockets of both legs.
    pub sockets: SocketOptions,
    /// How much is taken on, and for how long.
    pub limits: Limits,
    /// How long open pairs may go on after the proxy was told to stop. 5 s; with zero they are ended at
    /// once.
    pub drain: Duration,
    /// How long to wait, after the last byte, for the peers to acknowledge all of it. 10 s; zero does
    /// not wait.
    pub linger: Duration,
    /// Which lines are written.
    pub events: Events,
    /// How far apart the samples of a pair are while bytes pass. 1 s; what is shorter than
    /// [`Self::SHORTEST_SAMPLE_INTERVAL`], zero too, counts as that.
    pub sample_interval: Duration,
    /// How far apart the samples of a pair are on which nothing passes, if that is longer than
    /// [`sample_interval`](Self::sample_interval). 1 min.
    pub quiet_sample_interval: Duration,
    /// Turns that waited for less get no line of their own. None.
    pub turn_min: Duration,
    /// How much they tell. All.
    pub detail: Detail,
    /// Whether they have the kernel's structures as bytes beside what those say. No.
    pub raw: bool,
    /// How many targets that clients choose are counted by name, the first that are dialled; the others
    /// are counted together. None. Those of forwarding listeners are always counted by name.
    pub metrics_targets: usize,
    /// Whether the local programs that are clients are looked for. Yes. Linux alone tells.
    pub process: bool,
    /// The machine's name in every record.
    pub host: String,
    /// Keys and values of the user's own in every record.
    pub labels: BTreeMap<String, String>,
    /// This run, in every record.
    pub run_id: Uuid,
}

impl Settings {
    /// The shortest [`sample_interval`](Self::sample_interval).
    pub const SHORTEST_SAMPLE_INTERVAL: Duration = Duration::from_millis(10);
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access: Access::default(),
            accept_proxy: false,
            send_proxy: None,
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            family: Family::Any,
            http_via: None,
            tunnel_via: None,
            mark: None,
            sockets: SocketOptions::default(),
            limits: Limits::default(),
            drain: Duration::from_secs(5),
            linger: Duration::from_secs(10),
            events: Events::default(),
            sample_interval: Duration::from_secs(1),
            quiet_sample_interval: Duration::from_secs(60),
            turn_min: Duration::ZERO,
            detail: Detail::default(),
            raw: false,
            metrics_targets: 0,
            process: true,
            host: dns_lookup::get_hostname().unwrap_or_default(),
            labels: BTreeMap::new(),
            run_id: Uuid::now_v7(),
        }
    }
}

/// What the proxy takes on at most. Nothing is limited unless it is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections of clients at a time. Further ones wait to be accepted, in the system's queue.
    pub connections: Option<NonZeroUsize>,
    /// Connections of one client address at a time, announced ones counted by what is announced.
    /// Further ones are reset.
    pub per_client: Option<NonZeroUsize>,
    /// Maximum time in which a pair moves no byte either way. Then both sides are reset. `None`, and
    /// zero: no limit.
    pub idle: Option<Duration>,
    /// Maximum time from accept. Then both sides are reset. `None`, and zero: no limit.
    pub lifetime: Option<Duration>,
}

impl Limits {
    /// How many connections a process with so many descriptors has room for, beside its pipes,
    /// look-ups and further attempts to connect; at least one.
    pub fn connections_within(descriptors: u64) -> NonZeroUsize {
        crate::descriptors::connections(descriptors)
    }
}

/// Which lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Events {
    /// One when the run begins.
    pub start: bool,
    /// One when a pair is connected on both sides.
    pub open: bool,
    /// Some while a pair is open: at intervals, longer ones while nothing passes or waits, and when a
    /// peer's window closes, a retransmission timer runs out, or waiting bytes stall.
    pub sample: bool,
    /// One when a turn of a pair has ended. None of a pair whose turns are mixed.
    pub turn: bool,
    /// One when a pair has ended.
    pub close: bool,
    /// One when the run ends.
    pub stop: bool,
}

impl Events {
    /// No lines at all.
    pub const NONE: Self =
        Self { start: false, open: false, sample: false, turn: false, close: false, stop: false };
}

impl Default for Events {
    /// `close` alone: one line a pair.
    fn default() -> Self {
        Self { close: true, ..Self::NONE }
    }
}
