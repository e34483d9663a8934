//! `conniver proxy`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args};
use conniver::access::{Access, Network, TargetRule, Users};
use conniver::ingress::{Forward, ListenAddr};
use conniver::proxy::{
    Events, Family, Listener, Mark, ParseViaError, Proxy, ProxyProtocol, Settings, Via,
};
use conniver::record::{Output, Recorder, Tally, Writer};

use super::exit::{self, Failure};
use super::signals::{self, StopRequests, Stopper};
use super::{Verbosity, diagnostics, output_watch};

/// After a second request to stop, the writer has this long.
const LAST_WRITES: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(override_usage = "conniver proxy [OPTIONS] <-L ...|-D ...|--redirect ...|--tproxy ...>")]
#[command(group(ArgGroup::new("ways in").required(true).multiple(true).args(["forward", "dynamic", "redirect", "tproxy"])))]
pub(crate) struct ProxyArgs {
    /// Forward a port to one target, as ssh does; repeatable. BIND is 127.0.0.1 unless given, PORT 0
    /// asks for any free port, IPv6 addresses stand in brackets
    #[arg(short = 'L', value_name = "[BIND:]PORT:HOST:HOSTPORT")]
    forward: Vec<Forward>,

    /// Serve HTTP (CONNECT and http:// requests) and SOCKS 4, 4a and 5 on a port; repeatable
    #[arg(short = 'D', value_name = "[BIND:]PORT")]
    dynamic: Vec<ListenAddr>,

    /// Take connections that a REDIRECT rule of the kernel diverts to a port (see: conniver rules);
    /// repeatable. Linux
    #[arg(long, value_name = "[BIND:]PORT")]
    redirect: Vec<ListenAddr>,

    /// Take connections that a TPROXY rule diverts to a port; repeatable. Linux, needs CAP_NET_ADMIN
    #[arg(long, value_name = "[BIND:]PORT")]
    tproxy: Vec<ListenAddr>,

    /// Serve clients in this network alone; repeatable. -L and -D need it to listen beyond loopback
    #[arg(long, value_name = "CIDR")]
    allow_from: Vec<Network>,

    /// Ask who uses -D for a name and password (HTTP Basic, SOCKS 5): a file of user:password lines
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,

    /// Let clients that choose their targets (all but those of -L) reach these alone; repeatable.
    /// RULE is a network, a host name, *.SUFFIX or *, each perhaps with :PORT
    #[arg(long, value_name = "RULE")]
    allow: Vec<TargetRule>,

    /// Never connect to these targets, whatever --allow says; repeatable
    #[arg(long, value_name = "RULE")]
    deny: Vec<TargetRule>,

    /// Expect clients to begin with a PROXY protocol header, of version 1 or 2, and take the client
    /// that it announces for theirs. For all listeners; beyond loopback they need --allow-from
    #[arg(long)]
    accept_proxy: bool,

    /// Tell upstreams who their clients are by a PROXY protocol header
    #[arg(long, value_name = "VERSION")]
    send_proxy: Option<SendProxy>,

    /// Where records go: a file to append to, or '-' for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Which lines to write, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "close")]
    events: Vec<Event>,

    /// Put this into every record; repeatable, the last value of a KEY counts
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,

    /// The machine's name in every record, instead of its own
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// Longest time until a client has said what it must, such as where it wants to go
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    request_timeout: Duration,

    /// Longest time to look up and connect to a target: 10s, 500ms; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    connect_timeout: Duration,

    /// Reach targets through a parent proxy: [http|socks5|socks5h]://[USER:PASSWORD@]HOST[:PORT].
    /// HTTP (CONNECT) and socks5h hand it names, socks5 looks them up here
    #[arg(long, value_name = "URL")]
    via: Option<ViaArg>,

    /// Mark connections to upstreams (SO_MARK), so that the kernel's rules can let them pass. Linux,
    /// needs CAP_NET_ADMIN
    #[arg(long, value_name = "N", value_parser = parse_mark)]
    mark: Option<NonZeroU32>,

