//! `conniver proxy`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{ArgGroup, Args};
use conniver::access::{Access, Network, TargetRule, Users};
use conniver::ingress::{Forward, ListenAddr};
use conniver::metrics::{Metrics, MetricsListener};
use conniver::output::{QueueLimit, Recorder};
use conniver::proxy::{
    BindError, Events, Listener, Mark, Proxy, ProxyProtocol, Settings, Shutdown,
};

use super::exit::{self, Failure};
use super::inherited::Inherited;
use super::limits::LimitArgs;
use super::lines::{Format, Lines, Stream};
use super::shared_options::PairArgs;
use super::signals::Stopper;
use super::{Verbosity, conflicts, diagnostics, recording, service, usage, values};

#[derive(Debug, Args)]
#[command(override_usage = "conniver proxy [OPTIONS] <-L ...|-D ...|--redirect ...|--tproxy ...>")]
#[command(
    after_help = "Signals: SIGINT and SIGTERM stop the proxy when open connections have finished (--drain), a \
                  second one stops it at once. SIGHUP reopens the output file, for log rotation.\n\n\
                  Exit status: 0 after a stop signal or when the reader of standard output has gone, 1 if it \
                  could not start or a record was not written, 2 for wrong usage."
)]
#[command(group(ArgGroup::new("ways in").required(true).multiple(true).args(["forward", "dynamic", "redirect", "tproxy"])))]
pub(crate) struct ProxyArgs {
    /// Listen on PORT and forward connections to HOST:HOSTPORT, as ssh -L does; repeatable. BIND is
    /// 127.0.0.1 by default, PORT 0 picks a free port, IPv6 addresses go in brackets
    #[arg(short = 'L', value_name = "[BIND:]PORT:HOST:HOSTPORT")]
    forward: Vec<Forward>,

    /// Listen on PORT as an HTTP (CONNECT and http:// requests) and SOCKS 4, 4a and 5 proxy;
    /// repeatable
    #[arg(short = 'D', value_name = "[BIND:]PORT")]
    dynamic: Vec<ListenAddr>,

    /// Accept connections that a REDIRECT rule of nftables or iptables diverts to PORT (see:
    /// conniver rules); repeatable. Linux
    #[arg(long, value_name = "[BIND:]PORT")]
    redirect: Vec<ListenAddr>,

    /// Accept connections that a TPROXY rule diverts to PORT; repeatable. Linux, needs
    /// CAP_NET_ADMIN
    #[arg(long, value_name = "[BIND:]PORT")]
    tproxy: Vec<ListenAddr>,

    /// Accept clients from this network only; repeatable. Required for -L beyond loopback, and for
    /// -D unless --auth-file is given
    #[arg(long, value_name = "CIDR")]
    allow_from: Vec<Network>,

    /// File of user:password lines, with which clients of -D must authenticate (HTTP Basic, SOCKS
    /// 5)
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,

    /// Allow clients that choose their targets (all but those of -L) to reach only these;
    /// repeatable. RULE is a network, a host name, *.SUFFIX or *, optionally followed by :PORT
    #[arg(long, value_name = "RULE")]
    allow: Vec<TargetRule>,

    /// Never connect to these targets, even if --allow matches; repeatable
    #[arg(long, value_name = "RULE")]
    deny: Vec<TargetRule>,

    /// Require a PROXY protocol header (version 1 or 2) on every connection, and record the client
    /// that it announces. Applies to all listeners; beyond loopback they need --allow-from
    #[arg(long)]
    accept_proxy: bool,

    /// Send upstreams a PROXY protocol header with the client's address
    #[arg(long, value_name = "VERSION")]
    send_proxy: Option<SendProxy>,

    /// Maximum time for a client to send its request or PROXY protocol header; 0 means no limit
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    request_timeout: Duration,

    /// File to append records to, or '-' for standard output [default: -]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What to show of connections: records (ndjson), or a line for people. auto means a line on a
    /// terminal without -o, and on standard error beside -o FILE if that is a terminal
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Format,

    /// Permissions of a new output file, in octal, less the umask; 0640 lets its group read it.
    /// Unix [default: 0600]
    #[arg(long, value_name = "MODE", value_parser = values::mode)]
    output_mode: Option<u32>,

