//! Decides which look-up gets the next thread.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Task;

/// A look-up that runs for longer than this counts as unanswered.
const SLOW: Duration = Duration::from_secs(1);

/// How long a client keeps its good standing after an answer.
const GOOD_STANDING: Duration = Duration::from_secs(600);

/// Maximum number of clients remembered without pending look-ups.
const MOST_CLIENTS: usize = 1024;

/// Minimum interval of warnings about too many waiting look-ups.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A client address; for IPv6 its /64 network, which one host may own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::dial) struct Client(Option<IpAddr>);

impl From<Option<IpAddr>> for Client {
    fn from(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        }))
    }
}

/// The last two labels of a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Domain(pub(super) Box<str>);

impl Domain {
    pub(super) fn new(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name);
        let dot_before = name.rmatch_indices('.').nth(1).map(|(at, _)| at + 1);
        Self(name.get(dot_before.unwrap_or(0)..).unwrap_or(name).into())
    }
}

/// What is known of a name before it is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dial) enum Kind {
    /// It is in the hosts file.
    Local,
    /// It was answered recently.
    Answered,
    New,
}

/// The result of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dial) enum LookupEnd {
    /// An answer, including that the name does not exist.
    Answered,
    Unanswered,
    /// Skipped, because nobody waited any more.
    Skipped,
}

/// A task in the queues of one or several clients.
pub(in crate::dial) struct Ticket<T> {
    pub(in crate::dial) task: T,
    kind: Kind,
    domain: Domain,
    has_started: AtomicBool,
}

impl<T> Ticket<T> {
    pub(in crate::dial) fn new(task: T, name: &str, kind: Kind) -> Arc<Self> {
        let has_started = AtomicBool::new(false);
        Arc::new(Self { task, kind, domain: Domain::new(name), has_started })
    }

    /// Whether it has started.
    pub(in crate::dial) fn has_started(&self) -> bool {
        self.has_started.load(Ordering::Relaxed)
    }
}

/// The error when too many look-ups of a client wait.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dial) struct Overloaded;

/// The number of threads and their shares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// For names in the hosts file.
    pub(super) local: usize,
    /// For names that were answered recently.
    pub(super) answered: usize,
    /// For all others.
    pub(super) common: usize,
    /// In addition, for clients in good standing.
    pub(super) reserved: usize,
    /// Per client, of common and reserved threads.
    pub(super) per_client: usize,
    /// Per domain, of common threads.
    pub(super) per_domain: usize,
    /// Per client and domain, of common threads.
    pub(super) per_client_and_domain: usize,
    /// Per domain and per client, of reserved threads.
    pub(super) of_reserved: usize,
    /// Maximum number of waiting look-ups of a client.
    pub(super) waiting: usize,
}

impl Bounds {
    pub(super) fn with_threads(threads: usize) -> Self {
        let local = (threads / 16).max(1);
        let answered = (threads / 4).max(1);
        let reserved = threads / 5;
        Self {
            local,
            answered,
            common: threads.saturating_sub(local + answered + reserved).max(1),
            reserved,
            per_client: 8,
            per_domain: 8,
            per_client_and_domain: 4,
            of_reserved: 2,
            waiting: 256,
        }
    }

    /// Total number of threads.
    pub(super) fn threads(&self) -> usize {
        self.local + self.answered + self.common + self.reserved
    }

    /// Per client, of the threads for names that were answered recently.
    fn answered_per_client(&self) -> usize {
        (self.answered / 4).max(1)
    }
}

/// Waiting and running look-ups.
pub(super) struct State<T> {
    clients: HashMap<Client, ClientLookups<T>>,
    /// Running look-ups of each domain.
    domains: HashMap<Domain, Counts>,
    /// Running and ready look-ups by share.
    pub(super) running: Counts,
    pub(super) ready: VecDeque<LookupJob<T>>,
    pub(super) threads: usize,
    pub(super) idle: usize,
    next_number: u64,
    warned: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) local: usize,
    pub(super) answered: usize,
    pub(super) common: usize,
    pub(super) reserved: usize,
}

impl Counts {
    fn get_mut(&mut self, share: Share) -> &mut usize {
        match share {
            Share::Local => &mut self.local,
            Share::Answered => &mut self.answered,
            Share::Common => &mut self.common,
            Share::Reserved => &mut self.reserved,
        }
    }
}

