//! Comparing two sets of connections: how each figure changed, and whether that can be chance.

use std::time::Duration;

use serde::Serialize;

use super::connection::Connection;

/// Connections of each side below which nothing is said to have changed.
const FEWEST: usize = 20;

/// How often the samples are drawn anew.
const RESAMPLES: usize = 400;

/// As many of them are left out at each end: half a per cent.
const OUTSIDE: usize = RESAMPLES / 200;

/// The figures of one connection.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Observation {
    /// 1 if it failed.
    failed: f64,
    /// Times in ns. `None` where there was no such phase.
    resolve: Option<f64>,
    connect: Option<f64>,
    handshake: Option<f64>,
    /// The longest wait for an answer.
    wait: Option<f64>,
    rtt: Option<f64>,
    duration: f64,
    /// Lost segments.
    lost: Option<f64>,
}

impl From<&Connection> for Observation {
    fn from(connection: &Connection) -> Self {
        let nanos = |time: Duration| time.as_nanos() as f64;
        Self {
            failed: f64::from(u8::from(connection.is_failed())),
            resolve: connection.phases.resolve.map(nanos),
            connect: connection.phases.connect.map(nanos),
            handshake: connection.tls.as_ref().and_then(|tls| tls.handshake).map(nanos),
            wait: connection.longest_wait().map(nanos),
            rtt: connection.upstream.as_ref().and_then(|leg| leg.undisturbed_rtt()).map(nanos),
            duration: nanos(connection.duration),
            lost: connection.lost().map(|lost| lost as f64),
        }
    }
}

/// A figure that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Measure {
    /// Share of the connections that failed.
    FailedShare,
    /// Median of the look-ups, ns.
    ResolveP50,
    /// Median of connecting, ns.
    ConnectP50,
    /// Its 99th percentile, ns.
    ConnectP99,
    /// Median of the TLS handshakes, ns.
    HandshakeP50,
    /// Median of the connections' longest waits, ns.
    WaitP50,
    /// Their 99th percentile, ns.
    WaitP99,
    /// Median of the round-trip times to the upstream, ns.
    RttP50,
    /// Median of the connections' durations, ns.
    DurationP50,
    /// Lost segments for each connection.
    LostMean,
}

impl Measure {
    const ALL: [Self; 10] = [
        Self::FailedShare,
        Self::ResolveP50,
        Self::ConnectP50,
        Self::ConnectP99,
        Self::HandshakeP50,
        Self::WaitP50,
        Self::WaitP99,
        Self::RttP50,
        Self::DurationP50,
        Self::LostMean,
    ];

    fn value(self, of: &Observation) -> Option<f64> {
        match self {
            Self::FailedShare => Some(of.failed),
            Self::ResolveP50 => of.resolve,
            Self::ConnectP50 | Self::ConnectP99 => of.connect,
            Self::HandshakeP50 => of.handshake,
            Self::WaitP50 | Self::WaitP99 => of.wait,
            Self::RttP50 => of.rtt,
            Self::DurationP50 => Some(of.duration),
            Self::LostMean => of.lost,
        }
    }

    /// Whether it is a duration in ns.
    pub fn is_time(self) -> bool {
        !matches!(self, Self::FailedShare | Self::LostMean)
    }

    /// The figure of these values, which it reorders. `values` is not empty.
    fn figure(self, values: &mut [f64]) -> f64 {
        match self {
            Self::FailedShare | Self::LostMean => values.iter().sum::<f64>() / values.len() as f64,
            Self::ConnectP99 | Self::WaitP99 => quantile(values, 99),
            _ => quantile(values, 50),
        }
    }

    /// Values that the figure needs: of fewer, a 99th percentile is the maximum.
    fn fewest(self) -> usize {
        match self {
            Self::ConnectP99 | Self::WaitP99 => 200,
            _ => FEWEST,
        }
    }
}

/// By nearest rank.
fn quantile(values: &mut [f64], percent: usize) -> f64 {
    let rank = (values.len() * percent).div_ceil(100).max(1) - 1;
    *values.select_nth_unstable_by(rank, f64::total_cmp).1
}

/// How a figure changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Change {
    /// The figure.
    pub measure: Measure,
    /// Its value before. Null without values.
    pub before: Option<f64>,
    /// Its value after. Null without values.
    pub after: Option<f64>,
    /// 99 % interval of the difference, by bootstrap. Null where there are too few values: 20 on each side,
    /// 200 for a 99th percentile.
    pub interval: Option<[f64; 2]>,
    /// Whether the interval excludes no change. Null with `interval`.
    pub is_change: Option<bool>,
}

