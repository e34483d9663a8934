//! Reads the records, on a thread of its own: reading goes on whatever the screen does, so that the proxy
//! never waits for it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::connection::{between, nanos};
use super::line::SeenLine;
use super::model::Model;
use super::tail::Tail;
use crate::record::{BadLine, Finding, Printable, ReadError, read_as};

/// The newest line of a file may be so old while its proxy runs: connections without data are sampled
/// once a minute.
const LONGEST_SILENCE: Duration = Duration::from_secs(150);

/// Where records come from: anything that gives their bytes.
#[expect(missing_debug_implementations, reason = "a reader has none")]
pub struct Source {
    name: String,
    /// As it was given.
    path: String,
    reader: Box<dyn Read + Send>,
    is_recorded: bool,
    progress: Arc<Progress>,
}

/// How far reading has got.
#[derive(Debug, Default)]
struct Progress {
    /// A file was read to its end for the first time.
    is_caught_up: AtomicBool,
    /// The same; it stays so.
    was_caught_up: AtomicBool,
    is_ended: AtomicBool,
}

/// Why there is nothing to show.
#[derive(Debug)]
pub enum Unreadable {
    /// Reading has failed.
    Read {
        /// Where the records come from.
        source: String,
        /// Why.
        error: ReadError,
    },
    /// What was read are no records.
    NoRecords(Finding),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { source, error: ReadError::Io(error) } => {
                write!(f, "cannot read records from {}: {error}", Printable(source))
            }
            Self::Read { source, error } => write!(f, "{}: {error}", Printable(source)),
            Self::NoRecords(finding) => finding.fmt(f),
        }
    }
}

/// The records as read so far.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) name: String,
    path: String,
    /// The records are of a file or a pipe, rather than of this machine now.
    pub(super) is_recorded: bool,
    state: Arc<Mutex<State>>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct State {
    model: Model,
    clock: Clock,
    /// What is wrong with the first line that is no record.
    first_bad: Option<BadLine>,
    error: Option<ReadError>,
}

/// The time on the clock of the records' machine.
#[derive(Debug, Clone, Default)]
struct Clock {
    /// The time of the newest line, and when it was read.
    newest: Option<(i64, Instant)>,
    /// How old the newest line was when a file had been read to its end.
    lag: Duration,
    /// The same, if it is older than of a running proxy.
    silence: Option<Duration>,
}

impl Source {
    /// A stream of records, which ends.
    pub fn stream(name: &str, reader: impl Read + Send + 'static) -> Self {
        let progress = Arc::default();
        let (path, reader) = (name.to_owned(), Box::new(reader));
        Self { name: path.clone(), path, reader, is_recorded: true, progress }
    }

    /// The lines of a watch in this process.
    pub fn live(name: &str, reader: impl Read + Send + 'static) -> Self {
        Self { is_recorded: false, ..Self::stream(name, reader) }
    }

    /// A file of records that grows and is rotated; with `is_once`, as it is now.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is a directory.
    pub fn file(path: &Path, is_once: bool) -> io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let told = Arc::clone(&progress);
        let at_end = move || {
            told.is_caught_up.store(true, Ordering::Release);
            told.was_caught_up.store(true, Ordering::Release);
            !is_once
        };
        let kind = std::fs::metadata(path)?;
        let reader: Box<dyn Read + Send> = match kind.is_file() || kind.is_dir() {
            true => Box::new(Tail::open(path, at_end)?),
            // A named pipe.
            false => Box::new(File::open(path)?),
        };
        let path = path.display().to_string();
        Ok(Self { name, path, reader, is_recorded: true, progress })
    }

    /// Begins to read.
    ///
    /// # Errors
    ///
    /// There is no thread for it.
    pub(super) fn start(self) -> io::Result<Feed> {
        let Self { name, path, reader, is_recorded, progress } = self;
        let state = Arc::new(Mutex::new(State::default()));
        let (told, read) = (Arc::clone(&state), Arc::clone(&progress));
        let feed = Feed { name, path, is_recorded, state: told, progress: read };
        let thread = std::thread::Builder::new().name("records".to_owned());
        thread.spawn(move || {
            let _ended = EndGuard { state: Arc::clone(&state), progress };
            for line in read_as::<SeenLine, _>(reader) {
                let mut state = lock(&state);
                match line {
                    Ok(line) => state.apply(&line),
                    Err(ReadError::Line(error)) if error.is_eof() => state.bad_line(BadLine::Torn),
                    Err(ReadError::Line(_)) => state.bad_line(BadLine::NoRecord),
                    Err(ReadError::TooLong) => state.bad_line(BadLine::TooLong),
                    Err(error) => state.error = Some(error),
                }
            }
        })?;
        Ok(feed)
    }
}

/// Says that reading has ended, even by a panic.
struct EndGuard {
    state: Arc<Mutex<State>>,
    progress: Arc<Progress>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = io::Error::other("internal error (panic)");
            lock(&self.state).error = Some(ReadError::Io(error));
        }
        self.progress.is_ended.store(true, Ordering::Release);
    }
}

