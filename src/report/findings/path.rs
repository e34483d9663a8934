//! Findings on the way of the data: windows, large packets, retransmissions.

use std::time::Duration;

use super::super::connection::{Connection, Socket, Warning};
use super::sightings::Sightings;
use super::words::{connections, percent, time};
use super::{Evidence, Finding, Rule, Target, Words};
use crate::record::{Leg as Side, WarningCode};

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

/// Data that never arrives while small packets do.
#[derive(Debug, Default)]
pub(super) struct LargePackets {
    to_client: Sightings,
    to_upstream: Sightings,
}

/// Expired retransmission timers from which on a path is taken to carry no large packets.
const MANY_TIMEOUTS: u64 = 3;

impl Evidence for LargePackets {
    fn see(&mut self, connection: &Connection) {
        for (side, leg) in legs(connection) {
            if leg.is_local() {
                continue;
            }
            let (delivery, seen) = match side {
                Side::Client => (&connection.delivery.to_client, &mut self.to_client),
                Side::Upstream => (&connection.delivery.to_upstream, &mut self.to_upstream),
            };
            let Some(info) = &leg.closed_info else { continue };
            let undelivered = delivery.as_ref().and_then(|delivery| delivery.undelivered);
            let timeouts = info.sys_info.total_rto.unwrap_or_default();
            let mss = info.tx_mss.map_or(u64::MAX, u64::from);
            // Small packets came through: something was received from there.
            let is_alive = leg.rx_bytes > 0;
            if timeouts >= MANY_TIMEOUTS
                && is_alive
                && undelivered.is_some_and(|bytes| bytes >= mss)
            {
                seen.add(connection);
            }
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let sides = [(Side::Client, &self.to_client), (Side::Upstream, &self.to_upstream)];
        let told = sides.into_iter().filter(|(_, seen)| seen.count() > 0);
        told.map(|(side, seen_in)| {
            let seen = format!(
                "full-sized packets to {} were never acknowledged in {}, small ones were",
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
