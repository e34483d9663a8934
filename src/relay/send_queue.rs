//! Waits until what was written has been acknowledged.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::leg::Side;
use super::state_changes::StateChanges;
use crate::tcp_info::send_queue;

/// First and longest pause between two checks, where no event reports an acknowledgement.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(40));

/// Waits until both peers have acknowledged everything that was written to them, including our end
/// of stream; at most until `deadline`, and not for a broken connection.
///
/// The acknowledgement of our end of stream changes the connection's state, which is an event.
/// Acknowledgements of data are not: without an end of stream, the queue has to be polled.
pub(super) async fn wait_until_acked(client: Side<'_>, upstream: Side<'_>, deadline: Instant) {
    let mut waiting = [client, upstream].map(|mut side| is_waiting(&mut side).then_some(side));
    if waiting.iter().all(Option::is_none) {
        return;
    }
    let changes = StateChanges::new(waiting.iter().flatten().map(|side| side.stream));
    let (mut pause, longest) = PAUSES;
    loop {
        let ended = waiting.iter().flatten().all(|side| side.state.meter.tx.ended.is_some());
        let until = match &changes {
            Ok(_) if ended => deadline,
            _ => deadline.min(Instant::now() + pause),
        };
        pause = (pause * 2).min(longest);
        wait_for_change(changes.as_ref().ok(), until).await;

        for place in &mut waiting {
            place.take_if(|side| !is_waiting(side));
        }
        if waiting.iter().all(Option::is_none) || Instant::now() >= deadline {
            return;
        }
    }
}

/// Waits until the peer has acknowledged everything that was written to it; at most until
/// `deadline`.
pub(crate) async fn wait_until_received(stream: &TcpStream, deadline: Instant) {
    let (mut pause, longest) = PAUSES;
    while send_queue(stream).is_some_and(|queued| queued > 0) && Instant::now() < deadline {
        tokio::time::sleep_until(deadline.min(Instant::now() + pause).into()).await;
        pause = (pause * 2).min(longest);
    }
}

fn is_waiting(side: &mut Side<'_>) -> bool {
    if side.state.is_broken || send_queue(side.stream).is_none_or(|queued| queued == 0) {
        return false;
    }
    // After a reset the queue still counts what was never delivered.
    side.take_error();
    !side.state.is_broken
}

async fn wait_for_change(changes: Option<&StateChanges>, until: Instant) {
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
