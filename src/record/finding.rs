//! What can be wrong with files of records.

use std::fmt;
use std::net::SocketAddr;

use jiff::Timestamp;
use uuid::Uuid;

use super::{BriefRecord, Compression, Header, MAX_LINE, Printable};
use crate::plural::counted;

/// Maximum number of bad lines of each kind that are reported individually for each file. Further
/// ones are counted.
pub const MAX_BAD_LINES: u64 = 1000;

/// An error in files of records. Displays as one line, whatever the content of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A line is incomplete.
    Torn {
        /// The name of the file.
        file: String,
        /// Which line of it, from 1.
        line: u64,
    },
    /// A line is not a record.
    NoRecord {
        /// The name of the file.
        file: String,
        /// Which line of it, from 1.
        line: u64,
        /// A key that a record of its event has, and the line has not. `None` if something else is
        /// wrong.
        missing: Option<Box<str>>,
    },
    /// A line is longer than [`MAX_LINE`].
    TooLong {
        /// The name of the file.
        file: String,
        /// Which line of it, from 1.
        line: u64,
    },
    /// No line of a file is a record. Its lines are not reported individually.
    NoRecords {
        /// The name of the file.
        file: String,
        /// How many lines it has.
        lines: u64,
        /// What is wrong with the first one.
        first: BadLine,
        /// A key that it lacks, as of [`Finding::NoRecord`].
        missing: Option<Box<str>>,
    },
    /// Further bad lines of a file, after the first [`MAX_BAD_LINES`] of each kind.
    More {
        /// The name of the file.
        file: String,
        /// What is wrong with them.
        what: BadLine,
        /// How many.
        lines: u64,
    },
    /// A compressed file is truncated; the readable part was checked.
    Truncated {
        /// The name of the file.
        file: String,
        /// How it is compressed.
        compression: Compression,
        /// Lines that could be read.
        lines: u64,
    },
    /// A compressed file is damaged; the readable part was checked.
    Damaged {
        /// The name of the file.
        file: String,
        /// How it is compressed.
        compression: Compression,
        /// Lines that could be read.
        lines: u64,
    },
    /// The memory limit of the check was reached: findings about runs only cover the lines before
    /// this one. Bad lines are still found after it.
    Overflow {
        /// The name of the file.
        file: String,
        /// Which line of it, from 1.
        line: u64,
    },
    /// Lines of a run that are missing, though later ones are present. Lines before the first one
    /// present may be in another file.
    Missing {
        /// The run.
        run: Uuid,
        /// The first one's `line`.
        first: u64,
        /// The last one's.
        last: u64,
    },
    /// Lines of a run that are present more than once.
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
    /// A pair that was opened and has no `close` line: its run is still going on, or was killed.
    Open(Box<OpenPair>),
    /// A complete run accepted more pairs than its lines account for.
    Unaccounted {
        /// The run.
        run: Uuid,
        /// Pairs that it accepted.
        accepted: u64,
        /// Pairs whose `close` line is there.
        closed: u64,
        /// Pairs that `refused` lines count.
        refused: u64,
    },
    /// The `stop` line of a run reports lost lines.
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
    /// The `time` of its first line.
    pub since: Timestamp,
    /// The client's address. `None` if only samples or turns mention the pair.
    pub client: Option<SocketAddr>,
    /// Its target.
    pub target: Option<String>,
}

/// What is wrong with a single line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadLine {
    /// It is incomplete.
    Torn,
    /// It is not a record.
    NoRecord,
    /// It is longer than [`MAX_LINE`].
    TooLong,
}

impl BadLine {
    /// Whether a file with this number of lines, none of them a record, and this first line, is not
    /// a file of records. A proxy that was killed at its first record leaves one incomplete line.
    pub(crate) fn is_foreign_file(self, lines: u64) -> bool {
        lines > 1 || self == Self::NoRecord
    }

    pub(super) fn at(self, file: &str, line: u64, missing: Option<Box<str>>) -> Finding {
        let file = file.to_owned();
        match self {
            Self::Torn => Finding::Torn { file, line },
            Self::NoRecord => Finding::NoRecord { file, line, missing },
            Self::TooLong => Finding::TooLong { file, line },
        }
    }
}

impl OpenPair {
    /// Bytes of its strings.
    pub(super) fn texts(&self) -> usize {
        self.id.len() + self.target.as_ref().map_or(0, String::len)
    }

