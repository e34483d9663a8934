//! What the proxy shows of itself, for Prometheus: counters of what passes, counters and histograms of
//! the pairs that have ended, and gauges computed at scrape time.

mod answer;
mod ended;
mod host;
mod now;
mod serve;
mod text;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::output::Recorder;
use crate::proxy::Counters;
use crate::record::Record;
use ended::Ended;
use now::Now;
pub use serve::MetricsListener;

/// Names and values; each label has few values, whatever clients do.
type Labels<const N: usize> = [(&'static str, String); N];

/// What a run of the proxy counts; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    counters: Counters,
    ended: Ended,
}

impl Metrics {
    /// Shows these counters ([`Proxy::counters`](crate::proxy::Proxy::counters)) and what `recorder` has
    /// written.
    pub fn new(counters: Counters, recorder: Recorder) -> Self {
        counters.show();
        let mut registry = Registry::default();
        let ended = Ended::register(&mut registry);
        let now = Now { counters: counters.clone(), recorder };
        registry.register_collector(Box::new(now));
        Self { registry: Arc::new(registry), counters, ended }
    }

    /// Counts a pair that has ended.
    pub fn count(&self, record: &Record) {
        self.ended.count(record, self.counters.label_of(record));
    }

    /// All of it as text in the format of `OpenMetrics` 1.0.
    fn open_metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
