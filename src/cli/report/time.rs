//! Local time: as it is typed, and as it is shown.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Reads a time: RFC 3339, or local time with or without its date.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    parse_at(text, &Zoned::now())
}

/// `now` tells the zone, and the day of a time without a date.
fn parse_at(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local = match (text.parse::<Time>(), text.parse::<Date>(), text.parse::<DateTime>()) {
        // A time with a date would be taken for its time alone, and a number for an hour.
        (Ok(time), ..) if text.contains(':') && !text.contains('-') => now.date().to_datetime(time),
        (_, Ok(date), _) if !text.contains(':') => date.to_datetime(Time::midnight()),
        (_, _, Ok(local)) => local,
        _ => {
            return Err("give a local time such as 14:00, 2026-11-29 or '2026-11-29 14:00', or \
                        RFC 3339"
                .to_owned());
        }
    };
    let zoned = local.to_zoned(now.time_zone().clone()).map_err(|error| error.to_string())?;
    Ok(zoned.timestamp())
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
        ] {
            assert_eq!(parse_at(text, &now), Ok(utc.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday", "25:00", "14", "2026-13-01"] {
            assert!(parse_at(text, &now).is_err(), "{text}");
        }
    }
}