    /// Size of the output queue: 64MiB, 500kB; at least 16kB. When it is full, new connections
    /// wait; with 0 they wait whenever a record is unwritten
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = values::queue)]
    queue: ByteSize,

    /// Set this firewall mark (SO_MARK) on connections to upstreams, so that rules can exempt them.
    /// Linux, needs CAP_NET_ADMIN
    #[arg(long, value_name = "N", value_parser = values::mark)]
    mark: Option<NonZeroU32>,

    /// Serve Prometheus metrics at /metrics and a health check at /healthz. Beyond loopback it
    /// needs --allow-from
    #[arg(long, value_name = "[BIND:]PORT")]
    metrics: Option<ListenAddr>,

    /// Number of targets chosen by clients that get their own metric label, up to 1000; further
    /// ones are "other". Targets of -L always have a label
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = values::number(0..=1000_usize, 20))]
    metrics_targets: usize,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    pair: PairArgs,

    #[command(flatten)]
    pub(super) verbosity: Verbosity,

    /// The options that were given and shape records, such as `--detail`.
    #[arg(skip)]
    pub(super) given_of_records: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SendProxy {
    V1,
    V2,
}

/// Warns of passwords that others than the file's owner can read.
fn warn_if_others_read(file: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(file) {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o044 != 0 {
            tracing::warn!(
                "other users can read the passwords in '{0}' (mode {mode:04o}); run: chmod 600 \
                 '{0}'",
                file.display()
            );
        }
    }
    #[cfg(not(unix))]
    let _ = file;
}

/// Warns of rules that cannot be applied to names, because a parent proxy looks them up.
fn warn_of_unresolved_names(settings: &Settings) {
    let Some(via) = settings.tunnel_via.as_ref().filter(|via| via.looks_names_up()) else { return };
    let Access { allow, deny, .. } = &settings.access;
    if deny.iter().any(TargetRule::is_of_network) {
        tracing::warn!(
            "the parent proxy {via} resolves names, so --deny cannot be applied to their \
             addresses: names are refused unless an --allow rule matches them"
        );
    } else if !allow.is_empty() && allow.iter().all(TargetRule::is_of_network) {
        tracing::warn!(
            "the parent proxy {via} resolves names, and --allow has only networks: all names are \
             refused"
        );
    }
}

/// What is said where a port is taken that clients are told of, and so may be any.
fn or_free_port(error: BindError) -> Failure {
    let advice = if error.is_in_use() { " (0 picks a free one)" } else { "" };
    Failure::new(format!("{error}{advice}"))
}

