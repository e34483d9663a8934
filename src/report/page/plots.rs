//! The page's plots, as SVG. Each colour stands for a role, and the style sheet gives the roles their
//! colours in light and dark.

use std::ops::Range;
use std::time::Duration;

use jiff::tz::TimeZone;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;

use super::format;
use super::series::{COLUMNS, Distribution};
use crate::figures::whole_time;

/// Lines of an axis.
const AXIS: RGBColor = RGBColor(0x80, 0x80, 0x80);
/// The grid.
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
/// Labels.
const TEXT: RGBColor = RGBColor(0x59, 0x59, 0x59);
/// What is usual: medians, connections that ended well.
const MAIN: RGBColor = RGBColor(0x00, 0x72, 0xb2);
/// What is at the edge: the 99th percentile.
const EDGE: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
/// What went wrong: failures, losses.
const WRONG: RGBColor = RGBColor(0xd5, 0x5e, 0x00);

const SIZE: (u32, u32) = (480, 190);

/// One time of one connection, or of those in one bin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    /// When, Unix ns.
    pub(super) at: i64,
    /// How long, ns.
    pub(super) time: f64,
}

/// Times over time, on a logarithmic axis.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    /// Every single one, if there are few.
    pub(super) each: Vec<Point>,
    /// Of these: those of connections that failed.
    pub(super) failed: Vec<Point>,
    /// Medians.
    pub(super) p50: Vec<Point>,
    /// 99th percentiles.
    pub(super) p99: Vec<Point>,
}

/// The time axis that all plots share.
#[derive(Debug, Clone)]
pub(super) struct TimeAxis {
    /// Beginning, Unix ns.
    from: i64,
    to: i64,
    ticks: Vec<i64>,
    labels: Vec<String>,
}

impl TimeAxis {
    /// From one instant to another, Unix ns, with a few ticks at round times of the zone.
    pub(super) fn new(from: i64, to: i64, zone: &TimeZone) -> Self {
        const MS: i64 = 1_000_000;
        const S: i64 = 1000 * MS;
        const MIN: i64 = 60 * S;
        const DAY: i64 = 1440 * MIN;
        let to = to.max(from.saturating_add(MS));
        let span = to.saturating_sub(from);
        let sub_seconds = [1, 2, 5, 10, 20, 50, 100, 200, 500].map(|ms| ms * MS);
        let seconds = [1, 2, 5, 10, 15, 30].map(|s| s * S);
        let minutes = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map(|min| min * MIN);
        let days = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000].map(|days| days * DAY);
        let steps = [&sub_seconds[..], &seconds, &minutes, &days].concat();
        let step = steps.into_iter().find(|step| span / step <= 5).unwrap_or(100_000 * DAY);
        let form = match step {
            _ if step < S => "%H:%M:%S%.3f",
            _ if step < MIN => "%H:%M:%S",
            _ if step < DAY => "%H:%M",
            _ => "%-d %b %Y",
        };
        // Round in local time.
        let offset = jiff::Timestamp::from_nanosecond(i128::from(from))
            .map_or(0, |at| i64::from(zone.to_offset(at).seconds()) * S);
        let first = from.saturating_add(offset).div_euclid(step).saturating_mul(step) - offset;
        let ticks = std::iter::successors(Some(first), |tick| tick.checked_add(step));
        let ticks = ticks.skip_while(|tick| *tick < from).take_while(|tick| *tick <= to);
        let ticks: Vec<_> = ticks.collect();
        let labels = ticks.iter().map(|tick| format::moment(*tick, zone, form)).collect();
        Self { from, to, ticks, labels }
    }

    /// Seconds from its beginning.
    fn place(&self, at: i64) -> f64 {
        at.saturating_sub(self.from) as f64 / 1e9
    }

    fn ranged(&self) -> Axis {
        let ticks = self.ticks.iter().map(|tick| self.place(*tick)).collect();
        Axis { from: 0.0, to: self.place(self.to), ticks }
    }

    fn label(&self, place: f64) -> String {
        let tick = self.ticks.iter().position(|tick| self.place(*tick) == place);
        tick.and_then(|tick| self.labels.get(tick)).cloned().unwrap_or_default()
    }
}

/// Times of connections over time.
pub(super) fn times(axis: &TimeAxis, times: &Times) -> String {
    let all = [&times.each, &times.failed, &times.p50, &times.p99];
    let y = log_axis(all.into_iter().flatten().map(|point| point.time.max(1.0).log10()));
    let places = |points: &[Point]| -> Vec<(f64, f64)> {
        points.iter().map(|p| (axis.place(p.at), p.time.max(1.0).log10())).collect()
    };
    let shapes = [
        Shape::Line(places(&times.p99), EDGE),
        Shape::Line(places(&times.p50), MAIN),
        Shape::Dots(places(&times.each), MAIN),
        Shape::Crosses(places(&times.failed), WRONG),
    ];
    plot(axis.ranged(), y, &|x| axis.label(x), &time_label, &shapes)
}

/// Counts over time: for each bin its beginning in Unix ns, how many, and how many of these went wrong.
pub(super) fn counts(axis: &TimeAxis, width: i64, bins: &[(i64, u64, u64)]) -> String {
    let most = bins.iter().map(|(_, all, _)| *all).max().unwrap_or(0);
    let column = |at: i64, from: u64, to: u64| {
        let (left, right) = (axis.place(at), axis.place(at.saturating_add(width)));
        // A gap between columns; none wider than a fifth of the plot.
        let right = left + ((right - left) * 0.9).min(axis.place(axis.to) / 5.0);
        [(left, from as f64), (right, to as f64)]
    };
    let well = bins.iter().filter(|(_, all, wrong)| all > wrong);
    let wrong = bins.iter().filter(|(_, _, wrong)| *wrong > 0);
    let shapes = [
        Shape::Columns(well.map(|(at, all, wrong)| column(*at, *wrong, *all)).collect(), MAIN),
        Shape::Columns(wrong.map(|(at, _, wrong)| column(*at, 0, *wrong)).collect(), WRONG),
    ];
    plot(axis.ranged(), count_axis(most), &|x| axis.label(x), &count_label, &shapes)
}

