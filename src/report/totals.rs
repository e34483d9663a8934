//! Sums and quantiles of a set of connections.

use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::connection::Connection;
use super::quantiles::Quantiles;
use crate::nanos;
use crate::record::{By, LimitedBy, Outcome, TurnWait, VerdictTime};

/// How often each of a few things occurred, in the order in which they first did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts<T>(Vec<(T, u64)>);

impl<T> Default for Counts<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Eq> Counts<T> {
    /// Counts one more.
    pub fn add(&mut self, what: T) {
        self.add_times(what, 1);
    }

    fn add_times(&mut self, what: T, times: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, count)) => *count += times,
            None => self.0.push((what, times)),
        }
    }

    /// The most frequent first.
    pub fn sorted(&self) -> Vec<(T, u64)> {
        let mut counts = self.0.clone();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// How often this one occurred.
    pub fn of(&self, what: T) -> u64 {
        self.0.iter().find(|(known, _)| *known == what).map_or(0, |(_, count)| *count)
    }
}

impl<T: Copy + Eq + Serialize> Serialize for Counts<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (what, count) in self.sorted() {
            map.serialize_entry(&what, &count)?;
        }
        map.end()
    }
}

/// Sums and quantiles of a set of connections. Memory is bounded, some kilobytes.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Totals {
    /// How many connections there are.
    pub connections: u64,
    /// Those whose outcome is not `ok`.
    pub failed: u64,
    /// Connections by outcome, the most frequent first.
    pub outcomes: Counts<Outcome>,
    /// Connections by who ended first.
    pub ended_first: Counts<By>,
    /// Connections that were reset, by who reset.
    pub reset_by: Counts<By>,
    /// When the first was accepted, Unix ns. `None` of no connections.
    pub first_at: Option<i64>,
    /// When the last ended, Unix ns. `None` of no connections.
    pub last_at: Option<i64>,
    /// Bytes sent to the upstreams.
    pub sent: u64,
    /// Bytes received from the upstreams.
    pub received: u64,
    /// Look-ups of names.
    pub resolve: Quantiles,
    /// Connecting to the upstream, whether it succeeded or not.
    pub connect: Quantiles,
    /// TLS handshakes.
    pub handshake: Quantiles,
    /// Waits for answers, each turn counted (see [`Totals::add`]); where a connection has no turns, for the
    /// upstream's first byte.
    pub wait: Quantiles,
    /// Round-trip times to the upstreams, one a connection.
    pub rtt: Quantiles,
    /// Durations of the connections.
    pub duration: Quantiles,
    /// Turns: requests and their answers.
    pub turns: u64,
    /// Segments lost on both sockets. `None` where it is not known of any.
    pub lost: Option<u64>,
    /// Segments that the proxy sent again on both sockets, without SYNs. `None` where it is not known of any.
    pub retransmits: Option<u64>,
    /// SYNs to the upstreams that were sent again.
    pub syn_retransmits: u64,
    /// Time in which somebody waited.
    #[serde(with = "nanos")]
    pub active: Duration,
    /// What it was spent on, and the idle time beside it. Of brief lines: the verdict's share of it.
    pub time: VerdictTime,
    /// Who took more than half of it. `None` if nobody did, and below 50 ms.
    pub limited_by: Option<LimitedBy>,
}

impl Totals {
    /// Adds a connection.
    ///
    /// Of its waits a record has the number, median, 99th percentile, maximum and sum. Those up to the median
    /// are counted at the median, those from the 99th percentile on at that, the last at the maximum, and
    /// the others at the mean that the sum leaves for them. So the median and the 99th percentile of one
    /// connection are its own, by nearest rank.
    pub fn add(&mut self, connection: &Connection) {
        self.connections += 1;
        if let Some(outcome) = connection.outcome {
            self.outcomes.add(outcome);
        }
        self.failed += u64::from(connection.is_failed());
        if let Some(ending) = &connection.ending {
            self.ended_first.add(ending.first_by);
        }
        if let Some(by) =
            connection.reset_by().filter(|_| connection.outcome == Some(Outcome::Reset))
        {
            self.reset_by.add(by);
        }
        self.first_at = self.first_at.into_iter().chain(connection.opened_at()).min();
        self.last_at = self.last_at.max(connection.closed_at());
        self.duration.add(connection.duration);
        self.syn_retransmits += connection.syn_retransmits().unwrap_or_default();
        let add = |quantiles: &mut Quantiles, time: Option<Duration>| {
            if let Some(time) = time {
                quantiles.add(time);
            }
        };
        add(&mut self.resolve, connection.phases.resolve);
        add(&mut self.connect, connection.phases.connect);
        add(&mut self.handshake, connection.tls.as_ref().and_then(|tls| tls.handshake));
        if let Some(leg) = &connection.upstream {
            self.sent = self.sent.saturating_add(leg.tx_bytes);
            self.received = self.received.saturating_add(leg.rx_bytes);
            add(&mut self.rtt, leg.undisturbed_rtt());
        }
        self.add_waits(connection);
        let sum = |total: &mut Option<u64>, more: Option<u64>| {
            *total = total.iter().copied().chain(more).reduce(u64::saturating_add);
        };
        sum(&mut self.lost, connection.lost());
        sum(&mut self.retransmits, connection.client.retransmits(0));
        let syns = connection.syn_retransmits().unwrap_or_default();
        sum(
            &mut self.retransmits,
            connection.upstream.as_ref().and_then(|leg| leg.retransmits(syns)),
        );
        self.add_verdict(connection);
    }