impl ProxyArgs {
    /// The addresses to listen on, each with its option.
    fn listen_addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let forwards = self.forward.iter().map(|forward| ("-L", forward.listen));
        let of = |option, addresses: &[ListenAddr]| {
            let pairs: Vec<_> = addresses.iter().map(|address| (option, address.0)).collect();
            pairs.into_iter()
        };
        forwards
            .chain(of("-D", &self.dynamic))
            .chain(of("--redirect", &self.redirect))
            .chain(of("--tproxy", &self.tproxy))
            .chain(of("--metrics", self.metrics.as_slice()))
            .collect()
    }

    fn check_overlaps(&self) {
        if let Some(sentence) = conflicts::overlap(&self.listen_addresses()) {
            usage::wrong_usage(&["proxy"], &sentence);
        }
    }

    /// Listening where other machines come in takes a word on who may. What is diverted was chosen
    /// by the kernel's rules, and whoever connects otherwise is refused. Who may announce clients is
    /// always to be said.
    fn check_exposure(&self) {
        let has_users = self.auth_file.is_some() && !self.accept_proxy;
        let is_guarded = |option| match option {
            "-D" => has_users,
            "--redirect" | "--tproxy" => !self.accept_proxy,
            _ => false,
        };
        let exposed = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
        let all = self.listen_addresses();
        let open = all.iter().find(|(option, address)| {
            self.allow_from.is_empty() && !is_guarded(option) && exposed(address)
        });
        if let Some((option, address)) = open {
            let or =
                if *option == "-D" && !self.accept_proxy { ", or --auth-file FILE" } else { "" };
            let sentence = format!(
                "{option} {address} can be reached from other machines: restrict its clients with \
                 --allow-from CIDR{or}; '--allow-from 0.0.0.0/0 --allow-from ::/0' allows \
                 everyone"
            );
            usage::wrong_usage(&["proxy"], &sentence);
        }
    }

    /// Options with which no connection could ever succeed.
    fn check_contradictions(&self) {
        let all = self.listen_addresses();
        let parent = self.pair.via().and_then(|via| conflicts::own_parent(&via, &all));
        let mut forwards = self.forward.iter();
        let family = self.pair.family();
        let sentence = parent.or_else(|| {
            forwards.find_map(|forward| {
                let looped = conflicts::own_target(forward, &all);
                looped.or_else(|| conflicts::impossible_target(forward, family))
            })
        });
        if let Some(sentence) = sentence {
            usage::wrong_usage(&["proxy"], &sentence);
        }
    }

    /// A rule may be one for many forwardings, and what it refuses is recorded.
    fn warn_of_denied_targets(&self) {
        for forward in &self.forward {
            if let Some(sentence) = conflicts::denied_target(forward, &self.deny) {
                tracing::warn!("{sentence}");
            }
        }
    }

    /// What is refused is recorded.
    fn warn_of_refused_clients(&self) {
        let listening = self.listen_addresses();
        if let Some(sentence) = conflicts::refused_clients(&self.allow_from, &listening) {
            tracing::warn!("{sentence}");
        }
    }

    /// On a terminal, who gives these options may not expect lines for people.
    fn warn_of_records_options(&self) {
        let have = match &self.given_of_records[..] {
            [] => return,
            [one] => format!("{one} has"),
            [first @ .., last] => format!("{} and {last} have", first.join(", ")),
        };
        tracing::warn!(
            "{have} no effect on lines for people: for records, add -o FILE, or --format ndjson"
        );
    }

    fn access(&self) -> Result<Access, Failure> {
        let mut access = Access::default();
        access.from.clone_from(&self.allow_from);
        let users = self.auth_file.as_deref().map(Users::read).transpose();
        access.users = users.map_err(Failure::new)?;
        if let Some(file) = &self.auth_file {
            warn_if_others_read(file);
        }
        self.warn_of_denied_targets();
        self.warn_of_refused_clients();
        access.allow.clone_from(&self.allow);
        access.deny.clone_from(&self.deny);
        Ok(access)
    }

    fn listeners(&self) -> Result<Vec<Listener>, Failure> {
        let mut inherited = Inherited::take()?;
        let mut listeners = Vec::new();
        for Forward { listen, target } in &self.forward {
            let listener = Listener::forward_on(inherited.at(*listen), target.clone());
            listeners.push(listener.map_err(or_free_port));
        }
        for listen in &self.dynamic {
            listeners.push(Listener::proxy(inherited.at(listen.0)).map_err(or_free_port));
        }
        for listen in &self.redirect {
            listeners.push(Listener::redirect(inherited.at(listen.0)).map_err(Failure::new));
        }
        for listen in &self.tproxy {
            listeners.push(Listener::tproxy(inherited.at(listen.0)).map_err(Failure::new));
        }
        inherited.none_left()?;
        listeners.into_iter().collect()
    }

    /// What was typed, as what it means.
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = self.pair.settings();
        settings.access = self.access()?;
        settings.accept_proxy = self.accept_proxy;
        settings.send_proxy = self.send_proxy.map(|version| match version {
            SendProxy::V1 => ProxyProtocol::V1,
            SendProxy::V2 => ProxyProtocol::V2,
        });
        settings.request_timeout = self.request_timeout;
        settings.metrics_targets = self.metrics_targets;
        warn_of_unresolved_names(&settings);
        self.limits.apply(&mut settings)?;
        settings.mark = self.mark.map(Mark::new).transpose().map_err(Failure::new)?;
        Ok(settings)
    }

    /// Where lines for people go, if there are any.
    fn lines(&self) -> Option<Stream> {
        self.format.lines(self.output.as_deref(), self.verbosity.quiet)
    }
}