    /// Reach targets by their IPv4 addresses alone
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,

    /// Reach targets by their IPv6 addresses alone
    #[arg(short = '6', long)]
    ipv6: bool,

    /// How long open connections may go on after SIGINT or SIGTERM
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    drain: Duration,

    /// How long to wait, after the last byte, until the peers have acknowledged everything
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    linger: Duration,

    #[command(flatten)]
    verbosity: Verbosity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Event {
    Start,
    Open,
    Close,
    Stop,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SendProxy {
    V1,
    V2,
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// `5s`, `250ms`, `1m 30s`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let seconds = || text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    let friendly = || Duration::try_from(text.parse::<jiff::SignedDuration>().ok()?).ok();
    seconds()
        .or_else(friendly)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "expected a time such as 5s, 250ms or 1m, a year at most".to_owned())
}

/// `7`, `0x7`.
pub(super) fn parse_mark(text: &str) -> Result<NonZeroU32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let mark = number.ok().and_then(NonZeroU32::new);
    mark.ok_or_else(|| "expected a number from 1 to 4294967295, or 0x and hex digits".to_owned())
}

/// What `--via` was given. It is judged after clap, which would repeat a malformed URL, password
/// and all.
#[derive(Debug, Clone)]
struct ViaArg(Result<Via, ParseViaError>);

impl FromStr for ViaArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.parse()))
    }
}

impl ViaArg {
    /// Wrong usage ends the program, as everywhere.
    fn or_exit(&self) -> Via {
        let refuse = |error| {
            let text = format!("invalid value for '--via <URL>': {error}\n");
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, text).exit()
        };
        self.0.clone().unwrap_or_else(refuse)
    }
}

impl ProxyArgs {
    /// Listening where other machines come in takes a word on who may. What is diverted was chosen
    /// by the kernel's rules, and whoever connects otherwise is refused. Who may announce clients is
    /// always to be said.
    fn check_exposure(&self) {
        let has_users = self.auth_file.is_some() && !self.accept_proxy;
        let forwards = self.forward.iter().map(|forward| ("-L", forward.listen, false));
        let dynamics = self.dynamic.iter().map(|dynamic| ("-D", dynamic.0, has_users));
        let diverted = !self.accept_proxy;
        let redirects = self.redirect.iter().map(|redirect| ("--redirect", redirect.0, diverted));
        let tproxies = self.tproxy.iter().map(|tproxy| ("--tproxy", tproxy.0, diverted));
        let mut all = forwards.chain(dynamics).chain(redirects).chain(tproxies);
        let exposed = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
        let open = all.find(|(_, address, guarded)| {
            self.allow_from.is_empty() && !guarded && exposed(address)
        });
        if let Some((option, address, _)) = open {
            let or =
                if option == "-D" && !self.accept_proxy { ", or --auth-file FILE" } else { "" };
            exit::wrong_usage(format!(
                "{option} {address} can be reached from other machines: say who may use it with \
                 --allow-from CIDR{or}; '--allow-from 0.0.0.0/0 --allow-from ::/0' is everyone"
            ));
        }
    }

    fn access(&self) -> Result<Access, Failure> {
        let mut access = Access::default();
        access.from.clone_from(&self.allow_from);
        let users = self.auth_file.as_deref().map(Users::read).transpose();
        access.users = users.map_err(Failure::new)?;
        access.allow.clone_from(&self.allow);
        access.deny.clone_from(&self.deny);
        Ok(access)
    }

    fn listeners(&self) -> Result<Vec<Listener>, Failure> {
        let forwards = self.forward.iter().map(Listener::forward);
        let dynamics = self.dynamic.iter().map(|&listen| Listener::proxy(listen));
        let redirects = self.redirect.iter().map(|&listen| Listener::redirect(listen));
        let tproxies = self.tproxy.iter().map(|&listen| Listener::tproxy(listen));
        let all = forwards.chain(dynamics).chain(redirects).chain(tproxies);
        all.collect::<Result<_, _>>().map_err(Failure::new)
    }

