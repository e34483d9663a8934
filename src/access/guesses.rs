//! Passwords that were wrong: whoever goes on guessing waits for the answers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client_network;

/// How long the answer to a client's second wrong password waits; each further one waits twice as
/// long as the one before.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// The longest of these times.
const LONGEST_DELAY: Duration = Duration::from_secs(4);

/// After so long without a wrong password, a client's earlier ones are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5 * 60);

/// Clients that are remembered at once; of more, the one whose last guess is the oldest is forgotten.
const CAPACITY: usize = 4096;

/// Wrong passwords by client: an IPv4 address, or a network of IPv6 ones. Right passwords are never
/// kept waiting: several users may share an address, and one that guesses must not stop the others.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<HashMap<IpAddr, Guessed>>);

#[derive(Debug)]
struct Guessed {
    count: u32,
    last: Instant,
}

impl Guesses {
    /// Counts a wrong password. How long its answer is to wait.
    pub(crate) fn count(&self, client: IpAddr, now: Instant) -> Duration {
        // The map is right after every statement, so a panic elsewhere does not spoil it.
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = client_network(client);
        if clients.len() >= CAPACITY && !clients.contains_key(&client) {
            clients.retain(|_, guessed| !guessed.is_forgotten(now));
            let oldest = clients.iter().min_by_key(|(_, guessed)| guessed.last);
            let oldest = oldest.map(|(&client, _)| client);
            if let Some(oldest) = oldest.filter(|_| clients.len() >= CAPACITY) {
                clients.remove(&oldest);
            }
        }
        let guessed = clients.entry(client).or_insert(Guessed { count: 0, last: now });
        if guessed.is_forgotten(now) {
            guessed.count = 0;
        }
        guessed.last = now;
        guessed.count = guessed.count.saturating_add(1);
        match guessed.count {
            1 => Duration::ZERO,
            count => FIRST_DELAY.saturating_mul(2u32.saturating_pow(count - 2)).min(LONGEST_DELAY),
        }
    }
}

impl Guessed {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= FORGOTTEN_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_by_client_and_are_forgotten() {
        let guesses = Guesses::default();
        let now = Instant::now();
        let delay = |client: &str, at: Instant| guesses.count(client.parse().unwrap(), at);
        let delays: Vec<_> = (0..7).map(|_| delay("2001:db8::1", now).as_millis()).collect();
        assert_eq!(delays, [0, 250, 500, 1000, 2000, 4000, 4000]);
        // Its network is the same client; other clients are others.
        assert_eq!(delay("2001:db8::2", now), LONGEST_DELAY);
        assert_eq!(delay("2001:db8:0:1::1", now), Duration::ZERO);
        assert_eq!(delay("2001:db8::1", now + FORGOTTEN_AFTER), Duration::ZERO);
    }

    #[test]
    fn a_bounded_number_of_clients_is_remembered_and_the_oldest_leave() {
        let guesses = Guesses::default();
        let now = Instant::now();
        let capacity = u32::try_from(CAPACITY).unwrap();
        let client = |number: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(number));
        for number in 0..capacity + 10 {
            guesses.count(client(number), now + Duration::from_millis(number.into()));
        }
        assert_eq!(guesses.0.lock().unwrap().len(), CAPACITY);
        let later = now + Duration::from_secs(10);
        assert_eq!(guesses.count(client(capacity), later), FIRST_DELAY);
        assert_eq!(guesses.count(client(0), later), Duration::ZERO);
    }
}
