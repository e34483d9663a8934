//! Figures and times as the page shows them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(super) use crate::figures::{human_bytes as bytes, spaced_time as time};
use crate::record::Printable;

/// A count with its thousands apart: 1,204.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun: `1 connection`, `1,204 connections`.
pub(super) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A share in per cent: 0.4 %, 31 %; a part never reads as nothing or as the whole.
pub(super) fn percent(part: f64, whole: f64) -> String {
    let share = if whole > 0.0 { part * 100.0 / whole } else { 0.0 };
    match share {
        0.0 => "0 %".to_owned(),
        ..0.1 => "< 0.1 %".to_owned(),
        ..9.95 => format!("{share:.1} %"),
        99.5..100.0 => "> 99 %".to_owned(),
        _ => format!("{share:.0} %"),
    }
}

/// Most characters of a text of a record.
const LONGEST: usize = 200;

/// A text of a record, in one line without characters that rearrange it; a long one without its middle.
pub(super) fn text(text: &str) -> String {
    let text = Printable(text).to_string();
    let length = text.chars().count();
    if length <= LONGEST {
        return text;
    }
    let half = LONGEST / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(length - half).collect();
    format!("{head}…{tail}")
}

/// A moment in the zone of the page, in the form of strftime(3). Empty beyond all calendars.
pub(super) fn moment(nanos: i64, zone: &TimeZone, form: &str) -> String {
    Timestamp::from_nanosecond(i128::from(nanos))
        .map_or_else(|_| String::new(), |at| at.to_zoned(zone.clone()).strftime(form).to_string())
}

/// The zone at a moment: UTC+01:00.
pub(super) fn zone_name(nanos: i64, zone: &TimeZone) -> String {
    match moment(nanos, zone, "%:z").as_str() {
        "+00:00" => "UTC".to_owned(),
        offset => format!("UTC{offset}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let times = [
            (0, "0 ns"),
            (1_500, "1.50 µs"),
            (999_600_000, "1.00 s"),
            (61_000_000_000, "61.0 s"),
            (600_000_000_000, "10.0 min"),
            (36_000_000_000_000, "10.0 h"),
        ];
        for (nanos, text) in times {
            assert_eq!(time(Duration::from_nanos(nanos)), text);
        }
        assert_eq!(
            [999, 1_000, 999_500, u64::MAX].map(bytes),
            ["999 B", "1.00 kB", "1.00 MB", "18.4 EB"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let shares = [(0, 9), (1, 100_000), (1, 3), (999, 1000), (3, 3), (0, 0)];
        let shares = shares.map(|(part, whole)| percent(f64::from(part), f64::from(whole)));
        assert_eq!(shares, ["0 %", "< 0.1 %", "33 %", "> 99 %", "100 %", "0 %"]);
    }

    #[test]
    fn texts_of_records_are_short_and_inert() {
        assert_eq!(text("a\u{202e}b\n"), "a\\u{202e}b\\u{a}");
        let long = text(&format!("{}z", "é".repeat(5000)));
        assert!(long.chars().count() == LONGEST + 1 && long.ends_with("éz"), "{long}");
    }
}
