//! `conniver run`: a program with the proxy around it.

mod environment;
mod findings;
#[cfg_attr(not(target_os = "linux"), path = "no_intercept.rs")]
mod intercept;
mod misplaced;
#[cfg_attr(not(target_os = "linux"), path = "no_orphans.rs")]
mod orphans;
mod program;
mod refused;
mod summary;
mod url_var;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use conniver::expect::Expectation;
use conniver::ingress::{Forward, ListenAddr};
use conniver::output::{self, Output, Recorder};
use conniver::proxy::{Events, Listener, Proxy, Settings, Shutdown};
use tokio::process::Command;

use super::exit::{self, Failure};
use super::page_file::LivePage;
use super::parent;
use super::shared_options::PairArgs;
use super::signals::Stopper;
use super::{Verbosity, conflicts, diagnostics, recording, usage, values};
use findings::Findings;
use intercept::Interception;
use program::{Program, Signals};
use url_var::UrlVar;

/// The exit status when it is conniver that failed, as env(1) and timeout(1) have it.
const OWN_FAILURE: u8 = 125;

#[derive(Debug, Args)]
#[command(override_usage = "conniver run [OPTIONS] -- COMMAND [ARG]...")]
#[command(
    after_help = "Exit status: COMMAND's own; 128 + N if signal N ended it, 126 if it could not \
                  be run, 127 if it was not found, 125 if conniver itself failed, 3 \
                  (--expect-status) if it succeeded but an --expect is not met, 2 for wrong usage."
)]
pub(crate) struct RunArgs {
    /// Program to run, and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<OsString>,

    /// Forward the server of the URL in COMMAND's environment variable NAME: a listener is made for
    /// its host and port, and COMMAND gets the URL with the listener's address; repeatable
    #[arg(long, value_name = "NAME")]
    url_var: Vec<String>,

    /// Listen on PORT and forward connections to HOST:HOSTPORT, as ssh -L does; repeatable. BIND is
    /// 127.0.0.1 by default, IPv6 addresses go in brackets
    #[arg(short = 'L', value_name = "[BIND:]PORT:HOST:HOSTPORT")]
    forward: Vec<Forward>,

    /// Intercept every TCP connection of COMMAND and its descendants, even if they do not support
    /// proxies. Linux, needs root
    #[arg(long, conflicts_with_all = ["url_var", "forward"])]
    intercept: bool,

    /// File to append records to; standard output belongs to COMMAND
    #[arg(short, long, value_name = "FILE", value_parser = parse_output)]
    output: Option<PathBuf>,

    /// Truncate FILE when COMMAND has started
    #[arg(long)]
    fresh: bool,

    /// Fail if the connections of COMMAND do not meet this: a metric, an operator and a value, such
    /// as lost=0 or 'turns.wait.max<=300ms', optionally after HOST:PORT for the connections to one
    /// target; repeatable
    #[arg(long, value_name = "EXPR")]
    expect: Vec<Expectation>,

    /// Exit status when COMMAND succeeds but an --expect is not met
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = values::number(1..=255_u8, 3))]
    expect_status: u8,

    /// Write a report on the connections of COMMAND as a page, one HTML file with pictures
    #[arg(long, value_name = "FILE", value_parser = parse_output)]
    html: Option<PathBuf>,

    #[command(flatten)]
    pair: PairArgs,

    #[command(flatten)]
    pub(super) verbosity: Verbosity,
}

fn parse_output(text: &str) -> Result<PathBuf, &'static str> {
    match text {
        "-" => Err("standard output belongs to COMMAND; give a file"),
        file => Ok(file.into()),
    }
}

