//! Findings on how connections end: resets, resets after a silence that is always as long, and requests that were sent
//! again because the connection ended instead of an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::connection::Connection;
use super::sightings::Sightings;
use super::words::{connections, time};
use super::{Evidence, Finding, Rule, Target, Words};
use crate::record::{By, Outcome};

/// A silence shorter than this is no idle timeout.
const SHORT_SILENCE: Duration = Duration::from_secs(5);

/// As many different silences are told apart, in tenths of a second.
const MAX_SILENCES: usize = 1000;

/// Resets, by the side that reset.
#[derive(Debug, Default)]
pub(super) struct Resets {
    client: OfSide,
    upstream: OfSide,
}

#[derive(Debug, Default)]
struct OfSide {
    all: Sightings,
    /// By the silence before, in tenths of a second.
    silences: BTreeMap<u64, Sightings>,
}

/// Resets from which on a finding is told.
const FEW: u64 = 3;

impl Evidence for Resets {
    fn see(&mut self, connection: &Connection) {
        if connection.outcome != Some(Outcome::Reset) {
            return;
        }
        let side = match connection.reset_by() {
            Some(By::Client) => &mut self.client,
            Some(By::Upstream) => &mut self.upstream,
            _ => return,
        };
        side.all.add(connection);
        let Some(silence) = silence(connection).filter(|silence| *silence >= SHORT_SILENCE) else {
            return;
        };
        let tenths = u64::try_from((silence.as_millis() + 50) / 100).unwrap_or(u64::MAX);
        if side.silences.len() < MAX_SILENCES || side.silences.contains_key(&tenths) {
            side.silences.entry(tenths).or_default().add(connection);
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let sides = [("the client", &self.client), (&*of.name, &self.upstream)];
        sides.into_iter().filter_map(|(name, side)| side.conclude(name, of)).collect()
    }
}

impl OfSide {
    fn conclude(&self, side: &str, of: &Target) -> Option<Finding> {
        if self.all.count() < FEW {
            return None;
        }
        let resets = self.all.count();
        if let Some((after, same)) = self.most_frequent_silence()
            && same.count() >= FEW
            && same.count() * 2 >= resets
        {
            let seen = format!(
                "{resets} × reset by {side}, {} of them {} after the last byte",
                same.count(),
                time(after)
            );
            return Some(of.finding(Rule::IdleTimeout, &same, Words {
                seen,
                usually: "an idle timeout of that side, or of a load balancer, NAT or firewall before it; a request sent at that moment is lost",
                next: "timeouts of the server and of what stands before it; let the pool of the client close idle connections earlier, or send keepalives more often than that",
            }));
        }
        // A few of very many are everyday.
        if resets * 100 < of.connections {
            return None;
        }
        let seen = format!(
            "{resets} of {} to {} were reset by {side}",
            connections(of.connections),
            of.name
        );
        let (usually, next) = match side {
            "the client" => (
                "a client that gave up waiting, was ended, or closed with unread data; not the server's doing",
                "timeouts of the client; which program: report --by process",
            ),
            _ => (
                "a server program that crashed or was restarted, closed with unread data, or hit a limit; or a load balancer or firewall that ends connections",
                "the log of the server at these times; the timeline of one: report --id",
            ),
        };
        Some(of.finding(Rule::Resets, &self.all, Words { seen, usually, next }))
    }

    /// The silence around which most resets came, with half a second or 2 % on both sides.
    fn most_frequent_silence(&self) -> Option<(Duration, Sightings)> {
        let near = |center: u64| {
            let width = (center / 50).max(5);
            let mut near = Sightings::default();
            for (tenths, sightings) in &self.silences {
                if tenths.abs_diff(center) <= width {
                    near.add_all(sightings);
                }
            }
            near
        };
        let (center, near) =
            self.silences.keys().map(|&center| (center, near(center))).max_by_key(
                |(center, near)| {
                    // Of equal ones, the one that itself occurred most often.
                    (near.count(), self.silences.get(center).map(Sightings::count), *center)
                },
            )?;
        Some((Duration::from_millis(center * 100), near))
    }
}

/// From the last byte on either socket to the end. `None` without bytes, and in brief lines.
fn silence(connection: &Connection) -> Option<Duration> {
    let legs = [Some(&connection.client), connection.upstream.as_ref()];
    let last = legs.into_iter().flatten().flat_map(|leg| [leg.last_rx_at, leg.last_tx_at]);
    let last = last.flatten().max()?;
    u64::try_from(connection.closed_at()?.checked_sub(last)?).ok().map(Duration::from_nanos)
}

/// Requests sent again from which on a finding is told.
const REPEATS: u64 = 2;

/// Requests that the proxy has sent again. What a program sends again looks like another request: a record has neither
/// its path nor its bytes.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    all: Sightings,
    answered: u64,
}

impl Evidence for Repeats {
    fn see(&mut self, connection: &Connection) {
        if connection.is_repeated() {
            self.all.add(connection);
            self.answered += u64::from(connection.is_answered());
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let count = self.all.count();
        if count < REPEATS {
            return Vec::new();
        }
        let name = &of.name;
        let begin = format!(
            "{count} requests to {name} got no answer on a connection that had carried others; the proxy sent them again on new ones"
        );
        let words = match count - self.answered {
            0 => Words {
                seen: format!("{begin}, and all were answered"),
                usually: "a server, or a load balancer before it, that closes idle connections at the moment when a request comes; the client got its answer",
                next: "timeouts for idle connections of the server and of what stands before it; let clients close theirs earlier",
            },
            failed => Words {
                seen: format!("{begin}, and {failed} got no answer again"),
                usually: "a request on which the server fails each time; each is in two connections here, and in more if the program sent it again as well: fewer requests failed than connections",
                next: "the log of the server for one request at these times; the timeline of one: report --id",
            },
        };
        vec![of.finding(Rule::RepeatedRequest, &self.all, words)]
    }
}
