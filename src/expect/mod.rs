//! Expectations on the connections of a run or of files of records, as `conniver run --expect` and `conniver report
//! --expect` take them: `lost=0`, `turns.wait.max<=300ms`, `db:5432 connections=1`.
//!
//! ```
//! use conniver::expect::{Expectation, Expectations};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let expected: Expectation = "connections=0".parse()?;
//! let mut expectations = Expectations::new(vec![expected]);
//! // expectations.add(&record) for the record of each connection
//! assert!(expectations.broken().is_empty());
//! # Ok(())
//! # }
//! ```

mod check;
#[cfg(feature = "report")]
mod chosen;
mod judged;
mod metric;
mod mistakes;
mod reading;
mod value;

use std::fmt;
use std::str::FromStr;

pub use check::{Broken, Expectations};
pub use judged::Judged;
use metric::{METRICS, Metric};
use value::Value;

use crate::target::Target;

/// What is expected of all connections, or of those to one target: a metric, an operator and a value.
///
/// Times are compared with `<`, `<=`, `>` and `>=`, words with `=` and `!=`, numbers with all six. Displays as it
/// is parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    target: Option<Target>,
    metric: &'static Metric,
    operator: Operator,
    value: Value,
}

impl Expectation {
    /// The names of all metrics.
    pub fn metrics() -> impl Iterator<Item = &'static str> {
        METRICS.iter().map(|metric| metric.name)
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, metric, operator, value } = self;
        if let Some(target) = target {
            write!(f, "{target} ")?;
        }
        write!(f, "{}{operator}{value}", metric.name)
    }
}

/// Why a text is not an expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseExpectationError(String);

impl fmt::Display for ParseExpectationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseExpectationError {}

impl From<String> for ParseExpectationError {
    fn from(sentence: String) -> Self {
        Self(sentence)
    }
}

/// How an expectation is written.
const FORM: &str = "expected [HOST:PORT ]METRIC OPERATOR VALUE, such as lost=0 or 'db:5432 \
                    turns.wait.max<=300ms'";

impl FromStr for Expectation {
    type Err = ParseExpectationError;

    fn from_str(text: &str) -> Result<Self, ParseExpectationError> {
        let Some(at) = text.find(Operator::is_part) else {
            return Err(format!(
                "it has no operator; {FORM}, in quotes because of the shell's < and >"
            )
            .into());
        };
        if let Some(mistake) = mistakes::mistake(text) {
            return Err(mistake.into());
        }
        let (what, rest) = text.split_at(at);
        let end = rest.find(|c| !Operator::is_part(c)).unwrap_or(rest.len());
        let (operator, value) = rest.split_at(end);
        let (target, name) = match what.split_whitespace().collect::<Vec<_>>()[..] {
            [name] => (None, name),
            [target, name] => (Some(target), name),
            _ => return Err(FORM.to_owned().into()),
        };
        let metric = METRICS.iter().find(|metric| metric.name == name).ok_or_else(|| {
            let names: Vec<_> = Self::metrics().collect();
            format!("unknown metric '{name}'; the metrics are {}", names.join(", "))
        })?;
        let target = target.map(str::parse).transpose();
        let target = target.map_err(|error: crate::target::ParseTargetError| error.to_string())?;
        let operator = operator.parse::<Operator>()?;
        let value = Value::parse(value.trim(), metric.unit(), operator)
            .map_err(|problem| format!("{name}: {problem}"))?;
        Ok(Self { target, metric, operator, value })
    }
}

/// How a value is compared with the one that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
}

const OPERATORS: [(Operator, &str); 6] = [
    (Operator::Equal, "="),
    (Operator::NotEqual, "!="),
    (Operator::Less, "<"),
    (Operator::AtMost, "<="),
    (Operator::More, ">"),
    (Operator::AtLeast, ">="),
];

impl Operator {
    fn is_part(c: char) -> bool {
        matches!(c, '=' | '!' | '<' | '>')
    }

    fn holds<T: PartialOrd>(self, found: &T, expected: &T) -> bool {
        match self {
            Self::Equal => found == expected,
            Self::NotEqual => found != expected,
            Self::Less => found < expected,
            Self::AtMost => found <= expected,
            Self::More => found > expected,
            Self::AtLeast => found >= expected,
        }
    }

    /// Whether it holds for a number that is at least `known`. `None` if that depends on how much more it is.
    fn holds_from(self, known: u64, expected: u64) -> Option<bool> {
        match self {
            Self::Equal | Self::AtMost if known > expected => Some(false),
            Self::Less if known >= expected => Some(false),
            Self::NotEqual | Self::More if known > expected => Some(true),
            Self::AtLeast if known >= expected => Some(true),
            _ => None,
        }
    }

    /// Whether more than expected is what breaks it.
    fn is_upper_bound(self) -> bool {
        matches!(self, Self::Equal | Self::Less | Self::AtMost)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = OPERATORS.iter().find(|(operator, _)| operator == self);
        f.write_str(sign.map_or("", |(_, sign)| sign))
    }
}

impl FromStr for Operator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = OPERATORS.iter().find(|(_, sign)| *sign == text);
        found.map(|(operator, _)| *operator).ok_or_else(|| {
            format!("'{text}' is not an operator; the operators are =, !=, <, <=, > and >=")
        })
    }
}

#[cfg(test)]
mod tests;
