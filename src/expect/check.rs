//! Whether expectations hold for the connections of a run.

use std::collections::BTreeSet;
use std::fmt;

use super::Expectation;
use super::judged::Judged;
use super::metric::{Kind, shown};
use super::reading::Reading;
use super::value::Unit;
use crate::plural::counted;
use crate::record::Printable;

/// A broken expectation names so many connections.
const NAMED: usize = 10;

/// So many targets are kept, to say where connections went instead.
const TARGETS: usize = 10;

/// Expectations, and what is known of the connections so far, in bounded memory.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    checks: Vec<Check>,
    /// Some targets that there were connections to.
    targets: BTreeSet<String>,
}

/// An expectation that does not hold, or that cannot be judged. Displays as one line for each reason: `expected
/// lost=0: #2 to api:443 lost 41 segments`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Broken {
    /// The expectation.
    pub expectation: Expectation,
    /// Why it does not hold, or why it cannot be judged; a sentence that names the connection, or at most ten of them.
    pub reasons: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reason) in self.reasons.iter().enumerate() {
            let line_feed = if at == 0 { "" } else { "\n" };
            write!(f, "{line_feed}expected {}: {reason}", self.expectation)?;
        }
        Ok(())
    }
}

/// One expectation, and the connections that it is about.
#[derive(Debug, Clone)]
struct Check {
    expectation: Expectation,
    connections: u64,
    /// Of these, with a value.
    measured: u64,
    /// The number of connections, the sum of their values, or the largest one.
    number: u64,
    /// The connection with the largest value.
    largest: Option<String>,
    unknown: Named,
    /// Connections that break it, or that add to a sum that may break it.
    breaking: Named,
}

/// The first of some connections, each with what is said of it, and how many there are.
#[derive(Debug, Clone, Default)]
struct Named {
    first: Vec<String>,
    count: u64,
}

impl Named {
    fn add(&mut self, connection: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(connection());
        }
    }

    fn sentences(&self) -> Vec<String> {
        let more = self.count - self.first.len() as u64;
        let more = (more > 0).then(|| format!("and {}", counted(more, "more connection")));
        self.first.iter().cloned().chain(more).collect()
    }
}

impl Expectations {
    /// Expectations on connections that are still to be [added](Self::add).
    pub fn new(expectations: Vec<Expectation>) -> Self {
        let checks = expectations.into_iter().map(Check::new).collect();
        Self { checks, targets: BTreeSet::new() }
    }

    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// How many expectations there are.
    pub fn len(&self) -> usize {
        self.checks.len()
    }

    /// Adds a connection that has ended.
    pub fn add<'c>(&mut self, connection: impl Into<Judged<'c>>) {
        if self.is_empty() {
            return;
        }
        let connection = connection.into();
        if let Some(target) = connection.target.filter(|_| self.targets.len() < TARGETS) {
            self.targets.insert(Printable(target).to_string());
        }
        for check in &mut self.checks {
            check.add(&connection);
        }
    }

    /// Each expectation, and why it does not hold for the connections so far, or cannot be judged; no reasons where
    /// it holds.
    pub fn judge(&self) -> Vec<(Expectation, Vec<String>)> {
        let judge = |check: &Check| (check.expectation.clone(), check.reasons(&self.targets));
        self.checks.iter().map(judge).collect()
    }

    /// The expectations that do not hold for the connections so far, and those that cannot be judged.
    pub fn broken(&self) -> Vec<Broken> {
        let judged = self.judge().into_iter();
        let broken = judged.filter(|(_, reasons)| !reasons.is_empty());
        broken.map(|(expectation, reasons)| Broken { expectation, reasons }).collect()
    }

    /// Has messages name these targets of expectations otherwise, as with stand-ins. Connections that are added
    /// later are compared with the new names.
    pub fn rename_targets(&mut self, mut rename: impl FnMut(&str) -> String) {
        for target in self.checks.iter_mut().filter_map(|check| check.expectation.target.as_mut()) {
            if let Ok(renamed) = rename(&target.to_string()).parse() {
                *target = renamed;
            }
        }
    }
}

impl Check {
    fn new(expectation: Expectation) -> Self {
        Self {
            expectation,
            connections: 0,
            measured: 0,
            number: 0,
            largest: None,
            unknown: Named::default(),
            breaking: Named::default(),
        }
    }

