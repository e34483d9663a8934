//! A comparison in a table.

use std::time::Duration;

use conniver::figures::human_time;
use conniver::plural::counted;
use conniver::report::{Change, Comparison, Measure, Summary};

use super::style::heading;
use super::table::table;
use super::time;
use crate::cli::wrap::wrap;

/// The section of a page. `before`: the summary of the files given by `--against`.
pub(super) fn section(before: &Summary, comparison: &Comparison, width: usize) -> String {
    let span = match (before.totals.first_at, before.totals.last_at) {
        (Some(first), Some(last)) => format!(", {}", time::span(first, last)),
        _ => String::new(),
    };
    let against = counted(comparison.before, "connection");
    let title = wrap(&format!("{} {against}{span}", heading("Against")), width);
    let rows: Vec<_> = comparison.changes.iter().map(row).collect();
    let heads = ["figure", "before", "after", "change", "99 % interval", ""];
    let [old, new] = comparison.sampled;
    let mut text = format!("{title}\n{}", table(&heads, &[5], &rows, width));
    if (old as u64) < comparison.before || (new as u64) < comparison.after {
        text.push_str(&format!("\nof a sample of {old} connections before and {new} after"));
    }
    text
}

fn row(change: &Change) -> Vec<String> {
    let figure = |value: Option<f64>| {
        value.map_or_else(|| "-".to_owned(), |value| show(change.measure, value))
    };
    let difference = match (change.before, change.after) {
        (Some(before), Some(after)) => signed(change.measure, after - before),
        _ => "-".to_owned(),
    };
    let interval = match change.interval {
        Some([low, high]) => {
            format!("{} to {}", signed(change.measure, low), signed(change.measure, high))
        }
        None => "-".to_owned(),
    };
    let is_rise = change.after > change.before;
    let meaning = match change.is_change {
        Some(true) if is_rise => "rose".to_owned(),
        Some(true) => "fell".to_owned(),
        Some(false) => "no change shown".to_owned(),
        None => "too few".to_owned(),
    };
    vec![
        name(change.measure).to_owned(),
        figure(change.before),
        figure(change.after),
        difference,
        interval,
        meaning,
    ]
}

fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::FailedShare => "failed",
        Measure::ResolveP50 => "look-up p50",
        Measure::ConnectP50 => "connect p50",
        Measure::ConnectP99 => "connect p99",
        Measure::HandshakeP50 => "TLS handshake p50",
        Measure::WaitP50 => "longest wait p50",
        Measure::WaitP99 => "longest wait p99",
        Measure::RttP50 => "RTT p50",
        Measure::DurationP50 => "duration p50",
        Measure::LostMean => "lost, each",
        _ => "",
    }
}

fn show(measure: Measure, value: f64) -> String {
    match measure {
        Measure::FailedShare => format!("{:.2} %", value * 100.0),
        _ if measure.is_time() => {
            human_time(Duration::try_from_secs_f64(value / 1e9).unwrap_or_default())
        }
        _ => format!("{value:.2}"),
    }
}

fn signed(measure: Measure, value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "+" };
    match measure {
        // Not per cent of the share before.
        Measure::FailedShare => format!("{sign}{:.2} points", value.abs() * 100.0),
        _ => format!("{sign}{}", show(measure, value.abs())),
    }
}
