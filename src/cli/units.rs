//! Figures as people read them.

use std::time::Duration;

/// `1 line`, `2 lines`.
pub(super) fn counted(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {one}{plural}")
}

/// Three digits and a decimal unit: 999 B, 1.23 kB.
pub(super) fn human_bytes(bytes: u64) -> String {
    let Scaled { digits, unit } = bytes_in(bytes, 3);
    format!("{digits} {unit}")
}

/// Two digits, or all those before the point, and a decimal unit: 999 B, 1.2 kB, 123 kB. At most six
/// characters up to a petabyte.
pub(super) fn short_bytes(bytes: u64) -> String {
    let Scaled { digits, unit } = bytes_in(bytes, 2);
    format!("{digits} {unit}")
}

/// Three digits and a unit: 999ns, 1.23ms.
pub(super) fn human_time(time: Duration) -> String {
    let Scaled { digits, unit } = time_in(time, 3);
    format!("{digits}{unit}")
}

/// Two digits, or all those before the point, and a unit, up to days: 1.2 ms, 123 ms, 17 min. At most six
/// characters up to 1000 days.
pub(super) fn short_time(time: Duration) -> String {
    const MINUTE: f64 = 60.0;
    const UNITS: [(f64, f64, &str); 2] =
        [(1e3, MINUTE, "min"), (100.0 * MINUTE, 60.0 * MINUTE, "h")];
    let seconds = time.as_secs_f64();
    if seconds >= 100.0 * 60.0 * MINUTE {
        return format!("{} d", digits(seconds / (24.0 * 60.0 * MINUTE), 2));
    }
    match UNITS.iter().rev().find(|(from, ..)| seconds >= *from) {
        Some((_, one, unit)) => format!("{} {unit}", digits(seconds / one, 2)),
        None => {
            let Scaled { digits, unit } = time_in(time, 2);
            format!("{digits} {unit}")
        }
    }
}

/// A number in the unit that suits it.
struct Scaled {
    digits: String,
    unit: &'static str,
}

/// `significant` digits, or all those before the point.
fn bytes_in(bytes: u64, significant: u8) -> Scaled {
    scaled(bytes as f64, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], significant)
}

fn time_in(time: Duration, significant: u8) -> Scaled {
    scaled(time.as_nanos() as f64, &["ns", "µs", "ms", "s"], significant)
}

/// Nothing is smaller than one of the first unit: it has no decimals.
fn scaled(mut value: f64, units: &[&'static str], significant: u8) -> Scaled {
    let mut at = 0;
    // What would be rounded to 1000 is one of the next unit.
    while value >= 999.5 && at + 1 < units.len() {
        value /= 1000.0;
        at += 1;
    }
    let digits = match at {
        0 => format!("{value:.0}"),
        _ => digits(value, significant),
    };
    Scaled { digits, unit: units.get(at).copied().unwrap_or_default() }
}

/// Of a number from 0.995 on.
fn digits(value: f64, significant: u8) -> String {
    let mut decimals = significant.saturating_sub(1);
    let mut most = 10.0;
    // What would be rounded to a digit more before the point has one less behind it.
    while decimals > 0 && value >= most - 0.5 / 10_f64.powi(decimals.into()) {
        decimals -= 1;
        most *= 10.0;
    }
    let decimals = usize::from(decimals);
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (nanos, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_000, "1.00µs"),
            (9_996, "10.0µs"),
            (99_960, "100µs"),
            (999_500, "1.00ms"),
            (256_300_000, "256ms"),
            (12_340_000_000, "12.3s"),
            (4_000_000_000_000, "4000s"),
        ] {
            assert_eq!(human_time(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn bytes_have_three_digits_and_a_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (8_388_608, "8.39 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    fn short_times_have_two_digits_and_go_on_to_days() {
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.0 µs"),
            (9_949_999, "9.9 ms"),
            (9_960_000, "10 ms"),
            (210_400_000, "210 ms"),
            (999_600_000, "1.0 s"),
            (99_960_000_000, "100 s"),
            (999_000_000_000, "999 s"),
            (1_000_000_000_000, "17 min"),
            (5_990_000_000_000, "100 min"),
            (6_000_000_000_000, "1.7 h"),
            (359_000_000_000_000, "100 h"),
            (360_000_000_000_000, "4.2 d"),
            (86_400_000_000_000_000, "1000 d"),
        ] {
            assert_eq!(short_time(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn short_bytes_have_two_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (571, "571 B"),
            (3_900, "3.9 kB"),
            (9_960, "10 kB"),
            (99_600, "100 kB"),
            (999_600, "1.0 MB"),
            (8_388_608, "8.4 MB"),
        ] {
            assert_eq!(short_bytes(bytes), text);
        }
    }
}
