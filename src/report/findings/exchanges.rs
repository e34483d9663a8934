//! Findings on requests and answers: small writes, round trips, connections for one request each.

use std::collections::HashSet;
use std::time::Duration;

use super::super::connection::{Connection, Exchanges};
use super::super::kept::sampling_rank;
use super::super::quantiles::Quantiles;
use super::sightings::Sightings;
use super::words::{connections, percent, time};
use super::{Evidence, Finding, Rule, Target, Words};
use crate::record::{LimitedBy, Outcome, Shape, TurnTime};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How long Linux delays an acknowledgement, with what the timer and the machine add: of the longest.
const DELAYED_ACK: std::ops::RangeInclusive<Duration> = ms(38)..=ms(65);

/// Pauses of 40 ms within requests and within answers.
#[derive(Debug, Default)]
pub(super) struct Nagle {
    requests: Sightings,
    answers: Sightings,
}

impl Evidence for Nagle {
    fn see(&mut self, connection: &Connection) {
        let Some(turns) = &connection.turns else { return };
        if turns.shape != Shape::Exchange || connection.lost().is_some_and(|lost| lost > 0) {
            return;
        }
        if is_delayed(turns, turns.request) {
            self.requests.add(connection);
        }
        if is_delayed(turns, turns.answer) {
            self.answers.add(connection);
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let sides =
            [(&self.requests, "request", "the client"), (&self.answers, "answer", &*of.name)];
        let told = sides.into_iter().filter(|(seen_in, ..)| seen_in.count() > 0);
        told.map(|(seen_in, what, side)| {
            let seen = format!(
                "most {what}s of {} paused for 40 ms between their parts, sent by {side}",
                connections(seen_in.count())
            );
            of.finding(Rule::DelayedAck, seen_in, Words {
                seen,
                usually: "Nagle's algorithm: a message is written in several small parts, and the last one waits for the acknowledgement of the first, which the other side delays by 40 ms",
                next: "set TCP_NODELAY in that program, or let it write each message at once (buffered writer, writev)",
            })
        })
        .collect()
    }
}

/// Whether at least half of the turns, and three, have this part as long as a delayed acknowledgement.
fn is_delayed(turns: &Exchanges, part: TurnTime) -> bool {
    let count = u32::try_from(turns.count).unwrap_or(u32::MAX);
    DELAYED_ACK.contains(&part.max)
        && part.total >= ms(38).saturating_mul((count / 2).max(3))
        && part.total <= ms(48).saturating_mul(count)
}

/// A path is long from here on.
const LONG_PATH: Duration = ms(5);

/// Turns from which on a connection is chatty.
const MANY_TURNS: u64 = 10;

/// Time spent on round trips of many turns.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    chatty: Sightings,
    turns: u64,
    round_trip: Quantiles,
    on_round_trips: Duration,
    active: Duration,
}

impl Evidence for RoundTrips {
    fn see(&mut self, connection: &Connection) {
        let (Some(turns), Some(verdict)) = (&connection.turns, &connection.verdict) else { return };
        let Some(round_trip) = connection.upstream.as_ref().and_then(|leg| leg.min_rtt()) else {
            return;
        };
        let count = u32::try_from(turns.count).unwrap_or(u32::MAX);
        let on_round_trips = round_trip.saturating_mul(count);
        let is_long = turns.shape == Shape::Exchange
            && turns.count >= MANY_TURNS
            && round_trip >= LONG_PATH
            && verdict.limited_by == LimitedBy::NetworkUpstream;
        // Other waits of the path, as for retransmissions, have other reasons.
        let is_most = on_round_trips.saturating_mul(2) >= verdict.active;
        if is_long && is_most && on_round_trips >= ms(200) {
            self.chatty.add(connection);
            self.turns += turns.count;
            self.round_trip.add(round_trip);
            self.on_round_trips = self.on_round_trips.saturating_add(on_round_trips);
            self.active = self.active.saturating_add(verdict.active);
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        if self.chatty.count() == 0 {
            return Vec::new();
        }
        let seen = format!(
            "{} turns with {} in {}, one after the other, over a round trip of {}: {} of the {} in which somebody waited",
            self.turns,
            of.name,
            connections(self.chatty.count()),
            self.round_trip.at(0.5).map(time).unwrap_or_default(),
            time(self.on_round_trips),
            time(self.active)
        );
        vec![of.finding(Rule::ChattyProtocol, &self.chatty, Words {
            seen,
            usually: "a protocol or program that asks for one thing at a time (a query for each row, a call for each object), made for a server nearby",
            next: "asking for many at once (batches, joins, pipelining), several connections at a time, or a place nearer to the server",
        })]
    }
}

/// Connections from which on churn is told.
const MANY_CONNECTIONS: u64 = 20;

/// Each client has at least so many of them, on average: one connection of each of many clients is no
/// churn.
const EACH_CLIENT: u64 = 5;

/// As many clients are told apart. Of more, nothing is told.
const MAX_CLIENTS: usize = 1000;

/// Connections with one request each.
#[derive(Debug, Default)]
pub(super) struct Churn {
    ended_well: u64,
    /// Their clients, as hashes of machine and program.
    clients: HashSet<u64>,
    single: Sightings,
    /// Opening these: look-up, connect, TLS.
    opening: Duration,
    opening_each: Quantiles,
    active: Duration,
}

impl Evidence for Churn {
    fn see(&mut self, connection: &Connection) {
        if connection.outcome != Some(Outcome::Ok) {
            return;
        }
        self.ended_well += 1;
        let (Some(turns), Some(verdict)) = (&connection.turns, &connection.verdict) else { return };
        if turns.count != 1 || turns.shape != Shape::Exchange {
            return;
        }
        let handshake = connection.tls.as_ref().and_then(|tls| tls.handshake);
        let parts = [connection.phases.resolve, connection.phases.connect, handshake];
        let opening: Duration = parts.into_iter().flatten().sum();
        if self.clients.len() <= MAX_CLIENTS {
            let machine = connection.client_host.as_deref().unwrap_or_default();
            let client = format!("{machine} {}", connection.program().unwrap_or_default());
            self.clients.insert(sampling_rank(&client));
        }
        self.single.add(connection);
        self.opening = self.opening.saturating_add(opening);
        self.opening_each.add(opening);
        self.active = self.active.saturating_add(verdict.active);
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let count = self.single.count();
        let Some(each) = self.opening_each.at(0.5) else { return Vec::new() };
        let is_most = count * 10 >= self.ended_well * 9;
        // Where opening costs little, a connection for each request is no harm.
        let is_costly = each >= ms(2) && self.opening.saturating_mul(3) >= self.active;
        let is_of_few =
            self.clients.len() <= MAX_CLIENTS && self.clients.len() as u64 * EACH_CLIENT <= count;
        if count < MANY_CONNECTIONS || !is_of_few || !is_most || !is_costly {
            return Vec::new();
        }
        let share = percent(
            u64::try_from(self.opening.as_micros()).unwrap_or(u64::MAX),
            u64::try_from(self.active.as_micros()).unwrap_or(u64::MAX),
        );
        let seen = format!(
            "{count} of {} to {} had a single request; opening them took {} each, {share} of the time in which somebody waited",
            connections(self.ended_well),
            of.name,
            time(each)
        );
        vec![of.finding(Rule::ConnectionChurn, &self.single, Words {
            seen,
            usually: "a client without keep-alive or a connection pool, or a server that closes after each answer (Connection: close)",
            next: "one session or pool for all requests of the client; keep-alive of the server and of proxies in between",
        })]
    }
}
