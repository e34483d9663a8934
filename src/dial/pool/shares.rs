//! Who gets the next thread.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Task;

/// A look-up that runs for longer than this is taken for unanswered.
const SLOW: Duration = Duration::from_secs(1);

/// How long an answer speaks for the client that got it.
const GOOD_STANDING: Duration = Duration::from_secs(600);

/// Clients that are remembered at a time, beside those that wait.
const MOST_CLIENTS: usize = 1024;

/// How often a log line tells that look-ups fail because too many wait.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Who asks: a client's address, for IPv6 its /64, which one host can have to itself.
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
    pub(super) fn of(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name);
        let dot_before = name.rmatch_indices('.').nth(1).map(|(at, _)| at + 1);
        Self(name.get(dot_before.unwrap_or(0)..).unwrap_or(name).into())
    }
}

/// What is known of a name before it is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dial) enum Kind {
    /// The hosts file has it.
    Local,
    /// It was answered lately.
    Answered,
    New,
}

/// What came of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dial) enum Ran {
    /// An answer, be it that the name does not exist.
    Answered,
    Unanswered,
    /// Nobody waited any more; nothing was asked.
    Skipped,
}

/// Work in a queue, or in those of several clients.
pub(in crate::dial) struct Ticket<T> {
    pub(in crate::dial) task: T,
    kind: Kind,
    domain: Domain,
    has_started: AtomicBool,
}

impl<T> Ticket<T> {
    pub(in crate::dial) fn new(task: T, name: &str, kind: Kind) -> Arc<Self> {
        let has_started = AtomicBool::new(false);
        Arc::new(Self { task, kind, domain: Domain::of(name), has_started })
    }

    /// Whether it has a thread.
    pub(in crate::dial) fn has_started(&self) -> bool {
        self.has_started.load(Ordering::Relaxed)
    }
}

/// Too many of a client's look-ups wait.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dial) struct Overloaded;

/// How many threads there are, and for whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// For names of the hosts file.
    pub(super) local: usize,
    /// For names that were answered lately.
    pub(super) answered: usize,
    /// For all others.
    pub(super) common: usize,
    /// Beside those, for clients whose look-ups are answered.
    pub(super) reserved: usize,
    /// A client's, of the common and the reserved ones.
    pub(super) per_client: usize,
    /// Of the common ones, a domain's.
    pub(super) per_domain: usize,
    /// Of those, a client's.
    pub(super) per_client_and_domain: usize,
    /// Of the reserved ones, a domain's, and a client's.
    pub(super) of_reserved: usize,
    /// Look-ups of a client that wait.
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

    /// All of them.
    pub(super) fn threads(&self) -> usize {
        self.local + self.answered + self.common + self.reserved
    }

    /// A client's share of the threads for names that were answered lately.
    fn answered_per_client(&self) -> usize {
        (self.answered / 4).max(1)
    }
}

/// Look-ups that wait and that run.
pub(super) struct State<T> {
    clients: HashMap<Client, Account<T>>,
    /// Look-ups of each domain that run.
    domains: HashMap<Domain, Counts>,
    /// Look-ups that have a thread, or are about to, by what they count for.
    pub(super) running: Counts,
    pub(super) ready: VecDeque<Running<T>>,
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
    fn of(&mut self, share: Share) -> &mut usize {
        match share {
            Share::Local => &mut self.local,
            Share::Answered => &mut self.answered,
            Share::Common => &mut self.common,
            Share::Reserved => &mut self.reserved,
        }
    }
}

/// Whose turn it is: the least is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// Threads that the client has.
    running: usize,
    /// Look-ups of it that wait.
    waiting: usize,
    /// Of the look-up that waits.
    number: u64,
}

/// Which threads a look-up counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Local,
    Answered,
    Common,
    Reserved,
}

/// A look-up that waits, with its number.
pub(super) type Waiting<T> = (u64, Arc<Ticket<T>>);

/// A client's look-ups.
struct Account<T> {
    waiting: VecDeque<Waiting<T>>,
    running: Vec<Started>,
    counts: Counts,
    /// When a look-up of its own was last answered soon; none since one was not.
    answered: Option<Instant>,
}

/// A look-up of a client's that has a thread.
struct Started {
    number: u64,
    at: Instant,
    share: Share,
    domain: Domain,
}

impl<T> Default for Account<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            running: Vec::new(),
            counts: Counts::default(),
            answered: None,
        }
    }
}

impl<T> Account<T> {
    /// Whether its look-ups are answered.
    fn is_in_good_standing(&self, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) < GOOD_STANDING;
        let is_slow = |started: &Started| now.saturating_duration_since(started.at) >= SLOW;
        self.answered.is_some_and(lately) && !self.running.iter().any(is_slow)
    }

    /// How many of the common threads it has for a domain.
    fn common_of(&self, domain: &Domain) -> usize {
        let is_it = |s: &&Started| s.share == Share::Common && s.domain == *domain;
        self.running.iter().filter(is_it).count()
    }

    fn is_forgettable(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }
}

