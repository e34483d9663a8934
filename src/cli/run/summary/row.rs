//! The connections to one target, together.

use std::time::Duration;

use conniver::record::{LimitedBy, Outcome, Printable, Record, Report};

use crate::cli::parent;

/// So many connections' medians are kept of a target; further ones do not change its median.
const MEDIANS: usize = 1000;

/// A verdict is shown for at least this share of the time, as in a record.
const HALF: f64 = 0.5;

/// The connections to one target: sums, the longest times, and how many failed.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) target: String,
    pub(super) connections: u64,
    pub(super) sent: Option<u64>,
    pub(super) received: Option<u64>,
    /// The longest look-up.
    pub(super) look_up: Option<Duration>,
    /// The longest time to connect.
    pub(super) connect: Option<Duration>,
    pub(super) waits: Waits,
    /// On both sockets.
    pub(super) lost: Option<u64>,
    pub(super) verdicts: Verdicts,
    pub(super) failed: u64,
    /// How the first one ended that failed, or all of them.
    pub(super) ended: String,
}

/// Waits for answers, or for the upstream's first byte where there were no turns.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits {
    /// The median of each connection, and of how many waits.
    medians: Vec<(Duration, u64)>,
    pub(super) longest: Option<Duration>,
}

impl Waits {
    fn of(record: &Record) -> Self {
        let of_turns = record.turns.as_ref().and_then(|turns| Some((turns.wait?, turns.count)));
        // Not of an upstream that was asked nothing and said nothing.
        let first_byte = record.phases.first_byte.filter(|_| record.is_answered());
        let (median, count, longest) = match (of_turns, first_byte) {
            (Some((wait, count)), _) => (wait.p50, count, wait.max),
            (None, Some(first_byte)) => (first_byte, 1, first_byte),
            (None, None) => return Self::default(),
        };
        Self { medians: vec![(median, count)], longest: Some(longest) }
    }

    fn add(&mut self, mut other: Self) {
        other.medians.truncate(MEDIANS.saturating_sub(self.medians.len()));
        self.medians.append(&mut other.medians);
        self.longest = self.longest.max(other.longest);
    }

    /// The median of all waits; of several connections with more than one wait each, nearly so: the one of their
    /// medians.
    pub(super) fn median(&self) -> Option<Duration> {
        let mut medians = self.medians.clone();
        medians.sort_unstable();
        let all: u64 = medians.iter().map(|(_, count)| count).sum();
        let mut passed = 0;
        let half = medians.into_iter().find(|(_, count)| {
            passed += count;
            2 * passed >= all
        });
        half.map(|(median, _)| median)
    }

    /// Whether there was more than one wait, so that median and maximum differ.
    pub(super) fn is_several(&self) -> bool {
        self.medians.iter().map(|(_, count)| count).sum::<u64>() > 1
    }
}

/// The time in which somebody waited, and who was named for how much of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts {
    active: Duration,
    named: Vec<(LimitedBy, Duration)>,
}

impl Verdicts {
    fn of(record: &Record) -> Self {
        let Some(verdict) = &record.verdict else { return Self::default() };
        let time = verdict.share.map(|share| verdict.active.mul_f64(share.clamp(0.0, 1.0)));
        let named = time.map(|time| (verdict.limited_by, time));
        Self { active: verdict.active, named: named.into_iter().collect() }
    }

    fn add(&mut self, other: Self) {
        self.active += other.active;
        for (who, time) in other.named {
            match self.named.iter_mut().find(|(known, _)| *known == who) {
                Some((_, known)) => *known += time,
                None => self.named.push((who, time)),
            }
        }
    }

    fn most(&self) -> Option<LimitedBy> {
        let (who, time) = self.named.iter().max_by_key(|(_, time)| *time)?;
        (*time >= self.active.mul_f64(HALF)).then_some(*who)
    }
}

impl From<&Record> for Row {
    fn from(record: &Record) -> Self {
        let leg = record.upstream.as_ref();
        let lost = |leg: &Report| leg.lost;
        let of_upstream = leg.map_or(Some(0), lost);
        Self {
            target: target(record),
            connections: 1,
            sent: leg.map(|leg| leg.tx_bytes),
            received: leg.map(|leg| leg.rx_bytes),
            look_up: record.phases.resolve,
            connect: record.phases.connect,
            waits: Waits::of(record),
            lost: of_upstream.and_then(|n| Some(n + lost(&record.client)?)),
            verdicts: Verdicts::of(record),
            failed: u64::from(record.outcome != Some(Outcome::Ok)),
            ended: match parent::failed_via(record) {
                Some(_) => format!("parent proxy: {}", record.ended_in_words()),
                None => record.ended_in_words(),
            },
        }
    }
}

/// The target as it is shown.
pub(super) fn target(record: &Record) -> String {
    match &record.target {
        Some(target) => Printable(target).to_string(),
        None => "(no target)".to_owned(),
    }
}

impl Row {
    pub(super) fn add(&mut self, other: Self) {
        let sum = |one: Option<u64>, two: Option<u64>| match (one, two) {
            (Some(one), Some(two)) => Some(one.saturating_add(two)),
            (one, two) => one.or(two),
        };
        if self.failed == 0 {
            self.ended = other.ended;
        }
        self.connections += other.connections;
        self.sent = sum(self.sent, other.sent);
        self.received = sum(self.received, other.received);
        self.look_up = self.look_up.max(other.look_up);
        self.connect = self.connect.max(other.connect);
        self.waits.add(other.waits);
        self.lost = sum(self.lost, other.lost);
        self.verdicts.add(other.verdicts);
        self.failed += other.failed;
    }

    /// Who was slow, where that was one for half of the time.
    pub(super) fn slow(&self) -> Option<LimitedBy> {
        self.verdicts.most()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_median_counts_every_wait() {
        let waits = |medians: &[(u64, u64)]| {
            let mut all = Waits::default();
            for (median, count) in medians {
                let medians = vec![(ms(*median), *count)];
                all.add(Waits { medians, longest: Some(ms(*median)) });
            }
            (all.median(), all.is_several())
        };
        assert_eq!(waits(&[]), (None, false));
        assert_eq!(waits(&[(5, 1)]), (Some(ms(5)), false));
        assert_eq!(waits(&[(9, 1), (1, 1), (5, 1)]), (Some(ms(5)), true));
        assert_eq!(waits(&[(900, 1), (1, 99)]), (Some(ms(1)), true));
        let many = vec![(7, 1); 2 * MEDIANS];
        assert_eq!(waits(&many), (Some(ms(7)), true));
    }

    #[test]
    fn a_verdict_is_who_took_half_of_the_time_of_all() {
        let verdict = |named: &[(LimitedBy, u64)], active| {
            let mut all = Verdicts::default();
            for (who, time) in named {
                all.add(Verdicts { active: ms(*time), named: vec![(*who, ms(*time))] });
            }
            all.add(Verdicts { active: ms(active), named: Vec::new() });
            all.most()
        };
        let (upstream, resolver) = (LimitedBy::Upstream, LimitedBy::Resolver);
        assert_eq!(verdict(&[(upstream, 60), (resolver, 50), (upstream, 60)], 0), Some(upstream));
        assert_eq!(verdict(&[(upstream, 60), (resolver, 50)], 30), None);
        assert_eq!(verdict(&[], 30), None);
    }
}
