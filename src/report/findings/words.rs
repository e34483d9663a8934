//! Figures in sentences.

pub(super) use crate::figures::time_to_tenths as time;

/// A share in per cent.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let share = part as f64 * 100.0 / whole.max(1) as f64;
    if share < 9.95 { format!("{share:.1} %") } else { format!("{share:.0} %") }
}

/// `1 connection`, `12 connections`.
pub(super) fn connections(count: u64) -> String {
    crate::plural::counted(count, "connection")
}
