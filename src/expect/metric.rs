//! The metrics: what each takes from a record, and how it is said of a connection.

use std::time::Duration;

use super::value::Unit;
use crate::plural::counted;
use crate::record::{By, LimitedBy, Outcome, Record, Report, TurnWait, words};

/// What can be expected.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// How the values of all connections make one statement.
#[derive(Debug)]
pub(super) enum Kind {
    /// How many connections there were. The only one that is known where there were none.
    Connections,
    /// The sum over all connections.
    Total(Unit, Measure),
    /// The longest time of all connections.
    Longest(Measure),
    /// A time of each connection.
    EachTime(Measure),
    /// A word on each connection.
    EachWord {
        words: fn() -> Vec<String>,
        of: fn(&Record) -> Reading<String>,
        said: fn(&Record) -> String,
    },
}

/// A number, or a time in nanoseconds, of a connection.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) of: fn(&Record) -> Reading<u64>,
    /// What is said of a connection with this value.
    pub(super) said: fn(&Record, u64) -> String,
    /// What is said where no connection has a value.
    pub(super) none: &'static str,
}

/// The value of one connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading<T> {
    Known(T),
    /// The connection never came to that.
    None,
    /// It has a value, which is not known, because …
    Unknown(&'static str),
}

impl Metric {
    pub(super) fn unit(&self) -> Unit {
        match &self.kind {
            Kind::Connections => Unit::Count,
            Kind::Total(unit, _) => *unit,
            Kind::Longest(_) | Kind::EachTime(_) => Unit::Time,
            Kind::EachWord { words, .. } => Unit::Word(*words),
        }
    }
}

const fn total(
    unit: Unit,
    of: fn(&Record) -> Reading<u64>,
    said: fn(&Record, u64) -> String,
) -> Kind {
    Kind::Total(unit, Measure { of, said, none: "" })
}

const fn longest(
    of: fn(&Record) -> Reading<u64>,
    said: fn(&Record, u64) -> String,
    none: &'static str,
) -> Kind {
    Kind::Longest(Measure { of, said, none })
}

const fn each(of: fn(&Record) -> Reading<u64>, said: fn(&Record, u64) -> String) -> Kind {
    Kind::EachTime(Measure { of, said, none: NO_TURNS })
}

const NO_TURNS: &str = "no connection had a request";
const NOT_ENDED: &str = "the connection is still open";

pub(super) const METRICS: &[Metric] = &[
    Metric { name: "connections", kind: Kind::Connections },
    Metric {
        name: "failed",
        kind: total(Unit::Count, failed, |record, _| record.ended_in_words()),
    },
    Metric {
        name: "resets",
        kind: total(Unit::Count, resets, |record, _| record.ended_in_words()),
    },
    Metric {
        name: "lost",
        kind: total(Unit::Count, lost, |_, n| format!("lost {}", counted(n, "segment"))),
    },
    Metric {
        name: "retransmits",
        kind: total(Unit::Count, retransmits, |_, n| {
            format!("retransmitted {}", counted(n, "segment"))
        }),
    },
    Metric { name: "warnings", kind: total(Unit::Count, warnings, said_warnings) },
    Metric {
        name: "sent",
        kind: total(
            Unit::Bytes,
            |record| upstream(record, |leg| leg.tx_bytes),
            |_, n| format!("was sent {}", counted(n, "byte")),
        ),
    },
    Metric {
        name: "received",
        kind: total(
            Unit::Bytes,
            |record| upstream(record, |leg| leg.rx_bytes),
            |_, n| format!("sent {}", counted(n, "byte")),
        ),
    },
    Metric {
        name: "resolve.max",
        kind: longest(
            |record| time(record.phases.resolve),
            |_, n| format!("took {} to resolve", shown(n)),
            "no name was looked up",
        ),
    },
    Metric {
        name: "connect.max",
        kind: longest(
            |record| time(record.phases.connect),
            |_, n| format!("took {} to connect", shown(n)),
            "no connection was attempted",
        ),
    },
    Metric {
        name: "firstByte.max",
        kind: longest(
            |record| time(record.phases.first_byte.filter(|_| record.is_answered())),
            |_, n| format!("took {} to its first byte", shown(n)),
            "no upstream sent anything",
        ),
    },
    Metric {
        name: "duration.max",
        kind: longest(
            |record| time(Some(record.duration)),
            |_, n| format!("lasted {}", shown(n)),
            "",
        ),
    },
    Metric {
        name: "turns.count",
        kind: total(
            Unit::Count,
            |record| turns(record, |turns| turns.count),
            |_, n| format!("had {}", counted(n, "turn")),
        ),
    },
    Metric {
        name: "turns.unanswered",
        kind: total(
            Unit::Count,
            |record| turns(record, |turns| turns.unanswered),
            |_, _| "had an unanswered request".to_owned(),
        ),
    },
    Metric {
        name: "turns.wait.max",
        kind: longest(
            |record| wait(record, |wait| wait.max),
            |_, n| format!("waited {}", shown(n)),
            NO_TURNS,
        ),
    },
    Metric {
        name: "turns.wait.p50",
        kind: each(
            |record| wait(record, |wait| wait.p50),
            |_, n| format!("waited {} in the median", shown(n)),
        ),
    },
    Metric {
        name: "turns.wait.p99",
        kind: each(
            |record| wait(record, |wait| wait.p99),
            |_, n| format!("waited {} in the 99th percentile", shown(n)),
        ),
    },
    Metric {
        name: "turns.wait.total",
        kind: each(
            |record| wait(record, |wait| wait.total),
            |_, n| format!("waited {} in all", shown(n)),
        ),
    },
    Metric {
        name: "endedBy",
        kind: Kind::EachWord {
            words: || words(&[By::Client, By::Upstream, By::Proxy, By::Resolver, By::Network]),
            of: |record| match &record.ending {
                Some(ending) => Reading::Known(ending.first_by.to_string()),
                None => Reading::Unknown(NOT_ENDED),
            },
            said: |record| {
                let by = record.ending.as_ref().map(|ending| ending.first_by.to_string());
                format!("was ended by {}", by.unwrap_or_default())
            },
        },
    },
    Metric {
        name: "outcome",
        kind: Kind::EachWord {
            words: || words(Outcome::ALL),
            of: |record| match record.outcome {
                Some(outcome) => Reading::Known(outcome.to_string()),
                None => Reading::Unknown(NOT_ENDED),
            },
            said: Record::ended_in_words,
        },
    },
    Metric {
        name: "limitedBy",
        kind: Kind::EachWord {
            words: || words(LimitedBy::ALL),
            of: limited_by,
            said: |record| match limited_by(record) {
                Reading::Known(who) => format!("was limited by {who}"),
                _ => String::new(),
            },
        },
    },
];

