//! Checks for closed receive windows while bytes wait to be written.
//!
//! Afterwards no counter of the kernel shows whether a window was closed or only small, and at the
//! end of the wait it is open again.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use tokio::time::Sleep;

use super::leg::Side;
use crate::clock::CompactInstant;

/// Samples the windows of peers that have accepted nothing for a while. It has a timer only while
/// bytes wait, and sets it a few times a second at most.
#[derive(Default)]
pub(super) struct WindowWatch(Option<Pin<Box<Sleep>>>);

impl WindowWatch {
    pub(super) fn poll(
        &mut self,
        client: &mut Side<'_>,
        upstream: &mut Side<'_>,
        cx: &mut Context<'_>,
    ) {
        if self.0.is_none() && !client.is_blocked() && !upstream.is_blocked() {
            return;
        }
        loop {
            if let Some(timer) = &mut self.0
                && timer.as_mut().poll(cx).is_pending()
            {
                return;
            }
            let next = next_sample(client, upstream).map(|at| Instant::from(at).into());
            match (&mut self.0, next) {
                (_, None) => {
                    self.0 = None;
                    return;
                }
                (Some(timer), Some(next)) => timer.as_mut().reset(next),
                (timer, Some(next)) => *timer = Some(Box::pin(tokio::time::sleep_until(next))),
            }
        }
    }
}

/// Takes the samples that are due; returns when the next one is.
fn next_sample(client: &mut Side<'_>, upstream: &mut Side<'_>) -> Option<CompactInstant> {
    let now = CompactInstant::now();
    let due = [
        client.state.meter.sample_window(client.stream, now),
        upstream.state.meter.sample_window(upstream.stream, now),
    ];
    due.into_iter().flatten().min()
}

impl Side<'_> {
    fn is_blocked(&self) -> bool {
        self.state.meter.write_blocked.as_ref().is_some_and(|blocked| blocked.is_waiting())
    }
}
