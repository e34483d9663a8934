//! Metrics for Prometheus: payload counters, counters and histograms of ended pairs, and gauges
//! computed at scrape time.

mod ended;
mod host;
mod older_format;
mod respond;
mod scrape;
mod serve;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::output::Recorder;
use crate::proxy::Counters;
use crate::record::Record;
use ended::EndedPairs;
use scrape::ScrapeCollector;
pub use serve::MetricsListener;

/// Label names and values; the number of values is bounded, whatever clients do.
type Labels<const N: usize> = [(&'static str, String); N];

/// The metrics of a proxy; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    counters: Counters,
    ended: EndedPairs,
}

impl Metrics {
    /// Exports these counters ([`Proxy::counters`](crate::proxy::Proxy::counters)) and those of
    /// `recorder`.
    pub fn new(counters: Counters, recorder: Recorder) -> Self {
        counters.show();
        let mut registry = Registry::default();
        let ended = EndedPairs::register(&mut registry);
        let now = ScrapeCollector { counters: counters.clone(), recorder };
        registry.register_collector(Box::new(now));
        Self { registry: Arc::new(registry), counters, ended }
    }

    /// Counts a pair that has ended.
    pub fn count(&self, record: &Record) {
        self.ended.count(record, self.counters.label_of(record));
    }

    /// Renders the metrics in the format of `OpenMetrics` 1.0.
    fn open_metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
