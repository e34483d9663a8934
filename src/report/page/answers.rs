//! What the first screen answers: what failed, what was slow, and whose time it was.

use std::cmp::Reverse;
use std::time::Duration;

use super::super::build::Summary;
use super::super::totals::{Totals, parts};
use super::format;
use crate::record::LimitedBy;

/// One answer: a figure, what it is, and what it consists of.
pub(super) struct Answer {
    pub(super) question: &'static str,
    pub(super) figure: String,
    pub(super) is_bad: bool,
    pub(super) meaning: String,
    pub(super) details: Vec<String>,
}

/// The time that was charged to one party.
pub(super) struct Share {
    pub(super) class: &'static str,
    pub(super) who: String,
    pub(super) share: String,
    pub(super) time: String,
    /// Where its part of the bar is, per cent.
    pub(super) x: String,
    pub(super) width: String,
}

/// As many groups are named.
const NAMED: usize = 3;

pub(super) fn failed(summary: &Summary) -> Answer {
    let totals = &summary.totals;
    let (failed, connections) = (totals.failed, totals.connections);
    let of_all = match connections {
        1 => "of 1 connection".to_owned(),
        _ => format!("of {} connections", format::count(connections)),
    };
    let share = format::percent(failed as f64, connections as f64);
    let mut groups: Vec<_> = summary.groups.iter().filter(|g| g.totals.failed > 0).collect();
    groups.sort_by_key(|group| Reverse(group.totals.failed));
    let details = groups.iter().take(NAMED).map(|group| {
        let totals = &group.totals;
        let of = match totals.failed == totals.connections {
            true => format::count(totals.failed),
            false => {
                format!("{} of {}", format::count(totals.failed), format::count(totals.connections))
            }
        };
        format!("{of} to {}: {}", format::text(&group.name), outcomes(totals))
    });
    let mut details: Vec<_> = details.collect();
    if let Some(rest) = groups.get(NAMED..).filter(|rest| !rest.is_empty()) {
        let connections = rest.iter().map(|group| group.totals.failed).sum();
        let rows = format::counted(rest.len() as u64, "other row");
        details.push(format!("{} in {rows} of the table", format::count(connections)));
    }
    Answer {
        question: "What failed",
        figure: if failed == 0 { "nothing".to_owned() } else { format::count(failed) },
        is_bad: failed > 0,
        meaning: if failed == 0 { of_all } else { format!("{of_all} ({share})") },
        details,
    }
}

/// The outcomes of those that failed: `29 reset, 2 timeout`; the word alone if there is one.
fn outcomes(totals: &Totals) -> String {
    let outcomes = totals.outcomes.sorted();
    let bad = outcomes.iter().filter(|(outcome, _)| outcome.to_string() != "ok");
    let bad: Vec<_> = bad.collect();
    match bad.as_slice() {
        [(outcome, _)] => outcome.to_string(),
        _ => {
            let words = bad.iter().map(|(what, count)| format!("{} {what}", format::count(*count)));
            words.collect::<Vec<_>>().join(", ")
        }
    }
}

pub(super) fn slow(summary: &Summary) -> Answer {
    let question = "What was slow";
    let Some(wait) = summary.totals.wait.figures() else {
        return Answer {
            question,
            figure: "–".to_owned(),
            is_bad: false,
            meaning: "no answer was waited for".to_owned(),
            details: Vec::new(),
        };
    };
    let mut groups: Vec<_> = summary
        .groups
        .iter()
        .filter_map(|group| Some((group, group.totals.wait.figures()?)))
        .collect();
    groups.sort_by_key(|(_, wait)| Reverse(wait.p99));
    let details = groups.iter().take(NAMED).map(|(group, wait)| {
        let name = format::text(&group.name);
        match wait.count {
            1 => format!("{} for {name}", format::time(wait.max)),
            _ => {
                let (p99, p50) = (format::time(wait.p99), format::time(wait.p50));
                format!("{p99} for {name}, median {p50}")
            }
        }
    });
    let (figure, meaning) = match wait.count {
        1 => (wait.max, "the wait for an answer".to_owned()),
        2..100 => {
            let p50 = format::time(wait.p50);
            (wait.max, format!("the longest wait for an answer; half are up to {p50}"))
        }
        _ => {
            let (p50, max) = (format::time(wait.p50), format::time(wait.max));
            let text =
                format!("p99 of the waits for an answer; the median is {p50}, the longest {max}");
            (wait.p99, text)
        }
    };
    Answer {
        question,
        figure: format::time(figure),
        is_bad: false,
        meaning,
        details: details.collect(),
    }
}

pub(super) fn whose(summary: &Summary) -> Answer {
    let totals = &summary.totals;
    let active = format::time(totals.active);
    let (figure, meaning) = match totals.limited_by {
        Some(who) => {
            let time = charged(totals, who);
            let share = format::percent(time.as_secs_f64(), totals.active.as_secs_f64());
            (who.in_words(), format!("took {share} of the {active} in which somebody waited"))
        }
        None if totals.active.is_zero() => ("–", "nobody waited".to_owned()),
        None => ("nobody’s", format!("in particular, of the {active} in which somebody waited")),
    };
    let idle = totals.time.idle;
    let details = match idle.is_zero() {
        true => Vec::new(),
        false => vec![format!("idle, between requests, for {} more", format::time(idle))],
    };
    Answer {
        question: "Whose time it was",
        figure: figure.to_owned(),
        is_bad: false,
        meaning,
        details,
    }
}

fn charged(totals: &Totals, to: LimitedBy) -> Duration {
    let parts = parts(&totals.time);
    parts.iter().find(|(who, _)| *who == to).map_or(Duration::ZERO, |(_, time)| *time)
}

/// The time that was charged to each, the most first; without those who took none.
pub(super) fn shares(totals: &Totals) -> Vec<Share> {
    let mut parts = parts(&totals.time).to_vec();
    parts.retain(|(_, time)| !time.is_zero());
    parts.sort_by_key(|(_, time)| Reverse(*time));
    let whole: Duration = parts.iter().map(|(_, time)| *time).sum();
    let whole = whole.max(totals.active).as_secs_f64();
    let mut x = 0.0;
    let shares = parts.into_iter().map(|(who, time)| {
        let width = time.as_secs_f64() * 100.0 / whole;
        let share = Share {
            class: class(who),
            who: who.in_words().to_owned(),
            share: format::percent(time.as_secs_f64(), whole),
            time: format::time(time),
            x: format!("{x:.2}%"),
            width: format!("{width:.2}%"),
        };
        x += width;
        share
    });
    shares.collect()
}

/// The name of a party's class in the style sheet.
fn class(who: LimitedBy) -> &'static str {
    match who {
        LimitedBy::Client => "by-client",
        LimitedBy::Upstream => "by-upstream",
        LimitedBy::NetworkClient => "by-network-client",
        LimitedBy::NetworkUpstream => "by-network-upstream",
        LimitedBy::Resolver => "by-resolver",
        LimitedBy::Proxy | LimitedBy::None => "by-proxy",
    }
}
