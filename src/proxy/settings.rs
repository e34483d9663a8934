//! Settings of a proxy.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use uuid::Uuid;

use crate::access::Access;
use crate::dial::{Family, Via};
use crate::ingress::ProxyProtocol;
use crate::record::Detail;
use crate::socket_options::{Mark, SocketOptions};

/// All settings of a proxy, except for its listeners and its output.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Who may use the proxy, and which targets it may reach. Default: no restrictions.
    pub access: Access,
    /// Whether clients send a PROXY protocol header, of either version. Default: no.
    pub accept_proxy: bool,
    /// PROXY protocol header to send to upstreams. Default: none.
    pub send_proxy: Option<ProxyProtocol>,
    /// Maximum time from accept until the client's request is complete. 30 s; zero is no limit.
    pub request_timeout: Duration,
    /// Maximum time for the look-up, all attempts and a parent proxy's answer together. 10 s; zero is
    /// no limit.
    pub connect_timeout: Duration,
    /// Which addresses of a target are dialled. Those of both families.
    pub family: Family,
    /// Parent proxy for requests in absolute form, that is, for `http` URLs. Default: none.
    pub http_via: Option<Via>,
    /// Parent proxy for other connections whose target the client names. Default: none.
    pub tunnel_via: Option<Via>,
    /// Parent proxy for connections to forwarding listeners. Default: none.
    pub forward_via: Option<Via>,
    /// Whether a request for the address of one of this proxy's own forwarding listeners is one for that
    /// listener's target, instead of a loop: of a program that was led to both. Default: no.
    pub follow_own_forwards: bool,
    /// Mark of all sockets to upstreams. Default: none.
    pub mark: Option<Mark>,
    /// Socket options of both legs.
    pub sockets: SocketOptions,
    /// Limits on connections and on their duration.
    pub limits: Limits,
    /// Maximum time for open pairs to finish after a graceful shutdown. 5 s; with zero they are
    /// ended at once.
    pub drain: Duration,
    /// Maximum time to wait, after the last byte, for the peers to acknowledge all data. 10 s; zero
    /// does not wait.
    pub linger: Duration,
    /// Which lines are written.
    pub events: Events,
    /// Interval between samples of a pair while bytes pass. 1 s; anything shorter than
    /// [`Self::SHORTEST_SAMPLE_INTERVAL`], including zero, counts as that.
    pub sample_interval: Duration,
    /// Interval between samples of an idle pair, if it is longer than
    /// [`sample_interval`](Self::sample_interval). 1 min.
    pub quiet_sample_interval: Duration,
    /// Minimum wait of a turn to get a line of its own. Default: zero.
    pub turn_min: Duration,
    /// Level of detail of the lines. Default: full.
    pub detail: Detail,
    /// Whether lines include the kernel's structures in hexadecimal. Default: no.
    pub raw: bool,
    /// How many targets chosen by clients are counted by name: the first ones that are dialled. All
    /// others are counted together. Default: 0. Targets of forwarding listeners are always counted
    /// by name.
    pub metrics_targets: usize,
    /// Whether to look up the local programs that are clients. Default: yes. Linux only.
    pub process: bool,
    /// Name of the machine in every record. Default: its host name.
    pub host: String,
    /// Additional keys and values in every record.
    pub labels: BTreeMap<String, String>,
    /// Identifier of this run in every record. Default: a new UUIDv7.
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
            forward_via: None,
            follow_own_forwards: false,
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

/// Limits on connections. Default: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of open connections. Further ones wait in the accept queue.
    pub connections: Option<NonZeroUsize>,
    /// Maximum number of open connections from one client address; with the PROXY protocol, from
    /// one announced address. Further ones are reset.
    pub per_client: Option<NonZeroUsize>,
    /// Maximum time in which a pair moves no byte either way. Then both sides are reset. `None`, and
    /// zero: no limit.
    pub idle: Option<Duration>,
    /// Maximum time from accept. Then both sides are reset. `None`, and zero: no limit.
    pub lifetime: Option<Duration>,
}

impl Limits {
    /// How many connections a process with this many descriptors can serve, besides its pipes,
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
    /// Samples while a pair is open: at intervals, longer ones while nothing passes or waits, and
    /// when a peer's window closes, a retransmission timer expires, or waiting bytes stall.
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
    /// Only `close`: one line for each pair.
    fn default() -> Self {
        Self { close: true, ..Self::NONE }
    }
}
