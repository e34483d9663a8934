//! Reports on files of records: totals, groups, findings, and the connections that matter most.
//!
//! A [`Builder`] reads files of any size once, in bounded memory, and gives a [`Summary`].
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use conniver::report::{Builder, Options};
//!
//! let mut builder = Builder::new(Options::default());
//! builder.read("records.ndjson", std::fs::File::open("records.ndjson")?)?;
//! for finding in builder.finish().findings {
//!     println!("{}: {}", finding.rule, finding.seen);
//! }
//! # Ok(())
//! # }
//! ```

mod build;
mod compare;
mod connection;
mod figures;
mod file_read;
mod findings;
mod groups;
mod kept;
mod page;
mod parse;
mod quantiles;
mod redact;
mod seen;
mod selection;
mod shorten;
mod socket;
mod totals;
mod watched;

pub use build::{Builder, Chosen, Lines, Missed, Options, SlowTurn, Summary};
pub use compare::{Change, Comparison, Measure, Observation};
pub use connection::{
    Connection, Deliveries, Dial, End, Exchanges, HttpExchange, Judgement, PhaseTimes, Program,
    TlsFigures, Undelivered, Warning, short_id,
};
pub use figures::{ConnectionFigures, SummaryFigures, TurnFigures};
pub use file_read::FileRead;
pub use findings::{Finding, Rule};
pub use groups::{Group, GroupBy, MAX_GROUPS};
pub use kept::Kept;
pub use page::Pictures;
pub use quantiles::{Quantiles, TimeFigures};
pub use redact::Redactor;
pub use selection::{Condition, Selection};
pub use socket::{CloseFigures, EofFigures, OpenFigures, Socket, SysFigures};
pub use totals::{Counts, Totals};
