//! The connections that this proxy has dialled, so that one that comes back to a listener of its own
//! is recognised when it is accepted.
//!
//! A connection is known by its four numbers, not by its own address alone: the system gives the
//! same local port to connections that lead to different peers.
//!
//! A listener may accept a connection before connect(2) has returned to whoever dialled it, and the
//! local port is not known earlier. So what is being dialled is registered as well, by its peer:
//! while a connection to the accepted address is about to be registered, it is not decided yet.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

/// Connections from the same local address are kept together, and others with them.
const SHARDS: usize = 1024;

/// An address as all spellings and both families of sockets have it.
type Address = (IpAddr, u16);

/// All connections that were dialled and are not closed yet.
#[derive(Debug)]
pub(crate) struct OwnConnections {
    shards: Box<[Mutex<Vec<Entry>>]>,
    hashed: RandomState,
    dialling: Mutex<Dialling>,
    /// As many as are in `dialling`, for whoever finds none.
    dialling_count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Dialling {
    last_id: u64,
    peers: Vec<(u64, Address)>,
}

#[derive(Debug)]
struct Entry {
    ends: Ends,
    has_returned: bool,
}

/// The two ends of a connection that we dialled: the low bits of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends {
    local: u32,
    peer: u32,
}

/// A connection that is registered for as long as this lives, which must be longer than its socket.
#[derive(Debug)]
pub(crate) struct OwnConnection {
    all: Arc<OwnConnections>,
    ends: Ends,
}

/// A connection that is being dialled.
#[derive(Debug)]
pub(super) struct BeingDialled<'a> {
    all: &'a Arc<OwnConnections>,
    id: u64,
    peer: Address,
}

/// Whose an accepted connection is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Another program's.
    Elsewhere,
    /// Ours: the other end is a socket that we dialled.
    Own,
    /// Not to be told before these have been registered.
    Undecided(Pending),
}

/// Connections that were being dialled at a time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pending(SmallVec<[u64; 4]>);

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
    /// Notes that a connection to this address is going to be dialled.
    pub(super) fn dial<'a>(self: &'a Arc<Self>, peer: SocketAddr) -> BeingDialled<'a> {
        let peer = reached(peer);
        let mut dialling = lock(&self.dialling);
        dialling.last_id += 1;
        let id = dialling.last_id;
        dialling.peers.push((id, peer));
        self.dialling_count.store(dialling.peers.len(), Ordering::SeqCst);
        drop(dialling);
        BeingDialled { all: self, id, peer }
    }

    /// Whose the connection is that was accepted from `client` at `local`. `original` tells where it
    /// was going before rules of the kernel diverted it, as all are where `is_diverted`; it is asked
    /// only where that matters.
    pub(crate) fn origin(
        &self,
        client: SocketAddr,
        local: SocketAddr,
        is_diverted: bool,
        mut original: impl FnMut() -> Option<SocketAddr>,
    ) -> Origin {
        let (client, local) = (canonical(client), canonical(local));
        // Before the register is searched: what is registered after that was being dialled until then.
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
        if pending.is_empty() { Origin::Elsewhere } else { Origin::Undecided(Pending(pending)) }
    }

    /// Whether none of these is being dialled any more.
    pub(crate) fn is_decided(&self, pending: &Pending) -> bool {
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

impl BeingDialled<'_> {
    /// Registers it with the address that the system has given it.
    pub(super) fn register(self, local: SocketAddr) -> OwnConnection {
        let ends = self.all.ends(canonical(local), self.peer);
        lock(self.all.shard(ends)).push(Entry { ends, has_returned: false });
        OwnConnection { all: Arc::clone(self.all), ends }
    }
}

impl Drop for BeingDialled<'_> {
    fn drop(&mut self) {
        let mut dialling = lock(&self.all.dialling);
        dialling.peers.retain(|(id, _)| *id != self.id);
        self.all.dialling_count.store(dialling.peers.len(), Ordering::SeqCst);
    }
}

impl OwnConnection {
    /// Whether a listener of ours has accepted it.
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

/// Where a connection to this address arrives: to an unspecified one, at loopback.
fn reached(dialled: SocketAddr) -> Address {
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

/// Every statement leaves what it guards as it should be, so a panic elsewhere does not spoil it.
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
