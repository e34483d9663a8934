//! The proxy: listeners in, one record for each pair out.
//!
//! [`Proxy`] takes sockets that are bound already and a future that says when to stop, so a program
//! or a test can run one on any port and end it at any moment.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use conniver::proxy::{Listener, Proxy, Settings, Shutdown};
//! use conniver::output::{self, Output, Recorder};
//!
//! let (recorder, writer) = Recorder::start(Output::Stdout, output::QUEUE, || {})?;
//! let listener = Listener::forward(&"8080:example.com:80".parse()?)?;
//! let proxy = Proxy::new(Settings::default(), recorder, vec![listener]);
//! let interrupted = async { drop(tokio::signal::ctrl_c().await) };
//! proxy.run(Shutdown::graceful(interrupted)).await;
//! tokio::task::spawn_blocking(|| writer.finish()).await?;
//! # Ok(())
//! # }
//! ```

mod admission;
mod client_gone;
mod client_request;
mod connect;
mod connection_log;
mod counters;
mod entry;
mod hooks;
mod idle_pair;
mod kept_client;
mod lines;
mod listener;
mod loops;
mod open_pair;
mod payload;
mod refusals;
mod relaying;
mod sampler;
mod sampler_state;
mod session;
mod settings;
mod shared;
mod shutdown;
mod waits;

use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Owners, PasswordGuesses};
use crate::dial::Dialler;
pub use crate::dial::{Exception, Family, ParseViaError, Via};
use crate::output::Recorder;
use crate::plural::counted;
use crate::process::Finder;
use crate::record::{Line, Record, Refused, Sample};
use crate::socket_options::Outgoing;
use admission::Admission;
#[cfg(feature = "metrics")]
pub(crate) use counters::ConnectionCounts;
pub use counters::Counters;
pub use hooks::ClientTurn;
use hooks::Hooks;
pub use listener::{BindError, ListenOn, Listener};
use loops::Loops;
use refusals::Refusals;
pub use settings::{Events, Limits, Settings};
use shared::Shared;
pub use shutdown::Shutdown;
#[cfg(feature = "metrics")]
pub(crate) use waits::{BOUNDS, WaitHistogram};

pub use crate::ingress::ProxyProtocol;
pub use crate::socket_options::{Keepalive, Mark, MarkError, SocketOptions, SocketOptionsError};

/// A proxy that is ready to run.
#[derive(Debug)]
pub struct Proxy {
    shared: Shared,
    listeners: Vec<Listener>,
}

impl Proxy {
    /// A proxy on these listeners, whose records go to `recorder`.
    pub fn new(settings: Settings, recorder: Recorder, listeners: Vec<Listener>) -> Self {
        let stop = CancellationToken::new();
        let listening = listeners.iter().map(Listener::local_addr).collect();
        let forwards = listeners.iter().filter_map(Listener::forwards_to).collect();
        let sockets = Outgoing { options: settings.sockets, mark: settings.mark };
        let dialler = Dialler::new(settings.family, sockets);
        for listener in &listeners {
            listener.set_options(&settings.sockets);
        }
        let counters =
            Counters::new(settings.metrics_targets, listeners.iter().map(Listener::entry));
        let Limits { connections, per_client, .. } = settings.limits;
        let processes = if settings.process { Finder::start() } else { None };
        let owners = settings.access.own_user_only.then(Owners::default);
        let shared = Shared {
            settings,
            recorder,
            dialler,
            processes,
            owners,
            refused: Mutex::default(),
            seq: AtomicU64::new(0),
            counters,
            listening,
            forwards,
            hooks: Hooks::default(),
            stall_detector: Arc::default(),
            admission: Admission::new(connections, per_client),
            guesses: PasswordGuesses::default(),
            loops: Loops::default(),
            refusals: Refusals::default(),
            draining: CancellationToken::new(),
            stop,
        };
        Self { shared, listeners }
    }