/// Priority of a waiting look-up; the lowest value is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Priority {
    /// Running look-ups of the client.
    running: usize,
    /// Waiting look-ups of the client.
    waiting: usize,
    /// Number of the look-up.
    number: u64,
}

/// The share of threads that a look-up uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Local,
    Answered,
    Common,
    Reserved,
}

/// A waiting look-up with its number.
pub(super) type QueuedLookup<T> = (u64, Arc<Ticket<T>>);

/// A client's look-ups.
struct ClientLookups<T> {
    waiting: VecDeque<QueuedLookup<T>>,
    running: Vec<RunningLookup>,
    counts: Counts,
    /// When a look-up was last answered quickly; `None` after one that was not.
    answered: Option<Instant>,
}

/// A running look-up of a client.
struct RunningLookup {
    number: u64,
    at: Instant,
    share: Share,
    domain: Domain,
}

impl<T> Default for ClientLookups<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            running: Vec::new(),
            counts: Counts::default(),
            answered: None,
        }
    }
}

impl<T> ClientLookups<T> {
    /// Whether the look-ups of the client are answered.
    fn is_responsive(&self, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) < GOOD_STANDING;
        let is_slow = |started: &RunningLookup| now.saturating_duration_since(started.at) >= SLOW;
        self.answered.is_some_and(lately) && !self.running.iter().any(is_slow)
    }

    /// How many common threads the client uses for a domain.
    fn common_of(&self, domain: &Domain) -> usize {
        let is_it = |s: &&RunningLookup| s.share == Share::Common && s.domain == *domain;
        self.running.iter().filter(is_it).count()
    }

    fn is_forgettable(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }
}

/// A look-up that is ready for a thread or running.
pub(super) struct LookupJob<T> {
    pub(super) ticket: Arc<Ticket<T>>,
    client: Client,
    share: Share,
    number: u64,
    began: Instant,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            clients: HashMap::new(),
            domains: HashMap::new(),
            running: Counts::default(),
            ready: VecDeque::new(),
            threads: 0,
            idle: 0,
            next_number: 0,
            warned: None,
        }
    }
}

impl<T: Task> State<T> {
    /// Starts a look-up if there is a thread for it; otherwise queues it. Look-ups that are no
    /// longer wanted are moved to `unwanted`, to be dropped without the lock.
    pub(super) fn add(
        &mut self,
        client: Client,
        ticket: &Arc<Ticket<T>>,
        bounds: &Bounds,
        unwanted: &mut VecDeque<QueuedLookup<T>>,
    ) -> Result<(), Overloaded> {
        let number = self.next_number;
        self.next_number += 1;
        let lookups = self.clients.entry(client).or_default();
        if lookups.waiting.len() >= bounds.waiting {
            (lookups.waiting, *unwanted) = std::mem::take(&mut lookups.waiting)
                .into_iter()
                .partition(|(_, waiting)| !waiting.has_started() && waiting.task.is_wanted());
        }
        let is_full = lookups.waiting.len() >= bounds.waiting;
        // Waiting look-ups could not run at the last check, and nothing was freed since: only the
        // new one is checked.
        if let Some(share) = self.share_for(client, ticket, bounds, Instant::now()) {
            self.begin(client, number, Arc::clone(ticket), share);
        } else if is_full {
            self.warn(client);
            return Err(Overloaded);
        } else if let Some(lookups) = self.clients.get_mut(&client) {
            lookups.waiting.push_back((number, Arc::clone(ticket)));
        }
        Ok(())
    }

    /// Starts the next look-up. Returns whether there was one.
    pub(super) fn begin_next(&mut self, bounds: &Bounds) -> bool {
        let Some((client, index, share)) = self.next(bounds, Instant::now()) else { return false };
        let lookups = self.clients.get_mut(&client);
        let next = lookups.and_then(|lookups| lookups.waiting.remove(index));
        let Some((number, ticket)) = next else { return false };
        self.begin(client, number, ticket, share);
        true
    }

    /// Makes a look-up ready for a thread, unless it was started for another client.
    fn begin(&mut self, client: Client, number: u64, ticket: Arc<Ticket<T>>, share: Share) {
        if ticket.has_started.swap(true, Ordering::Relaxed) {
            return;
        }
        let began = Instant::now();
        let domain = ticket.domain.clone();
        *self.running.get_mut(share) += 1;
        *self.domains.entry(domain.clone()).or_default().get_mut(share) += 1;
        let lookups = self.clients.entry(client).or_default();
        *lookups.counts.get_mut(share) += 1;
        lookups.running.push(RunningLookup { number, at: began, share, domain });
        self.ready.push_back(LookupJob { ticket, client, share, number, began });
    }

