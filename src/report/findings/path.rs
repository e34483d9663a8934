//! Findings on the way of the data: windows, large packets, retransmissions.

use std::time::Duration;

use super::super::connection::{Connection, Warning};
use super::super::socket::Socket;
use super::sightings::Sightings;
use super::words::{connections, percent, time};
use super::{Evidence, Finding, Rule, Target, Words};
use crate::record::{By, Leg as Side, WarningCode};

/// The two sockets of a connection that reached its upstream, with their sides.
fn legs(connection: &Connection) -> impl Iterator<Item = (Side, &Socket)> {
    let upstream = connection.upstream.as_ref().map(|leg| (Side::Upstream, leg));
    [(Side::Client, &connection.client)].into_iter().chain(upstream)
}

fn warning(connection: &Connection, code: WarningCode, side: Side) -> Option<&Warning> {
    let is_it = |warning: &&Warning| warning.code == code && warning.leg == Some(side);
    connection.warnings.iter().find(is_it)
}

/// The side in a sentence.
fn name(side: Side, of: &Target) -> &str {
    match side {
        Side::Client => "the client",
        Side::Upstream => &of.name,
    }
}

/// Windows that were too small for the path.
#[derive(Debug, Default)]
pub(super) struct Windows {
    client: Limited,
    upstream: Limited,
}

#[derive(Debug, Default)]
struct Limited {
    seen: Sightings,
    limited: Duration,
    lasted: Duration,
    without_scaling: u64,
}