    /// Calls `callback` with the record of every pair that has ended, whether or not it is also
    /// written; not for those that are refused without one. It is called by the pair's task and
    /// should return soon. A panic in it ends only the callback.
    pub fn on_close(mut self, callback: impl Fn(&Record) + Send + Sync + 'static) -> Self {
        self.shared.hooks.close.set(callback);
        self
    }

    /// Calls `callback` with the record so far of every pair that has its upstream, if [`Settings::events`] asks
    /// for [`open`](Events::open); in other respects as [`on_close`](Self::on_close).
    pub fn on_open(mut self, callback: impl Fn(&Record) + Send + Sync + 'static) -> Self {
        self.shared.hooks.open.set(callback);
        self
    }

    /// Calls `callback` with every turn that has a line: those that waited for [`Settings::turn_min`], of pairs whose
    /// turns are not mixed, if [`Settings::events`] asks for [`turn`](Events::turn).
    pub fn on_turn(mut self, callback: impl Fn(&ClientTurn) + Send + Sync + 'static) -> Self {
        self.shared.hooks.turn.set(callback);
        self
    }

    /// Calls `callback` with every sample of an open pair, if [`Settings::events`] asks for
    /// [`sample`](Events::sample).
    pub fn on_sample(mut self, callback: impl Fn(&Sample) + Send + Sync + 'static) -> Self {
        self.shared.hooks.sample.set(callback);
        self
    }

    /// Calls `callback` with every count of connections that were refused without a record of their own, whether or
    /// not it is also written.
    pub fn on_refused(mut self, callback: impl Fn(&Refused) + Send + Sync + 'static) -> Self {
        self.shared.hooks.refused.set(callback);
        self
    }

    /// The counters of the proxy, for the metrics.
    pub fn counters(&self) -> Counters {
        self.shared.counters.clone()
    }

    /// Accepts and relays until the shutdown; then accepts no more, and gives open pairs the time
    /// of [`Settings::drain`], or until the forced shutdown. When it returns, every pair has its
    /// record in the recorder's queue.
    pub async fn run<G, F>(self, shutdown: Shutdown<G, F>)
    where
        G: Future<Output = ()>,
        F: Future<Output = ()>,
    {
        let Shutdown { graceful, forced } = shutdown;
        let began = Instant::now();
        let Self { shared, listeners } = self;
        let shared = Arc::new(shared);
        if shared.settings.events.start {
            let listening = listeners.iter().map(|listener| listener.entry().describe()).collect();
            shared.recorder.push(&Line::Start(shared.start_line(listening)));
        }

        let stall_detector = Arc::clone(&shared.stall_detector);
        let mut background = tokio::task::JoinSet::new();
        background.spawn(async move { stall_detector.run().await });
        background.spawn({
            let shared = Arc::clone(&shared);
            async move { shared.record_refusals().await }
        });

        let pairs = TaskTracker::new();
        let accepting = CancellationToken::new();
        let mut loops = tokio::task::JoinSet::new();
        for listener in listeners {
            let (shared, pairs, accepting) =
                (Arc::clone(&shared), pairs.clone(), accepting.clone());
            loops.spawn(async move {
                tokio::select! {
                    () = listener.accept_all(shared, pairs) => {}
                    () = accepting.cancelled() => {}
                }
            });
        }

        graceful.await;
        accepting.cancel();
        shared.draining.cancel();
        while loops.join_next().await.is_some() {}
        pairs.close();
        if !pairs.is_empty() {
            let open = counted(pairs.len() as u64, "open connection");
            let drain = shared.settings.drain;
            tracing::info!("waiting up to {drain:?} for {open} to finish (--drain)");
        }
        tokio::select! {
            () = pairs.wait() => {}
            () = tokio::time::sleep(shared.settings.drain) => {}
            () = forced => {}
        }
        shared.stop.cancel();
        pairs.wait().await;

        shared.record_refused();
        if shared.settings.events.stop {
            shared.recorder.push(&Line::Stop(shared.stop_line(began)));
        }
    }
}
