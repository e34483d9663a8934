//! Figures as people read them.

use std::time::Duration;

/// `1 line`, `2 lines`.
pub(super) fn counted(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {one}{plural}")
}

/// Three digits and a decimal unit: 999 B, 1.23 kB.
pub(super) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    // What would be rounded to 1000 is one of the next unit.
    while value >= 999.5 && units.len() > 0 {
        value /= 1000.0;
        unit = units.next();
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", unit.unwrap_or(&""))
}

/// Three digits and a unit: 999ns, 1.23ms.
pub(super) fn human_time(time: Duration) -> String {
    const UNITS: [&str; 4] = ["ns", "µs", "ms", "s"];
    let mut value = time.as_nanos() as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 999.5 && units.len() > 0 {
        value /= 1000.0;
        unit = units.next();
    }
    // The clock tells no parts of a nanosecond.
    let decimals = match value {
        _ if unit == UNITS.first() => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", unit.unwrap_or(&""))
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
}
