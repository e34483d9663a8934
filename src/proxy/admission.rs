//! Limits on open connections, in total and for each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::client_network;
use crate::fault::Fault;
use crate::log_throttle::LogThrottle;

/// Counts the connections that are open.
#[derive(Debug)]
pub(super) struct Admission {
    connections: Option<Places>,
    clients: Option<Arc<Clients>>,
}

#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    most: usize,
    full: Mutex<LogThrottle>,
}

/// A connection's place in the total; freed on drop. `None` without a limit.
pub(super) type Place = Option<OwnedSemaphorePermit>;

/// Open connections by client: an IPv4 address or an IPv6 network.
#[derive(Debug)]
struct Clients {
    open: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
}

/// A connection's place among those of its client; freed on drop.
#[derive(Debug)]
pub(super) struct ClientPlace {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Admission {
    pub(super) fn new(most: Option<NonZeroUsize>, most_per_client: Option<NonZeroUsize>) -> Self {
        let connections = most.map(|most| {
            let most = most.get().min(Semaphore::MAX_PERMITS);
            Places { free: Arc::new(Semaphore::new(most)), most, full: Mutex::default() }
        });
        let clients = most_per_client
            .map(|most| Arc::new(Clients { open: Mutex::default(), most: most.get() }));
        Self { connections, clients }
    }

    /// Takes a place once one is free. Logs when there is none.
    pub(super) async fn wait(&self) -> Place {
        let Some(Places { free, most, full }) = &self.connections else { return None };
        if let Some(place) = self.take() {
            return place;
        }
        if full.lock().unwrap_or_else(PoisonError::into_inner).should_log() {
            tracing::warn!(
                "the limit of {most} open connections is reached (--max-connections, ulimit -n); \
                 new ones wait until others end"
            );
        }
        // An error would mean that the semaphore was closed, which never happens.
        Arc::clone(free).acquire_owned().await.ok()
    }

    /// Takes a place, if one is free.
    pub(super) fn take(&self) -> Option<Place> {
        match &self.connections {
            Some(places) => Arc::clone(&places.free).try_acquire_owned().ok().map(Some),
            None => Some(None),
        }
    }

    /// Takes a place for a client.
    pub(super) fn take_for_client(
        &self,
        client: IpAddr,
    ) -> Result<Option<Box<ClientPlace>>, Fault> {
        let Some(clients) = &self.clients else { return Ok(None) };
        let client = client_network(client);
        let mut open = clients.open();
        let count = open.entry(client).or_default();
        if *count >= clients.most {
            let text = "the client has reached its maximum number of connections \
                        (--max-per-client)";
            return Err(Fault { code: "CLIENT_LIMIT".into(), text: text.into() });
        }
        *count += 1;
        drop(open);
        Ok(Some(Box::new(ClientPlace { clients: Arc::clone(clients), client })))
    }
}

impl Clients {
    /// The counts are right after every statement, so a panic elsewhere does not spoil them.
    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut open = self.clients.open();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_place_that_was_left_is_free_and_clients_that_left_are_forgotten() {
        let two = NonZeroUsize::new(2);
        let admission = Admission::new(two, two);
        let first = admission.take().unwrap();
        let _second = admission.take().unwrap();
        assert!(admission.take().is_none());
        drop(first);
        assert!(admission.take().is_some());

        let [here, there] = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(192, 0, 2, last)));
        let places = [(); 2].map(|()| admission.take_for_client(here).unwrap());
        assert_eq!(admission.take_for_client(here).unwrap_err().code, "CLIENT_LIMIT");
        assert!(admission.take_for_client(there).is_ok());
        drop(places);
        assert!(admission.take_for_client(here).is_ok());
        assert!(admission.clients.unwrap().open().is_empty());
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_are_one_client() {
        let admission = Admission::new(None, NonZeroUsize::new(2));
        let take = |address: &str| admission.take_for_client(address.parse().unwrap());
        let _places = ["2001:db8::1", "2001:db8::2:3:4"].map(|client| take(client).unwrap());
        assert_eq!(take("2001:db8::5").unwrap_err().code, "CLIENT_LIMIT");
        assert!(take("2001:db8:0:1::1").is_ok());
        assert!(take("192.0.2.1").is_ok());
    }
}
