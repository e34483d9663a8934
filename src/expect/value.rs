//! The values that metrics are compared with.

use std::fmt;
use std::time::Duration;

use super::Operator;

/// What a metric is measured in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    /// How many.
    Count,
    /// Bytes.
    Bytes,
    /// Nanoseconds.
    Time,
    /// One of these words.
    Word(fn() -> Vec<String>),
}

/// The value of an expectation. Displays as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    typed: String,
    /// In the metric's unit; 0 for a word.
    pub(super) number: u64,
}

const SIZES: [(&str, u64); 9] = [
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("B", 1),
];

impl Value {
    /// The value for a metric in this unit, or what is wrong with it.
    pub(super) fn parse(typed: &str, unit: Unit, operator: Operator) -> Result<Self, String> {
        let is_equality = matches!(operator, Operator::Equal | Operator::NotEqual);
        let number = match unit {
            Unit::Time if is_equality => {
                return Err("a time is compared with <, <=, > or >=".to_owned());
            }
            Unit::Word(_) if !is_equality => {
                return Err("a word is compared with = or !=".to_owned());
            }
            Unit::Count => count(typed).ok_or_else(|| {
                format!("'{typed}' is not a number; expected one such as 0 or 12")
            })?,
            Unit::Bytes => bytes(typed).ok_or_else(|| {
                format!("'{typed}' is not a size; expected one such as 1500, 64kB or 10MiB")
            })?,
            Unit::Time => time(typed).ok_or_else(|| {
                format!(
                    "'{typed}' is not a time; expected one with its unit, such as 300ms or 1.5s"
                )
            })?,
            Unit::Word(words) => {
                let words = words();
                if !words.iter().any(|word| word == typed) {
                    let words = words.join(", ");
                    return Err(format!("'{typed}' is not one of its values: {words}"));
                }
                0
            }
        };
        Ok(Self { typed: typed.to_owned(), number })
    }

    pub(super) fn word(&self) -> &str {
        &self.typed
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

/// str::parse would take a sign as well.
fn count(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn bytes(text: &str) -> Option<u64> {
    let with_unit = SIZES.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)));
    let (number, size) = with_unit.unwrap_or((text, 1));
    count(number.trim_end())?.checked_mul(size)
}

/// The unit is wanted: a number alone would be taken for milliseconds by one and for seconds by another.
fn time(text: &str) -> Option<u64> {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == 'µ');
    if !is_plain || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let time = Duration::try_from(text.parse::<jiff::SignedDuration>().ok()?).ok()?;
    u64::try_from(time.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, nanos) in [
            ("300ms", Some(300_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("20us", Some(20_000)),
            ("20µs", Some(20_000)),
            ("7ns", Some(7)),
            ("0s", Some(0)),
            ("300", None),
            ("0", None),
            ("-1s", None),
            ("PT5S", None),
            ("1s ago", None),
            ("", None),
            ("1000000000000h", None),
        ] {
            assert_eq!(time(text), nanos, "{text}");
        }
    }

    #[test]
    fn sizes_may_have_units() {
        for (text, size) in [
            ("0", Some(0)),
            ("1500", Some(1500)),
            ("1500B", Some(1500)),
            ("64kB", Some(64_000)),
            ("64KiB", Some(65_536)),
            ("10 MB", Some(10_000_000)),
            ("k", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5MB", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(bytes(text), size.filter(|_| !text.is_empty()), "{text}");
        }
    }
}
