//! Diagnostics on standard error.

use std::fmt;

use anstream::{AutoStream, ColorChoice};
use clap::error::ContextKind;
use conniver::record::Printable;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::Verbosity;
use super::exit::Failure;

/// Starts `tracing`: warnings and worse, unless told otherwise.
pub(crate) fn start(verbosity: &Verbosity) {
    start_at(verbosity, Clock::Utc, &[]);
}

/// What is logged of single connections beside the lines that tell of each: not what its line says too, and what no
/// line says.
const BESIDE_LINES: [&str; 2] = ["conniver::proxy=info", "conniver::proxy::loops=error"];

/// The same for a proxy that shows its connections as lines: the log is one with them.
pub(crate) fn start_with_lines(verbosity: &Verbosity) {
    let is_default = !verbosity.quiet && verbosity.verbose == 0;
    let directives = if is_default { &BESIDE_LINES[..] } else { &[] };
    start_at(verbosity, Clock::Local(TimeZone::system()), directives);
}

fn start_at(verbosity: &Verbosity, clock: Clock, directives: &[&str]) {
    let level = match (verbosity.quiet, verbosity.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    let typed = std::env::var_os(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let typed = typed.to_string_lossy();
    let wrong = typed.split(',').find(|directive| is_wrong(directive));
    let filter = EnvFilter::builder().with_default_directive(level.into());
    let is_typed = wrong.is_none() && !typed.is_empty();
    let filter = filter.parse_lossy(if is_typed { &typed } else { "" });
    let directives = directives.iter().filter(|_| !is_typed);
    let filter = directives
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(fields())
        .with_writer(std::io::stderr)
        .with_timer(clock)
        .with_ansi(AutoStream::choice(&std::io::stderr()) != ColorChoice::Never)
        .with_target(false)
        .init();
    if let Some(wrong) = wrong {
        let failure = Failure::new(format!(
            "RUST_LOG is ignored: '{wrong}' is not a log level; expected off, error, warn, info, \
             debug or trace, or a level for one module, such as conniver::dial=debug"
        ));
        failure.say();
    }
    for warning in &verbosity.warnings {
        tracing::warn!("{warning}");
    }
}

/// The time of an event.
enum Clock {
    /// RFC 3339, as in records.
    Utc,
    /// The time of day, as in lines for people.
    Local(TimeZone),
}

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        match self {
            Self::Utc => SystemTime.format_time(writer),
            Self::Local(zone) => {
                let now = Timestamp::now().to_zoned(zone.clone());
                write!(writer, "{}", now.strftime("%H:%M:%S"))
            }
        }
    }
}

/// Parts of other libraries that log.
const PARTS: [&str; 7] = ["conniver", "h2", "hyper", "hyper_util", "mio", "rustls", "tokio"];

/// What is taken for a level where it is spelled nearly so: the levels, and what others call them.
const LEVELS: [&str; 10] =
    ["off", "error", "warn", "info", "debug", "trace", "verbose", "warning", "critical", "fatal"];

/// Whether a part of RUST_LOG is not understood, or a level that is misspelled. To the library the
/// latter is the name of a part; whoever has a program of that name has set the variable for it.
fn is_wrong(directive: &str) -> bool {
    if directive.is_empty() || directive.parse::<LevelFilter>().is_ok() {
        return false;
    }
    let is_name = directive.chars().all(|c| c.is_alphanumeric() || c == '_');
    let misspelled = || {
        let level = clap::Arg::new("level").value_parser(LEVELS).ignore_case(true);
        let command = clap::Command::new("level").no_binary_name(true).arg(level);
        match command.try_get_matches_from([directive]) {
            Ok(_) => true,
            Err(error) => error.get(ContextKind::SuggestedValue).is_some(),
        }
    };
    directive.parse::<Directive>().is_err()
        || is_name && !PARTS.contains(&directive) && misspelled()
}

/// An event is one line, whatever those that are talked of have called themselves.
fn fields() -> impl for<'w> FormatFields<'w> {
    let field = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{}", Printable(format_args!("{value:?}"))),
        name => write!(writer, "{name}={}", Printable(format_args!("{value:?}"))),
    });
    field.delimited(" ")
}
