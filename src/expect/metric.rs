//! The metrics: what each takes from a connection, and how it is said of one.

use std::fmt;
use std::time::Duration;

use super::judged::{Judged, JudgedTurns};
use super::reading::Reading;
use super::value::Unit;
use crate::plural::counted;
use crate::record::{By, LimitedBy, Outcome, TurnWait, words};

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
        of: fn(&Judged<'_>) -> Reading<String>,
        said: fn(&Judged<'_>) -> String,
    },
}

/// A number, or a time in nanoseconds, of a connection.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) of: fn(&Judged<'_>) -> Reading<u64>,
    /// What is said of a connection with this value.
    pub(super) said: fn(&Judged<'_>, u64) -> String,
    /// What is said where no connection has a value.
    pub(super) none: &'static str,
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
    of: fn(&Judged<'_>) -> Reading<u64>,
    said: fn(&Judged<'_>, u64) -> String,
) -> Kind {
    Kind::Total(unit, Measure { of, said, none: "" })
}

const fn longest(
    of: fn(&Judged<'_>) -> Reading<u64>,
    said: fn(&Judged<'_>, u64) -> String,
    none: &'static str,
) -> Kind {
    Kind::Longest(Measure { of, said, none })
}

const fn each(of: fn(&Judged<'_>) -> Reading<u64>, said: fn(&Judged<'_>, u64) -> String) -> Kind {
    Kind::EachTime(Measure { of, said, none: NO_TURNS })
}

const NO_TURNS: &str = "no connection had a request";

pub(super) const METRICS: &[Metric] = &[
    Metric { name: "connections", kind: Kind::Connections },
    Metric {
        name: "failed",
        kind: total(Unit::Count, |it| is(it, |outcome| outcome != Outcome::Ok), said_ending),
    },
    Metric {
        name: "resets",
        kind: total(Unit::Count, |it| is(it, |outcome| outcome == Outcome::Reset), said_ending),
    },
    Metric {
        name: "lost",
        kind: total(Unit::Count, |it| it.lost, |_, n| format!("lost {}", counted(n, "segment"))),
    },
    Metric {
        name: "retransmits",
        kind: total(
            Unit::Count,
            |it| it.retransmits,
            |_, n| format!("retransmitted {}", counted(n, "segment")),
        ),
    },
    Metric { name: "warnings", kind: total(Unit::Count, warnings, said_warnings) },
    Metric {
        name: "sent",
        kind: total(
            Unit::Bytes,
            |it| Reading::Known(it.sent),
            |_, n| format!("was sent {}", counted(n, "byte")),
        ),
    },
    Metric {
        name: "received",
        kind: total(
            Unit::Bytes,
            |it| Reading::Known(it.received),
            |_, n| format!("sent {}", counted(n, "byte")),
        ),
    },
    Metric {
        name: "resolve.max",
        kind: longest(
            |it| it.resolve.map(nanos),
            |_, n| format!("took {} to resolve", shown(n)),
            "no name was looked up",
        ),
    },
    Metric {
        name: "connect.max",
        kind: longest(
            |it| it.connect.map(nanos),
            |_, n| format!("took {} to connect", shown(n)),
            "no connection was attempted",
        ),
    },
    Metric {
        name: "firstByte.max",
        kind: longest(
            |it| it.first_byte.map(nanos),
            |_, n| format!("took {} to its first byte", shown(n)),
            "no upstream sent anything",
        ),
    },
    Metric {
        name: "duration.max",
        kind: longest(
            |it| Reading::Known(nanos(it.duration)),
            |_, n| format!("lasted {}", shown(n)),
            "",
        ),
    },
    Metric {
        name: "turns.count",
        kind: total(
            Unit::Count,
            |it| turns(it, |turns| turns.count),
            |_, n| format!("had {}", counted(n, "turn")),
        ),
    },
    Metric {
        name: "turns.unanswered",
        kind: total(
            Unit::Count,
            |it| turns(it, |turns| turns.unanswered),
            |_, _| "had an unanswered request".to_owned(),
        ),
    },
    Metric {
        name: "turns.wait.max",
        kind: longest(
            |it| wait(it, |wait| wait.max),
            |_, n| format!("waited {}", shown(n)),
            NO_TURNS,
        ),
    },
    Metric {
        name: "turns.wait.p50",
        kind: each(
            |it| wait(it, |wait| wait.p50),
            |_, n| format!("waited {} in the median", shown(n)),
        ),
    },
    Metric {
        name: "turns.wait.p99",
        kind: each(
            |it| wait(it, |wait| wait.p99),
            |_, n| format!("waited {} in the 99th percentile", shown(n)),
        ),
    },
    Metric {
        name: "turns.wait.total",
        kind: each(|it| wait(it, |wait| wait.total), |_, n| format!("waited {} in all", shown(n))),
    },
    Metric {
        name: "endedBy",
        kind: Kind::EachWord {
            words: || words(&[By::Client, By::Upstream, By::Proxy, By::Resolver, By::Network]),
            of: |it| it.ended_by.map(|by| by.to_string()),
            said: |it| said_word(it.ended_by, "was ended by"),
        },
    },
    Metric {
        name: "outcome",
        kind: Kind::EachWord {
            words: || words(Outcome::ALL),
            of: |it| it.outcome.map(|outcome| outcome.to_string()),
            said: |it| said_ending(it, 0),
        },
    },
    Metric {
        name: "limitedBy",
        kind: Kind::EachWord {
            words: || words(LimitedBy::ALL),
            of: |it| it.limited_by.map(|party| party.to_string()),
            said: |it| said_word(it.limited_by, "was limited by"),
        },
    },
];

/// 1 if its outcome is such a one, otherwise 0.
fn is(judged: &Judged<'_>, such: impl Fn(Outcome) -> bool) -> Reading<u64> {
    judged.outcome.map(|outcome| such(outcome).into())
}

fn said_ending(judged: &Judged<'_>, _: u64) -> String {
    judged.ended_in_words()
}

fn said_word(word: Reading<impl fmt::Display>, before: &str) -> String {
    match word {
        Reading::Known(word) => format!("{before} {word}"),
        Reading::None | Reading::Unknown(_) => String::new(),
    }
}

fn warnings(judged: &Judged<'_>) -> Reading<u64> {
    Reading::Known(judged.warnings.len() as u64)
}

fn said_warnings(judged: &Judged<'_>, _: u64) -> String {
    judged.warnings.join("; ")
}

fn turns(judged: &Judged<'_>, of: impl Fn(&JudgedTurns) -> u64) -> Reading<u64> {
    match judged.turns.map(|turns| of(&turns)) {
        Reading::None => Reading::Known(0),
        known_or_not => known_or_not,
    }
}

fn wait(judged: &Judged<'_>, of: impl Fn(&TurnWait) -> Duration) -> Reading<u64> {
    match judged.turns.map(|turns| turns.wait) {
        Reading::Known(Some(wait)) => Reading::Known(nanos(of(&wait))),
        Reading::Known(None) => Reading::Unknown(
            "its requests and answers cannot be matched, because several run at once (HTTP/2) or \
             both sides send at any time",
        ),
        Reading::None => Reading::None,
        Reading::Unknown(why) => Reading::Unknown(why),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
