//! Local time: as it is typed, and as it is shown.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::cli::values::duration;

/// How a time is written.
const EXPECTED: &str = "give a local time such as 14:00, 2026-11-29 or '2026-11-29 14:00', how long ago it was \
                        such as 10m or 2h, RFC 3339, or Unix time in seconds, ms or ns";

/// Reads a time: RFC 3339, local time with or without its date, Unix time, or how long ago it was.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    parse_at(text, &Zoned::now())
}

/// `now` tells the zone, and the day of a time without a date.
fn parse_at(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if text.len() > 2 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return unix_time(text);
    }
    let day = |date: Date| date.to_datetime(Time::midnight());
    let local = match (text.parse::<Time>(), text.parse::<Date>(), text.parse::<DateTime>()) {
        // A time with a date would be taken for its time alone, and a number for an hour.
        (Ok(time), ..) if text.contains(':') && !text.contains('-') => now.date().to_datetime(time),
        (_, Ok(date), _) if !text.contains(':') => day(date),
        (_, _, Ok(local)) => local,
        _ if text == "today" => day(now.date()),
        _ if text == "yesterday" => {
            day(now.date().yesterday().map_err(|error| error.to_string())?)
        }
        _ => return before(text, now.timestamp()),
    };
    let zoned = local.to_zoned(now.time_zone().clone()).map_err(|error| error.to_string())?;
    Ok(zoned.timestamp())
}

/// Unix time: the unit is told by the number of digits, from the year 2001 to 2286. Records have ns.
fn unix_time(digits: &str) -> Result<Timestamp, String> {
    let unit: i128 = match digits.len() {
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: i128 = digits.parse().map_err(|_| EXPECTED.to_owned())?;
    Timestamp::from_nanosecond(number * unit).map_err(|error| error.to_string())
}

/// `now`, `10m`, `10m ago` or, as some programs have it, `-10m`.
fn before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let age = text.strip_suffix("ago").or(text.strip_prefix('-')).unwrap_or(text).trim();
    let has_unit = age.ends_with(|c: char| c.is_ascii_alphabetic());
    let age = match age {
        "now" => Duration::ZERO,
        // 24 hours, whatever the clocks did.
        _ => match age.strip_suffix('d').map(str::parse::<u64>) {
            Some(Ok(days)) => Duration::from_secs(days.saturating_mul(24 * 60 * 60)),
            _ if has_unit => duration(age).map_err(|_| EXPECTED.to_owned())?,
            _ => return Err(EXPECTED.to_owned()),
        },
    };
    now.checked_sub(age).map_err(|error| error.to_string())
}

/// An instant of a record, in Unix ns, in local time.
pub(super) fn local(at: i64) -> Zoned {
    let time = Timestamp::from_nanosecond(at.into()).unwrap_or(Timestamp::MIN);
    time.to_zoned(TimeZone::system())
}

/// `2026-11-29 14:02:11`.
pub(super) fn full(at: &Zoned) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `14:02:11`.
pub(super) fn clock(at: &Zoned) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// From one instant to another: the date is said once if it is the same, and the seconds if they are.
pub(super) fn span(first: i64, last: i64) -> String {
    let (first, last) = (local(first), local(last));
    let end = match first.date() == last.date() {
        true => clock(&last),
        false => full(&last),
    };
    match full(&first).ends_with(&end) {
        true => full(&first),
        false => format!("{} to {end}", full(&first)),
    }
}

/// The zone and its offset at an instant: `Europe/Berlin, +01:00`.
pub(super) fn zone(at: i64) -> String {
    let at = local(at);
    let offset = at.strftime("%:z").to_string();
    match at.time_zone().iana_name() {
        Some("UTC" | "Etc/UTC") => "UTC".to_owned(),
        Some(name) => format!("{name}, {offset}"),
        None if offset == "+00:00" => "UTC".to_owned(),
        None => offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_and_instants_are_understood() {
        let now: Zoned = "2026-11-29T18:00:00+01:00[+01:00]".parse().unwrap();
        for (text, utc) in [
            ("14:00", "2026-11-29T13:00:00Z"),
            ("14:00:30", "2026-11-29T13:00:30Z"),
            ("2026-11-28", "2026-11-27T23:00:00Z"),
            ("2026-11-28 14:00", "2026-11-28T13:00:00Z"),
            ("2026-11-28T14:00:01.5", "2026-11-28T13:00:01.5Z"),
            ("2026-11-28T14:00:00Z", "2026-11-28T14:00:00Z"),
            ("2026-11-28T14:00:00+05:30", "2026-11-28T08:30:00Z"),
            ("1764417600", "2025-11-29T12:00:00Z"),
            ("1764417600500", "2025-11-29T12:00:00.5Z"),
            ("1764417600000000001", "2025-11-29T12:00:00.000000001Z"),
            ("now", "2026-11-29T17:00:00Z"),
            ("10m", "2026-11-29T16:50:00Z"),
            ("-1h", "2026-11-29T16:00:00Z"),
            ("1h 30m ago", "2026-11-29T15:30:00Z"),
            ("2d", "2026-11-27T17:00:00Z"),
            ("today", "2026-11-28T23:00:00Z"),
            ("yesterday", "2026-11-27T23:00:00Z"),
        ] {
            assert_eq!(parse_at(text, &now), Ok(utc.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "tomorrow",
            "25:00",
            "14",
            "-5",
            "2026-13-01",
            "29/11/2026",
            "17644176000",
            "--json",
        ] {
            assert!(parse_at(text, &now).is_err(), "{text}");
        }
    }
}
