//! Registry of the connections that this proxy has dialled, to recognise one that comes back to one
//! of its listeners.
//!
//! A connection is identified by both addresses and ports: the system may use the same local port
//! for connections to different peers.
//!
//! A listener may accept a connection before connect(2) has returned in the dialling task, and the
//! local port is not known earlier. So dials in progress are registered as well, by peer: while one
//! to the accepted address is in progress, the origin is undecided.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

/// Number of shards; connections from the same local address share one.
const SHARDS: usize = 1024;

/// A canonical address: IPv4-mapped addresses as IPv4.
type Address = (IpAddr, u16);

/// All connections that were dialled and are not closed yet.
#[derive(Debug)]
pub(crate) struct OwnConnections {
    shards: Box<[Mutex<Vec<Entry>>]>,
    hashed: RandomState,
    dialling: Mutex<DialsInProgress>,
    /// Number of dials in progress, to skip the lock when there are none.
    dialling_count: AtomicUsize,
}

#[derive(Debug, Default)]
struct DialsInProgress {
    last_id: u64,
    peers: Vec<(u64, Address)>,
}

#[derive(Debug)]
struct Entry {
    ends: Ends,
    has_returned: bool,
}

/// Both ends of a connection, as the low bits of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends {
    local: u32,
    peer: u32,
}

/// Registration of a connection; must outlive its socket.
#[derive(Debug)]
pub(crate) struct OwnConnection {
    all: Arc<OwnConnections>,
    ends: Ends,
}

/// Registration of a dial in progress.
#[derive(Debug)]
pub(super) struct DialGuard<'a> {
    all: &'a Arc<OwnConnections>,
    id: u64,
    peer: Address,
}

/// The origin of an accepted connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Another program.
    Elsewhere,
    /// This proxy: the other end is a socket that we dialled.
    Own,
    /// Undecided until these dials have been registered.
    Undecided(DialIds),
}

/// Dials in progress.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DialIds(SmallVec<[u64; 4]>);

impl Default for OwnConnections {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hashed: RandomState::new(),
            dialling: Mutex::default(),
            dialling_count: AtomicUsize::new(0),
        }
    }
}

impl OwnConnections {
    /// Registers a dial to this address.
    pub(super) fn dial<'a>(self: &'a Arc<Self>, peer: SocketAddr) -> DialGuard<'a> {
        let peer = destination_of(peer);
        let mut dialling = lock(&self.dialling);
        dialling.last_id += 1;
        let id = dialling.last_id;
        dialling.peers.push((id, peer));
        self.dialling_count.store(dialling.peers.len(), Ordering::SeqCst);
        drop(dialling);
        DialGuard { all: self, id, peer }
    }

    /// The origin of a connection accepted from `client` at `local`. `original` returns the
    /// destination before kernel rules diverted it, as they divert all connections if
    /// `is_diverted`; it is only called when needed.
    pub(crate) fn origin(
        &self,
        client: SocketAddr,
        local: SocketAddr,
        is_diverted: bool,
        mut original: impl FnMut() -> Option<SocketAddr>,
    ) -> Origin {
        let (client, local) = (canonical(client), canonical(local));
        // Read before the search: a connection registered later was a dial in progress until then.
        let pending = match self.dialling_count.load(Ordering::SeqCst) {
            0 => SmallVec::new(),
            _ if is_diverted => self.pending(original().map_or(local, canonical)),
            _ => self.pending(local),
        };
        let ends = self.ends(client, local);
        let mut shard = lock(self.shard(ends));
        let same_client = shard.iter_mut().filter(|entry| entry.ends.local == ends.local);
        let mut entries: SmallVec<[&mut Entry; 2]> = same_client.collect();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.ends == ends) {
            entry.has_returned = true;
            return Origin::Own;
        }
        if !entries.is_empty()
            && let Some(ends) = original().map(|original| self.ends(client, canonical(original)))
            && let Some(entry) = entries.iter_mut().find(|entry| entry.ends == ends)
        {
            entry.has_returned = true;
            return Origin::Own;
        }
        if pending.is_empty() { Origin::Elsewhere } else { Origin::Undecided(DialIds(pending)) }
    }

    /// Whether none of these dials is in progress any more.
    pub(crate) fn is_decided(&self, pending: &DialIds) -> bool {
        let dialling = lock(&self.dialling);
        !dialling.peers.iter().any(|(id, _)| pending.0.contains(id))
    }

    fn pending(&self, destination: Address) -> SmallVec<[u64; 4]> {
        let dialling = lock(&self.dialling);
        let leading = dialling.peers.iter().filter(|(_, peer)| *peer == destination);
        leading.map(|(id, _)| *id).collect()
    }

    #[allow(clippy::cast_possible_truncation, reason = "the low bits are what is kept")]
    fn ends(&self, local: Address, peer: Address) -> Ends {
        let hash = |address| self.hashed.hash_one(address) as u32;
        Ends { local: hash(local), peer: hash(peer) }
    }

    #[allow(clippy::indexing_slicing, reason = "modulo the length")]
    fn shard(&self, ends: Ends) -> &Mutex<Vec<Entry>> {
        &self.shards[ends.local as usize % SHARDS]
    }
}