/// A look-up that got a thread.
pub(super) struct Running<T> {
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
    /// Begins a look-up if there is a thread for it, and otherwise has it wait. Look-ups that are no
    /// longer wanted are put into `unwanted`, to be dropped without a lock.
    pub(super) fn add(
        &mut self,
        client: Client,
        ticket: &Arc<Ticket<T>>,
        bounds: &Bounds,
        unwanted: &mut VecDeque<Waiting<T>>,
    ) -> Result<(), Overloaded> {
        let number = self.next_number;
        self.next_number += 1;
        let account = self.clients.entry(client).or_default();
        if account.waiting.len() >= bounds.waiting {
            (account.waiting, *unwanted) = std::mem::take(&mut account.waiting)
                .into_iter()
                .partition(|(_, waiting)| !waiting.has_started() && waiting.task.is_wanted());
        }
        let is_full = account.waiting.len() >= bounds.waiting;
        // What waits could not run when it was looked at last, and nothing was freed since: only the
        // new one is looked at.
        if let Some(share) = self.share_for(client, ticket, bounds, Instant::now()) {
            self.begin(client, number, Arc::clone(ticket), share);
        } else if is_full {
            self.warn(client);
            return Err(Overloaded);
        } else if let Some(account) = self.clients.get_mut(&client) {
            account.waiting.push_back((number, Arc::clone(ticket)));
        }
        Ok(())
    }

    /// Begins the look-up whose turn it is. Whether there was one.
    pub(super) fn begin_next(&mut self, bounds: &Bounds) -> bool {
        let Some((client, index, share)) = self.next(bounds, Instant::now()) else { return false };
        let account = self.clients.get_mut(&client);
        let next = account.and_then(|account| account.waiting.remove(index));
        let Some((number, ticket)) = next else { return false };
        self.begin(client, number, ticket, share);
        true
    }

    /// Makes a look-up ready for a thread, unless it got one by another client's turn.
    fn begin(&mut self, client: Client, number: u64, ticket: Arc<Ticket<T>>, share: Share) {
        if ticket.has_started.swap(true, Ordering::Relaxed) {
            return;
        }
        let began = Instant::now();
        let domain = ticket.domain.clone();
        *self.running.of(share) += 1;
        *self.domains.entry(domain.clone()).or_default().of(share) += 1;
        let account = self.clients.entry(client).or_default();
        *account.counts.of(share) += 1;
        account.running.push(Started { number, at: began, share, domain });
        self.ready.push_back(Running { ticket, client, share, number, began });
    }

    /// The look-up whose turn it is, where there is a thread for it.
    fn next(&self, bounds: &Bounds, now: Instant) -> Option<(Client, usize, Share)> {
        let mut best: Option<(Turn, Client, usize, Share)> = None;
        for (&client, account) in &self.clients {
            let mut queue = account.waiting.iter().enumerate();
            let found = queue.find_map(|(index, (number, ticket))| {
                Some((index, *number, self.share_of(account, ticket, bounds, now)?))
            });
            let Some((index, number, share)) = found else { continue };
            let (running, waiting) = (account.running.len(), account.waiting.len());
            let turn = Turn { running, waiting, number };
            if best.is_none_or(|(first, ..)| turn < first) {
                best = Some((turn, client, index, share));
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

    /// Which thread there is for a client's look-up.
    fn share_of(
        &self,
        account: &Account<T>,
        ticket: &Ticket<T>,
        bounds: &Bounds,
        now: Instant,
    ) -> Option<Share> {
        if ticket.has_started() {
            // It only leaves the queue.
            return Some(Share::Common);
        }
        let Counts { answered, common, reserved, .. } = account.counts;
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
            && account.common_of(&ticket.domain) < bounds.per_client_and_domain
        {
            return Some(Share::Common);
        }
        let has_reserved = self.running.reserved < bounds.reserved
            && of_domain.reserved < bounds.of_reserved
            && reserved < bounds.of_reserved
            && account.is_in_good_standing(now);
        has_reserved.then_some(Share::Reserved)
    }

    /// A thread has done with it.
    pub(super) fn end(&mut self, ended: &Running<T>, ran: Ran) {
        let count = self.running.of(ended.share);
        *count = count.saturating_sub(1);
        let now = Instant::now();
        let domain = &ended.ticket.domain;
        let Some(account) = self.clients.get_mut(&ended.client) else { return };
        for counts in
            [Some(&mut account.counts), self.domains.get_mut(domain)].into_iter().flatten()
        {
            let count = counts.of(ended.share);
            *count = count.saturating_sub(1);
        }
        if self.domains.get(domain) == Some(&Counts::default()) {
            self.domains.remove(domain);
        }
        account.running.retain(|started| started.number != ended.number);
        let is_soon = now.saturating_duration_since(ended.began) < SLOW;
        match ran {
            Ran::Answered if is_soon => account.answered = Some(now),
            Ran::Answered | Ran::Unanswered => account.answered = None,
            Ran::Skipped => {}
        }
        if account.is_forgettable() && account.answered.is_none() {
            self.clients.remove(&ended.client);
        } else if self.clients.len() > MOST_CLIENTS {
            self.clients.retain(|_, account| !account.is_forgettable());
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
