//! What files of records leave open, without anything being wrong with them.

use std::fmt;

use uuid::Uuid;

/// Something that cannot be told from files of records. As text, a sentence in one line.
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
    /// Runs without a `stop` line. Proxies write one only if they are told to, so whether they have
    /// ended, and how, is not known.
    Unended {
        /// How many.
        runs: u64,
        /// The first one of them.
        run: Uuid,
        /// Pairs that they accepted, as later numbers show, and that no line speaks of: they were still
        /// open, or refused in the last second. Counted for runs all of whose lines are there so far.
        unrecorded: u64,
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
        }
    }
}
