//! Waiting until what was written has been acknowledged.

use std::time::{Duration, Instant};

use super::leg::Side;
use super::state_changes::StateChanges;
use crate::tcp_info::send_queue;

/// First and longest pause between two looks, where no event tells of an acknowledgement.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(40));

/// Waits until both peers have acknowledged all that was written to them, our end of stream
/// included; at most until `deadline`, and not for a connection that is gone.
///
/// The acknowledgement of our end of stream changes the connection's state, which wakes. Before
/// that, none does: a reset that is to cross after plain data has to look from time to time.
pub(super) async fn emptied(client: Side<'_>, upstream: Side<'_>, deadline: Instant) {
    let mut waiting = [client, upstream].map(|mut side| is_waiting(&mut side).then_some(side));
    if waiting.iter().all(Option::is_none) {
        return;
    }
    let changes = StateChanges::of(waiting.iter().flatten().map(|side| side.stream));
    let (mut pause, longest) = PAUSES;
    loop {
        let ended = waiting.iter().flatten().all(|side| side.state.meter.tx.ended.is_some());
        let until = match &changes {
            Ok(_) if ended => deadline,
            _ => deadline.min(Instant::now() + pause),
        };
        pause = (pause * 2).min(longest);
        changed_or(changes.as_ref().ok(), until).await;

        for place in &mut waiting {
            place.take_if(|side| !is_waiting(side));
        }
        if waiting.iter().all(Option::is_none) || Instant::now() >= deadline {
            return;
        }
    }
}

fn is_waiting(side: &mut Side<'_>) -> bool {
    if side.state.gone || send_queue(side.stream).is_none_or(|queued| queued == 0) {
        return false;
    }
    // After a reset the queue keeps what was never delivered.
    side.take_error();
    !side.state.gone
}

async fn changed_or(changes: Option<&StateChanges>, until: Instant) {
    let change = async {
        match changes {
            Some(changes) => changes.next().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = change => {}
        () = tokio::time::sleep_until(until.into()) => {}
    }
}
