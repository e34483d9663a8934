use std::sync::mpsc::{Receiver, Sender, channel};

use std::net::IpAddr;

use super::shares::{Counts, Domain};
use super::*;

/// A look-up that waits until it is told what comes of it.
struct Held {
    name: &'static str,
    started: Sender<&'static str>,
    end: Mutex<Receiver<LookupEnd>>,
}

impl Task for Held {
    fn is_wanted(&self) -> bool {
        true
    }

    fn run(&self) -> LookupEnd {
        let _ = self.started.send(self.name);
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.recv().unwrap_or(LookupEnd::Unanswered)
    }
}

struct Lab {
    pool: Pool<Held>,
    started: (Sender<&'static str>, Receiver<&'static str>),
}

const BOUNDS: Bounds = Bounds {
    local: 1,
    answered: 2,
    common: 3,
    reserved: 1,
    per_client: 2,
    per_domain: 2,
    per_client_and_domain: 1,
    of_reserved: 1,
    waiting: 3,
};

impl Lab {
    fn new() -> Self {
        Self { pool: Pool::with(BOUNDS), started: channel() }
    }

    /// Asks; the answer is sent by what is returned.
    fn ask(
        &self,
        client: u8,
        name: &'static str,
        kind: Kind,
    ) -> (Sender<LookupEnd>, Result<(), Overloaded>) {
        let (end, ended) = channel();
        let held = Held { name, started: self.started.0.clone(), end: Mutex::new(ended) };
        (end, self.pool.submit(address(client), &Ticket::new(held, name, kind)))
    }

    /// The look-ups that have a thread or are about to.
    fn running(&self) -> usize {
        let Counts { local, answered, common, reserved } = self.pool.0.lock().running;
        local + answered + common + reserved
    }

    fn next(&self) -> &'static str {
        self.started.1.recv_timeout(Duration::from_secs(10)).unwrap()
    }
}

fn address(last: u8) -> Client {
    Client::from(Some(IpAddr::from([127, 0, 0, last])))
}

#[test]
fn a_client_has_its_share_of_threads_and_of_the_queue() {
    let lab = Lab::new();
    let held: Vec<_> =
        ["a", "b", "c", "d", "e", "f"].map(|name| lab.ask(1, name, Kind::New)).into();
    assert_eq!(lab.running(), BOUNDS.per_client);
    let refused: Vec<_> = held.iter().map(|(_, asked)| asked.is_err()).collect();
    assert_eq!(refused, [false, false, false, false, false, true]);
    let _other = lab.ask(2, "other", Kind::New);
    assert_eq!(lab.running(), BOUNDS.per_client + 1);
    let mut first = [lab.next(), lab.next(), lab.next()];
    first.sort_unstable();
    assert_eq!(first, ["a", "b", "other"]);
}

#[test]
fn whoever_has_the_fewest_threads_comes_first() {
    let lab = Lab::new();
    let a = lab.ask(1, "a", Kind::New);
    let _b = lab.ask(1, "b", Kind::New);
    let _c = lab.ask(2, "c", Kind::New);
    // All that are not reserved are taken; of those that wait, client 3 has none.
    let _d = lab.ask(2, "d", Kind::New);
    let _e = lab.ask(3, "e", Kind::New);
    for _ in 0..3 {
        lab.next();
    }
    a.0.send(LookupEnd::Unanswered).unwrap();
    assert_eq!(lab.next(), "e");
}

#[test]
fn clients_whose_look_ups_are_answered_have_threads_reserved() {
    let lab = Lab::new();
    let good = lab.ask(9, "good", Kind::New);
    assert_eq!(lab.next(), "good");
    good.0.send(LookupEnd::Answered).unwrap();
    while lab.running() > 0 {
        std::thread::yield_now();
    }
    let names = ["a", "b", "c", "d"];
    let held =
        [1, 2, 3, 4].map(|client| lab.ask(client, names[usize::from(client) - 1], Kind::New));
    assert_eq!(lab.running(), BOUNDS.common, "client 4 has no standing");
    let again = lab.ask(9, "again", Kind::New);
    assert_eq!(lab.running(), BOUNDS.common + BOUNDS.reserved);
    for _ in 0..4 {
        lab.next();
    }
    // It is used up when its own look-up is not answered.
    again.0.send(LookupEnd::Unanswered).unwrap();
    while lab.running() > BOUNDS.common {
        std::thread::yield_now();
    }
    let _third = lab.ask(9, "third", Kind::New);
    assert_eq!(lab.running(), BOUNDS.common);
    drop(held);
}

#[test]
fn hosts_and_answered_names_have_threads_reserved() {
    let lab = Lab::new();
    let names = [(1, "a"), (1, "b"), (2, "c"), (2, "d"), (3, "e")];
    let _held = names.map(|(client, name)| lab.ask(client, name, Kind::New));
    assert_eq!(lab.running(), BOUNDS.common);
    let _local = lab.ask(1, "local", Kind::Local);
    let _known = lab.ask(1, "known", Kind::Answered);
    let _known = lab.ask(1, "one too many of this client", Kind::Answered);
    assert_eq!(lab.running(), BOUNDS.common + 2);
    let _known = lab.ask(2, "another one's", Kind::Answered);
    assert_eq!(lab.running(), BOUNDS.common + 3);
}

#[test]
fn threads_are_bounded_however_much_is_asked() {
    let lab = Lab::new();
    for _ in 0..50 {
        let asked: Vec<_> = (0..20).map(|client| lab.ask(client, "x", Kind::New)).collect();
        // Their senders are gone: each ends at once.
        drop(asked);
    }
    while lab.running() > 0 {
        std::thread::yield_now();
    }
    assert!(lab.pool.0.lock().threads <= BOUNDS.threads());
}

#[test]
fn a_task_that_panics_gives_its_thread_back() {
    struct Panics;
    impl Task for Panics {
        fn is_wanted(&self) -> bool {
            true
        }
        fn run(&self) -> LookupEnd {
            panic!("on purpose")
        }
    }
    let pool = Pool::with(BOUNDS);
    for _ in 0..10 {
        while pool.submit(address(1), &Ticket::new(Panics, "name", Kind::New)).is_err() {
            std::thread::yield_now();
        }
    }
    while pool.0.lock().running.common > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn ipv6_clients_are_told_apart_by_their_64() {
    let client = |text: &str| Client::from(Some(text.parse().unwrap()));
    assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
    assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
    assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
}

#[test]
fn domain_has_its_share_of_threads() {
    let lab = Lab::new();
    let names =
        [(1, "a.silent.test"), (1, "b.silent.test"), (2, "c.silent.test."), (3, "silent.test")];
    let _held = names.map(|(client, name)| lab.ask(client, name, Kind::New));
    // One of each of two clients.
    assert_eq!(lab.running(), BOUNDS.per_domain);
    let _other = lab.ask(1, "a.other.test", Kind::New);
    assert_eq!(lab.running(), BOUNDS.per_domain + 1);
}

#[test]
fn a_domain_is_the_last_two_labels() {
    for (name, domain) in [
        ("a.b.example.org", "example.org"),
        ("example.org.", "example.org"),
        ("example.org", "example.org"),
        ("host", "host"),
        ("host.", "host"),
        ("..", "."),
        ("", ""),
    ] {
        assert_eq!(&*Domain::new(name).0, domain, "{name}");
    }
}