fn failed(record: &Record) -> Reading<u64> {
    match record.outcome {
        Some(outcome) => Reading::Known((outcome != Outcome::Ok).into()),
        None => Reading::Unknown(NOT_ENDED),
    }
}

fn resets(record: &Record) -> Reading<u64> {
    match record.outcome {
        Some(outcome) => Reading::Known((outcome == Outcome::Reset).into()),
        None => Reading::Unknown(NOT_ENDED),
    }
}

/// The sum over both sockets, of those that there were.
fn legs(record: &Record, of: impl Fn(&Report) -> Option<u64>, why: &'static str) -> Reading<u64> {
    let legs = [Some(&record.client), record.upstream.as_ref()];
    let sum = legs.into_iter().flatten().map(of).sum::<Option<u64>>();
    sum.map_or(Reading::Unknown(why), Reading::Known)
}

fn lost(record: &Record) -> Reading<u64> {
    let why = "lost segments are not known: the peer does not support selective acknowledgements, \
               or the system does not tell";
    legs(record, |leg| leg.lost, why)
}

fn retransmits(record: &Record) -> Reading<u64> {
    let of = |leg: &Report| leg.closed_info.as_ref()?.retransmits;
    legs(record, of, "the system does not tell how many segments were retransmitted")
}

fn warnings(record: &Record) -> Reading<u64> {
    Reading::Known(record.warnings.len() as u64)
}

fn said_warnings(record: &Record, _: u64) -> String {
    record.warnings.iter().map(|warning| warning.text.clone()).collect::<Vec<_>>().join("; ")
}

fn upstream(record: &Record, of: impl Fn(&Report) -> u64) -> Reading<u64> {
    Reading::Known(record.upstream.as_ref().map_or(0, of))
}

fn turns(record: &Record, of: impl Fn(&crate::record::Turns) -> u64) -> Reading<u64> {
    Reading::Known(record.turns.as_ref().map_or(0, of))
}

fn wait(record: &Record, of: impl Fn(&TurnWait) -> Duration) -> Reading<u64> {
    match record.turns.as_ref().map(|turns| turns.wait.as_ref()) {
        None => Reading::None,
        Some(None) => Reading::Unknown(
            "its requests and answers cannot be matched, because several run at once (HTTP/2) or \
             both sides send at any time",
        ),
        Some(Some(wait)) => time(Some(of(wait))),
    }
}

fn limited_by(record: &Record) -> Reading<String> {
    match &record.verdict {
        Some(verdict) => Reading::Known(verdict.limited_by.to_string()),
        None => Reading::Unknown("there is no verdict: the system does not tell enough"),
    }
}

fn time(time: Option<Duration>) -> Reading<u64> {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    time.map_or(Reading::None, |time| Reading::Known(nanos(time)))
}

/// A time with three decimals at most: `904ms`, `1.204s`, `12.5µs`.
pub(super) fn shown(nanos: u64) -> String {
    // The smaller steps are what a reader can tell apart, beside the value that it is compared with.
    let (unit, size, rounding) = match nanos {
        0..1_000 => ("ns", 1, 1),
        1_000..1_000_000 => ("µs", 1_000, 10),
        1_000_000..1_000_000_000 => ("ms", 1_000_000, 10_000),
        _ => ("s", 1_000_000_000, 1_000_000),
    };
    let rounded = nanos / rounding * rounding;
    format!("{}{unit}", rounded as f64 / f64::from(size))
}
