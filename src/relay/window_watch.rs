//! Looking for closed windows while bytes wait to be taken.
//!
//! No figure of the kernel's tells afterwards whether a window was closed or only small, and what a look at
//! the end of the wait finds has opened again.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use tokio::time::Sleep;

use super::leg::Side;
use crate::clock::Moment;

/// Looks at the windows of peers that have taken nothing for a while. It has a timer only while bytes
/// wait, and sets it some times a second at most.
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
            let next = next_look(client, upstream).map(|at| Instant::from(at).into());
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

/// Looks where it is time to; when the next look is due.
fn next_look(client: &mut Side<'_>, upstream: &mut Side<'_>) -> Option<Moment> {
    let now = Moment::now();
    let looks = [
        client.state.meter.look_at_window(client.stream, now),
        upstream.state.meter.look_at_window(upstream.stream, now),
    ];
    looks.into_iter().flatten().min()
}

impl Side<'_> {
    fn is_blocked(&self) -> bool {
        self.state.meter.write_blocked.as_ref().is_some_and(|blocked| blocked.is_waiting())
    }
}
