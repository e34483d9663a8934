//! The page's plots with their titles, texts and legends.

use jiff::tz::TimeZone;

use super::super::build::Summary;
use super::super::connection::Connection;
use super::super::quantiles::Quantiles;
use super::plots::{self, Point, TimeAxis, Times};
use super::series::{self, Bin};
use super::{Pictures, format, words};

/// If there are no more connections than this, plots over time show each one.
const MAX_POINTS: u64 = 300;
/// Then plots of counts have at most this many columns.
const FEW_COLUMNS: i64 = 48;

/// A plot with its text.
pub(super) struct Figure {
    pub(super) title: &'static str,
    /// What it shows in words.
    pub(super) text: String,
    pub(super) legend: &'static [(&'static str, &'static str)],
    pub(super) svg: String,
}

/// Median, 99th percentile and maximum in words.
fn quantiles(times: &Quantiles) -> String {
    match times.figures() {
        None => String::new(),
        Some(figures) if figures.count == 1 => format::time(figures.max),
        Some(figures) => format!(
            "median {}, p99 {}, longest {}",
            format::time(figures.p50),
            format::time(figures.p99),
            format::time(figures.max)
        ),
    }
}

const QUANTILES: &[(&str, &str)] = &[("main", "median"), ("edge", "99th percentile")];
const EACH: &[(&str, &str)] = &[("main dot", "each connection")];
const EACH_OR_FAILED: &[(&str, &str)] = &[("main dot", "each connection"), ("cross", "failed")];
const COUNTS: &[(&str, &str)] = &[("main box", "ended well"), ("wrong box", "failed")];
const LONGEST_WAIT: &str = "Longest wait of each connection";
const LOST: &[(&str, &str)] = &[("wrong box", "segments lost")];

pub(super) fn over_time(pictures: &Pictures, summary: &Summary, zone: &TimeZone) -> Vec<Figure> {
    let totals = &summary.totals;
    let (Some(first), Some(last)) = (totals.first_at, totals.last_at) else { return Vec::new() };
    let series = &pictures.series;
    let bins: Vec<_> = series.bins().collect();
    let columns = if totals.connections <= MAX_POINTS { FEW_COLUMNS } else { series::MAX_BINS };
    let (width, counts) = series.counts(columns);
    // From the first column's beginning, which may be before the first connection.
    let first = counts.first_key_value().map_or(first, |(at, _)| (*at).min(first));
    let accepted = counts.last_key_value().map_or(last, |(at, _)| at.saturating_add(width));
    let axis = TimeAxis::new(first, accepted, zone);
    let columns: Vec<_> = counts.iter().map(|(at, [all, bad, _])| (*at, *all, *bad)).collect();
    let mut figures = vec![Figure {
        title: "Connections",
        text: format!(
            "{} accepted, {} failed",
            format::count(totals.connections),
            format::count(totals.failed)
        ),
        legend: COUNTS,
        svg: plots::counts(&axis, width, &columns),
    }];
    type Time = fn(&Connection) -> Option<std::time::Duration>;
    type InBin = fn(&Bin) -> &Quantiles;
    let times: [(&str, Time, InBin, &Quantiles); 3] = [
        ("Connect", |c| c.phases.connect, |bin| &bin.connect, pictures.connect.times()),
        (LONGEST_WAIT, |c| c.longest_wait(), |bin| &bin.wait, pictures.wait.times()),
        (
            "Round-trip time",
            |c| c.upstream.as_ref()?.undisturbed_rtt(),
            |bin| &bin.rtt,
            &totals.rtt,
        ),
    ];
    for (title, time, in_bin, all) in times {
        if all.count() == 0 {
            continue;
        }
        let mut shown = Times::default();
        let mut legend = QUANTILES;
        if totals.connections <= MAX_POINTS {
            legend = EACH;
            for kept in &summary.sample {
                let connection = &kept.connection;
                let Some((at, time)) = connection.opened_at().zip(time(connection)) else {
                    continue;
                };
                let point = Point { at, time: time.as_nanos() as f64 };
                match connection.is_failed() {
                    true => shown.failed.push(point),
                    false => shown.each.push(point),
                }
            }
            if !shown.failed.is_empty() {
                legend = EACH_OR_FAILED;
            }
        } else {
            // In the middle of its bin.
            let middle = series.width() / 2;
            for (at, bin) in &bins {
                let figures = in_bin(bin).figures();
                let Some(figures) = figures else { continue };
                let at = at.saturating_add(middle);
                shown.p50.push(Point { at, time: figures.p50.as_nanos() as f64 });
                shown.p99.push(Point { at, time: figures.p99.as_nanos() as f64 });
            }
        }
        let svg = plots::times(&axis, &shown);
        figures.push(Figure { title, text: quantiles(all), legend, svg });
    }
    if totals.lost.is_some_and(|lost| lost > 0) {
        let lost = counts.iter().map(|(at, [_, _, lost])| (*at, *lost, *lost));
        figures.push(Figure {
            title: "Loss",
            text: words::loss(totals),
            legend: LOST,
            svg: plots::counts(&axis, width, &lost.collect::<Vec<_>>()),
        });
    }
    figures
}

pub(super) fn distributions(pictures: &Pictures) -> Vec<Figure> {
    let all = [
        ("Look-up", &pictures.resolve),
        ("Connect", &pictures.connect),
        ("TLS handshake", &pictures.handshake),
        (LONGEST_WAIT, &pictures.wait),
        ("Round-trip time", &pictures.rtt),
        ("Duration", &pictures.duration),
    ];
    let all = all.into_iter().filter(|(_, distribution)| distribution.times().count() > 0);
    let figures = all.map(|(title, distribution)| Figure {
        title,
        text: quantiles(distribution.times()),
        legend: &[],
        svg: plots::distribution(distribution),
    });
    figures.collect()
}