impl RunArgs {
    /// Listeners that COMMAND, and no other machine, can connect to. Wrong usage ends the program.
    fn check_forwards(&self) {
        let all: Vec<_> = self.forward.iter().map(|forward| ("-L", forward.listen)).collect();
        let problem = |forward: &Forward| {
            let Forward { listen, target } = forward;
            if listen.port() == 0 {
                return Some(format!(
                    "-L {listen}:{target}: COMMAND cannot know which port is free; choose one, or \
                     use --url-var"
                ));
            }
            if !listen.ip().to_canonical().is_loopback() {
                return Some(format!(
                    "-L {listen}:{target} can be reached from other machines; listen on 127.0.0.1, \
                     or use conniver proxy"
                ));
            }
            conflicts::own_target(forward, &all)
        };
        let problem = self.forward.iter().find_map(problem).or_else(|| conflicts::overlap(&all));
        if let Some(sentence) = problem {
            usage::wrong_usage(&["run"], &sentence);
        }
    }
}

pub(crate) fn run(args: &RunArgs) -> ExitCode {
    args.check_forwards();
    url_var::check_names(&args.url_var);
    diagnostics::start(&args.verbosity);
    let typed: Vec<OsString> = std::env::args_os().collect();
    if let Some(note) = misplaced::note(&typed, &args.command) {
        tracing::warn!("{note}");
    }
    let settings = args.pair.settings();
    // Before any file is opened, let alone truncated.
    let page =
        args.html.as_deref().map(|file| LivePage::create(file, args.output.as_slice(), "run"));
    let page = page.transpose().map(|page| page.map(Arc::new));
    let result = exit::runtime().and_then(|runtime| {
        let result = runtime.block_on(serve(args, settings, page?));
        // A look-up that hangs in the resolver must not hold up the end.
        runtime.shutdown_background();
        result
    });
    result.unwrap_or_else(|failure| failure.report(OWN_FAILURE))
}

/// Leads the program to the proxy and runs both: the program's status.
async fn serve(
    args: &RunArgs,
    mut settings: Settings,
    page: Option<Arc<LivePage>>,
) -> Result<ExitCode, Failure> {
    // First of all: what a signal would leave behind is taken away.
    let signals = Signals::listen()
        .map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
    let mut command = program::command(&args.command);
    if args.intercept {
        // The program's own variables stay: what they name is a target like any other.
        let (interception, listeners) = Interception::of(&mut command).await?;
        let helper = interception.helper();
        let result = run_around(command, helper, signals, args, settings, listeners, page).await;
        interception.end().await;
        return result;
    }
    // Elsewhere the system does not tell whose program a client is.
    settings.access.own_user_only = cfg!(target_os = "linux");
    if settings.tunnel_via.is_none() {
        (settings.http_via, settings.tunnel_via) = parent::of_environment()?;
    }
    settings.follow_own_forwards = true;
    let url_vars: Vec<_> =
        args.url_var.iter().map(|name| UrlVar::of_environment(name)).collect::<Result<_, _>>()?;
    let free_port = ListenAddr((Ipv4Addr::LOCALHOST, 0).into());
    let listener = Listener::proxy(free_port).map_err(Failure::new)?;
    environment::point_at(&mut command, listener.local_addr());
    let mut listeners = vec![listener];
    for forward in &args.forward {
        listeners.push(Listener::forward(forward).map_err(Failure::new)?);
    }
    for url_var in &url_vars {
        let listener = Listener::forward_on(free_port, url_var.target().clone());
        let listener = listener.map_err(Failure::new)?;
        url_var.point_at(&mut command, listener.local_addr());
        listeners.push(listener);
    }
    run_around(command, None, signals, args, settings, listeners, page).await
}

/// The file of an earlier run, open for truncating; `None` for a pipe or a device, which keep nothing.
fn open_to_truncate(path: &Path) -> Result<Option<File>, Failure> {
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    OpenOptions::new().write(true).open(path).map(Some).map_err(|error| untruncated(path, &error))
}

fn untruncated(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot truncate '{}' (--fresh): {error}", path.display()))
}

