//! Threads on which names are looked up, shared out fairly among clients.
//!
//! getaddrinfo(3) blocks, by default for ten seconds or more if a name server is silent, and cannot
//! be cancelled. So its threads are a resource that one client could take from all others. They are
//! shared by these rules:
//!
//! - A client has at most 8 threads at a time. Further look-ups wait, up to 256; beyond that they
//!   fail at once.
//! - A domain (the last two labels of a name) has at most 8 threads at a time, 4 of them for one
//!   client: silent name servers mostly affect a whole domain.
//! - Among waiting clients, the one with the fewest threads comes first, then the one with the
//!   fewest waiting look-ups.
//! - Three kinds of look-ups have reserved threads: names in the hosts file; names that were
//!   answered recently, for any client; and look-ups of clients whose look-ups are answered.

mod shares;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::descriptors;
use shares::{Bounds, State};
pub(super) use shares::{Client, Kind, LookupEnd, Overloaded, Ticket};

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// A task for a thread of the pool.
pub(super) trait Task: Send + Sync {
    /// Whether anybody still waits for the result.
    fn is_wanted(&self) -> bool;
    /// Runs the task.
    fn run(&self) -> LookupEnd;
}

/// A pool of threads, which are started on demand.
pub(super) struct Pool<T>(Arc<Shared<T>>);

struct Shared<T> {
    bounds: Bounds,
    state: Mutex<State<T>>,
    work: Condvar,
}

impl<T: Task + 'static> Pool<T> {
    pub(super) fn new() -> Self {
        let threads = descriptors::look_ups(descriptors::limit());
        Self::with(Bounds::with_threads(usize::try_from(threads).unwrap_or(1)))
    }

    fn with(bounds: Bounds) -> Self {
        Self(Arc::new(Shared { bounds, state: Mutex::default(), work: Condvar::new() }))
    }

    /// Runs a look-up for `client`, now or later. A ticket that also waits for other clients runs
    /// when the first of them has its turn.
    pub(super) fn submit(&self, client: Client, ticket: &Arc<Ticket<T>>) -> Result<(), Overloaded> {
        // To be dropped after the lock is released.
        let mut unwanted = VecDeque::new();
        let mut state = self.0.lock();
        let added = state.add(client, ticket, &self.0.bounds, &mut unwanted);
        self.0.call_threads(&mut state);
        drop(state);
        added
    }
}

impl<T: Task + 'static> Shared<T> {
    /// Every statement leaves the state consistent, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes or starts a thread for every look-up that is ready.
    fn call_threads(self: &Arc<Self>, state: &mut State<T>) {
        for _ in 0..state.ready.len().min(state.idle) {
            self.work.notify_one();
        }
        let missing = state.ready.len().saturating_sub(state.idle);
        for _ in 0..missing.min(self.bounds.threads().saturating_sub(state.threads)) {
            self.spawn(state);
        }
    }

    fn spawn(self: &Arc<Self>, state: &mut State<T>) {
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new().name("look-up".into());
        match thread.spawn(move || shared.work()) {
            Ok(_) => state.threads += 1,
            Err(error) => {
                tracing::error!("cannot start a resolver thread: {error}");
                // Other threads will run it; without any, the look-up fails.
                if state.threads == 0 {
                    while let Some(running) = state.ready.pop_front() {
                        state.end(&running, LookupEnd::Unanswered);
                    }
                }
            }
        }
    }

    /// The loop of a thread.
    fn work(self: Arc<Self>) {
        let mut state = self.lock();
        loop {
            let Some(running) = state.ready.pop_front() else {
                state.idle += 1;
                let (woken, waited) =
                    self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = woken;
                state.idle -= 1;
                if waited.timed_out() && state.ready.is_empty() {
                    state.threads -= 1;
                    return;
                }
                continue;
            };
            drop(state);
            let end = catch_unwind(AssertUnwindSafe(|| running.ticket.task.run()));
            state = self.lock();
            state.end(&running, end.unwrap_or(LookupEnd::Unanswered));
            while state.begin_next(&self.bounds) {}
            // This thread counts as idle for them.
            state.idle += 1;
            self.call_threads(&mut state);
            state.idle -= 1;
            // This may be the last reference: it must be dropped without the lock.
            drop(state);
            drop(running);
            state = self.lock();
        }
    }
}

impl<T> std::fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("bounds", &self.0.bounds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
