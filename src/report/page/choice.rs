//! Which connections the page has whole, in bounded number.

use std::collections::HashSet;

use super::super::build::{Options, Summary};
use super::super::connection::Connection;
use super::super::kept::Kept;

/// Most connections that a page has whole.
pub(super) const MAX_WHOLE: usize = 2000;
/// Of these: failed ones, the slowest, and those that lost most; the others are a sample of all.
const FAILED: usize = 700;
const SLOWEST: usize = 500;
const LOSSY: usize = 300;

/// Most connections in the waterfall: of many, the slowest, failed ones, and those that lost most.
pub(super) const MAX_WATERFALL: usize = 40;
const WATERFALL_SLOWEST: usize = 20;
const WATERFALL_FAILED: usize = 14;

/// The numbers of connections that have to be kept for a page.
pub(super) fn keep(options: &mut Options) {
    options.failed = options.failed.max(FAILED);
    options.slowest = options.slowest.max(SLOWEST);
    options.lossy = options.lossy.max(LOSSY);
    options.sample = options.sample.max(MAX_WHOLE);
}

/// The connections that the page has whole, the most telling ones first; all of them, if there are not
/// more than [`MAX_WHOLE`].
pub(super) fn whole(summary: &Summary) -> Vec<&Connection> {
    let telling = [
        (&summary.failed, FAILED),
        (&summary.slowest, SLOWEST),
        (&summary.lossy, LOSSY),
        (&summary.sample, MAX_WHOLE),
    ];
    take(&telling, MAX_WHOLE)
}

/// Those in the waterfall, in the order in which they were accepted.
pub(super) fn waterfall(summary: &Summary) -> Vec<&Connection> {
    let mut chosen = match summary.totals.connections <= MAX_WATERFALL as u64 {
        true => take(&[(&summary.sample, MAX_WATERFALL)], MAX_WATERFALL),
        false => {
            let telling = [
                (&summary.slowest, WATERFALL_SLOWEST),
                (&summary.failed, WATERFALL_FAILED),
                (&summary.lossy, MAX_WATERFALL),
                (&summary.slowest, MAX_WATERFALL),
            ];
            take(&telling, MAX_WATERFALL)
        }
    };
    chosen.sort_by_key(|connection| connection.opened_at());
    chosen
}

/// So many of each list, no connection twice, and not more than `most`.
fn take<'s>(lists: &[(&'s Vec<Kept>, usize)], most: usize) -> Vec<&'s Connection> {
    let mut ids = HashSet::new();
    let kept = lists.iter().flat_map(|(list, count)| list.iter().take(*count));
    let connections = kept.map(|kept| &kept.connection);
    connections.filter(|connection| ids.insert(connection.id.as_str())).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::build::Builder;
    use super::*;

    /// So many connections, each as long as its number; each tenth failed, each hundredth lost segments.
    fn summary(count: u64) -> Summary {
        let mut options = Options::default();
        keep(&mut options);
        let mut builder = Builder::new(options);
        let lines = (0..count).map(|number| {
            let outcome = if number % 10 == 0 { "reset" } else { "ok" };
            let lost = if number % 100 == 0 { number + 1 } else { 0 };
            format!(
                r#"{{"event":"close","schema":1,"id":"r-{number}","outcome":"{outcome}","openedAt":{number},"duration":{number},"client":{{"lost":{lost}}}}}"#
            ) + "\n"
        });
        builder.read("test", lines.collect::<String>().as_bytes()).unwrap();
        builder.finish()
    }

    #[test]
    fn few_connections_are_all_there_once() {
        let summary = summary(2000);
        assert_eq!(whole(&summary).len(), 2000);
        assert_eq!(waterfall(&self::summary(40)).len(), 40);
    }

    #[test]
    fn of_many_the_failed_slowest_and_most_lossy_come_first() {
        let summary = summary(30_000);
        let whole = whole(&summary);
        assert_eq!(whole.len(), MAX_WHOLE);
        assert!(whole.iter().filter(|connection| connection.is_failed()).count() >= FAILED);
        let has =
            |number: u64| whole.iter().any(|connection| connection.id == format!("r-{number}"));
        assert!((29_500..30_000).all(has));
        assert!((0..100).map(|lossy| 29_900 - lossy * 100).all(has));
        let waterfall = waterfall(&summary);
        assert_eq!(waterfall.len(), MAX_WATERFALL);
        assert!(waterfall.is_sorted_by_key(|connection| connection.opened_at()));
    }
}
