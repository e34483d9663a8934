//! Times and sizes as people read them: a number in the unit that suits it.

use std::time::Duration;

/// A unit, and the values that are shown in it.
struct Unit {
    name: &'static str,
    /// How many of the smallest unit it is.
    size: f64,
    /// The smallest value that is shown in it, in the smallest unit.
    from: f64,
}

/// What would be rounded to 1000 of the unit before is one of this.
const fn decimal(name: &'static str, size: f64) -> Unit {
    Unit { name, size, from: size * 0.9995 }
}

/// A unit of `size` seconds, from so many seconds on.
const fn long(name: &'static str, size: f64, from: f64) -> Unit {
    Unit { name, size: size * 1e9, from: from * 1e9 }
}

const BYTES: [Unit; 7] = [
    decimal("B", 1.0),
    decimal("kB", 1e3),
    decimal("MB", 1e6),
    decimal("GB", 1e9),
    decimal("TB", 1e12),
    decimal("PB", 1e15),
    decimal("EB", 1e18),
];

const TIMES: [Unit; 4] =
    [decimal("ns", 1.0), decimal("µs", 1e3), decimal("ms", 1e6), decimal("s", 1e9)];

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// How figures are written.
struct Scale {
    /// Significant digits; all those before the point are written.
    digits: u8,
    /// Decimals that are written at least.
    least_decimals: u8,
    /// Between the number and its unit.
    gap: &'static str,
    /// Units of time above seconds.
    long: &'static [Unit],
}

impl Scale {
    const fn new(digits: u8, gap: &'static str) -> Self {
        Self { digits, least_decimals: 0, gap, long: &[] }
    }

    fn bytes(&self, bytes: f64) -> String {
        self.write(bytes, &BYTES, &[])
    }

    fn time(&self, time: Duration) -> String {
        self.write(time.as_nanos() as f64, &TIMES, self.long)
    }

    fn write(&self, value: f64, units: &[Unit], long: &[Unit]) -> String {
        let is_in = |unit: &&Unit| value >= unit.from;
        let largest = long.iter().rev().chain(units.iter().rev()).find(is_in);
        let Some(unit) = largest.or(units.first()) else { return String::new() };
        let value = value / unit.size;
        // Nothing is smaller than one of the smallest unit.
        let decimals = if unit.size == 1.0 { 0 } else { self.decimals(value) };
        format!("{value:.decimals$}{}{}", self.gap, unit.name)
    }

    fn decimals(&self, value: f64) -> usize {
        let mut decimals = self.digits.saturating_sub(1);
        let mut most = 10.0;
        // What would be rounded to a digit more before the point has one less behind it.
        while decimals > 0 && value >= most - 0.5 / 10_f64.powi(decimals.into()) {
            decimals -= 1;
            most *= 10.0;
        }
        decimals.max(self.least_decimals).into()
    }
}

/// Two digits, and all those before the point.
const SHORT: Scale = Scale {
    long: &[
        long("min", MINUTE, 1000.0),
        long("h", HOUR, 100.0 * MINUTE),
        long("d", DAY, 100.0 * HOUR),
    ],
    ..Scale::new(2, " ")
};

/// Three digits and a unit: 999 B, 1.23 kB.
pub fn human_bytes(bytes: u64) -> String {
    Scale::new(3, " ").bytes(bytes as f64)
}

/// Two digits, or all those before the point, and a unit: 999 B, 1.2 kB, 123 kB. At most six characters up to a
/// petabyte.
pub fn short_bytes(bytes: u64) -> String {
    SHORT.bytes(bytes as f64)
}

/// The same without a gap, also for rates: 999B, 1.2kB.
pub fn brief_bytes(bytes: f64) -> String {
    Scale::new(2, "").bytes(bytes)
}

/// Three digits and a unit, at most seconds: 999ns, 1.23ms.
pub fn human_time(time: Duration) -> String {
    Scale::new(3, "").time(time)
}

/// Three digits and a unit, up to hours: 210 ms, 1.23 s, 12.3 min.
pub fn spaced_time(time: Duration) -> String {
    const SPACED: Scale = Scale {
        long: &[long("min", MINUTE, 119.5), long("h", HOUR, 119.5 * MINUTE)],
        ..Scale::new(3, " ")
    };
    SPACED.time(time)
}

/// Two digits, or all those before the point, and a unit, up to days: 1.2 ms, 123 ms, 17 min. At most six
/// characters up to 1000 days.
pub fn short_time(time: Duration) -> String {
    SHORT.time(time)
}

/// Two digits below a second, tenths from there on: 40 ms, 1.0 s, 60.0 s, 12.3 min.
pub fn time_to_tenths(time: Duration) -> String {
    const TENTHS: Scale =
        Scale { least_decimals: 1, long: &[long("min", MINUTE, 599.5)], ..Scale::new(2, " ") };
    if time < Duration::from_micros(999_500) { SHORT.time(time) } else { TENTHS.time(time) }
}

/// Three digits below a minute, tenths from there on, up to days: 1.23ms, 1.0 min, 27.3 min, 2.5 h.
pub fn long_time(time: Duration) -> String {
    const LONG: Scale = Scale {
        least_decimals: 1,
        long: &[
            long("min", MINUTE, MINUTE),
            long("h", HOUR, 2.0 * HOUR),
            long("days", DAY, 2.0 * DAY),
        ],
        ..Scale::new(2, " ")
    };
    if time < Duration::from_secs(60) { human_time(time) } else { LONG.time(time) }
}

/// Two digits without a gap, at least µs and at most seconds: 0.5µs, 1.2ms, 312ms.
pub fn brief_time(time: Duration) -> String {
    Scale::new(2, "").write(time.as_nanos() as f64, TIMES.split_at(1).1, &[])
}

/// Whole numbers and a unit, at most seconds: 2 ms, 100 ms.
pub fn whole_time(time: Duration) -> String {
    Scale::new(1, " ").time(time)
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