    /// The next look-up for which there is a thread.
    fn next(&self, bounds: &Bounds, now: Instant) -> Option<(Client, usize, Share)> {
        let mut best: Option<(Priority, Client, usize, Share)> = None;
        for (&client, lookups) in &self.clients {
            let mut queue = lookups.waiting.iter().enumerate();
            let found = queue.find_map(|(index, (number, ticket))| {
                Some((index, *number, self.share_of(lookups, ticket, bounds, now)?))
            });
            let Some((index, number, share)) = found else { continue };
            let (running, waiting) = (lookups.running.len(), lookups.waiting.len());
            let priority = Priority { running, waiting, number };
            if best.is_none_or(|(first, ..)| priority < first) {
                best = Some((priority, client, index, share));
            }
        }
        best.map(|(_, client, index, share)| (client, index, share))
    }

    fn share_for(
        &self,
        client: Client,
        ticket: &Ticket<T>,
        bounds: &Bounds,
        now: Instant,
    ) -> Option<Share> {
        self.share_of(self.clients.get(&client)?, ticket, bounds, now)
    }

    /// The share with a free thread for a client's look-up.
    fn share_of(
        &self,
        lookups: &ClientLookups<T>,
        ticket: &Ticket<T>,
        bounds: &Bounds,
        now: Instant,
    ) -> Option<Share> {
        if ticket.has_started() {
            // It was already started; it only leaves the queue.
            return Some(Share::Common);
        }
        let Counts { answered, common, reserved, .. } = lookups.counts;
        let of_domain = self.domains.get(&ticket.domain).copied().unwrap_or_default();
        match ticket.kind {
            Kind::Local if self.running.local < bounds.local => return Some(Share::Local),
            Kind::Answered
                if self.running.answered < bounds.answered
                    && answered < bounds.answered_per_client() =>
            {
                return Some(Share::Answered);
            }
            _ => {}
        }
        if common + reserved >= bounds.per_client {
            return None;
        }
        if self.running.common < bounds.common
            && of_domain.common < bounds.per_domain
            && lookups.common_of(&ticket.domain) < bounds.per_client_and_domain
        {
            return Some(Share::Common);
        }
        let has_reserved = self.running.reserved < bounds.reserved
            && of_domain.reserved < bounds.of_reserved
            && reserved < bounds.of_reserved
            && lookups.is_responsive(now);
        has_reserved.then_some(Share::Reserved)
    }

    /// Ends a look-up.
    pub(super) fn end(&mut self, ended: &LookupJob<T>, how: LookupEnd) {
        let count = self.running.get_mut(ended.share);
        *count = count.saturating_sub(1);
        let now = Instant::now();
        let domain = &ended.ticket.domain;
        let Some(lookups) = self.clients.get_mut(&ended.client) else { return };
        for counts in
            [Some(&mut lookups.counts), self.domains.get_mut(domain)].into_iter().flatten()
        {
            let count = counts.get_mut(ended.share);
            *count = count.saturating_sub(1);
        }
        if self.domains.get(domain) == Some(&Counts::default()) {
            self.domains.remove(domain);
        }
        lookups.running.retain(|started| started.number != ended.number);
        let is_soon = now.saturating_duration_since(ended.began) < SLOW;
        match how {
            LookupEnd::Answered if is_soon => lookups.answered = Some(now),
            LookupEnd::Answered | LookupEnd::Unanswered => lookups.answered = None,
            LookupEnd::Skipped => {}
        }
        if lookups.is_forgettable() && lookups.answered.is_none() {
            self.clients.remove(&ended.client);
        } else if self.clients.len() > MOST_CLIENTS {
            self.clients.retain(|_, lookups| !lookups.is_forgettable());
        }
    }

    fn warn(&mut self, client: Client) {
        let now = Instant::now();
        if self.warned.is_none_or(|at| now.saturating_duration_since(at) >= WARN_EVERY) {
            self.warned = Some(now);
            let client = client.0.map(|address| format!(" {address}")).unwrap_or_default();
            tracing::warn!(
                "client{client} has too many pending lookups; further ones fail until some \
                 complete"
            );
        }
    }
}
