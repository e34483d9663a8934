//! Caches answers of the resolver for a short time, and merges look-ups in progress.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Family;
use super::hosts::Hosts;
use super::pool::{self, Client, Kind, LookupEnd, Overloaded, Pool, Ticket};
use super::resolve;
use crate::fault::Fault;

/// How long an answer is cached. The system's resolver does not report the TTL; this is long enough
/// for a burst and short enough to follow a name that moves.
const TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Maximum number of cached names.
const CAPACITY: usize = 1024;

/// Maximum number of cached addresses, of all names together.
const MOST_ADDRESSES: usize = 32 * 1024;

/// How long it is remembered that a name was answered.
const ANSWERED_LATELY: Duration = Duration::from_secs(600);

/// Maximum number of names remembered as answered.
const MOST_ANSWERED: usize = 4096;

/// Addresses in the order in which they are tried, at least one, with port 0.
pub(super) type Addresses = Arc<[SocketAddr]>;

type LookupResult = Result<Addresses, Fault>;

/// Looks up the addresses of a name; blocks.
type LookUp = dyn Fn(&str, Family) -> Result<Vec<SocketAddr>, Fault> + Send + Sync;

/// The system's resolver with a cache of successful answers. Each name has at most one look-up in
/// progress; concurrent requests share its answer.
pub(super) struct Resolver {
    family: Family,
    look_up: Arc<LookUp>,
    hosts: Mutex<Hosts>,
    names: Arc<Mutex<Names>>,
    pool: Pool<Task>,
}

#[derive(Default)]
struct Names {
    names: HashMap<String, Name>,
    /// Cached addresses of all names.
    addresses: usize,
    /// When names were last answered, by hash.
    answered: HashMap<u64, Instant>,
    hasher: RandomState,
}

enum Name {
    Pending(PendingLookup),
    Cached { addresses: Addresses, until: Instant },
}

/// A look-up in progress.
struct PendingLookup {
    /// Receives the answer.
    answer: watch::Receiver<Option<LookupResult>>,
    ticket: Weak<Ticket<Task>>,
}

/// A look-up that runs on a thread of the pool. When nobody waits for it any more, it is dropped if
/// it has not started; otherwise its answer is cached.
struct Task {
    host: String,
    family: Family,
    look_up: Arc<LookUp>,
    names: Arc<Mutex<Names>>,
    sender: watch::Sender<Option<LookupResult>>,
}

impl Resolver {
    pub(super) fn new(family: Family) -> Self {
        Self::with(family, Hosts::system(), Arc::new(resolve::look_up))
    }

    fn with(family: Family, hosts: Hosts, look_up: Arc<LookUp>) -> Self {
        let (hosts, names, pool) = (Mutex::new(hosts), Arc::default(), Pool::new());
        Self { family, look_up, hosts, names, pool }
    }

    /// Returns the cached addresses of `host`, or joins or starts a look-up. A name with a final
    /// dot is different from the same name without one.
    pub(super) fn find(&self, host: &str, client: Client) -> Resolution {
        // RFC 6761 section 6.3. A hosts file has it without a dot.
        let host = if host == "localhost." { "localhost" } else { host };
        if let Some(addresses) = lock(&self.names).cached(host, Instant::now()) {
            return Resolution::Cached(addresses);
        }
        let is_local = lock(&self.hosts).has(host);
        if host == "localhost" && !is_local {
            return Resolution::Loopback(loopback(self.family));
        }

        let mut names = lock(&self.names);
        // The answer may have arrived meanwhile.
        if let Some(addresses) = names.cached(host, Instant::now()) {
            return Resolution::Cached(addresses);
        }
        let (answer, ticket, is_new) = match names.pending(host) {
            Some(PendingLookup { answer, ticket }) => (answer.clone(), ticket.upgrade(), false),
            None => {
                let kind = match is_local {
                    true => Kind::Local,
                    false if names.was_answered_lately(host, Instant::now()) => Kind::Answered,
                    false => Kind::New,
                };
                let (sender, answer) = watch::channel(None);
                let task = Task {
                    host: host.to_owned(),
                    family: self.family,
                    look_up: Arc::clone(&self.look_up),
                    names: Arc::clone(&self.names),
                    sender,
                };
                let ticket = Ticket::new(task, host, kind);
                let pending =
                    PendingLookup { answer: answer.clone(), ticket: Arc::downgrade(&ticket) };
                names.insert(host.to_owned(), Name::Pending(pending));
                (answer, Some(ticket), true)
            }
        };
        drop(names);
        // A waiting look-up is added to this client's queue as well: the other client's queue may
        // be long.
        let submitted = match &ticket {
            Some(ticket) if is_new || !ticket.has_started() => self.pool.submit(client, ticket),
            _ => Ok(()),
        };
        match submitted {
            Ok(()) => Resolution::Pending(LookupWait(answer)),
            Err(Overloaded) => Resolution::Overloaded,
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("family", &self.family).finish_non_exhaustive()
    }
}

fn loopback(family: Family) -> Addresses {
    let both = [Ipv6Addr::LOCALHOST.into(), IpAddr::from(Ipv4Addr::LOCALHOST)];
    both.into_iter()
        .map(|ip| SocketAddr::new(ip, 0))
        .filter(|&address| family.has(address))
        .collect()
}

/// The result of [`Resolver::find`].
#[derive(Debug)]
pub(super) enum Resolution {
    Cached(Addresses),
    /// The name is `localhost`, and the hosts file does not have it.
    Loopback(Addresses),
    Pending(LookupWait),
    /// Too many look-ups of this client wait.
    Overloaded,
}

/// A look-up under way.
#[derive(Debug)]
pub(super) struct LookupWait(watch::Receiver<Option<LookupResult>>);

impl LookupWait {
    pub(super) async fn answer(mut self) -> LookupResult {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            Ok(None) | Err(_) => Err(resolve::shutting_down()),
        }
    }
}

