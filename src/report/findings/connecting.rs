//! Findings on what comes before the data: look-ups, SYNs, addresses, TLS handshakes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::connection::{Connection, Dial};
use super::super::quantiles::Quantiles;
use super::sightings::Sightings;
use super::words::{connections, percent, time};
use super::{Evidence, Finding, Rule, Target, Words};
use crate::record::{AttemptOutcome, ResolveSource};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// SYNs that were sent again.
#[derive(Debug, Default)]
pub(super) struct Syns {
    /// Connections to another machine whose SYN was answered in the end.
    lost: Sightings,
    syns: u64,
    /// How long connecting took in these.
    took: Quantiles,
    /// Connections none of whose addresses answered, on another machine.
    unanswered: Sightings,
    /// Connections to a listener on this machine, where nothing is lost.
    local: Sightings,
    /// Connections to another machine that needed one SYN.
    at_once: u64,
}

/// From as many connections on it is told: one can be chance.
const FEW: u64 = 2;

impl Evidence for Syns {
    fn see(&mut self, connection: &Connection) {
        let resent = |attempt: &Dial| attempt.syn_retransmits.unwrap_or_default();
        let is_answered = |attempt: &&Dial| {
            attempt.outcome == Some(AttemptOutcome::Ok)
                || attempt.error_code.as_deref() == Some("ECONNREFUSED")
        };
        let is_timed_out = |attempt: &Dial| {
            matches!(attempt.error_code.as_deref(), Some("CONNECT_TIMEOUT" | "ETIMEDOUT"))
        };
        match connection.attempts.iter().find(is_answered) {
            Some(attempt) if resent(attempt) > 0 && is_local(attempt, connection) => {
                self.local.add(connection);
            }
            Some(attempt) if resent(attempt) > 0 => {
                self.lost.add(connection);
                self.syns += resent(attempt);
                self.took.add(attempt.duration);
            }
            Some(attempt) => self.at_once += u64::from(!is_local(attempt, connection)),
            None => {
                let silent = |attempt: &Dial| resent(attempt) > 0 && is_timed_out(attempt);
                if !connection.attempts.is_empty() && connection.attempts.iter().all(silent) {
                    let is_local = connection.attempts.iter().all(|a| is_local(a, connection));
                    let kind = if is_local { &mut self.local } else { &mut self.unanswered };
                    kind.add(connection);
                }
            }
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let name = &of.name;
        let mut findings = Vec::new();
        if self.lost.count() >= FEW {
            let syns = crate::plural::counted(self.syns, "SYN");
            let took = self.took.at(0.5).map(time).unwrap_or_default();
            let all = self.lost.count() + self.at_once;
            let seen = format!(
                "{syns} to {name} sent again in {} ({} of those that were answered); connecting took {took} there at the median",
                connections(self.lost.count()),
                percent(self.lost.count(), all),
            );
            findings.push(of.finding(Rule::LostSyns, &self.lost, Words {
                seen,
                usually: "packets lost on the path, a firewall that limits new connections, or a full accept queue of the server; a lost SYN costs 1 s, the next one 2 s",
                next: "on the server: nstat -az TcpExtListenDrops TcpExtTCPReqQFullDrop; on the path: loss with mtr --tcp",
            }));
        }
        if self.unanswered.count() >= FEW && self.lost.count() + self.at_once == 0 {
            let seen = format!(
                "no SYN to {name} was answered in {}",
                connections(self.unanswered.count())
            );
            findings.push(of.finding(Rule::NoAnswer, &self.unanswered, Words {
                seen,
                usually: "a firewall or security group that drops packets, a wrong address or port, or a host that is down; a closed port would have refused",
                next: "whether the address is right, and the rules for this port between here and there (traceroute -T -p PORT HOST)",
            }));
        }
        if self.local.count() >= FEW {
            let seen = format!(
                "SYNs to {name}, on this machine, sent again in {}; nothing is lost on this way",
                connections(self.local.count())
            );
            findings.push(of.finding(Rule::AcceptQueue, &self.local, Words {
                seen,
                usually: "the listener's accept queue is full: its program accepts too slowly, or listens with a small backlog",
                next: "ss -ltn (Recv-Q against Send-Q of the listener), nstat -az TcpExtListenOverflows, net.core.somaxconn",
            }));
        }
        findings
    }
}

fn is_local(attempt: &Dial, connection: &Connection) -> bool {
    let own = connection.upstream.as_ref().and_then(|leg| leg.local_addr);
    attempt.addr.is_some_and(|addr| {
        let ip = addr.ip().to_canonical();
        ip.is_loopback() || own.is_some_and(|own| own.ip().to_canonical() == ip)
    })
}

/// As many addresses of a target are told apart.
const MAX_ADDRESSES: usize = 32;

/// From when on an attempt that another one overtook is one that did not answer: the delay of RFC 8305,
/// section 5.
const OVERTAKEN: Duration = ms(240);

/// How the attempts went, by address.
#[derive(Debug, Default)]
pub(super) struct Addresses(Vec<Address>);

#[derive(Debug)]
struct Address {
    addr: SocketAddr,
    good: u64,
    bad: Sightings,
    /// What went wrong last.
    code: Option<String>,
}

impl Evidence for Addresses {
    fn see(&mut self, connection: &Connection) {
        for attempt in &connection.attempts {
            let (Some(addr), Some(outcome)) = (attempt.addr, attempt.outcome) else { continue };
            let is_bad = match outcome {
                AttemptOutcome::Ok => false,
                AttemptOutcome::Error => true,
                AttemptOutcome::Cancelled if attempt.duration >= OVERTAKEN => true,
                AttemptOutcome::Cancelled => continue,
            };
            let known = match self.0.iter().position(|known| known.addr == addr) {
                Some(at) => self.0.get_mut(at),
                None if self.0.len() < MAX_ADDRESSES => {
                    let bad = Sightings::default();
                    self.0.push(Address { addr, good: 0, bad, code: None });
                    self.0.last_mut()
                }
                None => None,
            };
            let Some(known) = known else { continue };
            if is_bad {
                known.bad.add(connection);
                known.code = attempt.error_code.clone().or_else(|| known.code.take());
            } else {
                known.good += 1;
            }
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let is_bad = |address: &&Address| address.bad.count() >= 3 && address.good == 0;
        let good: u64 = self.0.iter().map(|address| address.good).sum();
        let bad: Vec<_> = self.0.iter().filter(is_bad).collect();
        // A family that no address of can be reached is this machine's, not an address's.
        let is_of_family = |ip: IpAddr| {
            move |address: &&Address| {
                address.addr.ip().to_canonical().is_ipv6() == ip.to_canonical().is_ipv6()
            }
        };
        let [address] = bad[..] else { return Vec::new() };
        if good < 3 {
            return Vec::new();
        }
        let alone = self.0.iter().filter(is_of_family(address.addr.ip())).count() == 1;
        let why = match &address.code {
            Some(code) => format!(" ({code})"),
            None => " (no answer in time)".to_owned(),
        };
        let seen = format!(
            "{} of {}: none of {} attempts connected{why}; its other addresses did, {good} times",
            address.addr.ip(),
            of.name,
            address.bad.count()
        );
        let (usually, next) = match alone {
            true => (
                "an IP version that does not work here or there, or a stale DNS record; each connection loses time on it",
                "ping this address; with IPv6 broken here: ip -6 route; conniver proxy -4 or -6 avoids it",
            ),
            false => (
                "a machine of several that is down, or a stale DNS record; each connection that begins with it loses time",
                "the DNS records of the name (dig NAME A, dig NAME AAAA), and the health of this machine",
            ),
        };
        vec![of.finding(Rule::BadAddress, &address.bad, Words { seen, usually, next })]
    }
}

/// Look-ups from here on are slow.
const SLOW_LOOKUP: Duration = ms(1000);

/// Look-ups of the target's name.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    made: u64,
    slow: Sightings,
    took: Quantiles,
    /// Of the slow ones: about 5, 10 or 15 s, after which resolvers ask again.
    asked_again: u64,
}

impl Evidence for Lookups {
    fn see(&mut self, connection: &Connection) {
        let is_asked = !matches!(
            connection.resolve_source,
            Some(ResolveSource::Cache | ResolveSource::Literal)
        );
        let Some(took) = connection.phases.resolve.filter(|_| is_asked) else { return };
        self.made += 1;
        if took >= SLOW_LOOKUP {
            self.slow.add(connection);
            self.took.add(took);
            let seconds = took.as_secs_f64();
            let retries = (seconds / 5.0).floor();
            self.asked_again += u64::from(retries >= 1.0 && seconds - retries * 5.0 < 0.5);
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        let count = self.slow.count();
        if count == 0 || (count < FEW && self.made > 5) {
            return Vec::new();
        }
        let host = of.name.rsplit_once(':').map_or(&*of.name, |(host, _)| host);
        let is_lost_query = self.asked_again * 2 > count;
        let took = self.took.at(0.5).map(time).unwrap_or_default();
        let seen = match count {
            1 => format!("a look-up of {host} took {took} (1 of {})", self.made),
            _ => format!(
                "{count} look-ups of {host} took {took} at the median, of {} made",
                self.made
            ),
        };
        let (usually, next) = match is_lost_query {
            true => (
                "a lost DNS query: resolvers ask again after 5 s; or the first of several name servers does not answer",
                "each nameserver in /etc/resolv.conf with dig @SERVER NAME; options timeout:1 and single-request in resolv.conf",
            ),
            false => (
                "a slow or overloaded resolver, or a name server of the domain that does not answer",
                "dig NAME and dig @SERVER NAME several times; resolvectl statistics",
            ),
        };
        vec![of.finding(Rule::SlowLookup, &self.slow, Words { seen, usually, next })]
    }
}

/// TLS handshakes.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    made: u64,
    slow: Sightings,
    took: Quantiles,
    round_trip: Quantiles,
}

/// A handshake below this is not slow, whatever the path.
const SLOW_HANDSHAKE: Duration = ms(300);

/// A TLS handshake takes at most three round trips; the client's side of the proxy comes on top.
const ROUND_TRIPS: u32 = 4;

impl Evidence for Handshakes {
    fn see(&mut self, connection: &Connection) {
        let Some(took) = connection.tls.as_ref().and_then(|tls| tls.handshake) else { return };
        // Without the round trip there is nothing to compare with.
        let upstream = connection.upstream.as_ref().and_then(|leg| leg.min_rtt());
        let client = connection.client.min_rtt().unwrap_or_default();
        let Some(round_trip) = upstream.map(|upstream| upstream + client) else { return };
        let has_losses = connection.lost().is_none_or(|lost| lost > 0);
        if has_losses {
            return;
        }
        self.made += 1;
        if took >= SLOW_HANDSHAKE && took >= round_trip * ROUND_TRIPS {
            self.slow.add(connection);
            self.took.add(took);
            self.round_trip.add(round_trip);
        }
    }

    fn conclude(&self, of: &Target) -> Vec<Finding> {
        if self.slow.count() < FEW || self.slow.count() * 10 < self.made {
            return Vec::new();
        }
        let text = |quantiles: &Quantiles| quantiles.at(0.5).map(time).unwrap_or_default();
        let seen = format!(
            "{} of {} TLS handshakes with {} took {} at the median, over round trips of {}",
            self.slow.count(),
            self.made,
            of.name,
            text(&self.took),
            text(&self.round_trip)
        );
        vec![of.finding(Rule::SlowTls, &self.slow, Words {
            seen,
            usually: "a server that is short of CPU or asks another one for its key, a client that checks revocation (OCSP, CRL) or waits for a user's certificate, or a long chain of certificates",
            next: "who kept whom waiting: the timeline of report --id; openssl s_client -connect HOST:PORT; TLS session resumption and keep-alive make handshakes rare",
        })]
    }
}
