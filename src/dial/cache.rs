//! What the resolver said a moment ago, and what it is being asked right now.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Family;
use super::resolve;
use crate::fault::Fault;

/// How long an answer serves. The system's resolver does not tell a name's own time to live; this
/// is long enough for a burst and too short to notice that a name has moved.
const TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Names that are remembered at once.
const CAPACITY: usize = 1024;

/// Addresses in the order in which they are tried, at least one, with port 0.
pub(super) type Addresses = Arc<[SocketAddr]>;

type Answer = Result<Addresses, Fault>;

/// The system's resolver behind a memory for successes. A name is asked for once at a time: who
/// wants it meanwhile gets the same answer.
#[derive(Debug)]
pub(super) struct Resolver {
    family: Family,
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names(HashMap<String, Name>);

#[derive(Debug)]
enum Name {
    /// The answer will come here.
    Asked(watch::Receiver<Option<Answer>>),
    Known {
        addresses: Addresses,
        until: Instant,
    },
}

impl Resolver {
    pub(super) fn new(family: Family) -> Self {
        Self { family, names: Arc::default() }
    }

    /// What is known of `host`, or else the answer to come: to a question already under way, or to
    /// a new one.
    ///
    /// The system's resolver blocks, so it runs on a thread for such work. When nobody waits any
    /// more, a question that is still in the queue is dropped, and the answer to one that is being
    /// asked serves later pairs.
    pub(super) fn find(&self, host: &str) -> Found {
        let mut names = lock(&self.names);
        if let Some(addresses) = names.known(host, Instant::now()) {
            return Found::Known(addresses);
        }
        if let Some(Name::Asked(answer)) = names.0.get(host)
            // Without a sender its thread has failed.
            && answer.has_changed().is_ok()
        {
            return Found::Asked(Question(answer.clone()));
        }
        let (sender, receiver) = watch::channel(None);
        names.0.insert(host.to_owned(), Name::Asked(receiver.clone()));
        let (host, family, names) = (host.to_owned(), self.family, Arc::clone(&self.names));
        tokio::task::spawn_blocking(move || {
            if !lock(&names).is_waited_for(&host, &sender) {
                return;
            }
            let answer = resolve::look_up(&host, family).map(Addresses::from);
            lock(&names).answered(host, answer.as_ref().ok(), Instant::now());
            sender.send_replace(Some(answer));
        });
        Found::Asked(Question(receiver))
    }
}

/// What [`Resolver::find`] has.
#[derive(Debug)]
pub(super) enum Found {
    Known(Addresses),
    Asked(Question),
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

impl Names {
    /// Whether anybody waits for an answer; if nobody does, the name is forgotten.
    fn is_waited_for(&mut self, host: &str, sender: &watch::Sender<Option<Answer>>) -> bool {
        // The first receiver is the one that is kept here.
        let waited_for = sender.receiver_count() > 1;
        if !waited_for {
            self.0.remove(host);
        }
        waited_for
    }

    fn known(&self, host: &str, now: Instant) -> Option<Addresses> {
        match self.0.get(host) {
            Some(Name::Known { addresses, until }) if now < *until => Some(Arc::clone(addresses)),
            _ => None,
        }
    }

    fn answered(&mut self, host: String, addresses: Option<&Addresses>, now: Instant) {
        self.0.remove(&host);
        let Some(addresses) = addresses else { return };
        if self.0.len() >= CAPACITY {
            self.make_room(now);
        }
        let (addresses, until) = (Arc::clone(addresses), now + TIME_TO_LIVE);
        self.0.insert(host, Name::Known { addresses, until });
    }

    /// Forgets what is too old; if nothing is, the oldest.
    fn make_room(&mut self, now: Instant) {
        let until = |name: &Name| match name {
            Name::Known { until, .. } => Some(*until),
            Name::Asked(_) => None,
        };
        let oldest = self.0.values().filter_map(until).min();
        let limit = now.max(oldest.unwrap_or(now));
        self.0.retain(|_, name| until(name).is_none_or(|until| until > limit));
    }
}

fn lock(names: &Mutex<Names>) -> MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_address() -> Addresses {
        Arc::from([SocketAddr::from(([192, 0, 2, 1], 0))])
    }

    #[test]
    fn an_answer_serves_for_its_time_and_a_failure_not_at_all() {
        let (mut names, now) = (Names::default(), Instant::now());
        names.answered("here".into(), Some(&one_address()), now);
        names.answered("nowhere".into(), None, now);
        let last = now + TIME_TO_LIVE - Duration::from_nanos(1);
        assert_eq!(names.known("here", last), Some(one_address()));
        assert_eq!(names.known("here", now + TIME_TO_LIVE), None);
        assert_eq!(names.known("nowhere", now), None);
    }

    #[test]
    fn the_memory_is_bounded_and_the_oldest_answers_go_first() {
        let (mut names, now) = (Names::default(), Instant::now());
        let at = |index: usize| now + Duration::from_micros(index as u64);
        for index in 0..2 * CAPACITY {
            names.answered(index.to_string(), Some(&one_address()), at(index));
            assert!(names.0.len() <= CAPACITY);
        }
        let last = 2 * CAPACITY - 1;
        assert!(names.known(&last.to_string(), at(last)).is_some());
        assert!(names.known(&(last - CAPACITY + 1).to_string(), at(last)).is_some());
        assert!(names.known(&(last - CAPACITY).to_string(), at(last)).is_none());
    }

    fn question(resolver: &Resolver) -> Question {
        match resolver.find("localhost") {
            Found::Asked(question) => question,
            Found::Known(addresses) => panic!("{addresses:?}"),
        }
    }

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_get_one_answer() {
        let resolver = Resolver::new(Family::Any);
        let (first, second) = (question(&resolver), question(&resolver));
        assert!(first.0.same_channel(&second.0));
        let answer = first.answer().await.unwrap();
        assert_eq!(second.answer().await, Ok(Arc::clone(&answer)));
        assert!(matches!(resolver.find("localhost"), Found::Known(known) if known == answer));
    }

    #[test]
    fn a_question_that_nobody_waits_for_is_not_asked_and_leaves_nothing() {
        // One thread for look-ups, which is busy.
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let resolver = Resolver::new(Family::Any);
        let (release, held) = std::sync::mpsc::channel::<()>();
        runtime.block_on(async {
            let busy = tokio::task::spawn_blocking(move || held.recv());
            drop(question(&resolver));
            assert_eq!(lock(&resolver.names).0.len(), 1);
            drop(release);
            assert!(busy.await.unwrap().is_err());
            // Behind the question in the queue.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        });
        assert!(lock(&resolver.names).0.is_empty());
    }
}
