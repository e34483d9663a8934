//! Monitoring a pair while it is relayed.

use std::task::Context;

use super::leg::Side;
use super::turns::TurnTracker;

/// Monitors a pair from time to time.
pub(crate) trait Monitor: Send {
    /// Called whenever the pair's task runs, after it has moved all available data. Registers a
    /// wake-up for the next check.
    fn poll(
        &mut self,
        client: &Side<'_>,
        upstream: &Side<'_>,
        turns: &mut TurnTracker,
        cx: &mut Context<'_>,
    );
}