impl pool::Task for Task {
    fn is_wanted(&self) -> bool {
        // One receiver belongs to the cache itself.
        self.sender.receiver_count() > 1
    }

    fn run(&self) -> LookupEnd {
        if !lock(&self.names).forget_unwanted(self) {
            return LookupEnd::Skipped;
        }
        let answer = (self.look_up)(&self.host, self.family).map(Addresses::from);
        let end = match &answer {
            Ok(_) => LookupEnd::Answered,
            Err(fault)
                if matches!(&*fault.code, "EAI_NONAME" | "EAI_NODATA" | resolve::OTHER_FAMILY) =>
            {
                LookupEnd::Answered
            }
            Err(_) => LookupEnd::Unanswered,
        };
        lock(&self.names).answered(&self.host, answer.as_ref().ok(), end, Instant::now());
        self.sender.send_replace(Some(answer));
        end
    }
}

impl Drop for Task {
    /// A look-up that was dropped before it started leaves no entry.
    fn drop(&mut self) {
        let mut names = lock(&self.names);
        if names.is_pending_for(self) {
            names.remove(&self.host);
        }
    }
}

impl Names {
    /// Whether anybody waits for the answer; otherwise the name is removed.
    fn forget_unwanted(&mut self, task: &Task) -> bool {
        let is_wanted = pool::Task::is_wanted(task);
        if !is_wanted && self.is_pending_for(task) {
            self.remove(&task.host);
        }
        is_wanted
    }

    fn is_pending_for(&self, task: &Task) -> bool {
        match self.names.get(&task.host) {
            Some(Name::Pending(pending)) => pending.answer.same_channel(&task.sender.subscribe()),
            _ => false,
        }
    }

    /// The look-up of this name in progress.
    fn pending(&self, host: &str) -> Option<&PendingLookup> {
        match self.names.get(host) {
            // Without a sender, its thread has failed.
            Some(Name::Pending(pending)) if pending.answer.has_changed().is_ok() => Some(pending),
            _ => None,
        }
    }

    fn cached(&self, host: &str, now: Instant) -> Option<Addresses> {
        match self.names.get(host) {
            Some(Name::Cached { addresses, until }) if now < *until => Some(Arc::clone(addresses)),
            _ => None,
        }
    }

    fn was_answered_lately(&self, host: &str, now: Instant) -> bool {
        let answered = self.answered.get(&self.hasher.hash_one(host));
        answered.is_some_and(|at| now.saturating_duration_since(*at) < ANSWERED_LATELY)
    }

    fn answered(
        &mut self,
        host: &str,
        addresses: Option<&Addresses>,
        end: LookupEnd,
        now: Instant,
    ) {
        self.remove(host);
        let hash = self.hasher.hash_one(host);
        match (end, addresses) {
            (LookupEnd::Answered, Some(_)) => {
                if self.answered.len() >= MOST_ANSWERED {
                    let mut times: Vec<_> = self.answered.values().copied().collect();
                    let (_, &mut middle, _) = times.select_nth_unstable(MOST_ANSWERED / 2);
                    self.answered.retain(|_, at| *at > middle);
                }
                self.answered.insert(hash, now);
            }
            _ => _ = self.answered.remove(&hash),
        }
        let Some(addresses) = addresses else { return };
        let most = MOST_ADDRESSES.saturating_sub(addresses.len());
        while self.names.len() >= CAPACITY || self.addresses > most {
            if !self.make_room(now) {
                break;
            }
        }
        let (addresses, until) = (Arc::clone(addresses), now + TIME_TO_LIVE);
        self.insert(host.to_owned(), Name::Cached { addresses, until });
    }

    /// Removes expired entries, or the oldest one. Returns whether any was removed.
    fn make_room(&mut self, now: Instant) -> bool {
        let until = |name: &Name| match name {
            Name::Cached { until, .. } => Some(*until),
            Name::Pending(_) => None,
        };
        let oldest = self.names.values().filter_map(until).min();
        let limit = now.max(oldest.unwrap_or(now));
        let before = self.names.len();
        self.names.retain(|_, name| until(name).is_none_or(|until| until > limit));
        self.addresses = self.names.values().map(Name::addresses).sum();
        self.names.len() < before
    }

    fn insert(&mut self, host: String, name: Name) {
        self.addresses += name.addresses();
        if let Some(replaced) = self.names.insert(host, name) {
            self.addresses -= replaced.addresses();
        }
    }

    fn remove(&mut self, host: &str) {
        if let Some(removed) = self.names.remove(host) {
            self.addresses -= removed.addresses();
        }
    }
}

impl Name {
    fn addresses(&self) -> usize {
        match self {
            Self::Pending(_) => 0,
            Self::Cached { addresses, .. } => addresses.len(),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
