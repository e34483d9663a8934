//! Open questions about files of records that are not errors.

use std::fmt;

use uuid::Uuid;

use crate::plural::counted;

/// Something that files of records cannot show. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remark {
    /// The first lines of a run are not in these files: a rotation may have put them into another one.
    Earlier {
        /// The run.
        run: Uuid,
        /// The `line` of the first one that is there.
        first: u64,
    },
    /// Runs without a `stop` line. Proxies write one only if it is enabled, so whether and how they
    /// ended is not known.
    Unended {
        /// How many.
        runs: u64,
        /// The first one of them.
        run: Uuid,
        /// Accepted pairs without any line, as later numbers show: they were still open, or refused
        /// in the last second. Counted only for runs without missing lines.
        unrecorded: u64,
    },
    /// Runs with `open` lines, but without any `close` line, which `--events` can leave out.
    Unclosed {
        /// How many.
        runs: u64,
        /// The first one of them.
        run: Uuid,
        /// Connections with an `open` line, of all of them.
        open: u64,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earlier { run, first } => {
                let missing = match first.saturating_sub(1) {
                    1 => "line 1 is".to_owned(),
                    last => format!("lines 1 to {last} are"),
                };
                write!(
                    f,
                    "run {run}: {missing} not in these files: rotated into another file, or lost"
                )
            }
            Self::Unended { runs, run, unrecorded } => {
                let whether = "running, was killed, or ran without --events stop";
                match runs {
                    1 => write!(f, "run {run} has no stop line: it is still {whether}")?,
                    _ => write!(f, "{runs} runs have no stop line: each is still {whether}")?,
                }
                match unrecorded {
                    0 => f.write_str("; connections open at its end may have no record"),
                    1 => f.write_str("; at least 1 accepted connection has no record"),
                    _ => write!(f, "; at least {unrecorded} accepted connections have no record"),
                }
            }
            Self::Unclosed { runs, run, open } => {
                match runs {
                    1 => write!(f, "run {run} has no close lines")?,
                    _ => write!(f, "{runs} runs have no close lines")?,
                }
                let open = counted(*open, "connection");
                write!(
                    f,
                    ": none of {open} had ended, or --events left close out, so that the lines do not tell which have ended"
                )
            }
        }
    }
}