pub(crate) fn run(args: ProxyArgs) -> Result<(), Failure> {
    args.check_overlaps();
    args.check_exposure();
    args.check_contradictions();
    match args.lines() {
        Some(_) => diagnostics::start_with_lines(&args.verbosity),
        None => diagnostics::start(&args.verbosity),
    }
    if args.lines() == Some(Stream::Stdout) {
        args.warn_of_records_options();
    }
    let runtime = exit::runtime()?;
    let result = runtime.block_on(serve(args));
    // A look-up that hangs in the resolver must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn serve(args: ProxyArgs) -> Result<(), Failure> {
    let mut settings = args.settings()?;
    let (stopper, requests) = Stopper::new();
    let listeners = args.listeners()?;
    let output = recording::output(args.output.as_deref(), args.output_mode);
    let reader_gone = stopper.clone();
    let reader_gone = move || reader_gone.request_for_lack_of_a_reader();
    let lines = args.lines().map(|stream| {
        Lines::start(stream, settings.access.deny.clone(), settings.events, reader_gone.clone())
    });
    let lines = lines.transpose()?.map(Arc::new);
    let (recorder, writer) = match args.lines() {
        // Instead of records.
        Some(Stream::Stdout) => {
            let has_turns = std::mem::replace(&mut settings.events, Events::NONE).turn;
            settings.events.turn = has_turns;
            (Recorder::default(), None)
        }
        _ => {
            let queue = usize::try_from(args.queue.as_u64()).unwrap_or(usize::MAX);
            let limit = QueueLimit::new(
                queue,
                "new connections wait, open ones continue; --queue sets the size",
            );
            let started = Recorder::start(output.clone(), limit, reader_gone);
            let (recorder, writer) = started.map_err(Failure::new)?;
            (recorder, Some(writer))
        }
    };

    recording::listen(&recorder, &output, &stopper)?;
    let mut listening: Vec<_> = listeners.iter().map(|l| format!("listening on {l}")).collect();
    let access = settings.access.clone();
    let mut proxy = Proxy::new(settings, recorder.clone(), listeners);
    let mut metrics = None;
    if let Some(listen) = args.metrics {
        let listener = MetricsListener::bind(listen).await.map_err(or_free_port)?;
        listening.push(format!("serving metrics on {}", listener.local_addr()));
        let served = Metrics::new(proxy.counters(), recorder.clone());
        metrics = Some(served.clone());
        let stopping = requests.clone();
        let queue = recorder.clone();
        let ailment = move || match stopping.reached(1) {
            true => Some("stopping"),
            false => queue.is_full().then_some("records cannot be written"),
        };
        tokio::spawn(listener.serve(served, access, ailment));
    }
    proxy = told(proxy, metrics, lines.as_ref());
    // Last of all: whoever waits for these lines may connect, and may send signals.
    for line in &listening {
        exit::say(line);
    }
    service::ready();
    let drain = async {
        requests.reach(1).await;
        service::stopping();
        if let Some(lines) = &lines {
            lines.stopping();
        }
    };
    proxy.run(Shutdown::graceful(drain).or_forced(requests.reach(2))).await;
    if let Some(lines) = &lines {
        lines.finish(&requests).await;
    }
    match writer {
        Some(writer) => exit::finish(writer, &recorder, &requests).await,
        None => Ok(()),
    }
}

/// The proxy, whose connections are counted and shown.
fn told(mut proxy: Proxy, metrics: Option<Metrics>, lines: Option<&Arc<Lines>>) -> Proxy {
    if let Some(lines) = lines {
        let [turns, refusals] = [lines, lines].map(Arc::clone);
        proxy = proxy.on_turn(move |turn| turns.turn(turn));
        proxy = proxy.on_refused(move |refused| refusals.refused(refused));
    }
    let lines = lines.map(Arc::clone);
    if metrics.is_none() && lines.is_none() {
        return proxy;
    }
    proxy.on_close(move |record| {
        if let Some(metrics) = &metrics {
            metrics.count(record);
        }
        if let Some(lines) = &lines {
            lines.closed(record);
        }
    })
}
