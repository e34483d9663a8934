//! Figures over time, and distributions: what the page's plots show of all connections, in bounded memory.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::connection::Connection;
use super::super::quantiles::Quantiles;

/// Most bins of time; beyond, two become one.
pub(super) const MAX_BINS: i64 = 120;

/// Figures over time. The bins begin 1 ms wide, and are made twice as wide whenever there are too many.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Width of a bin, ns.
    width: i64,
    bins: BTreeMap<i64, Bin>,
}

/// The connections that were accepted within one span of time.
#[derive(Debug, Clone, Default)]
pub(super) struct Bin {
    connections: u64,
    failed: u64,
    /// Segments lost. `None` where that is not known of any.
    lost: Option<u64>,
    /// Connecting to the upstream.
    pub(super) connect: Quantiles,
    /// The longest wait of each connection.
    pub(super) wait: Quantiles,
    pub(super) rtt: Quantiles,
}

impl Default for Series {
    fn default() -> Self {
        Self { width: 1_000_000, bins: BTreeMap::new() }
    }
}

impl Series {
    /// Adds a connection, unless its line has no time.
    pub(super) fn add(&mut self, connection: &Connection) {
        let Some(at) = connection.opened_at() else { return };
        self.bins.entry(at.div_euclid(self.width)).or_default().add(connection);
        while self.span() > MAX_BINS {
            self.halve();
        }
    }

    /// How many bins there are between the first and the last, empty ones included.
    fn span(&self) -> i64 {
        let ends = self.bins.first_key_value().zip(self.bins.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| last - first + 1)
    }

    fn halve(&mut self) {
        self.width = self.width.saturating_mul(2);
        for (number, bin) in std::mem::take(&mut self.bins) {
            self.bins.entry(number.div_euclid(2)).or_default().merge(bin);
        }
    }

    /// Connections, failed ones and lost segments in at most so many bins: their width in ns, and their
    /// beginnings, Unix ns. Those that are empty are not there.
    pub(super) fn counts(&self, most: i64) -> (i64, BTreeMap<i64, [u64; 3]>) {
        let mut width = self.width;
        let number = |at: i64, width: i64| at.div_euclid(width);
        let ends = self.bins().map(|(at, _)| at);
        let (first, last) = (ends.clone().min().unwrap_or(0), ends.max().unwrap_or(0));
        while number(last, width) - number(first, width) >= most {
            width = width.saturating_mul(2);
        }
        let mut counts: BTreeMap<i64, [u64; 3]> = BTreeMap::new();
        for (at, bin) in self.bins() {
            let counts = counts.entry(number(at, width).saturating_mul(width)).or_default();
            let more = [bin.connections, bin.failed, bin.lost.unwrap_or(0)];
            for (count, more) in counts.iter_mut().zip(more) {
                *count = count.saturating_add(more);
            }
        }
        (width, counts)
    }

    /// Width of a bin, ns.
    pub(super) fn width(&self) -> i64 {
        self.width
    }

    /// The bins that are not empty, with their beginnings, Unix ns.
    pub(super) fn bins(&self) -> impl Iterator<Item = (i64, &Bin)> + Clone {
        self.bins.iter().map(|(number, bin)| (number.saturating_mul(self.width), bin))
    }
}

impl Bin {
    fn add(&mut self, connection: &Connection) {
        self.connections += 1;
        self.failed += u64::from(connection.is_failed());
        if let Some(lost) = connection.lost() {
            *self.lost.get_or_insert(0) += lost;
        }
        let socket = connection.upstream.as_ref();
        let times = [
            (&mut self.connect, connection.phases.connect),
            (&mut self.wait, connection.longest_wait()),
            (&mut self.rtt, socket.and_then(|socket| socket.undisturbed_rtt())),
        ];
        for (quantiles, time) in times {
            if let Some(time) = time {
                quantiles.add(time);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.connections += other.connections;
        self.failed += other.failed;
        if let Some(lost) = other.lost {
            *self.lost.get_or_insert(0) += lost;
        }
        self.connect.merge(&other.connect);
        self.wait.merge(&other.wait);
        self.rtt.merge(&other.rtt);
    }
}

/// How often which duration occurred: ten columns from 1 to 10, each a quarter longer than the one before;
/// and quantiles.
#[derive(Debug, Clone, Default)]
pub(super) struct Distribution {
    columns: BTreeMap<i32, u64>,
    times: Quantiles,
}

/// Columns from one power of ten to the next.
pub(super) const COLUMNS: i32 = 10;

impl Distribution {
    pub(super) fn add(&mut self, time: Option<Duration>) {
        let Some(time) = time else { return };
        // Below 1 µs the clocks tell nothing.
        let nanos = time.as_nanos().max(1000) as f64;
        #[expect(clippy::cast_possible_truncation, reason = "durations have few powers of ten")]
        let column = (nanos.log10() * f64::from(COLUMNS)).floor() as i32;
        *self.columns.entry(column).or_default() += 1;
        self.times.add(time);
    }

    /// The columns that are not empty: the power of ten at which each begins, in ns, and its count.
    pub(super) fn columns(&self) -> impl Iterator<Item = (f64, u64)> {
        self.columns.iter().map(|(column, count)| (f64::from(*column) / f64::from(COLUMNS), *count))
    }

    pub(super) fn times(&self) -> &Quantiles {
        &self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(opened: i64, connect: u64) -> Connection {
        let line = format!(
            r#"{{"openedAt":{opened},"outcome":"refused","phases":{{"connect":{connect}}},"client":{{"lost":2}}}}"#
        );
        serde_json::from_str(&line).unwrap()
    }

    proptest! {
        #[test]
        fn however_long_it_takes_bins_are_bounded_and_lose_nothing(
            times in prop::collection::vec(-1_000_000_000_000_000_000_i64..4_000_000_000_000_000_000, 1..60)
        ) {
            let mut series = Series::default();
            for time in &times {
                series.add(&at(*time, 5));
            }
            let bins: Vec<_> = series.bins().collect();
            prop_assert!(bins.len() as i64 <= MAX_BINS);
            let count = times.len() as u64;
            prop_assert_eq!(bins.iter().map(|(_, bin)| bin.connections).sum::<u64>(), count);
            prop_assert_eq!(bins.iter().map(|(_, bin)| bin.failed).sum::<u64>(), count);
            prop_assert_eq!(bins.iter().map(|(_, bin)| bin.connect.count()).sum::<u64>(), count);
            prop_assert_eq!(bins.iter().filter_map(|(_, bin)| bin.lost).sum::<u64>(), 2 * count);
            for time in times {
                let is_in = |begin: i64| time >= begin && time - begin < series.width();
                prop_assert!(bins.iter().any(|(begin, _)| is_in(*begin)));
            }
        }
    }

    #[test]
    fn a_distribution_has_ten_columns_from_one_power_of_ten_to_the_next() {
        let mut distribution = Distribution::default();
        for nanos in [0, 1_000_000, 1_250_000, 1_260_000, 9_999_000, 10_000_000] {
            distribution.add(Some(Duration::from_nanos(nanos)));
        }
        distribution.add(None);
        let columns: Vec<_> = distribution.columns().collect();
        assert_eq!(columns, [(3.0, 1), (6.0, 2), (6.1, 1), (6.9, 1), (7.0, 1)]);
        assert_eq!(distribution.times().count(), 6);
    }
}