/// How often which duration occurred, on a logarithmic axis.
pub(super) fn distribution(distribution: &Distribution) -> String {
    let columns: Vec<_> = distribution.columns().collect();
    let width = 1.0 / f64::from(COLUMNS);
    let x = log_axis(columns.iter().flat_map(|(at, _)| [*at, at + width]));
    let most = columns.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let columns = columns.iter().map(|(at, count)| [(*at, 0.0), (at + width * 0.9, *count as f64)]);
    let shapes = [Shape::Columns(columns.collect(), MAIN)];
    plot(x, count_axis(most), &time_label, &count_label, &shapes)
}

/// An axis with its ticks.
#[derive(Debug, Clone)]
struct Axis {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "a place of the plot, some hundred pixels")]
    fn map(&self, value: &f64, (left, right): (i32, i32)) -> i32 {
        let share = (value - self.from) / (self.to - self.from);
        left + (share * f64::from(right - left)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

/// What a plot consists of, and its colour.
#[derive(Debug, Clone)]
enum Shape {
    Line(Vec<(f64, f64)>, RGBColor),
    Dots(Vec<(f64, f64)>, RGBColor),
    Crosses(Vec<(f64, f64)>, RGBColor),
    /// Rectangles, by two opposite corners.
    Columns(Vec<[(f64, f64); 2]>, RGBColor),
}

/// Points of a line are marked up to this number.
const MARKED: usize = 60;

/// Draws a plot; what cannot be drawn is missing, as nothing else of the page depends on it.
fn plot(
    x: Axis,
    y: Axis,
    x_label: &dyn Fn(f64) -> String,
    y_label: &dyn Fn(f64) -> String,
    shapes: &[Shape],
) -> String {
    let mut svg = String::new();
    let drawn = draw(SVGBackend::with_string(&mut svg, SIZE), x, y, x_label, y_label, shapes);
    if drawn.is_err() {
        return String::new();
    }
    svg
}

fn draw<'s>(
    backend: SVGBackend<'s>,
    x: Axis,
    y: Axis,
    x_label: &dyn Fn(f64) -> String,
    y_label: &dyn Fn(f64) -> String,
    shapes: &[Shape],
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'s> as DrawingBackend>::ErrorType>> {
    let area = backend.into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(10)
        .margin_right(28)
        .x_label_area_size(24)
        .y_label_area_size(52)
        .build_cartesian_2d(x, y)?;
    let label = ("sans-serif", 14).into_font().color(&TEXT);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .axis_style(AXIS)
        .bold_line_style(GRID)
        .label_style(label)
        .x_label_formatter(&|x| x_label(*x))
        .y_label_formatter(&|y| y_label(*y))
        .draw()?;
    for shape in shapes {
        match shape {
            Shape::Line(points, colour) => {
                if points.len() <= MARKED {
                    let dots = points.iter().map(|at| Circle::new(*at, 2, colour.filled()));
                    chart.draw_series(dots)?;
                }
                let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
                chart.draw_series(line)?;
            }
            Shape::Dots(points, colour) => {
                chart.draw_series(points.iter().map(|at| Circle::new(*at, 3, colour.filled())))?;
            }
            Shape::Crosses(points, colour) => {
                let style = colour.stroke_width(2);
                chart.draw_series(points.iter().map(|at| Cross::new(*at, 4, style)))?;
            }
            Shape::Columns(columns, colour) => {
                let style = colour.filled();
                chart.draw_series(columns.iter().map(|at| Rectangle::new(*at, style)))?;
            }
        }
    }
    area.present()
}

/// A logarithmic axis of durations, as powers of ten of ns: whole ones around the values.
fn log_axis(values: impl Iterator<Item = f64>) -> Axis {
    let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        (from, to) = (from.min(value), to.max(value));
    }
    if from > to {
        (from, to) = (6.0, 6.0);
    }
    from = (from + 1e-9).floor();
    to = (to - 1e-9).ceil().max(from + 1.0);
    let parts: &[f64] = if to - from < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let decades = std::iter::successors(Some(from), |decade| Some(decade + 1.0));
    let decades = decades.take_while(|decade| *decade <= to + 1e-9);
    let ticks = decades.flat_map(|decade| parts.iter().map(move |part| decade + part.log10()));
    Axis { from, to, ticks: ticks.filter(|tick| *tick <= to + 1e-9).collect() }
}

/// An axis of counts from 0.
fn count_axis(most: u64) -> Axis {
    let most = most.max(1);
    let magnitudes = (0..19).map(|power| 10_u64.pow(power));
    let steps = magnitudes.flat_map(|ten| [ten, ten.saturating_mul(2), ten.saturating_mul(5)]);
    let step = steps.into_iter().find(|step| most / step <= 4).unwrap_or(most);
    let ticks = (0..=most / step).map(|tick| (tick * step) as f64);
    Axis { from: 0.0, to: most as f64 * 1.04, ticks: ticks.collect() }
}

/// The label of a logarithm of ns.
fn time_label(power: f64) -> String {
    whole_time(Duration::try_from_secs_f64(10_f64.powf(power - 9.0)).unwrap_or_default())
}

fn count_label(count: f64) -> String {
    format!("{count:.0}")
}
