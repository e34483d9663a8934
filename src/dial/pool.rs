//! Threads on which names are looked up, shared out fairly among clients.
//!
//! getaddrinfo(3) blocks, by default for ten seconds and more where a name server is silent, and
//! cannot be cancelled. So its threads are what a client could take from the others, and they are
//! given out by these rules:
//!
//! - A client has at most 8 at a time. What it asks for beyond that waits, up to 256 look-ups; what
//!   is beyond that fails at once.
//! - A domain, which is the last two labels of a name, has at most 8 at a time, 4 of them for one
//!   client: where name servers are silent, they mostly are for all of a domain.
//! - Of several clients that wait, the one with the fewest threads comes first, and of these the
//!   one that waits for the fewest look-ups.
//! - Three kinds of look-ups have threads reserved that others cannot take: names of the hosts file;
//!   names that were answered lately, whoever asks; and clients whose look-ups are answered.

mod shares;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::descriptors;
use shares::{Bounds, State};
pub(super) use shares::{Client, Kind, Overloaded, Ran, Ticket};

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Work for a thread.
pub(super) trait Task: Send + Sync {
    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool;
    /// Does it.
    fn run(&self) -> Ran;
}

/// The threads, none of which runs before there is work.
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

    /// Has a look-up run for `client`, now or later. A ticket that waits for other clients as well
    /// runs for whichever has its turn first.
    pub(super) fn submit(&self, client: Client, ticket: &Arc<Ticket<T>>) -> Result<(), Overloaded> {
        // Dropped after the lock is released.
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

    /// Sees to it that every look-up that is ready has a thread.
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
                // Others will do it; or else who asked is told that it was cut off.
                if state.threads == 0 {
                    while let Some(running) = state.ready.pop_front() {
                        state.end(&running, Ran::Unanswered);
                    }
                }
            }
        }
    }

    /// A thread's life.
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
            let ran = catch_unwind(AssertUnwindSafe(|| running.ticket.task.run()));
            state = self.lock();
            state.end(&running, ran.unwrap_or(Ran::Unanswered));
            while state.begin_next(&self.bounds) {}
            // This thread is free for one of them.
            state.idle += 1;
            self.call_threads(&mut state);
            state.idle -= 1;
            // Its last owner may be this one: what it does then needs no lock of ours.
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
