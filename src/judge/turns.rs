//! The turns of a pair, as the record shows them.

use crate::clock::Moment;
use crate::conn::Epoch;
use crate::record::{Shape, Turn, TurnTime, TurnWait, Turns};
use crate::relay::{Spent, Story, Told};

/// `None` if there was no turn.
pub(crate) fn turns(story: &Story, epoch: Epoch) -> Option<Turns> {
    let tally = story.tally.as_deref()?;
    let unix = |at: Moment| epoch.unix_nanos(at);
    let slowest: Vec<Turn> = match story.is_mixed {
        true => Vec::new(),
        false => tally.slowest.iter().map(|told| turn(told, epoch)).collect(),
    };
    let longest = tally.slowest.first().filter(|_| !story.is_mixed);
    Some(Turns {
        count: tally.count,
        unanswered: tally.unanswered,
        request: time(tally.request),
        wait: longest.map(|longest| TurnWait {
            total: tally.wait.total.get(),
            p50: tally.wait_of(50),
            p99: if tally.count < 100 { longest.wait } else { tally.wait_of(99).min(longest.wait) },
            max: longest.wait,
            max_at: unix(longest.at),
        }),
        answer: time(tally.answer),
        shape: if story.is_mixed { Shape::Mixed } else { Shape::Exchange },
        crossed: tally.crossed,
        slowest,
    })
}

/// One turn as the record shows it.
pub(crate) fn turn(told: &Told, epoch: Epoch) -> Turn {
    Turn {
        at: epoch.unix_nanos(told.at),
        duration: told.duration(),
        wait: told.wait,
        network: told.on_path,
        request_bytes: told.request_bytes,
        answer_bytes: told.answer_bytes,
        limited_by: told.limited_by,
    }
}

fn time(Spent { total, longest }: Spent) -> TurnTime {
    TurnTime { total: total.get(), max: longest.get() }
}
