//! Counters and gauges computed at scrape time.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::Labels;
use crate::output::{Recorder, Tally};
use crate::proxy::{ConnectionCounts, Counters, WaitHistogram};
use crate::relay;

/// Computes the values at scrape time.
#[derive(Debug)]
pub(super) struct ScrapeCollector {
    pub(super) counters: Counters,
    pub(super) recorder: Recorder,
}

impl Collector for ScrapeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_connections(&mut encoder)?;
        self.encode_payload(&mut encoder)?;
        self.encode_waits(&mut encoder)?;
        let mut show = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)
        };

        let Tally { written, unwritten, lost } = self.recorder.tally();
        show("conniver_lines_written", "Lines written completely", &ConstCounter::new(written))?;
        show("conniver_lines_queued", "Lines not written yet", &ConstGauge::new(unwritten))?;
        show("conniver_lines_lost", "Lines lost", &ConstCounter::new(lost))?;

        let pipes = ConstGauge::new(relay::open_pipes());
        show("conniver_pipes_open", "Pipes used to splice streams", &pipes)?;
        if let Some((open, most)) = descriptors() {
            show("process_open_fds", "Open file descriptors", &ConstGauge::new(open))?;
            show("process_max_fds", "Limit on open file descriptors", &ConstGauge::new(most))?;
        }
        Ok(())
    }
}

impl ScrapeCollector {
    fn encode_connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let connections = self.counters.connections();
        let mut show = |name: &str, help: &str, kind, value: &dyn Fn(&ConnectionCounts) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (listener, counts) in &connections {
                let labels: Labels<1> = [("listener", listener.clone())];
                let value = value(counts);
                let encoder = family.encode_family(&labels)?;
                match kind {
                    MetricType::Gauge => ConstGauge::new(value).encode(encoder)?,
                    _ => ConstCounter::new(value).encode(encoder)?,
                }
            }
            Ok(())
        };
        show("conniver_pairs_opened", "Accepted connections", MetricType::Counter, &|counts| {
            counts.opened
        })?;
        show(
            "conniver_pairs_open",
            "Open connections",
            MetricType::Gauge,
            &ConnectionCounts::open,
        )?;
        show(
            "conniver_pairs_refused",
            "Connections refused without a record",
            MetricType::Counter,
            &|counts| counts.refused,
        )
    }

    fn encode_payload(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) =
            ("conniver_payload", "Relayed payload, including that of open connections");
        let kind = MetricType::Counter;
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), kind)?;
        for ((listener, target), passed) in self.counters.payload() {
            for (direction, bytes) in ["to_upstream", "to_client"].into_iter().zip(passed) {
                let labels: Labels<3> = [
                    ("listener", listener.clone()),
                    ("target", target.clone()),
                    ("direction", direction.to_owned()),
                ];
                ConstCounter::new(bytes).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_waits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = (
            "conniver_turn_wait",
            "Time from the end of a request to the start of its answer, of completed turns",
        );
        let kind = MetricType::Histogram;
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
        for ((listener, target), WaitHistogram { intervals, sum }) in self.counters.histogram() {
            let labels: Labels<2> = [("listener", listener), ("target", target)];
            let count = intervals.iter().map(|(_, count)| count).sum();
            let mut of_place = family.encode_family(&labels)?;
            of_place.encode_histogram::<NoLabelSet>(sum, count, &intervals, None)?;
        }
        Ok(())
    }
}

/// Open descriptors of this process and their limit. `None` where the system does not tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn descriptors() -> Option<(usize, u64)> {
    use rustix::process::{Resource, getrlimit};

    // Without the descriptor that reads the directory.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    Some((open, most))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn descriptors() -> Option<(usize, u64)> {
    None
}
