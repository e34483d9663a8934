//! `conniver top`: a live screen over this machine's connections, or over the records of a running proxy.

mod live;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValue;
use conniver::top::{self, Ended, Options, Sort, Source, Theme, Times, Unreadable};
use conniver::watch::Endpoint;

use super::advice::quoted;
use super::exit::{self, Failure};
use super::selection::SelectionArgs;
use super::signals::{self, Handlers, Stopper};
use super::usage::wrong_usage;
use super::{files, terminal, values};
use live::Live;

/// Columns of what is printed where standard output is no terminal.
const PRINTED_WIDTH: u16 = 120;

/// Shortest time between two updates.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// File that a proxy or a watch writes its records to, also while it is rotated; '-' for standard
    /// input, the default if records are piped in. Without it, show this machine's connections (Linux)
    file: Option<PathBuf>,

    #[command(flatten)]
    selection: SelectionArgs,

    /// Print the screen COUNT times, an interval apart, and exit. Without it, and if standard output
    /// is not a terminal, print once, when the records have been read
    #[arg(short = 'n', value_name = "COUNT", value_parser = values::number(1..=u32::MAX, 1))]
    count: Option<u32>,

    /// Time between updates, and between dumps of this machine's sockets; at least 100ms
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = values::duration_from(SHORTEST_INTERVAL, "100ms"))]
    interval: Duration,

    /// Order of the connections: worst is by the longest wait, then by the rate
    #[arg(short, long, value_name = "COLUMN", default_value = "worst")]
    sort: SortArg,

    /// Reverse the order
    #[arg(short, long)]
    reverse: bool,

    /// Show connections whose program, target, addresses or state contain TEXT
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
}

#[derive(Debug, Clone, Copy)]
struct SortArg(Sort);