impl DialGuard<'_> {
    /// Registers the connection with its local address.
    pub(super) fn register(self, local: SocketAddr) -> OwnConnection {
        let ends = self.all.ends(canonical(local), self.peer);
        lock(self.all.shard(ends)).push(Entry { ends, has_returned: false });
        OwnConnection { all: Arc::clone(self.all), ends }
    }
}

impl Drop for DialGuard<'_> {
    fn drop(&mut self) {
        let mut dialling = lock(&self.all.dialling);
        dialling.peers.retain(|(id, _)| *id != self.id);
        self.all.dialling_count.store(dialling.peers.len(), Ordering::SeqCst);
    }
}

impl OwnConnection {
    /// Whether one of our listeners has accepted the connection.
    pub(crate) fn has_returned(&self) -> bool {
        let entries = lock(self.all.shard(self.ends));
        entries.iter().any(|entry| entry.ends == self.ends && entry.has_returned)
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        let mut entries = lock(self.all.shard(self.ends));
        if let Some(place) = entries.iter().position(|entry| entry.ends == self.ends) {
            entries.swap_remove(place);
        }
        if entries.is_empty() {
            *entries = Vec::new();
        }
    }
}

/// The destination of a connection to this address: an unspecified address leads to loopback.
fn destination_of(dialled: SocketAddr) -> Address {
    let (ip, port) = canonical(dialled);
    let ip = match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, port)
}

fn canonical(address: SocketAddr) -> Address {
    (address.ip().to_canonical(), address.port())
}

/// The guarded state is consistent after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    fn origin(all: &OwnConnections, client: &str, local: &str) -> Origin {
        all.origin(at(client), at(local), false, || None)
    }

    #[test]
    fn a_connection_is_recognised_by_both_ends_until_it_is_closed() {
        let all = Arc::new(OwnConnections::default());
        let own = all.dial(at("10.9.0.77:80")).register(at("10.9.0.1:40000"));
        assert_eq!(origin(&all, "10.9.0.1:40000", "10.9.0.78:80"), Origin::Elsewhere);
        assert_eq!(origin(&all, "10.9.0.1:40001", "10.9.0.77:80"), Origin::Elsewhere);
        assert!(!own.has_returned());
        assert_eq!(origin(&all, "[::ffff:10.9.0.1]:40000", "[::ffff:10.9.0.77]:80"), Origin::Own);
        assert!(own.has_returned());
        drop(own);
        assert_eq!(origin(&all, "10.9.0.1:40000", "10.9.0.77:80"), Origin::Elsewhere);
    }

    #[test]
    fn a_diverted_connection_is_recognised_by_where_it_was_going() {
        let all = Arc::new(OwnConnections::default());
        let _own = all.dial(at("192.0.2.1:80")).register(at("192.0.2.9:40000"));
        let diverted = |client: &str, to: &str| {
            all.origin(at(client), at("127.0.0.1:15001"), true, || Some(at(to)))
        };
        assert_eq!(diverted("192.0.2.9:40000", "192.0.2.1:80"), Origin::Own);
        assert_eq!(diverted("192.0.2.9:40000", "192.0.2.2:80"), Origin::Elsewhere);
        assert_eq!(diverted("192.0.2.9:40001", "192.0.2.1:80"), Origin::Elsewhere);
    }

    #[test]
    fn an_unspecified_address_leads_to_loopback() {
        let all = Arc::new(OwnConnections::default());
        let _own = all.dial(at("0.0.0.0:80")).register(at("127.0.0.1:40000"));
        let _other = all.dial(at("[::]:80")).register(at("[::1]:40000"));
        assert_eq!(origin(&all, "127.0.0.1:40000", "127.0.0.1:80"), Origin::Own);
        assert_eq!(origin(&all, "[::1]:40000", "[::1]:80"), Origin::Own);
    }

    #[test]
    fn what_is_accepted_before_connect_returns_is_undecided_until_it_is_registered() {
        let all = Arc::new(OwnConnections::default());
        let dialled = all.dial(at("127.0.0.1:80"));
        let accepted = || origin(&all, "127.0.0.1:40000", "127.0.0.1:80");
        assert_eq!(origin(&all, "127.0.0.1:40000", "127.0.0.1:81"), Origin::Elsewhere);
        let Origin::Undecided(pending) = accepted() else { panic!("{:?}", accepted()) };
        assert!(!all.is_decided(&pending));
        // One that is dialled later does not hold it up.
        let later = all.dial(at("127.0.0.1:80"));
        let own = dialled.register(at("127.0.0.1:40000"));
        assert!(all.is_decided(&pending));
        assert_eq!(accepted(), Origin::Own);
        drop((later, own));
        assert_eq!(accepted(), Origin::Elsewhere);
    }

    #[test]
    fn an_attempt_that_failed_holds_nobody_up() {
        let all = Arc::new(OwnConnections::default());
        drop(all.dial(at("127.0.0.1:80")));
        assert_eq!(origin(&all, "127.0.0.1:40000", "127.0.0.1:80"), Origin::Elsewhere);
    }
}
