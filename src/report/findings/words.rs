//! Figures in sentences.

use std::time::Duration;

/// Two to three digits and a unit: 40 ms, 1.0 s, 60.0 s, 5.2 min.
pub(super) fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ..0.995 => format!("{:.0} µs", ms * 1e3),
        ..9.95 => format!("{ms:.1} ms"),
        ..995.0 => format!("{ms:.0} ms"),
        ..599_500.0 => format!("{:.1} s", ms / 1e3),
        _ => format!("{:.1} min", ms / 6e4),
    }
}

/// A share in per cent.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let share = part as f64 * 100.0 / whole.max(1) as f64;
    if share < 9.95 { format!("{share:.1} %") } else { format!("{share:.0} %") }
}

/// `1 connection`, `12 connections`.
pub(super) fn connections(count: u64) -> String {
    crate::counted::counted(count, "connection")
}