    fn add_waits(&mut self, connection: &Connection) {
        let Some(turns) = &connection.turns else {
            if let Some(wait) = connection.longest_wait() {
                self.wait.add(wait);
            }
            return;
        };
        self.turns += turns.count;
        if let Some(wait) = turns.wait {
            self.add_turn_waits(turns.count, wait);
        }
    }

    fn add_turn_waits(&mut self, count: u64, wait: TurnWait) {
        let TurnWait { total, p50, p99, max, .. } = wait;
        let Some(below_max) = count.checked_sub(1) else { return };
        let at_p50 = count.div_ceil(2).min(below_max);
        let at_p99 = (count / 100).min(below_max - at_p50);
        let others = below_max - at_p50 - at_p99;
        let known = [times(p50, at_p50), times(p99, at_p99), max];
        let rest = known.into_iter().fold(total, Duration::saturating_sub);
        let each = u64::try_from(rest.as_nanos() / u128::from(others.max(1)));
        let each = each.map_or(p99, Duration::from_nanos);
        self.wait.add_times(p50, at_p50);
        self.wait.add_times(each.min(p99).max(p50), others);
        self.wait.add_times(p99, at_p99);
        self.wait.add(max);
    }

    fn add_verdict(&mut self, connection: &Connection) {
        let Some(verdict) = &connection.verdict else { return };
        self.active = self.active.saturating_add(verdict.active);
        match &verdict.time {
            Some(time) => {
                for (who, time) in parts(time) {
                    add_part(&mut self.time, who, time);
                }
                self.time.idle = self.time.idle.saturating_add(time.idle);
            }
            None => {
                let share = verdict.share.unwrap_or_default().clamp(0.0, 1.0);
                add_part(&mut self.time, verdict.limited_by, verdict.active.mul_f64(share));
            }
        }
        self.limited_by = self.slowest_party();
    }

    fn slowest_party(&self) -> Option<LimitedBy> {
        let (who, time) = parts(&self.time).into_iter().max_by_key(|(_, time)| *time)?;
        (self.active >= LimitedBy::MIN_ACTIVE && time * 2 > self.active).then_some(who)
    }
}

fn times(time: Duration, count: u64) -> Duration {
    let nanos = time.as_nanos().saturating_mul(u128::from(count));
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}

/// What was charged to each, without idle time.
pub(super) fn parts(time: &VerdictTime) -> [(LimitedBy, Duration); 6] {
    [
        (LimitedBy::Resolver, time.resolver),
        (LimitedBy::Client, time.client),
        (LimitedBy::Upstream, time.upstream),
        (LimitedBy::NetworkClient, time.network_client),
        (LimitedBy::NetworkUpstream, time.network_upstream),
        (LimitedBy::Proxy, time.proxy),
    ]
}

fn add_part(sum: &mut VerdictTime, who: LimitedBy, time: Duration) {
    let part = match who {
        LimitedBy::Resolver => &mut sum.resolver,
        LimitedBy::Client => &mut sum.client,
        LimitedBy::Upstream => &mut sum.upstream,
        LimitedBy::NetworkClient => &mut sum.network_client,
        LimitedBy::NetworkUpstream => &mut sum.network_upstream,
        LimitedBy::Proxy => &mut sum.proxy,
        LimitedBy::None => return,
    };
    *part = part.saturating_add(time);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn of_one_connection_the_waits_are_its_own(
            mut waits in prop::collection::vec(1_000_u64..10_000_000_000, 1..500),
        ) {
            waits.sort_unstable();
            let rank = |percent: usize| (waits.len() * percent).div_ceil(100) - 1;
            let at = |percent| Duration::from_nanos(waits[rank(percent)]);
            let total = Duration::from_nanos(waits.iter().sum());
            let (p50, p99, max) = (at(50), at(99), at(100));
            let mut totals = Totals::default();
            totals.add_turn_waits(waits.len() as u64, TurnWait { total, p50, p99, max, max_at: 0 });
            prop_assert_eq!(totals.wait.count(), waits.len() as u64);
            prop_assert_eq!(totals.wait.max(), Some(max));
            for (share, known) in [(0.5, p50), (0.99, p99)] {
                let off = totals.wait.at(share).unwrap().as_secs_f64() / known.as_secs_f64();
                prop_assert!((0.99..=1.01).contains(&off), "{} {:?}", share, known);
            }
        }
    }
}
