//! What the resolver said a moment ago, and what it is being asked right now.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Family;
use super::hosts::Hosts;
use super::pool::{self, Client, Kind, Overloaded, Pool, Ran, Ticket};
use super::resolve;
use crate::fault::Fault;

/// How long an answer serves. The system's resolver does not tell a name's own time to live; this
/// is long enough for a burst and too short to notice that a name has moved.
const TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Names that are remembered at once.
const CAPACITY: usize = 1024;

/// Addresses that are remembered at once, those of all names together.
const MOST_ADDRESSES: usize = 32 * 1024;

/// How long it is remembered that a name was answered at all.
const ANSWERED_LATELY: Duration = Duration::from_secs(600);

/// Names of which that is remembered.
const MOST_ANSWERED: usize = 4096;

/// Addresses in the order in which they are tried, at least one, with port 0.
pub(super) type Addresses = Arc<[SocketAddr]>;

type Answer = Result<Addresses, Fault>;

/// Asks for the addresses of a name; blocks.
type LookUp = dyn Fn(&str, Family) -> Result<Vec<SocketAddr>, Fault> + Send + Sync;

/// The system's resolver behind a memory for successes. A name is asked for once at a time: who
/// wants it meanwhile gets the same answer.
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
    /// Of all names together.
    addresses: usize,
    /// When names, by their hashes, were answered last.
    answered: HashMap<u64, Instant>,
    hasher: RandomState,
}

enum Name {
    Asked(Asked),
    Known { addresses: Addresses, until: Instant },
}

/// A look-up under way.
struct Asked {
    /// The answer will come here.
    answer: watch::Receiver<Option<Answer>>,
    ticket: Weak<Ticket<Task>>,
}

/// A look-up that runs on a thread of the pool. When nobody waits any more, one that has no thread
/// yet is dropped, and the answer to one that has serves later pairs.
struct Task {
    host: String,
    family: Family,
    look_up: Arc<LookUp>,
    names: Arc<Mutex<Names>>,
    sender: watch::Sender<Option<Answer>>,
}

impl Resolver {
    pub(super) fn new(family: Family) -> Self {
        Self::with(family, Hosts::of_system(), Arc::new(resolve::look_up))
    }

    fn with(family: Family, hosts: Hosts, look_up: Arc<LookUp>) -> Self {
        let (hosts, names, pool) = (Mutex::new(hosts), Arc::default(), Pool::new());
        Self { family, look_up, hosts, names, pool }
    }

    /// What is known of `host`, or else the answer to come: to a question already under way, or to
    /// a new one. A final dot in `host` makes it another name than without.
    pub(super) fn find(&self, host: &str, client: Client) -> Found {
        // RFC 6761 section 6.3. A hosts file has it without a dot.
        let host = if host == "localhost." { "localhost" } else { host };
        if let Some(addresses) = lock(&self.names).known(host, Instant::now()) {
            return Found::Known(addresses);
        }
        let is_local = lock(&self.hosts).has(host);
        if host == "localhost" && !is_local {
            return Found::Loopback(loopback(self.family));
        }

        let mut names = lock(&self.names);
        // The answer may have come meanwhile.
        if let Some(addresses) = names.known(host, Instant::now()) {
            return Found::Known(addresses);
        }
        let (answer, ticket, is_new) = match names.asked(host) {
            Some(Asked { answer, ticket }) => (answer.clone(), ticket.upgrade(), false),
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
                let asked = Asked { answer: answer.clone(), ticket: Arc::downgrade(&ticket) };
                names.insert(host.to_owned(), Name::Asked(asked));
                (answer, Some(ticket), true)
            }
        };
        drop(names);
        // A look-up that waits is put into this client's queue as well: the other one's may be long.
        let submitted = match &ticket {
            Some(ticket) if is_new || !ticket.has_started() => self.pool.submit(client, ticket),
            _ => Ok(()),
        };
        match submitted {
            Ok(()) => Found::Asked(Question(answer)),
            Err(Overloaded) => Found::Overloaded,
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

/// What [`Resolver::find`] has.
#[derive(Debug)]
pub(super) enum Found {
    Known(Addresses),
    /// The name is `localhost`, and the hosts file does not tell its addresses.
    Loopback(Addresses),
    Asked(Question),
    /// Too many look-ups of this client wait.
    Overloaded,
}

/// A look-up under way.
#[derive(Debug)]
pub(super) struct Question(watch::Receiver<Option<Answer>>);

impl Question {
    pub(super) async fn answer(mut self) -> Answer {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            Ok(None) | Err(_) => Err(resolve::cut_off()),
        }
    }
}

impl pool::Task for Task {
    fn is_wanted(&self) -> bool {
        // The first receiver is the one that the names keep.
        self.sender.receiver_count() > 1
    }

