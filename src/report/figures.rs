//! A report as JSON: everything that its text says, and no more.

use std::time::Duration;

use serde::Serialize;

use super::build::{Lines, SlowTurn, Summary};
use super::compare::Comparison;
use super::connection::Connection;
use super::file_read::FileRead;
use super::findings::Finding;
use super::groups::Group;
use super::kept::Kept;
use super::totals::Totals;
use crate::nanos;
use crate::record::{LimitedBy, Outcome};

/// A report as JSON. Keys are always present; what is not known is null. Durations are ns, instants Unix
/// ns.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SummaryFigures<'s> {
    /// The machines on which the connections were recorded, at most 100.
    pub hosts: &'s [String],
    /// Whether there are more of them.
    pub more_hosts: bool,
    /// Connections accepted before, RFC 3339, are left out. Null without `--since`.
    pub since: Option<String>,
    /// Connections accepted at this time or later, RFC 3339, are left out. Null without `--until`.
    pub until: Option<String>,
    /// The conditions of `--where`.
    pub conditions: Vec<String>,
    /// All connections together.
    pub totals: &'s Totals,
    /// The property by which they are grouped: `target`, `process`, `listener`, `outcome` or `label.KEY`.
    pub by: String,
    /// The groups, those with most connections first, at most 500.
    pub groups: &'s [Group],
    /// Connections in further groups. Null without any.
    pub others: Option<&'s Totals>,
    /// All sockets of `conniver watch` together: `connections` is their number, `rtt`, `lost` and
    /// `retransmits` are of the socket. Null without any.
    pub sockets: Option<&'s Totals>,
    /// Their groups, those with most sockets first, at most 500.
    pub socket_groups: &'s [Group],
    /// Sockets in further groups. Null without any.
    pub other_sockets: Option<&'s Totals>,
    /// Findings: failures first, and among them those in most connections.
    pub findings: &'s [Finding],
    /// Connections to targets for which no findings were sought, because there are too many targets.
    pub without_findings: u64,
    /// Connections in which somebody waited longest, the longest first.
    pub slowest: Vec<ConnectionFigures>,
    /// Some of the failed connections, as many as of the slowest, in no order.
    pub failed: Vec<ConnectionFigures>,
    /// The turns with the longest waits, the longest first.
    pub slowest_turns: Vec<TurnFigures>,
    /// Lines of all files.
    pub lines: Lines,
    /// The files.
    pub files: &'s [FileRead],
}

/// One of the slowest or failed connections.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConnectionFigures {
    /// Its id, for `report --id`.
    pub id: String,
    /// Its target.
    pub target: Option<String>,
    /// The name of the local program.
    pub process: Option<String>,
    /// When it was accepted, Unix ns.
    pub opened_at: Option<i64>,
    /// From accept to close, ns.
    #[serde(with = "nanos")]
    pub duration: Duration,
    /// The time in which somebody waited, ns. Null without a verdict.
    #[serde(with = "nanos::option")]
    pub active: Option<Duration>,
    /// The longest wait for an answer, ns.
    #[serde(with = "nanos::option")]
    pub wait: Option<Duration>,
    /// Who was slow.
    pub limited_by: Option<LimitedBy>,
    /// The outcome.
    pub outcome: Option<Outcome>,
    /// Symbol of the error.
    pub error_code: Option<String>,
}

/// One of the slowest turns.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TurnFigures {
    /// The id of its connection.
    pub id: String,
    /// The target.
    pub target: Option<String>,
    /// The name of the local program.
    pub process: Option<String>,
    /// The turn, with the keys that it has in a record.
    #[serde(flatten)]
    pub turn: crate::record::Turn,
}

impl Summary {
    /// How this report differs from one of connections before, made with the same
    /// [`Options::observations`](super::Options::observations).
    pub fn against(&self, before: &Self) -> Comparison {
        let connections = [before, self].map(|summary| summary.totals.connections);
        Comparison::of(connections, [&before.observations, &self.observations])
    }

    /// The report as JSON has it.
    pub fn figures(&self) -> SummaryFigures<'_> {
        let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string());
        SummaryFigures {
            hosts: &self.hosts,
            more_hosts: self.more_hosts,
            since: time(self.selection.since),
            until: time(self.selection.until),
            conditions: self.selection.conditions.iter().map(ToString::to_string).collect(),
            totals: &self.totals,
            by: self.by.to_string(),
            groups: &self.groups,
            others: self.others.as_ref(),
            sockets: Some(&self.sockets).filter(|all| all.connections > 0),
            socket_groups: &self.socket_groups,
            other_sockets: self.other_sockets.as_ref(),
            findings: &self.findings,
            without_findings: self.without_findings,
            slowest: self.slowest.iter().map(|Kept { connection, .. }| connection.into()).collect(),
            failed: self.failed.iter().map(|Kept { connection, .. }| connection.into()).collect(),
            slowest_turns: self.turns.iter().map(TurnFigures::from).collect(),
            lines: self.lines,
            files: &self.files,
        }
    }
}

impl From<&Connection> for ConnectionFigures {
    fn from(connection: &Connection) -> Self {
        Self {
            id: connection.id.clone(),
            target: connection.target.clone(),
            process: connection.program().map(str::to_owned),
            opened_at: connection.opened_at(),
            duration: connection.duration,
            active: connection.verdict.as_ref().map(|verdict| verdict.active),
            wait: connection.longest_wait(),
            limited_by: connection.verdict.as_ref().map(|verdict| verdict.limited_by),
            outcome: connection.outcome,
            error_code: connection.ending.as_ref().and_then(|end| end.error_code.clone()),
        }
    }
}

impl From<&SlowTurn> for TurnFigures {
    fn from(slow: &SlowTurn) -> Self {
        let SlowTurn { turn, id, target, process } = slow.clone();
        Self { id, target, process, turn }
    }
}
