//! `conniver watch`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use conniver::output::{self, QueueLimit, Recorder};
use conniver::plural::counted;
use conniver::proxy;
use conniver::watch::{Events, Settings, Watch};

use super::exit::{self, Failure};
use super::lines::{Format, Lines, Stream};
use super::selection::SelectionArgs;
use super::signals::Stopper;
use super::{Verbosity, diagnostics, recording, service, values};

#[derive(Debug, Args)]
#[command(
    after_help = "Signals: SIGINT and SIGTERM stop the watch. SIGHUP reopens the output file, for log rotation.\n\n\
                  Exit status: 0 after a stop signal, when the reader of standard output has gone, or when the \
                  process of --pid has ended; 1 if it could not start or a record was not written; 2 for wrong usage."
)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    selection: SelectionArgs,

    /// Interval between dumps of all sockets, and between samples of each; at least 10ms. Dumps take
    /// at most a tenth of a processor: with very many sockets they are further apart
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::duration_from(Settings::SHORTEST_INTERVAL, "10ms"))]
    interval: Duration,

    /// File to append records to, or '-' for standard output [default: -]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What to show of ended sockets: records (ndjson), or a line for people. auto means a line on a
    /// terminal without -o, and on standard error beside -o FILE if that is a terminal
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Format,

    /// Permissions of a new output file, in octal, less the umask; 0640 lets its group read it.
    /// Unix [default: 0600]
    #[arg(long, value_name = "MODE", value_parser = values::mode)]
    output_mode: Option<u32>,

    /// Types of lines to write, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "socket")]
    events: Vec<Event>,

    /// Add a label to every record; repeatable. If a KEY is repeated, its last value counts
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::label)]
    label: Vec<(String, String)>,

    /// Host name in every record, instead of the machine's own
    #[arg(long, value_name = "NAME", value_parser = values::host)]
    host: Option<String>,

    /// Do not look up the local process of each socket
    #[arg(long)]
    no_process: bool,

    #[command(flatten)]
    pub(super) verbosity: Verbosity,
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
        settings.filter = self.selection.filter()?;
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

    /// Where lines for people go, if there are any.
    fn lines(&self) -> Option<Stream> {
        // Samples alone have no lines for people.
        if self.format == Format::Auto && !self.events.contains(&Event::Socket) {
            return None;
        }
        self.format.lines(self.output.as_deref(), self.verbosity.quiet)
    }
}

pub(crate) fn run(args: &WatchArgs) -> Result<(), Failure> {
    match args.lines() {
        Some(_) => diagnostics::start_with_lines(&args.verbosity),
        None => diagnostics::start(&args.verbosity),
    }
    let runtime = exit::runtime()?;
    let result = runtime.block_on(watch(args));
    runtime.shutdown_background();
    result
}

async fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let settings = args.settings()?;
    let (stopper, requests) = Stopper::new();
    let output = recording::output(args.output.as_deref(), args.output_mode);
    let reader_gone = stopper.clone();
    let reader_gone = move || reader_gone.request_for_lack_of_a_reader();
    // Of a proxy's connections there are none.
    let lines = args
        .lines()
        .map(|stream| Lines::start(stream, Vec::new(), proxy::Events::NONE, reader_gone.clone()));
    let lines = lines.transpose()?.map(Arc::new);
    let (recorder, writer) = match args.lines() {
        // Instead of records.
        Some(Stream::Stdout) => (Recorder::default(), None),
        _ => {
            let limit = QueueLimit::new(output::QUEUE, "further lines are lost");
            let started = Recorder::start(output.clone(), limit, reader_gone);
            let (recorder, writer) = started.map_err(Failure::new)?;
            (recorder, Some(writer))
        }
    };
    recording::listen(&recorder, &output, &stopper)?;
    let interval = settings.interval;
    let mut watch = Watch::open(settings, recorder.clone()).map_err(Failure::new)?;
    if let Some(lines) = lines.clone() {
        watch = watch.on_socket(move |socket| lines.socket(socket));
    }
    // Whoever waits for this line may connect, and may send signals.
    let open = counted(watch.open_sockets() as u64, "socket");
    exit::say(&format!("watching TCP connections: {open} open, a dump every {interval:?}"));
    service::ready();
    let stop = watch.stopper();
    let stopping = requests.clone();
    let stopped_lines = lines.clone();
    tokio::spawn(async move {
        stopping.reach(1).await;
        service::stopping();
        if let Some(lines) = stopped_lines {
            lines.stopping();
        }
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
    if let Some(lines) = lines {
        lines.finish(&requests).await;
    }
    match writer {
        Some(writer) => exit::finish(writer, &recorder, &requests).await,
        None => Ok(()),
    }
}