    /// What was typed, as what it means.
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = Settings::default();
        settings.access = self.access()?;
        settings.accept_proxy = self.accept_proxy;
        settings.send_proxy = self.send_proxy.map(|version| match version {
            SendProxy::V1 => ProxyProtocol::V1,
            SendProxy::V2 => ProxyProtocol::V2,
        });
        settings.request_timeout = self.request_timeout;
        settings.connect_timeout = self.connect_timeout;
        settings.family = match (self.ipv4, self.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            (false, false) => Family::Any,
        };
        settings.via = self.via.as_ref().map(ViaArg::or_exit);
        settings.mark = self.mark.map(Mark::new).transpose().map_err(Failure::new)?;
        settings.drain = self.drain;
        settings.linger = self.linger;
        settings.events = Events::NONE;
        for event in &self.events {
            *match event {
                Event::Start => &mut settings.events.start,
                Event::Open => &mut settings.events.open,
                Event::Close => &mut settings.events.close,
                Event::Stop => &mut settings.events.stop,
            } = true;
        }
        settings.labels = self.label.iter().cloned().collect();
        if let Some(host) = &self.host {
            settings.host.clone_from(host);
        }
        Ok(settings)
    }

    fn output(&self) -> Output {
        if self.output.as_os_str() == "-" {
            Output::Stdout
        } else {
            Output::File(self.output.clone())
        }
    }
}

pub(crate) fn run(args: ProxyArgs) -> Result<(), Failure> {
    args.check_exposure();
    diagnostics::start(&args.verbosity);
    let runtime = exit::runtime()?;
    let result = runtime.block_on(serve(args));
    // A look-up that hangs in the resolver must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn serve(args: ProxyArgs) -> Result<(), Failure> {
    let (stopper, requests) = Stopper::new();
    let settings = args.settings()?;
    let listeners = args.listeners()?;
    let output = args.output();
    let reader_gone = stopper.clone();
    let (recorder, writer) = Recorder::start(output.clone(), move || reader_gone.request_once())
        .map_err(Failure::new)?;

    let hangup = {
        let (stopper, recorder, output) = (stopper.clone(), recorder.clone(), output.clone());
        move || match output {
            Output::File(_) => recorder.reopen(),
            // There is nothing to open anew: the terminal has gone.
            Output::Stdout => stopper.request(),
        }
    };
    signals::listen(&stopper, hangup)
        .map_err(|error| Failure::new(format!("listening for signals: {error}")))?;
    if output == Output::Stdout {
        output_watch::stop_when_reader_leaves(stopper.clone());
    }
    // Last of all: whoever waits for these lines may connect, and may send signals.
    for listener in &listeners {
        exit::say(&format!("listening on {listener}"));
    }

    let proxy = Proxy::new(settings, recorder.clone(), listeners);
    proxy.run(requests.reach(1), requests.reach(2)).await;
    finish(writer, &recorder, &requests).await
}

/// Writes what is left. A second request to stop leaves the writer one more second.
async fn finish(
    writer: Writer,
    recorder: &Recorder,
    requests: &StopRequests,
) -> Result<(), Failure> {
    let hurried = async {
        requests.reach(2).await;
        tokio::time::sleep(LAST_WRITES).await;
    };
    // A thread of its own: the runtime's may all be held up by look-ups that hang.
    let (finished, finishing) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("finish".to_owned());
    // Nobody waits any more when the end was hurried.
    let finish = move || _ = finished.send(writer.finish());
    thread.spawn(finish).map_err(|error| Failure::new(format!("starting a thread: {error}")))?;
    let Tally { unwritten, .. } = tokio::select! {
        tally = finishing => tally.unwrap_or_else(|_| recorder.tally()),
        () = hurried => recorder.tally(),
    };
    match unwritten {
        0 => Ok(()),
        1 => Err(Failure::new("1 record was not written")),
        n => Err(Failure::new(format!("{n} records were not written"))),
    }
}
