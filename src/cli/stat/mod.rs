//! `conniver stat`: one URL, its phases and what TCP did.

mod advice;
mod drawing;
mod repetition;
mod report;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use conniver::output::unexpanded_home;
use conniver::proxy::Family;
use conniver::record::{Line, Outcome, stat::Stat};
use conniver::stat::{Client, HeaderName, HeaderValue, Method, ParseUrlError, Save, Settings, Url};
use tokio::time::MissedTickBehavior;

use super::exit::{self, Failure};
use super::shared_options::ViaArg;
use super::signals::{self, Handlers, Stopper};
use super::terminal::{USUAL_WIDTH, width};
use super::{Verbosity, diagnostics, files, parent, usage, values};
use repetition::Repetitions;

#[derive(Debug, Args)]
#[command(override_usage = "conniver stat [OPTIONS] URL")]
#[command(after_help = "Exit status: 0 if the response was complete, whatever its status; 1 if a \
                  request failed, 2 for wrong usage.")]
pub(crate) struct StatArgs {
    /// URL to fetch; without a scheme it is http
    url: UrlArg,

    /// Request method [default: GET, or POST with -d]
    #[arg(short = 'X', long, value_name = "METHOD", value_parser = parse_method)]
    request: Option<Method>,

    /// Request body; @FILE reads it from FILE, @- from standard input
    #[arg(short, long)]
    data: Option<String>,

    /// Follow redirects, at most 10
    #[arg(short = 'L', long)]
    location: bool,

    /// Send a HEAD request
    #[arg(short = 'I', long, conflicts_with_all = ["request", "data"])]
    head: bool,

    /// Continue if the server's certificate is not trusted
    #[arg(short = 'k', long)]
    insecure: bool,

    /// Header field to add to the request, or to replace a default one; repeatable
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<HeaderArg>,

    /// Write the body to FILE instead of discarding it
    #[arg(short, long, value_name = "FILE", value_parser = parse_output, conflicts_with = "count")]
    output: Option<PathBuf>,

    /// Write the body to a new file in the current directory, with the name that the server gives,
    /// or the last part of the URL
    #[arg(short = 'O', long, conflicts_with_all = ["output", "count"])]
    remote_name: bool,

    /// Client certificate: a PEM file that also holds its private key
    #[arg(short = 'E', long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Trust the CA certificates in this PEM file, instead of the system's
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,

    /// Do not offer HTTP/2
    #[arg(long = "http1.1")]
    http1: bool,

    /// Connect over IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,

    /// Connect over IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,

    /// Connect through a parent proxy: [http|socks5|socks5h]://[USER:PASSWORD@]HOST[:PORT].
    /// Overrides http_proxy, https_proxy, all_proxy and no_proxy
    #[arg(long, value_name = "URL")]
    via: Option<ViaArg>,

    /// Maximum time to resolve and connect, TLS handshake included: 10s, 500ms; a number without a
    /// unit is seconds; 0 means no limit
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    connect_timeout: Duration,

    /// Maximum total time, redirects included. By default, and with 0, there is no limit
    #[arg(short, long, value_name = "TIME", value_parser = values::duration)]
    max_time: Option<Duration>,

    /// Print JSON instead of the diagram, one line per repetition
    #[arg(long)]
    json: bool,

    /// Send the request N times, and show the minimum, median and 99th percentile of each time
    #[arg(short = 'n', long, value_name = "N", value_parser = values::number(1..=1_000_000_000_u64, 10))]
    count: Option<u64>,

    /// Time between the starts of two repetitions; with 0, each follows the previous one
    /// immediately
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::duration)]
    interval: Duration,

    #[command(flatten)]
    pub(super) verbosity: Verbosity,
}

/// The URL as it was typed. It is judged after clap, which would repeat a malformed one, password and
/// all.
#[derive(Debug, Clone)]
struct UrlArg(Result<Url, ParseUrlError>);

impl FromStr for UrlArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse()))
    }
}

/// A header field as it was typed; judged after clap, too. `None` if it is none.
#[derive(Debug, Clone)]
struct HeaderArg(Option<(HeaderName, HeaderValue)>);

impl FromStr for HeaderArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            // Whatever it says is not for others.
            value.set_sensitive(true);
            Some((name.parse().ok()?, value))
        })))
    }
}

fn parse_method(text: &str) -> Result<Method, &'static str> {
    text.parse().map_err(|_| "expected a method, such as GET or PUT")
}

fn parse_output(text: &str) -> Result<PathBuf, &'static str> {
    match text {
        "-" => Err("standard output is for the diagram; give a file"),
        file => Ok(file.into()),
    }
}

