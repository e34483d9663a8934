//! Waiting until what was written has been acknowledged.

use std::time::{Duration, Instant};

use super::Leg;
use crate::tcp_info::{Snapshot, State, send_queue};

/// First and longest pause between two looks at the queue.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(40));

/// Waits until the peer has acknowledged all that was written to `leg`, our end of stream
/// included; at most until `deadline`, and not for a connection that is gone.
pub(super) async fn emptied(leg: &Leg, deadline: Instant) {
    let (mut pause, longest) = PAUSES;
    while !leg.state.gone && send_queue(&leg.stream).is_some_and(|queued| queued > 0) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || was_reset(leg) {
            return;
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(longest);
    }
}

/// After a reset the queue keeps what was never delivered.
fn was_reset(leg: &Leg) -> bool {
    Snapshot::structure(&leg.stream).is_ok_and(|look| look.decode().state == Some(State::Close))
}
