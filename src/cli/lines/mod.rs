//! Lines for people: one for each connection or watched socket that has ended, instead of its record.
//!
//! A line is made where its connection ends, and written by a thread of its own.

mod columns;
mod connection;
mod outcome;
mod socket;
mod symbols;
mod totals;
mod writer;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use conniver::access::{Access, TargetRule};
use conniver::proxy::{ClientTurn, Events};
use conniver::record::{Record, Refused, Socket};
use jiff::tz::TimeZone;

use super::exit::Failure;
use super::signals::StopRequests;
use super::terminal::{self, USUAL_WIDTH};
use symbols::Symbols;
use totals::Totals;
use writer::Writer;

/// What is written about connections, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Auto,
    Ndjson,
    Line,
}

/// Where lines for people go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Format {
    /// Where lines go, if there are any. `output` is the value of `-o`: records that go to standard output leave no
    /// room for lines there, and records that go to a file are beside the lines.
    pub(super) fn lines(self, output: Option<&Path>, is_quiet: bool) -> Option<Stream> {
        let is_file = output.is_some_and(|file| file.as_os_str() != "-");
        let stream = if is_file { Stream::Stderr } else { Stream::Stdout };
        let are_wanted = match self {
            Self::Ndjson => false,
            Self::Line => true,
            Self::Auto => stream.is_terminal() && (is_file || output.is_none()),
        };
        (are_wanted && !(is_file && is_quiet)).then_some(stream)
    }
}

impl Stream {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    /// The columns that a line may take: those of the terminal at this moment. `None` if it is none, where nothing
    /// is cut.
    pub(super) fn width(self) -> Option<usize> {
        let width = match self {
            Self::Stdout => terminal::width(io::stdout()),
            Self::Stderr => terminal::width(io::stderr()),
        };
        width.or_else(|| self.is_terminal().then_some(USUAL_WIDTH))
    }
}

/// How lines look: what does not depend on the connection.
pub(super) struct Look {
    symbols: Symbols,
    zone: TimeZone,
    /// Has the rules that deny targets, to name the one that did.
    denying: Access,
}

impl Look {
    /// `deny`: the proxy's rules.
    pub(super) fn new(deny: Vec<TargetRule>) -> Self {
        let mut denying = Access::default();
        denying.deny = deny;
        Self { symbols: Symbols::of_environment(), zone: TimeZone::system(), denying }
    }

    /// The line of a connection that has ended, in `width` columns. It has styles.
    pub(super) fn connection(&self, record: &Record, width: Option<usize>) -> String {
        columns::fit(&connection::ended(self, record), width, self.symbols)
    }
}

/// Lines of a running proxy or watch, and the totals at its end.
pub(super) struct Lines {
    stream: Stream,
    look: Look,
    events: Events,
    totals: Mutex<Totals>,
    writer: Writer,
}

impl Lines {
    /// Starts the thread that writes them. `deny`: the proxy's rules. `events`: connections or turns, or both.
    /// `reader_gone` is called when the reader of a pipe has closed it.
    pub(super) fn start(
        stream: Stream,
        deny: Vec<TargetRule>,
        events: Events,
        reader_gone: impl FnOnce() + Send + 'static,
    ) -> Result<Self, Failure> {
        let writer = Writer::start(stream, reader_gone)
            .map_err(|error| Failure::new(format!("cannot start a thread: {error}")))?;
        let look = Look::new(deny);
        Ok(Self { stream, look, events, totals: Mutex::default(), writer })
    }

    /// A connection has ended.
    pub(super) fn closed(&self, record: &Record) {
        self.totals().add(record);
        if self.events.close {
            self.writer.write(self.look.connection(record, self.stream.width()));
        }
    }

    /// The connection of a watched socket has ended.
    pub(super) fn socket(&self, ended: &Socket) {
        self.totals().add_socket(ended);
        let line = socket::ended(&self.look, ended);
        self.writer.write(columns::fit(&line, self.stream.width(), self.look.symbols));
    }

    /// A turn has ended that was slow enough to be told.
    pub(super) fn turn(&self, turn: &ClientTurn) {
        let line = connection::turn(&self.look, turn);
        self.writer.write(columns::fit(&line, self.stream.width(), self.look.symbols));
    }

    /// Connections were refused that have no line of their own.
    pub(super) fn refused(&self, refused: &Refused) {
        self.totals().add_refused(refused.count);
        if self.events.close {
            let line = connection::refused(&self.look, refused);
            self.writer.write(columns::fit(&line, self.stream.width(), self.look.symbols));
        }
    }

    /// The proxy stops: what a terminal shows of Ctrl-C has a line of its own.
    pub(super) fn stopping(&self) {
        if self.stream.is_terminal() {
            self.writer.write(String::new());
        }
    }

    /// Writes the totals, and what is left to write. A second request to stop leaves one more second.
    pub(super) async fn finish(&self, requests: &StopRequests) {
        let totals = self.totals().shown(self.stream.width(), self.look.symbols);
        self.writer.write(totals);
        self.writer.finish(requests).await;
    }

    /// The sums are right after every statement, so a panic elsewhere does not spoil them.
    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