/// A model is whole after each line.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn apply(&mut self, line: &SeenLine) {
        self.model.apply(line);
        if let Some(newest) = self.model.newest {
            self.clock.line(newest, Instant::now());
        }
    }

    fn bad_line(&mut self, what: BadLine) {
        self.model.bad_line();
        self.first_bad.get_or_insert(what);
    }
}

impl Clock {
    fn line(&mut self, newest: i64, at: Instant) {
        if self.newest.is_none_or(|(before, _)| before < newest) {
            self.newest = Some((newest, at));
            self.lag = Duration::ZERO;
            self.silence = None;
        }
    }

    /// The time, Unix ns. 0 before the first line.
    fn now(&self, at: Instant) -> i64 {
        self.newest.map_or(0, |(newest, read_at)| {
            let since = at.saturating_duration_since(read_at) + self.lag;
            newest.saturating_add(nanos(since))
        })
    }

    /// Takes the wall clock's time, unless that shows that the newest line is not of a running proxy or is
    /// of another machine.
    fn set(&mut self, wall: i64, at: Instant) {
        let now = self.now(at);
        let lag = between(now, wall);
        match self.newest {
            _ if lag < LONGEST_SILENCE => self.lag += lag,
            Some(_) => self.silence = Some(lag),
            // Nothing is known that could be old.
            None => {}
        }
    }
}

impl Feed {
    /// How old the newest line of a file is, if that is more than of a running proxy.
    pub(super) fn silence(&self) -> Option<Duration> {
        let mut state = lock(&self.state);
        self.set_clock(&mut state.clock);
        state.clock.silence
    }

    /// Takes the wall clock's time when a file was read to its end.
    fn set_clock(&self, clock: &mut Clock) {
        if self.progress.is_caught_up.swap(false, Ordering::AcqRel) {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos);
            clock.set(wall, Instant::now());
        }
    }

    /// What is known now, and what time it is: Unix ns.
    pub(super) fn with<T>(&self, show: impl FnOnce(&mut Model, i64) -> T) -> T {
        let mut state = lock(&self.state);
        let State { model, clock, .. } = &mut *state;
        self.set_clock(clock);
        let now = clock.now(Instant::now());
        model.forget_old(now);
        show(model, now)
    }

    /// Nothing will be read any more.
    pub(super) fn is_ended(&self) -> bool {
        self.progress.is_ended.load(Ordering::Acquire)
    }

    /// Why reading ended before the records did, or that there were none.
    pub(super) fn take_error(&self) -> Option<Unreadable> {
        if let Some(error) = lock(&self.state).error.take() {
            return Some(Unreadable::Read { source: self.path.clone(), error });
        }
        self.no_records().map(Unreadable::NoRecords)
    }

    /// Whether there is nothing to show, but a reason to say.
    pub(super) fn has_nothing(&self) -> bool {
        let state = lock(&self.state);
        let has_failed = state.error.is_some() && state.model.lines == 0;
        drop(state);
        has_failed || self.no_records().is_some()
    }

    /// That no line was a record, if that is so and all that was there has been read.
    fn no_records(&self) -> Option<Finding> {
        let is_read = self.is_ended() || self.progress.was_caught_up.load(Ordering::Acquire);
        let state = lock(&self.state);
        let lines = state.model.lines + state.model.bad_lines;
        let first = state.first_bad.unwrap_or(BadLine::NoRecord);
        let is_foreign = is_read && lines > 0 && state.model.records == 0;
        let file = self.path.clone();
        (is_foreign && first.is_foreign_file(lines)).then_some(Finding::NoRecords {
            file,
            lines,
            first,
            missing: None,
        })
    }

    /// Whether no line was read yet.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.state).model.lines == 0
    }

    /// When the newest line was read.
    pub(super) fn newest_read_at(&self) -> Option<Instant> {
        lock(&self.state).clock.newest.map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn the_clock_is_that_of_the_records() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut clock = Clock::default();
        assert_eq!(clock.now(start), 0);
        clock.line(100 * SECOND, start);
        assert_eq!(clock.now(after(3)), 103 * SECOND);
        // A file whose newest line was 40 s old.
        clock.set(140 * SECOND, start);
        assert_eq!(clock.now(after(3)), 143 * SECOND);
        clock.line(150 * SECOND, after(10));
        assert_eq!(clock.now(after(11)), 151 * SECOND);
        // A clock of another machine, and a file of yesterday.
        for wall in [90 * SECOND, 100_000 * SECOND] {
            clock.set(wall, after(11));
            assert_eq!(clock.now(after(11)), 151 * SECOND);
        }
    }

    #[test]
    fn reading_ends_with_the_stream_and_bad_lines_are_counted() {
        let text = "no record\n{\"event\":\"unknown\"}\n{\"event\":\"open\",\"seq\":1,\
                    \"time\":\"2026-01-01T00:00:00Z\"}\n{\"event\":";
        let feed = Source::stream("test", text.as_bytes()).start().unwrap();
        while !feed.is_ended() {
            std::thread::yield_now();
        }
        let counts =
            feed.with(|model, _| (model.lines, model.bad_lines, model.connections().count()));
        assert_eq!(counts, (2, 2, 1));
        assert!(feed.take_error().is_none());
    }
}