/// A comparison of two sets of connections.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Comparison {
    /// Connections before.
    pub before: u64,
    /// Connections after.
    pub after: u64,
    /// Of how many the figures are: a sample of at most so many on each side.
    pub sampled: [usize; 2],
    /// Figures, those that both sides lack left out.
    pub changes: Vec<Change>,
}

impl Comparison {
    /// Compares samples of so many connections, each before and after.
    pub fn of(connections: [u64; 2], samples: [&[Observation]; 2]) -> Self {
        let [before, after] = connections;
        let [old, new] = samples;
        let changes = Measure::ALL.iter().map(|measure| change(*measure, old, new));
        Self {
            before,
            after,
            sampled: [old.len(), new.len()],
            changes: changes
                .filter(|change| change.before.is_some() || change.after.is_some())
                .collect(),
        }
    }
}

fn change(measure: Measure, before: &[Observation], after: &[Observation]) -> Change {
    let mut sides = [before, after]
        .map(|side| side.iter().filter_map(|of| measure.value(of)).collect::<Vec<f64>>());
    let [before, after] =
        [0, 1].map(|at| Some(&mut sides[at]).filter(|v| !v.is_empty()).map(|v| measure.figure(v)));
    let is_enough = sides.iter().all(|side| side.len() >= measure.fewest());
    let interval = is_enough.then(|| interval(measure, &sides));
    let is_change = interval.map(|[low, high]| low > 0.0 || high < 0.0);
    Change { measure, before, after, interval, is_change }
}

/// Percentile bootstrap of the difference, the same for the same values.
fn interval(measure: Measure, sides: &[Vec<f64>; 2]) -> [f64; 2] {
    let mut random = fastrand::Rng::with_seed(1);
    let mut drawn = Vec::new();
    let mut draw = |side: &[f64]| {
        drawn.clear();
        drawn.extend((0..side.len()).filter_map(|_| side.get(random.usize(..side.len())).copied()));
        measure.figure(&mut drawn)
    };
    let [before, after] = sides;
    let mut differences: Vec<f64> = (0..RESAMPLES).map(|_| draw(after) - draw(before)).collect();
    differences.sort_by(f64::total_cmp);
    let at = |rank: usize| differences.get(rank).copied().unwrap_or_default();
    [at(OUTSIDE - 1), at(RESAMPLES - OUTSIDE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observations(count: usize, seed: u64, wait: impl Fn(f64) -> f64) -> Vec<Observation> {
        let mut random = fastrand::Rng::with_seed(seed);
        let one = |random: &mut fastrand::Rng| Observation {
            failed: f64::from(u8::from(random.u8(..) < 5)),
            resolve: None,
            connect: Some(random.f64()),
            handshake: None,
            wait: Some(wait(random.f64())),
            rtt: None,
            duration: 1.0,
            lost: Some(0.0),
        };
        (0..count).map(|_| one(&mut random)).collect()
    }

    #[test]
    fn chance_is_no_change_and_a_change_is_told() {
        let mut false_alarms = 0;
        for seed in 0..40 {
            let before = observations(300, seed, |x| x);
            let after = observations(300, seed + 1000, |x| x);
            let is_change = |measure| change(measure, &before, &after).is_change;
            for measure in [Measure::WaitP50, Measure::ConnectP50, Measure::FailedShare] {
                false_alarms += u32::from(is_change(measure) == Some(true));
            }
            assert_eq!(is_change(Measure::LostMean), Some(false));
            assert_eq!(is_change(Measure::ResolveP50), None);
            let slower = observations(300, seed + 2000, |x| x + 0.3);
            let told = change(Measure::WaitP50, &before, &slower);
            assert_eq!(told.is_change, Some(true), "{told:?}");
            let [low, high] = told.interval.unwrap();
            assert!(low <= 0.45 && 0.15 <= high, "{told:?}");
        }
        // 120 comparisons at 99 %.
        assert!(false_alarms <= 6, "{false_alarms}");
    }

    #[test]
    fn of_few_connections_no_change_is_told() {
        let (before, after) = (observations(19, 1, |x| x), observations(300, 2, |x| x + 9.0));
        let told = change(Measure::WaitP50, &before, &after);
        assert!(told.before.is_some() && told.interval.is_none() && told.is_change.is_none());
        let told = change(Measure::WaitP99, &observations(199, 1, |x| x), &after);
        assert_eq!(told.interval, None);
    }
}