impl clap::ValueEnum for SortArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [SortArg; Sort::ALL.len()] = {
            let mut all = [SortArg(Sort::Worst); Sort::ALL.len()];
            let mut place = 0;
            while place < all.len() {
                all[place] = SortArg(Sort::ALL[place]);
                place += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

pub(crate) fn run(args: TopArgs) -> Result<(), Failure> {
    let is_terminal = io::stdout().is_terminal();
    files::check_names("top", args.file.iter());
    let is_live = is_live(&args);
    let times = match args.count {
        Some(count) => Some(Times::Count(count)),
        None if is_terminal => None,
        // A live source has no end.
        None if is_live => Some(Times::Count(1)),
        None => Some(Times::AtEnd),
    };
    let (source, live) = match is_live {
        true => {
            // What is printed has the rates of a second dump.
            let interval = if times.is_some() { args.interval / 2 } else { args.interval };
            let (source, live) = live::start(&args.selection, interval)?;
            (source, Some(live))
        }
        false => {
            let is_once = matches!(times, Some(Times::AtEnd | Times::Count(1)));
            (recorded(args.file, is_once)?, None)
        }
    };
    let options = Options {
        sort: args.sort.0,
        is_reversed: args.reverse,
        filter: args.filter,
        interval: args.interval,
        theme: Theme { has_colours: terminal::has_colours(), has_unicode: terminal::has_unicode() },
    };
    match times {
        Some(times) => print(source, &options, times),
        None => show(source, &options, live),
    }
}

/// Whether to show this machine's connections: no records are named or piped in.
fn is_live(args: &TopArgs) -> bool {
    let is_live = args.file.is_none() && !files::is_piped_in();
    if let Some(option) = args.selection.given().filter(|_| !is_live) {
        wrong_usage(
            &["top"],
            &format!(
                "{option} selects sockets of this machine, but there is a file or a pipe of records; \
                 --filter selects among those"
            ),
        );
    }
    is_live
}

/// Records of a proxy or a watch, from a file or from standard input.
fn recorded(file: Option<PathBuf>, is_once: bool) -> Result<Source, Failure> {
    match file {
        Some(file) if !files::is_stdin(&file) => {
            Source::file(&file, is_once).map_err(|error| unread(&file, &error))
        }
        Some(_) if io::stdin().is_terminal() => wrong_usage(
            &["top"],
            "standard input is a terminal: give a FILE, or pipe the records of conniver proxy -o -",
        ),
        _ => Ok(Source::stream("standard input", io::stdin())),
    }
}

fn unread(file: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::IsADirectory => "; give a file in it",
        io::ErrorKind::NotFound => match file.to_str() {
            Some(text) if text.parse::<u32>().is_ok() => {
                &format!("; to show the sockets of a process: conniver top --pid {text}")
            }
            Some(text) if text.contains(':') && text.parse::<Endpoint>().is_ok() => {
                &format!("; to select connections: conniver top --to {text}")
            }
            Some(text) if !text.contains(['.', '/']) => {
                &format!("; to select connections by a word: conniver top -f {}", quoted(text))
            }
            _ => "; check the name, or start the proxy first: conniver proxy -o FILE",
        },
        io::ErrorKind::PermissionDenied => {
            "; run top as the proxy's user, or see conniver proxy --output-mode"
        }
        _ => "",
    };
    Failure::new(format!("cannot read records from '{}': {error}{advice}", file.display()))
}

fn print(source: Source, options: &Options, times: Times) -> Result<(), Failure> {
    let width = terminal::width(io::stdout()).and_then(|width| u16::try_from(width).ok());
    let width = width.unwrap_or(PRINTED_WIDTH);
    match top::print(source, options, times, width, &mut io::stdout()) {
        Ok(None) => Ok(()),
        Ok(Some(unreadable)) => Err(unreadable_failure(&unreadable)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(format!("cannot write to standard output: {error}"))),
    }
}

/// Says what is no file of records, as report does; what is left to say is where records come from.
fn unreadable_failure(unreadable: &Unreadable) -> Failure {
    if let Unreadable::NoRecords(_) = unreadable {
        Failure::new(unreadable).say();
        return Failure::new(files::SOURCES);
    }
    Failure::new(unreadable)
}

fn show(source: Source, options: &Options, live: Option<Live>) -> Result<(), Failure> {
    let runtime = exit::runtime()?;
    let (stopper, requests) = Stopper::new();
    {
        let _inside = runtime.enter();
        let hangup = stopper.clone();
        let handlers = Handlers { on_hangup: move || hangup.request(), on_reopen: || {} };
        signals::listen(&stopper, handlers)
            .map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
    }
    exit_with_terminal()?;
    let ended = top::show(source, options, || requests.reached(1));
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Quit) => Ok(()),
        Ok(Ended::Records(last, error)) => {
            if !last.is_empty() {
                exit::print(last.trim_end())?;
            }
            let failure = error.map(|error| unreadable_failure(&error));
            let failure = failure.or_else(|| live.and_then(Live::failure));
            failure.map_or(Ok(()), Err)
        }
        Err(error) => Err(Failure::new(format!(
            "cannot use the terminal: {error}; conniver top -n 1 needs none"
        ))),
    }
}

/// Ends the program when its terminal is gone: there is nothing to restore and nobody to tell, and crossterm
/// reads the end of a terminal's input in a loop without end.
#[cfg(unix)]
fn exit_with_terminal() -> Result<(), Failure> {
    use std::os::fd::AsFd;

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    /// As a shell has it of a program that SIGHUP ended.
    const HUNG_UP: i32 = 129;

    let watch = || {
        let stdout = io::stdout();
        // No events are asked for: errors and hang-ups are always told.
        let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(_) => return,
                Ok(_) => std::process::exit(HUNG_UP),
            }
        }
    };
    let thread = std::thread::Builder::new().name("terminal watch".to_owned());
    let started = thread.spawn(watch);
    started.map(|_| ()).map_err(|error| Failure::new(format!("cannot start a thread: {error}")))
}

/// A console ends its programs.
#[cfg(not(unix))]
fn exit_with_terminal() -> Result<(), Failure> {
    Ok(())
}
