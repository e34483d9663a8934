//! Delays the replies to clients that keep sending wrong passwords.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client_network;

/// Delay of the reply to a client's second wrong password; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// Longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(4);

/// After this long without a wrong password, a client's earlier ones are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5 * 60);

/// Maximum number of clients remembered; beyond it, the one with the oldest last guess is
/// forgotten.
const CAPACITY: usize = 4096;

/// Wrong passwords by client: an IPv4 address, or a network of IPv6 ones. Correct passwords are
/// never delayed: several users may share an address, and one that guesses must not block the
/// others.
#[derive(Debug, Default)]
pub(crate) struct PasswordGuesses(Mutex<HashMap<IpAddr, GuessCount>>);

#[derive(Debug)]
struct GuessCount {
    count: u32,
    last: Instant,
}

impl PasswordGuesses {
    /// Counts a wrong password and returns the delay of its reply.
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
        let guessed = clients.entry(client).or_insert(GuessCount { count: 0, last: now });
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

impl GuessCount {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= FORGOTTEN_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_by_client_and_are_forgotten() {
        let guesses = PasswordGuesses::default();
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
        let guesses = PasswordGuesses::default();
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