    pub(super) fn opened(record: &BriefRecord<'_>) -> Self {
        Self {
            id: record.id.clone().into_owned(),
            since: record.time,
            client: record.client.remote_addr,
            target: record.target.as_deref().map(str::to_owned),
        }
    }

    /// Made from a line that does not have the client.
    pub(super) fn seen(Header { id, time, target, .. }: &Header) -> Self {
        Self { id: id.clone(), since: *time, client: None, target: target.clone() }
    }
}

fn write_missing(f: &mut fmt::Formatter<'_>, key: Option<&str>) -> fmt::Result {
    key.map_or(Ok(()), |key| write!(f, ": it has no '{}'", Printable(key)))
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
                write!(f, "{}:{line}: the line is truncated", Printable(file))
            }
            Self::NoRecord { file, line, missing } => {
                write!(f, "{}:{line}: the line is not a record", Printable(file))?;
                write_missing(f, missing.as_deref())
            }
            Self::TooLong { file, line } => {
                write!(f, "{}:{line}: the line is longer than {MAX_LINE} bytes", Printable(file))
            }
            Self::NoRecords { file, lines, first, missing } => {
                write!(f, "{}: not a file of records: ", Printable(file))?;
                match lines {
                    1 => f.write_str("its only line ")?,
                    _ => write!(f, "none of its {lines} lines is a record; line 1 ")?,
                }
                match first {
                    BadLine::Torn if *lines > 1 => f.write_str(
                        "is truncated; if it is JSON on several lines, write each object on one line: \
                         jq -c . FILE",
                    ),
                    BadLine::Torn => f.write_str("is truncated"),
                    BadLine::NoRecord => {
                        f.write_str("is not the JSON of a record")?;
                        write_missing(f, missing.as_deref())
                    }
                    BadLine::TooLong => write!(f, "is longer than {MAX_LINE} bytes"),
                }
            }
            Self::More { file, what, lines } => {
                let file = Printable(file);
                match (what, lines) {
                    (BadLine::Torn, 1) => write!(f, "{file}: 1 more line is truncated"),
                    (BadLine::Torn, _) => write!(f, "{file}: {lines} more lines are truncated"),
                    (BadLine::NoRecord, 1) => write!(f, "{file}: 1 more line is not a record"),
                    (BadLine::NoRecord, _) => {
                        write!(f, "{file}: {lines} more lines are not records")
                    }
                    (BadLine::TooLong, 1) => {
                        write!(f, "{file}: 1 more line is longer than {MAX_LINE} bytes")
                    }
                    (BadLine::TooLong, _) => {
                        write!(f, "{file}: {lines} more lines are longer than {MAX_LINE} bytes")
                    }
                }
            }
            Self::Truncated { file, compression, lines } => write!(
                f,
                "{}: the {compression} data are truncated; {} could be read",
                Printable(file),
                counted(*lines, "line")
            ),
            Self::Damaged { file, compression, lines } => write!(
                f,
                "{}: the {compression} data are corrupt; {} before that could be read",
                Printable(file),
                counted(*lines, "line")
            ),
            Self::Overflow { file, line } => write!(
                f,
                "{}:{line}: too many runs, gaps and open connections for the available memory; \
                 findings about runs cover only the lines before this one",
                Printable(file)
            ),
            Self::Missing { run, first, last } => {
                write!(f, "run {run}: {} missing", lines(first, last))
            }
            Self::Repeated { run, first, last } => {
                write!(f, "run {run}: {} duplicated", lines(first, last))
            }
            Self::ClosedAgain { run, first, last } => {
                let pairs = range((*first, *last), "pair", "pairs");
                write!(f, "run {run}: {} closed more than once", pairs)
            }
            Self::Open(pair) => pair.fmt(f),
            Self::Unaccounted { run, accepted, closed, refused } => {
                let accepted = counted(*accepted, "connection");
                write!(f, "run {run}: {accepted}, but {closed} closed")?;
                if *refused > 0 {
                    write!(f, " and {refused} counted as refused")?;
                }
                f.write_str(", although the run has ended")
            }
            Self::Lost { run, lines } => {
                write!(f, "run {run}: its stop line reports {} lost", counted(*lines, "line"))
            }
        }
    }
}

impl fmt::Display for OpenPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, since, client, target } = self;
        write!(f, "connection {} is not closed: opened at {since:.0}", Printable(id))?;
        if let Some(target) = target {
            write!(f, ", to {}", Printable(target))?;
        }
        if let Some(client) = client {
            write!(f, ", from {} port {}", client.ip(), client.port())?;
        }
        Ok(())
    }
}