/// Runs the program to its end, and the proxy to the end of its last pair: the program's status.
/// `helper` is another process that was started.
async fn run_around(
    command: Command,
    helper: Option<u32>,
    mut signals: Signals,
    args: &RunArgs,
    mut settings: Settings,
    listeners: Vec<Listener>,
    page: Option<Arc<LivePage>>,
) -> Result<ExitCode, Failure> {
    let mut earlier = None;
    let (recorder, writer) = match &args.output {
        Some(path) => {
            recording::warn_of_compressed_name(path);
            let started = Recorder::start(Output::file(path.clone()), output::QUEUE, || {});
            let (recorder, writer) = started.map_err(Failure::new)?;
            // After it was seen to hold records.
            if args.fresh {
                earlier = open_to_truncate(path)?.map(|file| (path, file));
            }
            (recorder, Some(writer))
        }
        None => {
            settings.events = Events::NONE;
            (Recorder::default(), None)
        }
    };
    for listener in &listeners {
        tracing::info!("listening on {listener}");
    }
    let forwards: Vec<_> = listeners.iter().filter_map(Listener::forwards_to).collect();

    let mut program = match Program::start(command, &args.command) {
        Ok(program) => program,
        Err(status) => return Ok(status),
    };
    // Not before COMMAND runs: a misspelt one takes nothing away. Until the proxy runs, no line is written.
    if let Some((path, file)) = earlier
        && let Err(error) = file.set_len(0)
    {
        untruncated(path, &error).say();
    }

    let findings = Arc::new(Mutex::new(Findings::new(args.expect.clone())));
    let (in_pairs, has_via) = (Arc::clone(&findings), args.pair.via().is_some());
    let on_page = page.clone();
    let proxy = Proxy::new(settings, recorder.clone(), listeners).on_close(move |record| {
        if let Some(page) = &on_page {
            page.add(record);
        }
        in_pairs.lock().unwrap_or_else(PoisonError::into_inner).add(record, has_via);
    });

    let own: Vec<u32> = program.id().into_iter().chain(helper).collect();
    let orphans = orphans::reap(&own);
    let (stopper, requests) = Stopper::new();
    let mut status = None;
    let ended = OnceLock::new();
    let watching = async {
        status = Some(program.wait(&mut signals).await);
        ended.get_or_init(Instant::now);
        stopper.request();
        // Now signals are for the proxy.
        loop {
            signals.next().await;
            stopper.request();
        }
    };
    let serving = async {
        proxy.run(Shutdown::graceful(requests.reach(1)).or_forced(requests.reach(2))).await;
        let drained = ended.get().map_or(Duration::ZERO, Instant::elapsed);
        let written = match writer {
            Some(writer) => exit::finish(writer, &recorder, &requests).await,
            None => Ok(()),
        };
        (written, drained)
    };
    let (written, drained) = tokio::select! {
        end = serving => end,
        () = watching => (Ok(()), Duration::ZERO),
        never = orphans => match never {},
    };

    let findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
    if !args.verbosity.quiet {
        findings.say_summary(drained);
        if !args.intercept {
            findings.say_why_none(&forwards);
        }
    }
    let is_as_expected = findings.meet_expectations();
    let written = written.and(page.map_or(Ok(()), |page| page.write()));
    let status = status.transpose();
    let status =
        status.map_err(|error| Failure::new(format!("cannot wait for COMMAND: {error}")))?;
    match (written, status) {
        (Ok(()), Some(status)) if status == ExitCode::SUCCESS && !is_as_expected => {
            Ok(ExitCode::from(args.expect_status))
        }
        (Ok(()), Some(status)) => Ok(status),
        // That records are missing must not hide why COMMAND failed.
        (Err(failure), Some(status)) if status != ExitCode::SUCCESS => {
            failure.report(OWN_FAILURE);
            Ok(status)
        }
        (Err(failure), _) => Err(failure),
        (Ok(()), None) => Err(Failure::new("the proxy ended before COMMAND")),
    }
}
