//! What expectations are about: a connection as the metrics need it, wherever its record comes from.

use std::time::Duration;

use super::reading::Reading;
use crate::record::{By, Ending, LimitedBy, Outcome, Printable, Record, Report, TurnWait};
use crate::target::Target;

/// A connection that has ended, as expectations need it: of a [`Record`] or, with the feature `report`, of a line
/// that a report has read (`report::Chosen`).
#[derive(Debug, Clone)]
pub struct Judged<'c> {
    /// `#2`, or the end of its id.
    pub(super) name: String,
    /// `host:port` as requested.
    pub(super) requested: Option<&'c str>,
    /// The same as messages have it.
    pub(super) target: Option<&'c str>,
    pub(super) outcome: Reading<Outcome>,
    pub(super) reset_by: Option<By>,
    pub(super) error_code: Option<&'c str>,
    pub(super) ended_by: Reading<By>,
    pub(super) lost: Reading<u64>,
    pub(super) retransmits: Reading<u64>,
    /// In words, or their codes.
    pub(super) warnings: Vec<String>,
    /// Bytes to and from the upstream.
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) resolve: Reading<Duration>,
    pub(super) connect: Reading<Duration>,
    pub(super) first_byte: Reading<Duration>,
    pub(super) duration: Duration,
    pub(super) turns: Reading<JudgedTurns>,
    pub(super) limited_by: Reading<LimitedBy>,
}

/// Requests and their answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct JudgedTurns {
    pub(super) count: u64,
    pub(super) unanswered: u64,
    /// `None` where requests and answers cannot be matched.
    pub(super) wait: Option<TurnWait>,
}

pub(super) const NOT_ENDED: &str = "the connection is still open";
pub(super) const LOST_UNKNOWN: &str = "lost segments are not known: the peer does not support selective acknowledgements, or the system does \
     not tell";
pub(super) const RETRANSMITS_UNKNOWN: &str =
    "the system does not tell how many segments were retransmitted";
pub(super) const NO_VERDICT: &str = "there is no verdict: the system does not tell enough";

impl Judged<'_> {
    /// `#2 to api:443`.
    pub(super) fn named(&self) -> String {
        match self.target {
            Some(target) => format!("{} to {}", self.name, Printable(target)),
            None => format!("{}, which named no target,", self.name),
        }
    }

    /// Whether its target is this one, however its host was spelled.
    pub(super) fn is_to(&self, target: &Target) -> bool {
        let requested = self.requested.and_then(|requested| requested.parse::<Target>().ok());
        requested.is_some_and(|requested| {
            requested.port() == target.port() && requested.host() == target.host()
        })
    }

    /// As [`Record::ended_in_words`].
    pub(super) fn ended_in_words(&self) -> String {
        match self.outcome {
            Reading::Known(outcome) => outcome.in_words(self.reset_by, self.error_code),
            Reading::None | Reading::Unknown(_) => String::new(),
        }
    }
}

/// The sum over both sockets, of those that there were.
pub(super) fn sum(
    legs: impl IntoIterator<Item = Option<u64>>,
    why_unknown: &'static str,
) -> Reading<u64> {
    let sum = legs.into_iter().try_fold(0_u64, |sum, leg| Some(sum.saturating_add(leg?)));
    Reading::known(sum, why_unknown)
}

impl<'r> From<&'r Record> for Judged<'r> {
    fn from(record: &'r Record) -> Self {
        let legs = || [Some(&record.client), record.upstream.as_ref()].into_iter().flatten();
        let upstream = |of: fn(&Report) -> u64| record.upstream.as_ref().map_or(0, of);
        let phases = &record.phases;
        Self {
            name: format!("#{}", record.seq),
            requested: record.target.as_deref(),
            target: record.target.as_deref(),
            outcome: Reading::known(record.outcome, NOT_ENDED),
            reset_by: record.ending.as_ref().and_then(Ending::reset_by),
            error_code: record.ending.as_ref().and_then(|ending| ending.error_code.as_deref()),
            ended_by: Reading::known(
                record.ending.as_ref().map(|ending| ending.first_by),
                NOT_ENDED,
            ),
            lost: sum(legs().map(|leg| leg.lost), LOST_UNKNOWN),
            retransmits: sum(
                legs().map(|leg| leg.closed_info.as_ref()?.retransmits),
                RETRANSMITS_UNKNOWN,
            ),
            warnings: record.warnings.iter().map(|warning| warning.text.clone()).collect(),
            sent: upstream(|leg| leg.tx_bytes),
            received: upstream(|leg| leg.rx_bytes),
            resolve: Reading::some(phases.resolve),
            connect: Reading::some(phases.connect),
            first_byte: Reading::some(phases.first_byte.filter(|_| record.is_answered())),
            duration: record.duration,
            turns: Reading::some(record.turns.as_ref().map(|turns| JudgedTurns {
                count: turns.count,
                unanswered: turns.unanswered,
                wait: turns.wait,
            })),
            limited_by: Reading::known(
                record.verdict.as_ref().map(|verdict| verdict.limited_by),
                NO_VERDICT,
            ),
        }
    }
}
