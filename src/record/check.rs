//! Whether files of records are whole: nothing torn, missing, there twice, or never closed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;

use jiff::Timestamp;
use uuid::Uuid;

use super::numbers::Numbers;
use super::reader::{EmptyLines, ReadError, lines};
use super::{BriefLine, BriefRecord, Printable, Sample};

/// Reads files of records, in any order, and finds what is wrong with them. Runs may follow each
/// other in a file, or be mixed.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// let mut check = conniver::record::Check::default();
/// check.read("records.ndjson", std::fs::File::open("records.ndjson")?)?;
/// for finding in check.finish().findings {
///     println!("{finding}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Check {
    lines: u64,
    runs: BTreeMap<Uuid, Run>,
    findings: Vec<Finding>,
}

/// What was found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Checked {
    /// Lines that were read, the bad ones too.
    pub lines: u64,
    /// Runs that they come from.
    pub runs: usize,
    /// Pairs whose `close` line is there.
    pub closed: u64,
    /// What is wrong: bad lines as they came, then what is wrong with each run.
    pub findings: Vec<Finding>,
}

/// Something that is wrong with files of records. As text, a sentence in one line, whatever the
/// files have in them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A line of a file breaks off.
    Torn {
        /// The name of the file.
        file: String,
        /// Which line of it, from 1.
        line: u64,
    },
    /// A line of a file is something else.
    NoRecord {
        /// The name of the file.
        file: String,
        /// Which line of it, from 1.
        line: u64,
    },
    /// Lines of a run that are not there, though later ones are. Those before the first that is there
    /// may be in another file.
    Missing {
        /// The run.
        run: Uuid,
        /// The first one's `line`.
        first: u64,
        /// The last one's.
        last: u64,
    },
    /// Lines of a run that are there more than once.
    Repeated {
        /// The run.
        run: Uuid,
        /// The first one's `line`.
        first: u64,
        /// The last one's.
        last: u64,
    },
    /// Pairs with more than one `close` line.
    ClosedAgain {
        /// The run.
        run: Uuid,
        /// The first one's `seq`.
        first: u64,
        /// The last one's.
        last: u64,
    },
    /// A pair that was opened and has no `close` line: its run still goes on, or ended by force.
    Open(Box<OpenPair>),
    /// A run that has ended, all of whose lines are there, accepted more pairs than it closed.
    Unaccounted {
        /// The run.
        run: Uuid,
        /// Pairs that it accepted.
        accepted: u64,
        /// Pairs whose `close` line is there.
        closed: u64,
    },
    /// A run says itself that it lost lines.
    Lost {
        /// The run.
        run: Uuid,
        /// How many.
        lines: u64,
    },
}

/// A pair without a `close` line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenPair {
    /// Its `id`.
    pub id: String,
    /// The `time` of the first line that speaks of it.
    pub since: Timestamp,
    /// The other end of the client's socket. `None` when only samples speak of it.
    pub client: Option<SocketAddr>,
    /// Where it goes.
    pub target: Option<String>,
}

#[derive(Debug, Default)]
struct Run {
    lines: Numbers,
    repeated: Numbers,
    open: BTreeMap<u64, Box<OpenPair>>,
    closed: Numbers,
    closed_again: Numbers,
    /// `pairs` and `linesLost` of its `stop` line.
    stopped: Option<(u64, u64)>,
}

impl Check {
    /// Reads a file to its end, whatever is in it.
    ///
    /// # Errors
    ///
    /// Reading fails.
    pub fn read(&mut self, name: &str, input: impl Read) -> io::Result<()> {
        for (line, number) in lines(input, EmptyLines::Count).zip(1..) {
            self.lines += 1;
            let at = || (name.to_owned(), number);
            match line {
                Ok(line) => self.take(&line),
                Err(ReadError::Io(error)) => return Err(error),
                Err(ReadError::Line(error)) if error.is_eof() => {
                    let (file, line) = at();
                    self.findings.push(Finding::Torn { file, line });
                }
                Err(ReadError::Line(_)) => {
                    let (file, line) = at();
                    self.findings.push(Finding::NoRecord { file, line });
                }
            }
        }
        Ok(())
    }

