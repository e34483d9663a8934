//! The turns of a pair for the record.

use crate::clock::CompactInstant;
use crate::conn::Epoch;
use crate::record::{Shape, Turn, TurnTime, TurnWait, Turns};
use crate::relay::{FinishedTurn, TimeBreakdown, TimeSum};

/// The turns of a pair; `None` if there were none.
pub(crate) fn turns(breakdown: &TimeBreakdown, epoch: Epoch) -> Option<Turns> {
    let tally = breakdown.tally.as_deref()?;
    let unix = |at: CompactInstant| epoch.unix_nanos(at);
    let slowest: Vec<Turn> = match breakdown.is_mixed {
        true => Vec::new(),
        false => tally.slowest.iter().map(|finished| turn(finished, epoch)).collect(),
    };
    let longest = tally.slowest.first().filter(|_| !breakdown.is_mixed);
    Some(Turns {
        count: tally.count,
        unanswered: tally.unanswered,
        request: time(tally.request),
        wait: longest.map(|longest| TurnWait {
            total: tally.wait.total.get(),
            p50: tally.wait_quantile(50),
            p99: if tally.count < 100 {
                longest.wait
            } else {
                tally.wait_quantile(99).min(longest.wait)
            },
            max: longest.wait,
            max_at: unix(longest.at),
        }),
        answer: time(tally.answer),
        shape: if breakdown.is_mixed { Shape::Mixed } else { Shape::Exchange },
        crossed: tally.crossed,
        slowest,
    })
}

/// One turn for the record.
pub(crate) fn turn(finished: &FinishedTurn, epoch: Epoch) -> Turn {
    Turn {
        at: epoch.unix_nanos(finished.at),
        duration: finished.duration(),
        wait: finished.wait,
        network: finished.on_path,
        request_bytes: finished.request_bytes,
        answer_bytes: finished.answer_bytes,
        limited_by: finished.limited_by,
    }
}

fn time(TimeSum { total, longest }: TimeSum) -> TurnTime {
    TurnTime { total: total.get(), max: longest.get() }
}
