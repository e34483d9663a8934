//! The processes that descend from this one, and the sockets that they hold. Finding them requires
//! a scan of all processes, so a separate thread does it: one scan at a time for all pending
//! queries, with pauses between, because other users can cause the work.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::fault::text_of;
use crate::sockets;

/// Maximum number of pending queries, in total and for one user.
const QUEUE: usize = 256;
const OF_ONE_USER: usize = 64;

/// Pause after each scan, as a multiple of its duration: at most a fifth of one CPU is used.
const PAUSES: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Finds out whether a descendant of this process holds a socket.
#[derive(Debug)]
pub(super) struct DescendantFinder {
    queries: SyncSender<Query>,
    waiting: Arc<WaitingCounts>,
}

/// Pending queries by user.
#[derive(Debug, Default)]
struct WaitingCounts(Mutex<HashMap<u32, usize>>);

#[derive(Debug)]
struct Query {
    inode: u32,
    answer: oneshot::Sender<bool>,
    /// Held until the query is answered.
    _place: Place,
}

/// A place for a query of a user.
#[derive(Debug)]
struct Place {
    waiting: Arc<WaitingCounts>,
    uid: u32,
}

impl DescendantFinder {
    /// Starts the thread, which ends when this is dropped.
    pub(super) fn start() -> Option<Self> {
        let (queries, asked) = sync_channel(QUEUE);
        let builder = thread::Builder::new().name("find descendants".to_owned());
        match builder.spawn(move || serve(&asked)) {
            Ok(_) => Some(Self { queries, waiting: Arc::default() }),
            Err(error) => {
                tracing::error!("cannot look up COMMAND's processes: {}", text_of(&error));
                None
            }
        }
    }

    /// Whether a descendant of this process holds the socket with this inode, which is `uid`'s.
    /// `None` when too many wait to be looked for.
    pub(super) async fn has(&self, uid: u32, inode: u32) -> Option<bool> {
        let place = WaitingCounts::take(&self.waiting, uid)?;
        let (answer, answered) = oneshot::channel();
        self.queries.try_send(Query { inode, answer, _place: place }).ok()?;
        answered.await.ok()
    }
}

impl WaitingCounts {
    fn take(waiting: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut counts = waiting.counts();
        let count = counts.entry(uid).or_default();
        if *count >= OF_ONE_USER {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place { waiting: Arc::clone(waiting), uid })
    }

    /// The counts are right after every statement, so a panic elsewhere does not spoil them.
    fn counts(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.waiting.counts();
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

fn serve(asked: &Receiver<Query>) {
    while let Ok(first) = asked.recv() {
        let began = Instant::now();
        let queries: Vec<Query> = std::iter::once(first).chain(asked.try_iter()).collect();
        let sought: HashSet<u32> = queries.iter().map(|query| query.inode).collect();
        let held = held_by_descendants(&sought);
        for Query { inode, answer, .. } in queries {
            // The receiver may have been dropped.
            let _ = answer.send(held.contains(&inode));
        }
        thread::sleep((began.elapsed() * PAUSES).min(LONGEST_PAUSE));
    }
}

/// Which of these sockets are held by descendants of this process.
fn held_by_descendants(sought: &HashSet<u32>) -> HashSet<u32> {
    let parents = parents();
    let own = std::process::id();
    let descendants = parents.keys().filter(|&&pid| descends(pid, own, &parents));
    let held = descendants.flat_map(|&pid| sockets::sockets_of(pid));
    held.filter(|inode| sought.contains(inode)).collect()
}

/// Every process and its parent.
fn parents() -> HashMap<u32, u32> {
    sockets::all().filter_map(|pid| Some((pid, sockets::parent_of(pid)?))).collect()
}

fn descends(pid: u32, from: u32, parents: &HashMap<u32, u32>) -> bool {
    // The parents were read while processes came and went, so they could form a cycle.
    let line = std::iter::successors(parents.get(&pid), |parent| parents.get(parent));
    line.take(parents.len()).any(|&ancestor| ancestor == from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_takes_not_all_places_and_places_that_were_left_are_free() {
        let waiting = Arc::new(WaitingCounts::default());
        let places: Vec<_> =
            (0..OF_ONE_USER).map(|_| WaitingCounts::take(&waiting, 1).unwrap()).collect();
        assert!(WaitingCounts::take(&waiting, 1).is_none());
        assert!(WaitingCounts::take(&waiting, 2).is_some());
        drop(places);
        assert!(WaitingCounts::take(&waiting, 1).is_some());
        assert!(waiting.counts().is_empty());
    }
}