    fn add(&mut self, connection: &Judged<'_>) {
        let Expectation { target, metric, operator, value } = &self.expectation;
        if target.as_ref().is_some_and(|target| !connection.is_to(target)) {
            return;
        }
        let (metric, operator, expected) = (*metric, *operator, value.number);
        self.connections += 1;
        let said = |what: String| format!("{} {what}", connection.named());
        match &metric.kind {
            Kind::Connections => {
                self.number += 1;
                self.breaking.add(|| connection.named());
            }
            Kind::Total(_, measure) => {
                let Some(number) = self.read((measure.of)(connection), connection) else { return };
                self.number = self.number.saturating_add(number);
                if number > 0 {
                    self.breaking.add(|| said((measure.said)(connection, number)));
                }
            }
            Kind::Longest(measure) | Kind::EachTime(measure) => {
                let Some(number) = self.read((measure.of)(connection), connection) else { return };
                if self.largest.is_none() || number > self.number {
                    self.number = number;
                    self.largest = Some(said((measure.said)(connection, number)));
                }
                if !operator.holds(&number, &expected) {
                    self.breaking.add(|| said((measure.said)(connection, number)));
                }
            }
            Kind::EachWord { of, said: in_words, .. } => {
                let Some(word) = self.read(of(connection), connection) else { return };
                if !operator.holds(&&*word, &self.expectation.value.word()) {
                    self.breaking.add(|| said(in_words(connection)));
                }
            }
        }
    }

    /// The value of a connection, where it is known; otherwise it is noted that it is not.
    fn read<T>(&mut self, reading: Reading<T>, connection: &Judged<'_>) -> Option<T> {
        match reading {
            Reading::Known(value) => {
                self.measured += 1;
                Some(value)
            }
            Reading::None => None,
            Reading::Unknown(why) => {
                self.unknown.add(|| format!("cannot be judged by {}: {why}", connection.named()));
                None
            }
        }
    }

    /// Why it does not hold; empty where it does.
    fn reasons(&self, targets: &BTreeSet<String>) -> Vec<String> {
        let Expectation { target, metric, operator, value } = &self.expectation;
        let measure = match &metric.kind {
            Kind::Connections => return self.reasons_of_count(targets),
            _ if self.connections == 0 => {
                return match target {
                    Some(target) => {
                        vec![format!("nobody connected to {target}{}", instead(targets))]
                    }
                    None => vec!["there were no connections".to_owned()],
                };
            }
            Kind::EachTime(_) | Kind::EachWord { .. } if self.breaking.count > 0 => {
                return self.breaking.sentences();
            }
            Kind::EachWord { .. } => return self.unknown.sentences(),
            Kind::Total(_, measure) | Kind::Longest(measure) | Kind::EachTime(measure) => measure,
        };
        let is_each = matches!(metric.kind, Kind::EachTime(_));
        if self.measured == 0 && self.unknown.count == 0 {
            return vec![format!("cannot be judged: {}", measure.none)];
        }
        let holds = match self.unknown.count {
            // Each connection holds that has a value.
            0 if is_each => Some(true),
            0 => Some(operator.holds(&self.number, &value.number)),
            _ if is_each => None,
            // What is not known can only add to a sum, and to the longest time.
            _ => operator.holds_from(self.number, value.number),
        };
        match holds {
            Some(true) => Vec::new(),
            None => self.unknown.sentences(),
            Some(false) => self.reasons_of_number(),
        }
    }

    fn reasons_of_count(&self, targets: &BTreeSet<String>) -> Vec<String> {
        let Expectation { target, operator, value, .. } = &self.expectation;
        let count = self.number;
        if operator.holds(&count, &value.number) {
            return Vec::new();
        }
        let were = if count == 1 { "there was 1" } else { &*format!("there were {count}") };
        vec![match self.breaking.sentences() {
            names if !names.is_empty() => format!("{were}: {}", names.join(", ")),
            _ if target.is_some() => format!("{were}{}", instead(targets)),
            _ => were.to_owned(),
        }]
    }

    /// Of a sum or a longest time.
    fn reasons_of_number(&self) -> Vec<String> {
        let Expectation { metric, operator, value, .. } = &self.expectation;
        match &metric.kind {
            Kind::Total(unit, _) => {
                let number = match unit {
                    Unit::Bytes => counted(self.number, "byte"),
                    _ => self.number.to_string(),
                };
                // What alone breaks a bound of 0 needs no sum.
                let is_plain = value.number == 0 && self.breaking.count > 0;
                let sum = (!is_plain).then(|| format!("the total is {number}"));
                let breaking = match operator.is_upper_bound() {
                    true => self.breaking.sentences(),
                    false => Vec::new(),
                };
                sum.into_iter().chain(breaking).collect()
            }
            _ if operator.is_upper_bound() => self.breaking.sentences(),
            _ => {
                let longest = self.largest.clone().unwrap_or_else(|| shown(self.number));
                vec![format!("the longest: {longest}")]
            }
        }
    }
}

/// Where connections went, behind a sentence on where they did not.
fn instead(targets: &BTreeSet<String>) -> String {
    match targets.is_empty() {
        true => "; there were no connections".to_owned(),
        false => {
            let targets: Vec<_> = targets.iter().map(String::as_str).collect();
            format!("; there were connections to {}", targets.join(", "))
        }
    }
}