    fn run(&self) -> Ran {
        if !lock(&self.names).forget_unwanted(self) {
            return Ran::Skipped;
        }
        let answer = (self.look_up)(&self.host, self.family).map(Addresses::from);
        let ran = match &answer {
            Ok(_) => Ran::Answered,
            Err(fault)
                if matches!(&*fault.code, "EAI_NONAME" | "EAI_NODATA" | resolve::OTHER_FAMILY) =>
            {
                Ran::Answered
            }
            Err(_) => Ran::Unanswered,
        };
        lock(&self.names).answered(&self.host, answer.as_ref().ok(), ran, Instant::now());
        self.sender.send_replace(Some(answer));
        ran
    }
}

impl Drop for Task {
    /// One that was dropped in a queue leaves nothing.
    fn drop(&mut self) {
        let mut names = lock(&self.names);
        if names.is_asked_by(self) {
            names.remove(&self.host);
        }
    }
}

impl Names {
    /// Whether anybody waits for an answer; if nobody does, the name is forgotten.
    fn forget_unwanted(&mut self, task: &Task) -> bool {
        let is_wanted = pool::Task::is_wanted(task);
        if !is_wanted && self.is_asked_by(task) {
            self.remove(&task.host);
        }
        is_wanted
    }

    fn is_asked_by(&self, task: &Task) -> bool {
        match self.names.get(&task.host) {
            Some(Name::Asked(asked)) => asked.answer.same_channel(&task.sender.subscribe()),
            _ => false,
        }
    }

    /// The look-up of this name that is under way.
    fn asked(&self, host: &str) -> Option<&Asked> {
        match self.names.get(host) {
            // Without a sender its thread has failed.
            Some(Name::Asked(asked)) if asked.answer.has_changed().is_ok() => Some(asked),
            _ => None,
        }
    }

    fn known(&self, host: &str, now: Instant) -> Option<Addresses> {
        match self.names.get(host) {
            Some(Name::Known { addresses, until }) if now < *until => Some(Arc::clone(addresses)),
            _ => None,
        }
    }

    fn was_answered_lately(&self, host: &str, now: Instant) -> bool {
        let answered = self.answered.get(&self.hasher.hash_one(host));
        answered.is_some_and(|at| now.saturating_duration_since(*at) < ANSWERED_LATELY)
    }

    fn answered(&mut self, host: &str, addresses: Option<&Addresses>, ran: Ran, now: Instant) {
        self.remove(host);
        let hash = self.hasher.hash_one(host);
        match (ran, addresses) {
            (Ran::Answered, Some(_)) => {
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
        self.insert(host.to_owned(), Name::Known { addresses, until });
    }

    /// Forgets what is too old; if nothing is, the oldest. Whether there was anything.
    fn make_room(&mut self, now: Instant) -> bool {
        let until = |name: &Name| match name {
            Name::Known { until, .. } => Some(*until),
            Name::Asked(_) => None,
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
            Self::Asked(_) => 0,
            Self::Known { addresses, .. } => addresses.len(),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