impl Evidence for Windows {
    fn see(&mut self, connection: &Connection) {
        for (side, leg) in legs(connection) {
            let Some(warning) = warning(connection, WarningCode::WindowLimited, side) else {
                continue;
            };
            // Without a path the window tells of the program alone.
            if leg.is_local() {
                continue;
            }
            let limited = match side {
                Side::Client => &mut self.client,
                Side::Upstream => &mut self.upstream,
            };
            limited.seen.add(connection);
            limited.limited = limited.limited.saturating_add(Duration::from_nanos(warning.value));
            limited.lasted = limited.lasted.saturating_add(connection.duration);
            let unscaled = self::warning(connection, WarningCode::NoWindowScaling, side);
            limited.without_scaling += u64::from(unscaled.is_some());
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let sides = [(Side::Client, &self.client), (Side::Upstream, &self.upstream)];
        let told = sides.into_iter().filter(|(_, limited)| limited.seen.count() > 0);
        told.map(|(side, limited)| {
            let name = name(side, of);
            let seen = format!(
                "the receive window of {name} was smaller than the path needs in {}, for {} of {}",
                connections(limited.seen.count()),
                time(limited.limited),
                time(limited.lasted)
            );
            let (usually, next) = match limited.without_scaling > 0 {
                true => (
                    "no window scaling (RFC 7323), which keeps the window below 64 KiB: a middlebox removes the option, or that side is very old",
                    "tcpdump of the SYNs on both sides of firewalls and load balancers; net.ipv4.tcp_window_scaling",
                ),
                false => (
                    "a receive buffer that is set by the program (SO_RCVBUF) or bounded by the system, or a program that reads just slower than the path brings",
                    "SO_RCVBUF in that program (unset, the system tunes it), the last figure of net.ipv4.tcp_rmem there",
                ),
            };
            of.finding(Rule::SmallWindow, &limited.seen, Words { seen, usually, next })
        })
        .collect()
    }
}

/// Full-sized packets that vanish while small ones pass.
#[derive(Debug, Default)]
pub(super) struct LargePackets {
    to_client: Sightings,
    to_upstream: Sightings,
    from_client: Sightings,
    from_upstream: Sightings,
}

/// Expired retransmission timers from which on data that is sent is taken to vanish.
const TIMEOUTS: u64 = 2;

/// A path on which more full-sized packets than these were acknowledged carries them.
const PASSED: u64 = 4;

/// How long data must be missing: time for two retransmissions or more.
const MISSING: Duration = Duration::from_secs(1);

impl Evidence for LargePackets {
    fn see(&mut self, connection: &Connection) {
        for (side, leg) in legs(connection) {
            if leg.is_local() {
                continue;
            }
            let (to, from) = match side {
                Side::Client => (&mut self.to_client, &mut self.from_client),
                Side::Upstream => (&mut self.to_upstream, &mut self.from_upstream),
            };
            if vanishes_on_the_way_there(connection, side, leg) {
                to.add(connection);
            }
            if vanishes_on_the_way_here(connection, leg) {
                from.add(connection);
            }
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let ways = [
            (Side::Client, &self.to_client, "to"),
            (Side::Upstream, &self.to_upstream, "to"),
            (Side::Client, &self.from_client, "from"),
            (Side::Upstream, &self.from_upstream, "from"),
        ];
        // One among many may have another reason.
        let is_told = |seen: &Sightings| seen.count() > 1 || seen.count() == of.connections;
        let told = ways.into_iter().filter(|(_, seen, _)| seen.count() > 0 && is_told(seen));
        told.map(|(side, seen_in, way)| {
            let seen = format!(
                "full-sized packets {way} {} never arrived in {}, small ones did",
                name(side, of),
                connections(seen_in.count())
            );
            of.finding(Rule::MtuBlackHole, seen_in, Words {
                seen,
                usually: "a tunnel or VPN with a smaller MTU on the path, and a firewall that drops the ICMP messages that say so",
                next: "ping -M do -s 1472 HOST and smaller sizes; net.ipv4.tcp_mtu_probing=1, or MSS clamping on the tunnel",
            })
        })
        .collect()
    }
}

/// Nothing larger than a few small packets was ever acknowledged, although it was sent again, and the
/// peer was alive: it ended the connection itself.
fn vanishes_on_the_way_there(connection: &Connection, side: Side, leg: &Socket) -> bool {
    let delivery = match side {
        Side::Client => &connection.delivery.to_client,
        _ => &connection.delivery.to_upstream,
    };
    let undelivered = delivery.as_ref().and_then(|delivery| delivery.undelivered);
    let (Some(undelivered), Some(info)) = (undelivered, &leg.closed_info) else { return false };
    let (Some(timeouts), Some(mss)) = (info.sys_info.total_rto, info.tx_mss) else { return false };
    let mss = u64::from(mss);
    let by = if side == Side::Client { By::Client } else { By::Upstream };
    let is_alive = connection
        .ending
        .as_ref()
        .is_some_and(|end| end.first_by == by || end.second_by == Some(by));
    let acknowledged = leg.tx_bytes.saturating_sub(undelivered);
    timeouts >= TIMEOUTS && undelivered >= mss && acknowledged <= PASSED * mss && is_alive
}

/// All data that came was out of order, behind a hole that was not filled in a second.
fn vanishes_on_the_way_here(connection: &Connection, leg: &Socket) -> bool {
    let Some(info) = &leg.closed_info else { return false };
    let (out_of_order, came) = (info.sys_info.rx_out_of_order, info.sys_info.data_segs_in);
    leg.rx_bytes == 0
        && out_of_order.is_some_and(|count| count > 0)
        && out_of_order == came
        && connection.duration >= MISSING
}

/// Large shares of segments that were sent again.
#[derive(Debug, Default)]
pub(super) struct Retransmissions {
    client: Storm,
    upstream: Storm,
}

#[derive(Debug, Default)]
struct Storm {
    seen: Sightings,
    resent: u64,
    sent: u64,
}

/// Segments sent again from which on a connection counts.
const MANY_RESENT: u64 = 20;

impl Evidence for Retransmissions {
    fn see(&mut self, connection: &Connection) {
        for (side, leg) in legs(connection) {
            // On this machine they come from slow readers.
            if leg.is_local() {
                continue;
            }
            let syns = match side {
                Side::Client => 0,
                Side::Upstream => connection.syn_retransmits().unwrap_or_default(),
            };
            let sent = leg.closed_info.as_ref().and_then(|info| info.sys_info.data_segs_out);
            let (Some(resent), Some(sent)) = (leg.retransmits(syns), sent) else { continue };
            if resent >= MANY_RESENT && resent * 20 >= sent {
                let storm = match side {
                    Side::Client => &mut self.client,
                    Side::Upstream => &mut self.upstream,
                };
                storm.seen.add(connection);
                storm.resent += resent;
                storm.sent += sent;
            }
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let sides = [(Side::Client, &self.client), (Side::Upstream, &self.upstream)];
        let told = sides.into_iter().filter(|(_, storm)| storm.seen.count() > 0);
        told.map(|(side, storm)| {
            let seen = format!(
                "{} of {} data segments to {} were sent again ({}), in {}",
                storm.resent,
                storm.sent,
                name(side, of),
                percent(storm.resent, storm.sent),
                connections(storm.seen.count())
            );
            of.finding(Rule::RetransmissionStorm, &storm.seen, Words {
                seen,
                usually: "a congested or faulty link (Wi-Fi, mobile, a full queue), a duplex mismatch, or a policer that drops what exceeds its rate",
                next: "loss along the path with mtr --tcp; ip -s link and ethtool -S on both ends; whether it follows the time of day",
            })
        })
        .collect()
    }
}
