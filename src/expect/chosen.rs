//! Connections and sockets that a report has read, as expectations need them.

use super::judged::{self, Judged, JudgedTurns};
use super::reading::Reading;
use crate::report::{Chosen, Connection, Socket, short_id};

/// What no line of `conniver watch` has.
const NOT_OF_SOCKETS: &str =
    "a line of conniver watch does not have this; those of conniver proxy and conniver run do";
const ENDING_UNKNOWN: &str = "how it ended is not known";

impl<'c> From<&Chosen<'c>> for Judged<'c> {
    fn from(chosen: &Chosen<'c>) -> Self {
        let connection = chosen.connection;
        let of_pair = match chosen.is_socket {
            true => Self::of_socket(connection),
            false => Self::of_pair(connection),
        };
        Self { requested: chosen.requested, ..of_pair }
    }
}

impl<'c> Judged<'c> {
    fn of_pair(connection: &'c Connection) -> Self {
        let ending = connection.ending.as_ref();
        let legs =
            || [Some(&connection.client), connection.upstream.as_ref()].into_iter().flatten();
        let phases = &connection.phases;
        Self {
            reset_by: connection.reset_by(),
            error_code: ending.and_then(|ending| ending.error_code.as_deref()),
            ended_by: Reading::known(ending.map(|ending| ending.first_by), ENDING_UNKNOWN),
            resolve: Reading::some(phases.resolve),
            connect: Reading::some(phases.connect),
            first_byte: Reading::some(phases.first_byte.filter(|_| connection.is_answered())),
            turns: Reading::some(connection.turns.as_ref().map(|turns| JudgedTurns {
                count: turns.count,
                unanswered: turns.unanswered,
                wait: turns.wait,
            })),
            limited_by: Reading::known(
                connection.verdict.as_ref().map(|verdict| verdict.limited_by),
                judged::NO_VERDICT,
            ),
            ..Self::of_line(connection, legs)
        }
    }

    /// Of a line of `conniver watch`, which has one socket and no turns.
    fn of_socket(connection: &'c Connection) -> Self {
        Self::of_line(connection, || connection.upstream.iter())
    }

    /// What all lines have.
    fn of_line<'s, I: Iterator<Item = &'s Socket>>(
        connection: &'c Connection,
        sockets: impl Fn() -> I,
    ) -> Self {
        let upstream = connection.upstream.as_ref();
        let warnings = connection.warnings.iter().map(|warning| match &*warning.text {
            // Brief lines have the code alone.
            "" => warning.code.to_string(),
            text => text.to_owned(),
        });
        Self {
            name: short_id(&connection.id),
            requested: connection.target.as_deref(),
            target: connection.target.as_deref(),
            outcome: Reading::known(connection.outcome, ENDING_UNKNOWN),
            reset_by: None,
            error_code: None,
            ended_by: Reading::Unknown(NOT_OF_SOCKETS),
            lost: judged::sum(sockets().map(|socket| socket.lost), judged::LOST_UNKNOWN),
            retransmits: judged::sum(
                sockets().map(|socket| socket.retransmits(0)),
                judged::RETRANSMITS_UNKNOWN,
            ),
            warnings: warnings.collect(),
            sent: upstream.map_or(0, |socket| socket.tx_bytes),
            received: upstream.map_or(0, |socket| socket.rx_bytes),
            resolve: Reading::Unknown(NOT_OF_SOCKETS),
            connect: Reading::Unknown(NOT_OF_SOCKETS),
            first_byte: Reading::Unknown(NOT_OF_SOCKETS),
            duration: connection.duration,
            turns: Reading::Unknown(NOT_OF_SOCKETS),
            limited_by: Reading::Unknown(NOT_OF_SOCKETS),
        }
    }
}
