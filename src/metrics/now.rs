//! What is so at the moment of asking.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::record::{Recorder, Tally};
use crate::relay;

/// Asks for it.
pub(super) struct Now {
    pub(super) opened: Box<dyn Fn() -> u64 + Send + Sync>,
    pub(super) refused: Box<dyn Fn() -> u64 + Send + Sync>,
    pub(super) recorder: Recorder,
    pub(super) ended: Counter,
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Now").finish_non_exhaustive()
    }
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut show = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)
        };
        // What has ended is counted first: so it never exceeds what was opened.
        let refused = (self.refused)();
        let ended = self.ended.get().saturating_add(refused);
        let opened = (self.opened)();
        show(
            "conniver_pairs_opened",
            "Pairs whose client was accepted",
            &ConstCounter::new(opened),
        )?;
        let open = ConstGauge::new(opened.saturating_sub(ended));
        show("conniver_pairs_open", "Pairs that have not ended", &open)?;

        show(
            "conniver_pairs_refused",
            "Pairs that were refused without a record of their own",
            &ConstCounter::new(refused),
        )?;

        let Tally { written, unwritten, lost } = self.recorder.tally();
        show("conniver_lines_written", "Lines written whole", &ConstCounter::new(written))?;
        show("conniver_lines_queued", "Lines not written yet", &ConstGauge::new(unwritten))?;
        show("conniver_lines_lost", "Lines given up", &ConstCounter::new(lost))?;

        let pipes = ConstGauge::new(relay::open_pipes());
        show("conniver_pipes_open", "Pipes that streams are spliced through", &pipes)?;
        if let Some((open, most)) = descriptors() {
            show("process_open_fds", "Descriptors that are open", &ConstGauge::new(open))?;
            show("process_max_fds", "Descriptors that may be open", &ConstGauge::new(most))?;
        }
        Ok(())
    }
}

/// How many descriptors this process has, and may have. `None` where the system does not tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn descriptors() -> Option<(usize, u64)> {
    use rustix::process::{Resource, getrlimit};

    // The one that reads the directory is among them.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    Some((open, most))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn descriptors() -> Option<(usize, u64)> {
    None
}
