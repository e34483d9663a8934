//! The processes that descend from this one, and the sockets that they hold. To find them takes a
//! look at every process of the machine, so a thread of its own does it: one at a time, for all who
//! ask at once, and with pauses, because it is for other users that it works.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::fault::text_of;
use crate::process;

/// Most clients that wait to be looked for, and most of one user.
const QUEUE: usize = 256;
const OF_ONE_USER: usize = 64;

/// After each search comes a pause, in so many times what the search took: a fifth of one processor
/// is the most that it uses.
const PAUSES: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Finds out whether a descendant of this process holds a socket.
#[derive(Debug)]
pub(super) struct Descent {
    questions: SyncSender<Question>,
    waiting: Arc<Waiting>,
}

/// Clients that wait, by user.
#[derive(Debug, Default)]
struct Waiting(Mutex<HashMap<u32, usize>>);

#[derive(Debug)]
struct Question {
    inode: u32,
    answer: oneshot::Sender<bool>,
    /// Held until it is answered.
    _place: Place,
}

/// One of the places that a user has.
#[derive(Debug)]
struct Place {
    waiting: Arc<Waiting>,
    uid: u32,
}

impl Descent {
    /// Starts the thread, which ends with this.
    pub(super) fn start() -> Option<Self> {
        let (questions, asked) = sync_channel(QUEUE);
        let builder = thread::Builder::new().name("find descendants".to_owned());
        match builder.spawn(move || serve(&asked)) {
            Ok(_) => Some(Self { questions, waiting: Arc::default() }),
            Err(error) => {
                tracing::error!("cannot look up COMMAND's processes: {}", text_of(&error));
                None
            }
        }
    }

    /// Whether a descendant of this process holds the socket with this inode, which is `uid`'s.
    /// `None` when too many wait to be looked for.
    pub(super) async fn has(&self, uid: u32, inode: u32) -> Option<bool> {
        let place = Waiting::take(&self.waiting, uid)?;
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question { inode, answer, _place: place }).ok()?;
        answered.await.ok()
    }
}

impl Waiting {
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

fn serve(asked: &Receiver<Question>) {
    while let Ok(first) = asked.recv() {
        let began = Instant::now();
        let questions: Vec<Question> = std::iter::once(first).chain(asked.try_iter()).collect();
        let sought: HashSet<u32> = questions.iter().map(|question| question.inode).collect();
        let held = held_by_descendants(&sought);
        for Question { inode, answer, .. } in questions {
            // Whoever asked may have gone.
            let _ = answer.send(held.contains(&inode));
        }
        thread::sleep((began.elapsed() * PAUSES).min(LONGEST_PAUSE));
    }
}

/// Those of the sockets that descendants of this process hold.
fn held_by_descendants(sought: &HashSet<u32>) -> HashSet<u32> {
    let parents = parents();
    let own = std::process::id();
    let descendants = parents.keys().filter(|&&pid| descends(pid, own, &parents));
    let held = descendants.flat_map(|&pid| process::sockets_of(pid));
    held.filter(|inode| sought.contains(inode)).collect()
}

/// Every process and its parent.
fn parents() -> HashMap<u32, u32> {
    process::all().filter_map(|pid| Some((pid, process::parent_of(pid)?))).collect()
}

fn descends(pid: u32, from: u32, parents: &HashMap<u32, u32>) -> bool {
    // What was read while processes came and went could run in a circle.
    let line = std::iter::successors(parents.get(&pid), |parent| parents.get(parent));
    line.take(parents.len()).any(|&ancestor| ancestor == from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_takes_not_all_places_and_places_that_were_left_are_free() {
        let waiting = Arc::new(Waiting::default());
        let places: Vec<_> =
            (0..OF_ONE_USER).map(|_| Waiting::take(&waiting, 1).unwrap()).collect();
        assert!(Waiting::take(&waiting, 1).is_none());
        assert!(Waiting::take(&waiting, 2).is_some());
        drop(places);
        assert!(Waiting::take(&waiting, 1).is_some());
        assert!(waiting.counts().is_empty());
    }
}
