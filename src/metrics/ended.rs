//! Metrics of connections that have ended, by their records.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Labels;
use crate::conn::Report;
use crate::proxy::BOUNDS;
use crate::record::Record;

/// Counters and histograms, by listener, target and their own labels.
#[derive(Debug, Clone)]
pub(super) struct EndedPairs {
    pairs: Family<Labels<4>, Counter>,
    connect: Durations<2>,
    first_byte: Durations<2>,
    rtt: Durations<3>,
    retransmits: Family<Labels<3>, Counter>,
    verdicts: Family<Labels<3>, Counter>,
}

/// A histogram of durations with these labels.
type Durations<const N: usize> = Family<Labels<N>, Histogram>;

impl EndedPairs {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let ended = Self {
            pairs: Family::default(),
            connect: durations(),
            first_byte: durations(),
            rtt: durations(),
            retransmits: Family::default(),
            verdicts: Family::default(),
        };
        let Self { pairs, connect, first_byte, rtt, retransmits, verdicts } = ended.clone();
        registry.register("conniver_pairs_ended", "Closed connections", pairs);
        registry.register_with_unit(
            "conniver_connect",
            "Time to connect to the upstream, successful or not",
            Unit::Seconds,
            connect,
        );
        registry.register_with_unit(
            "conniver_first_byte",
            "Time from the connection to the upstream to its first byte",
            Unit::Seconds,
            first_byte,
        );
        registry.register_with_unit(
            "conniver_rtt",
            "Smoothed round-trip time of a connection's socket when it was closed",
            Unit::Seconds,
            rtt,
        );
        registry.register(
            "conniver_retransmits",
            "Retransmitted segments of closed connections",
            retransmits,
        );
        registry.register("conniver_verdicts", "Closed connections by what limited them", verdicts);
        ended
    }

    /// Counts the record of a pair, whose target has the label `target`.
    pub(super) fn count(&self, record: &Record, target: String) {
        let place = [("listener", record.listener.clone()), ("target", target)];
        let [listener, target] = &place;
        let with = |name, value: &str| [listener.clone(), target.clone(), (name, value.to_owned())];
        let mode = record.mode.map_or_else(unknown, |mode| mode.to_string());
        let outcome = record.outcome.map_or_else(unknown, |outcome| outcome.to_string());
        let pair = [listener.clone(), target.clone(), ("mode", mode), ("outcome", outcome)];
        self.pairs.get_or_create(&pair).inc();
        observe(&self.connect, &place, record.phases.connect);
        observe(
            &self.first_byte,
            &place,
            record.phases.first_byte.filter(|_| record.is_answered()),
        );
        if let Some(verdict) = &record.verdict {
            let limited_by = with("limited_by", &verdict.limited_by.to_string());
            self.verdicts.get_or_create(&limited_by).inc();
        }
        self.count_leg(&with("leg", "client"), &record.client);
        if let Some(upstream) = &record.upstream {
            self.count_leg(&with("leg", "upstream"), upstream);
        }
    }

    fn count_leg(&self, labels: &Labels<3>, leg: &Report) {
        observe(&self.rtt, labels, leg.undisturbed_rtt());
        let closed = leg.closed_info.as_ref();
        if let Some(retransmits) = closed.and_then(|info| info.retransmits) {
            self.retransmits.get_or_create(labels).inc_by(retransmits);
        }
    }
}

fn durations<const N: usize>() -> Durations<N> {
    Family::new_with_constructor(|| Histogram::new(BOUNDS))
}

fn observe<const N: usize>(to: &Durations<N>, labels: &Labels<N>, duration: Option<Duration>) {
    if let Some(duration) = duration {
        to.get_or_create(labels).observe(duration.as_secs_f64());
    }
}

/// Label of a pair that ended before its mode was known.
fn unknown() -> String {
    "unknown".to_owned()
}