/// What a file has, or standard input where it is called `-`.
fn read(file: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match file {
        "-" => io::stdin().read_to_end(&mut bytes)?,
        file => File::open(file)?.read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

impl StatArgs {
    /// Ends the program if the body would be written over a file that is read.
    fn check_output(&self) {
        let Some(output) = self.output.as_deref().and_then(files::place) else { return };
        let body = self.data.as_deref().and_then(|data| data.strip_prefix('@')).map(Path::new);
        let read =
            [("-d", body), ("--cacert", self.cacert.as_deref()), ("--cert", self.cert.as_deref())];
        let is_output = |file: &&Path| files::place(file).as_ref() == Some(&output);
        for (option, file) in read {
            if let Some(file) = file.filter(is_output) {
                let file = file.display();
                usage::wrong_usage(
                    &["stat"],
                    &format!(
                        "-o would overwrite '{file}', which {option} reads; choose another file"
                    ),
                );
            }
        }
    }

    /// What was typed, as what it means.
    fn settings(&self) -> Result<Settings, Failure> {
        let url = self.url.0.clone().unwrap_or_else(|error| usage::invalid_value("URL", error));
        self.check_output();
        let mut settings = Settings::new(url);
        settings.method = if self.head { Some(Method::HEAD) } else { self.request.clone() };
        let headers = self.header.iter().map(|HeaderArg(header)| {
            let malformed = || {
                usage::invalid_value(
                    "--header <NAME: VALUE>",
                    "expected NAME: VALUE, such as 'Accept: text/html'",
                )
            };
            header.clone().unwrap_or_else(malformed)
        });
        settings.headers = headers.collect();
        settings.body = match self.data.as_deref().map(|data| (data, data.strip_prefix('@'))) {
            None => None,
            Some((data, None)) => Some(data.to_owned().into()),
            Some((_, Some(file))) => {
                let body = read(file).map_err(|error| {
                    let advice = unexpanded_home(Path::new(file))
                        .unwrap_or("-d @FILE reads a file, -d @- standard input");
                    Failure::new(format!(
                        "cannot read the request body from '{file}': {error}; {advice}"
                    ))
                })?;
                Some(body.into())
            }
        };
        settings.follow = self.location;
        settings.insecure = self.insecure;
        settings.cacert.clone_from(&self.cacert);
        settings.client_cert.clone_from(&self.cert);
        settings.http1_only = self.http1;
        settings.family = match (self.ipv4, self.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            (false, false) => Family::Any,
        };
        (settings.http_via, settings.https_via) = match &self.via {
            Some(via) => (Some(via.or_exit()), Some(via.or_exit())),
            None => parent::of_environment()?,
        };
        settings.connect_timeout = self.connect_timeout;
        settings.max_time = self.max_time.filter(|time| !time.is_zero());
        settings.save = match &self.output {
            Some(file) => Save::To(file.clone()),
            None if self.remote_name => Save::UnderItsName,
            None => Save::Nothing,
        };
        Ok(settings)
    }
}

pub(crate) fn run(args: &StatArgs) -> ExitCode {
    diagnostics::start(&args.verbosity);
    let result = args.settings().and_then(|settings| {
        let client = Client::new(settings).map_err(Failure::new)?;
        let runtime = exit::runtime()?;
        let result = runtime.block_on(ask(args, &client));
        // A look-up that hangs in the resolver must not hold up the end.
        runtime.shutdown_background();
        result
    });
    result.unwrap_or_else(|failure| failure.report(1))
}

/// Asks once, or as often as was said, or until a signal comes; whether all went well.
async fn ask(args: &StatArgs, client: &Client) -> Result<ExitCode, Failure> {
    let (stopper, requests) = Stopper::new();
    if args.count.is_some() {
        // What was measured is shown, as ping does.
        let (hangup, reopen) = (stopper.clone(), stopper.clone());
        let handlers =
            Handlers { on_hangup: move || hangup.request(), on_reopen: move || reopen.request() };
        signals::listen(&stopper, handlers)
            .map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
    }
    let mut repetitions = Repetitions::default();
    let mut ticks = tokio::time::interval(args.interval.max(Duration::from_nanos(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for seq in 1..=args.count.unwrap_or(1) {
        let fetching = async {
            ticks.tick().await;
            client.fetch(seq).await
        };
        let stat = tokio::select! {
            stat = fetching => stat,
            () = requests.reach(1) => break,
        };
        show(args, &stat)?;
        if stat.exchange.outcome != Outcome::Ok {
            Failure::new(advice::sentence(&stat.exchange, args)).say();
        }
        repetitions.add(&stat);
    }
    if args.count.is_some() && !args.verbosity.quiet {
        match args.json {
            true => exit::say(&repetitions.to_string()),
            false => print(&format!("\n{repetitions}"))?,
        }
    }
    Ok(if repetitions.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(args: &StatArgs, stat: &Stat) -> Result<(), Failure> {
    if args.json {
        let line = Line::Stat(Box::new(stat.clone()))
            .to_json()
            .map_err(|error| Failure::new(format!("cannot write the record: {error}")))?;
        return exit::print(&line);
    }
    match (args.verbosity.quiet, args.count) {
        (true, _) => Ok(()),
        (false, None) => print(&report::whole(stat, width(io::stdout()).unwrap_or(USUAL_WIDTH))),
        (false, Some(_)) => print(&report::brief(stat)),
    }
}

/// Prints to standard output, in colours where it is a terminal that shows them and nobody said
/// otherwise (`NO_COLOR`).
fn print(text: &str) -> Result<(), Failure> {
    match writeln!(anstream::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
