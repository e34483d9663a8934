//! What the proxy shows of itself, for Prometheus: counters and histograms of the pairs that have
//! ended, and what is so at the moment of asking.

mod answer;
mod host;
mod now;
mod serve;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::conn::Report;
use crate::record::{Record, Recorder};
use now::Now;
pub use serve::MetricsListener;

/// Of what name; each label has few values, whatever clients do.
type Labels<const N: usize> = [(&'static str, String); N];

/// Upper bounds of the histograms, seconds: loopback needs microseconds, a lost SYN costs whole
/// seconds.
const BOUNDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0,
];

/// What a run of the proxy counts; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    all_ended: Counter,
    ended: Family<Labels<2>, Counter>,
    bytes: Family<Labels<1>, Counter>,
    connect: Histogram,
    first_byte: Histogram,
    rtt: Family<Labels<1>, Histogram>,
    retransmits: Family<Labels<1>, Counter>,
    verdicts: Family<Labels<1>, Counter>,
}

impl Metrics {
    /// Counts from zero. `opened` tells how many pairs were opened (`Proxy::opened`), `refused` how many
    /// of them were refused without a record (`Proxy::refused`).
    pub fn new(
        opened: impl Fn() -> u64 + Send + Sync + 'static,
        refused: impl Fn() -> u64 + Send + Sync + 'static,
        recorder: Recorder,
    ) -> Self {
        let mut registry = Registry::default();
        let seconds = || Histogram::new(BOUNDS);
        let all_ended = Counter::default();
        let ended = Family::default();
        let bytes = Family::default();
        let (connect, first_byte) = (seconds(), seconds());
        let rtt = Family::new_with_constructor(seconds as fn() -> Histogram);
        let retransmits = Family::default();
        let verdicts = Family::default();
        registry.register("conniver_pairs_ended", "Pairs that have ended", Family::clone(&ended));
        registry.register_with_unit(
            "conniver_payload",
            "Payload carried by pairs that have ended",
            Unit::Bytes,
            Family::clone(&bytes),
        );
        registry.register_with_unit(
            "conniver_connect",
            "From the first attempt to connect to success or giving up",
            Unit::Seconds,
            connect.clone(),
        );
        registry.register_with_unit(
            "conniver_first_byte",
            "From the upstream's connection to its first byte",
            Unit::Seconds,
            first_byte.clone(),
        );
        registry.register_with_unit(
            "conniver_rtt",
            "Smoothed round-trip time of a pair's socket at its end",
            Unit::Seconds,
            Family::clone(&rtt),
        );
        registry.register(
            "conniver_retransmits",
            "Segments sent again by pairs that have ended",
            Family::clone(&retransmits),
        );
        registry.register(
            "conniver_verdicts",
            "Pairs that have ended, by what limited them",
            Family::clone(&verdicts),
        );
        let (opened, refused) = (Box::new(opened), Box::new(refused));
        let now = Now { opened, refused, recorder, ended: all_ended.clone() };
        registry.register_collector(Box::new(now));
        let registry = Arc::new(registry);
        Self { registry, all_ended, ended, bytes, connect, first_byte, rtt, retransmits, verdicts }
    }

    /// Counts a pair that has ended.
    pub fn count(&self, record: &Record) {
        let mode = record.mode.map_or_else(unknown, |mode| mode.to_string());
        let outcome = record.outcome.map_or_else(unknown, |outcome| outcome.to_string());
        self.ended.get_or_create(&[("mode", mode), ("outcome", outcome)]).inc();
        self.all_ended.inc();
        observe(&self.connect, record.phases.connect);
        observe(&self.first_byte, record.phases.first_byte);
        if let Some(verdict) = &record.verdict {
            let limited_by = verdict.limited_by.to_string();
            self.verdicts.get_or_create(&[("limited_by", limited_by)]).inc();
        }
        self.count_leg("client", "to_client", &record.client);
        if let Some(upstream) = &record.upstream {
            self.count_leg("upstream", "to_upstream", upstream);
        }
    }

    fn count_leg(&self, name: &str, direction: &str, leg: &Report) {
        self.bytes.get_or_create(&[("direction", direction.to_owned())]).inc_by(leg.payload_sent());
        let label = [("leg", name.to_owned())];
        observe(&self.rtt.get_or_create(&label), leg.undisturbed_rtt());
        let closed = leg.closed_info.as_ref();
        if let Some(retransmits) = closed.and_then(|info| info.retransmits) {
            self.retransmits.get_or_create(&label).inc_by(retransmits);
        }
    }

    /// All of it as text in the format of `OpenMetrics` 1.0.
    fn open_metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn observe(histogram: &Histogram, duration: Option<Duration>) {
    if let Some(duration) = duration {
        histogram.observe(duration.as_secs_f64());
    }
}

/// Of a pair that ended before its client had shown it.
fn unknown() -> String {
    "unknown".to_owned()
}