    /// What matters here is in lines of every detail.
    fn take(&mut self, line: &BriefLine<'_>) {
        let (run, number) = match line {
            BriefLine::Start(start) => (start.run_id, start.line),
            BriefLine::Stop(stop) => (stop.run_id, stop.line),
            BriefLine::Open(record) | BriefLine::Close(record) => (record.run_id, record.line),
            BriefLine::Sample(sample) => (sample.run_id, sample.line),
            // One line each.
            BriefLine::Stat(stat) => (stat.run_id, stat.seq),
        };
        let run = self.runs.entry(run).or_default();
        if !run.lines.insert(number) {
            run.repeated.insert(number);
            return;
        }
        match line {
            BriefLine::Start(_) | BriefLine::Stat(_) => {}
            BriefLine::Stop(stop) => run.stopped = Some((stop.pairs, stop.lines_lost)),
            BriefLine::Open(record) => run.is_open(record.seq, || OpenPair::opened(record)),
            BriefLine::Sample(sample) => run.is_open(sample.seq, || OpenPair::sampled(sample)),
            BriefLine::Close(record) => run.is_closed(record.seq),
        }
    }

    /// What was found in all that was read.
    pub fn finish(self) -> Checked {
        let Self { lines, runs, mut findings } = self;
        let closed = runs.values().map(|run| run.closed.count()).sum();
        let count = runs.len();
        for (id, run) in runs {
            run.findings(id, &mut findings);
        }
        Checked { lines, runs: count, closed, findings }
    }
}

impl Run {
    fn is_open(&mut self, seq: u64, pair: impl FnOnce() -> OpenPair) {
        // The file with its end may have been read first.
        if !self.closed.contains(seq) {
            self.open.entry(seq).or_insert_with(|| Box::new(pair()));
        }
    }

    fn is_closed(&mut self, seq: u64) {
        self.open.remove(&seq);
        if !self.closed.insert(seq) {
            self.closed_again.insert(seq);
        }
    }

    fn findings(self, run: Uuid, findings: &mut Vec<Finding>) {
        let missing = self.lines.gaps().map(|(first, last)| Finding::Missing { run, first, last });
        findings.extend(missing);
        let repeated = self.repeated.ranges();
        findings.extend(repeated.map(|(first, last)| Finding::Repeated { run, first, last }));
        let again = self.closed_again.ranges();
        findings.extend(again.map(|(first, last)| Finding::ClosedAgain { run, first, last }));
        if let Some((accepted, lost)) = self.stopped {
            let closed = self.closed.count();
            let is_whole = self.lines.ranges().count() == 1 && self.lines.contains(1);
            // Without any, `close` lines were not asked for.
            if is_whole && closed > 0 && closed < accepted {
                findings.push(Finding::Unaccounted { run, accepted, closed });
            }
            if lost > 0 {
                findings.push(Finding::Lost { run, lines: lost });
            }
        }
        findings.extend(self.open.into_values().map(Finding::Open));
    }
}

impl OpenPair {
    fn opened(record: &BriefRecord<'_>) -> Self {
        Self {
            id: record.id.clone().into_owned(),
            since: record.time,
            client: record.client.remote_addr,
            target: record.target.as_deref().map(str::to_owned),
        }
    }

    fn sampled(sample: &Sample) -> Self {
        Self {
            id: sample.id.clone(),
            since: sample.time,
            client: None,
            target: sample.target.clone(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |(first, last): (u64, u64), one: &str, many: &str| match first == last {
            true => format!("{one} {first} is"),
            false => format!("{many} {first} to {last} are"),
        };
        let lines = |first: &u64, last: &u64| range((*first, *last), "line", "lines");
        match self {
            Self::Torn { file, line } => {
                write!(f, "{}:{line}: the line breaks off", Printable(file))
            }
            Self::NoRecord { file, line } => {
                write!(f, "{}:{line}: the line is no record", Printable(file))
            }
            Self::Missing { run, first, last } => {
                write!(f, "run {run}: {} missing", lines(first, last))
            }
            Self::Repeated { run, first, last } => {
                write!(f, "run {run}: {} there more than once", lines(first, last))
            }
            Self::ClosedAgain { run, first, last } => {
                let pairs = range((*first, *last), "pair", "pairs");
                write!(f, "run {run}: {} closed more than once", pairs)
            }
            Self::Open(pair) => pair.fmt(f),
            Self::Unaccounted { run, accepted, closed } => {
                write!(f, "run {run}: of {accepted} pairs {closed} are closed, though it has ended")
            }
            Self::Lost { run, lines } => write!(f, "run {run}: it says that it lost {lines} lines"),
        }
    }
}

impl fmt::Display for OpenPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, since, client, target } = self;
        write!(f, "pair {} is not closed: open at {since:.0}", Printable(id))?;
        if let Some(target) = target {
            write!(f, ", to {}", Printable(target))?;
        }
        if let Some(client) = client {
            write!(f, ", from {} port {}", client.ip(), client.port())?;
        }
        Ok(())
    }
}
