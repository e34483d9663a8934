//! Diagnostics on standard error.

use conniver::record::Printable;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;

use super::Verbosity;

/// Starts `tracing`: warnings and worse, unless told otherwise.
pub(crate) fn start(verbosity: &Verbosity) {
    let level = match (verbosity.quiet, verbosity.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into());
    let (filter, is_malformed) = match filter.try_from_env() {
        Ok(filter) => (filter, false),
        // It is not set, or not understood.
        Err(_) => (filter.parse_lossy(""), std::env::var_os(EnvFilter::DEFAULT_ENV).is_some()),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(fields())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
    if is_malformed {
        tracing::error!(
            "RUST_LOG is ignored: expected off, error, warn, info, debug or trace, or such for parts \
             of the program, as in conniver::dial=debug"
        );
    }
}

/// An event is one line, whatever those that are talked of have called themselves.
fn fields() -> impl for<'w> FormatFields<'w> {
    let field = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{}", Printable(format_args!("{value:?}"))),
        name => write!(writer, "{name}={}", Printable(format_args!("{value:?}"))),
    });
    field.delimited(" ")
}
