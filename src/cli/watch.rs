//! `conniver watch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use conniver::counted::counted;
use conniver::output::{self, Output, Recorder};
use conniver::record::Origin;
use conniver::watch::{Endpoint, Events, Settings, Watch};

use super::exit::{self, Failure};
use super::signals::Stopper;
use super::{Verbosity, diagnostics, recording, service, values};

#[derive(Debug, Args)]
#[command(
    after_help = "Signals: SIGINT and SIGTERM stop the watch. SIGHUP reopens the output file, for log rotation.\n\n\
                  Exit status: 0 after a stop signal, when the reader of standard output has gone, or when the \
                  process of --pid has ended; 1 if it could not start or a record was not written; 2 for wrong usage."
)]
pub(crate) struct WatchArgs {
    /// Watch only sockets that this process holds; the watch ends with it
    #[arg(long, value_name = "PID", value_parser = values::number(1..=u32::MAX, 4711))]
    pid: Option<u32>,

    /// Watch only sockets created in this cgroup (version 2) or below it: /system.slice/x.service, or
    /// its directory. Linux 5.9
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,

    /// Watch only connections to this server, at either end of the connection: HOST:PORT, HOST, :PORT
    /// or a network; repeatable. Names are looked up once, at the start
    #[arg(long, value_name = "ENDPOINT")]
    to: Vec<Endpoint>,

    /// Watch only connections from this client; repeatable
    #[arg(long, value_name = "ENDPOINT")]
    from: Vec<Endpoint>,

    /// Watch only connections that a listener of this machine accepted
    #[arg(long, conflicts_with = "outgoing")]
    listening: bool,

    /// Watch only connections that this machine opened
    #[arg(long)]
    outgoing: bool,

    /// Interval between dumps of all sockets, and between samples of each; at least 10ms. Dumps take
    /// at most a tenth of a processor: with very many sockets they are further apart
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::duration_from(Settings::SHORTEST_INTERVAL, "10ms"))]
    interval: Duration,

    /// File to append records to, or '-' for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Permissions of a new output file, in octal, less the umask; 0640 lets its group read it.
    /// Unix
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = values::mode)]
    output_mode: u32,

    /// Types of lines to write, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "socket")]
    events: Vec<Event>,

    /// Add a label to every record; repeatable. If a KEY is repeated, its last value counts
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::label)]
    label: Vec<(String, String)>,

    /// Host name in every record, instead of the machine's own
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// Do not look up the local process of each socket
    #[arg(long)]
    no_process: bool,

    #[command(flatten)]
    verbosity: Verbosity,
}

/// A kind of line, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Event {
    Start,
    Socket,
    Sample,
    Stop,
}

impl WatchArgs {
    /// What was typed, as what it means.
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = Settings::default();
        settings.filter.pid = self.pid;
        settings.filter.cgroup.clone_from(&self.cgroup);
        settings.filter.to = resolve(&self.to)?;
        settings.filter.from = resolve(&self.from)?;
        settings.filter.origin = match (self.listening, self.outgoing) {
            (true, _) => Some(Origin::Accepted),
            (_, true) => Some(Origin::Connected),
            (false, false) => None,
        };
        settings.interval = self.interval;
        settings.events = Events::NONE;
        for event in &self.events {
            *match event {
                Event::Start => &mut settings.events.start,
                Event::Socket => &mut settings.events.socket,
                Event::Sample => &mut settings.events.sample,
                Event::Stop => &mut settings.events.stop,
            } = true;
        }
        settings.process = !self.no_process;
        settings.labels = self.label.iter().cloned().collect();
        if let Some(host) = &self.host {
            settings.host.clone_from(host);
        }
        Ok(settings)
    }
}

/// Looks up the names among them.
fn resolve(endpoints: &[Endpoint]) -> Result<Vec<Endpoint>, Failure> {
    let resolve = |endpoint: &Endpoint| {
        let name = endpoint.name().unwrap_or_default().to_owned();
        endpoint.clone().resolve().map_err(|error| {
            Failure::new(format!("cannot look up '{name}': {error}; give its address instead"))
        })
    };
    endpoints.iter().map(resolve).collect()
}

pub(crate) fn run(args: &WatchArgs) -> Result<(), Failure> {
    diagnostics::start(&args.verbosity);
    let runtime = exit::runtime()?;
    let result = runtime.block_on(watch(args));
    runtime.shutdown_background();
    result
}

async fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let settings = args.settings()?;
    let (stopper, requests) = Stopper::new();
    let output = match args.output.as_os_str() == "-" {
        true => Output::Stdout,
        false => Output::File { path: args.output.clone(), mode: args.output_mode },
    };
    let reader_gone = stopper.clone();
    let reader_gone = move || reader_gone.request_for_lack_of_a_reader();
    let started = Recorder::start(output.clone(), output::QUEUE, reader_gone);
    let (recorder, writer) = started.map_err(Failure::new)?;
    recording::listen(&recorder, &output, &stopper)?;
    let interval = settings.interval;
    let watch = Watch::open(settings, recorder.clone()).map_err(Failure::new)?;
    // Whoever waits for this line may connect, and may send signals.
    let open = counted(watch.open_sockets() as u64, "socket");
    exit::say(&format!("watching TCP connections: {open} open, a dump every {interval:?}"));
    service::ready();
    let stop = watch.stopper();
    let stopping = requests.clone();
    tokio::spawn(async move {
        stopping.reach(1).await;
        service::stopping();
        stop.stop();
    });
    let watching = tokio::task::spawn_blocking(move || watch.run());
    let summary = watching.await.map_err(Failure::new)?.map_err(Failure::new)?;
    if summary.overflows > 0 {
        tracing::warn!(
            "the kernel dropped events {}: {} written as last seen; it is not known how many had no \
             line",
            counted(summary.overflows, "time"),
            counted(summary.last_seen, "socket")
        );
    }
    if summary.unattributed > 0 {
        tracing::info!(
            "{} ended between two dumps, whose process and cgroup are not known: they have no line",
            counted(summary.unattributed, "socket")
        );
    }
    exit::finish(writer, &recorder, &requests).await
}
