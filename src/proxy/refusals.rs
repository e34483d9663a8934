//! Connections refused on arrival: one record each while they are few, one line per second for all
//! others.
//!
//! Anyone who can reach a listener can cause any number of them. With a record of each, a refused
//! client could fill the disk until permitted clients have to wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::settings::Settings;
use crate::log_throttle::LogThrottle;
use crate::record::{self, Refused, RefusedClients, RefusedReason};

/// Refused connections that get a record each at first: enough to see who it was, and to find a
/// rule that refuses wanted programs.
const BURST: u32 = 100;

/// After that, one more record in this interval. With one `refused` line per second, a client that
/// keeps connecting costs some 2 kB a second, 170 MB a day, however fast it is.
const INTERVAL: Duration = Duration::from_secs(1);

/// Interval of `refused` lines.
pub(super) const GATHER: Duration = Duration::from_secs(1);

/// Networks that are counted for one line, and networks that the line names.
const COUNTED: usize = 64;
const NAMED: usize = 5;

/// Counts refused connections.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    state: Mutex<State>,
    /// Notified when there is a line to write.
    begun: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When all records of the burst are available again.
    full_at: Option<Instant>,
    gathered: Option<RefusedCounts>,
    flood: LogThrottle,
}

/// The content of the next line.
#[derive(Debug)]
struct RefusedCounts {
    first: Timestamp,
    last: Timestamp,
    count: u64,
    reasons: Vec<(String, u64)>,
    clients: HashMap<IpNet, u64>,
}

impl Refusals {
    /// Whether a connection refused now gets a record of its own. Otherwise it is counted.
    pub(super) fn has_record(&self, client: Option<IpAddr>, code: &str) -> bool {
        let mut state = self.lock();
        if state.takes_record(Instant::now()) {
            return true;
        }
        let begins = state.gathered.is_none();
        let is_flood = state.flood.should_log();
        state.add(client, code);
        drop(state);
        if begins {
            self.begun.notify_one();
        }
        if is_flood {
            tracing::warn!(
                "too many refused connections ({code}) to record each; \"refused\" lines count \
                 the others once a second"
            );
        }
        false
    }

    /// Ready once there is a line to write.
    pub(super) async fn begun(&self) {
        self.begun.notified().await;
    }

    /// Takes the line of refusals since the last one, if there are any.
    pub(super) fn take(&self, settings: &Settings) -> Option<Refused> {
        let gathered = self.lock().gathered.take()?;
        Some(gathered.line(settings))
    }

    /// The counts are right after every statement, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes one record from the rate limit, if one is available.
    fn takes_record(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let has_one = full_at.duration_since(now) <= INTERVAL * (BURST - 1);
        if has_one {
            self.full_at = Some(full_at + INTERVAL);
        }
        has_one
    }

    fn add(&mut self, client: Option<IpAddr>, code: &str) {
        let now = Timestamp::now();
        let gathered = self.gathered.get_or_insert_with(|| RefusedCounts {
            first: now,
            last: now,
            count: 0,
            reasons: Vec::new(),
            clients: HashMap::new(),
        });
        gathered.last = now;
        gathered.count += 1;
        match gathered.reasons.iter_mut().find(|(known, _)| known == code) {
            Some((_, count)) => *count += 1,
            None => gathered.reasons.push((code.to_owned(), 1)),
        }
        let Some(network) = client.map(network) else { return };
        if gathered.clients.len() < COUNTED || gathered.clients.contains_key(&network) {
            *gathered.clients.entry(network).or_default() += 1;
        }
    }
}

impl RefusedCounts {
    fn line(self, settings: &Settings) -> Refused {
        let mut reasons = self.reasons;
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut clients: Vec<(IpNet, u64)> = self.clients.into_iter().collect();
        clients.sort_by_key(|&(network, count)| (std::cmp::Reverse(count), network));
        clients.truncate(NAMED);
        let reason = |(error_code, count)| RefusedReason { error_code, count };
        let client =
            |(network, count): (IpNet, _)| RefusedClients { network: network.to_string(), count };
        Refused {
            schema: record::SCHEMA,
            time: Timestamp::now(),
            host: settings.host.clone(),
            labels: settings.labels.clone(),
            run_id: settings.run_id,
            count: self.count,
            first_at: unix_nanos(self.first),
            last_at: unix_nanos(self.last),
            reasons: reasons.into_iter().map(reason).collect(),
            clients: clients.into_iter().map(client).collect(),
            line: 0,
        }
    }
}

/// Unix time in ns; valid until the year 2262.
fn unix_nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// What counts as one client: an IPv4 address, or the IPv6 network of a host.
fn network(client: IpAddr) -> IpNet {
    match client.to_canonical() {
        IpAddr::V4(ip) => IpNet::V4(Ipv4Net::from(ip)),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            let ip = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0);
            IpNet::V6(Ipv6Net::new_assert(ip, 64))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_has_records_and_then_one_a_second() {
        let mut state = State::default();
        let began = Instant::now();
        let records =
            |state: &mut State, at, of| (0..of).filter(|_| state.takes_record(at)).count();
        assert_eq!(records(&mut state, began, 1000), 100);
        assert_eq!(records(&mut state, began + INTERVAL / 2, 1000), 0);
        assert_eq!(records(&mut state, began + INTERVAL, 1000), 1);
        assert_eq!(records(&mut state, began + 11 * INTERVAL, 1000), 10);
        assert_eq!(records(&mut state, began + 10_000 * INTERVAL, 1000), 100);
    }

    #[test]
    fn those_without_a_record_are_counted_by_reason_and_network() {
        let refusals = Refusals::default();
        refusals.lock().full_at = Some(Instant::now() + 1000 * INTERVAL);
        let refuse = |client: &str, code: &'static str, count| {
            for _ in 0..count {
                assert!(!refusals.has_record(client.parse().ok(), code));
            }
        };
        refuse("::ffff:192.0.2.1", "CLIENT_LIMIT", 2);
        refuse("192.0.2.1", "CLIENT_DENIED", 5);
        refuse("2001:db8::1:2:3:4", "CLIENT_DENIED", 3);
        refuse("2001:db8::5:6:7:8", "CLIENT_DENIED", 8);
        for last in 0..100 {
            refuse(&format!("198.51.100.{last}"), "CLIENT_DENIED", 1);
        }
        let settings = Settings::default();
        let line = refusals.take(&settings).unwrap();
        assert_eq!(line.count, 118);
        assert!(line.first_at <= line.last_at);
        let reasons = line.reasons.iter().map(|reason| (&*reason.error_code, reason.count));
        assert_eq!(reasons.collect::<Vec<_>>(), [("CLIENT_DENIED", 116), ("CLIENT_LIMIT", 2)]);
        let clients = line.clients.iter().map(|client| (&*client.network, client.count));
        let clients: Vec<_> = clients.collect();
        assert_eq!(clients[..2], [("2001:db8::/64", 11), ("192.0.2.1/32", 7)]);
        assert_eq!(clients.len(), NAMED);
        assert!(refusals.take(&settings).is_none());
    }
}
