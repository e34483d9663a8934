use std::sync::Barrier;

use super::*;

fn one_address() -> Addresses {
    Arc::from([SocketAddr::from(([192, 0, 2, 1], 0))])
}

fn answered(names: &mut Names, host: &str, addresses: &Addresses, at: Instant) {
    names.answered(host, Some(addresses), LookupEnd::Answered, at);
}

#[test]
fn an_answer_serves_for_its_time_and_a_failure_not_at_all() {
    let (mut names, now) = (Names::default(), Instant::now());
    answered(&mut names, "here", &one_address(), now);
    names.answered("nowhere", None, LookupEnd::Answered, now);
    let last = now + TIME_TO_LIVE - Duration::from_nanos(1);
    assert_eq!(names.cached("here", last), Some(one_address()));
    assert_eq!(names.cached("here.", last), None, "another name");
    assert_eq!(names.cached("here", now + TIME_TO_LIVE), None);
    assert_eq!(names.cached("nowhere", now), None);
    assert!(names.was_answered_lately("here", now + TIME_TO_LIVE));
    assert!(!names.was_answered_lately("here", now + ANSWERED_LATELY));
    assert!(!names.was_answered_lately("nowhere", now));
    names.answered("here", None, LookupEnd::Unanswered, now);
    assert!(!names.was_answered_lately("here", now));
}

#[test]
fn the_memory_is_bounded_and_the_oldest_answers_go_first() {
    let (mut names, now) = (Names::default(), Instant::now());
    let at = |index: usize| now + Duration::from_micros(index as u64);
    for index in 0..2 * CAPACITY {
        answered(&mut names, &index.to_string(), &one_address(), at(index));
        assert!(names.names.len() <= CAPACITY);
    }
    let last = 2 * CAPACITY - 1;
    assert!(names.cached(&last.to_string(), at(last)).is_some());
    assert!(names.cached(&(last - CAPACITY + 1).to_string(), at(last)).is_some());
    assert!(names.cached(&(last - CAPACITY).to_string(), at(last)).is_none());

    let thousands: Addresses = vec![SocketAddr::from(([192, 0, 2, 1], 0)); 4000].into();
    for index in 0..2 * MOST_ANSWERED {
        answered(&mut names, &format!("large {index}"), &thousands, at(last + index));
        assert!(names.addresses <= MOST_ADDRESSES && names.answered.len() <= MOST_ANSWERED);
    }
    let held: usize = names.names.values().map(Name::addresses).sum();
    assert_eq!(names.addresses, held);
}

fn client() -> Client {
    Client::from(None)
}

fn resolver(
    look_up: impl Fn(&str) -> Result<Vec<SocketAddr>, Fault> + Send + Sync + 'static,
) -> Resolver {
    let no_hosts = Hosts::from_path("/nonexistent/hosts".into());
    Resolver::with(Family::Any, no_hosts, Arc::new(move |host: &str, _| look_up(host)))
}

fn wait(resolver: &Resolver, host: &str) -> LookupWait {
    match resolver.find(host, client()) {
        Resolution::Pending(wait) => wait,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_get_one_answer() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let resolver = resolver(move |_| {
        let _ = lock(&held).recv();
        Ok(one_address().to_vec())
    });
    let (first, second) = (wait(&resolver, "name"), wait(&resolver, "name"));
    let dotted = wait(&resolver, "name.");
    assert!(first.0.same_channel(&second.0) && !first.0.same_channel(&dotted.0));
    drop(release);
    let answer = first.answer().await.unwrap();
    assert_eq!(second.answer().await, Ok(Arc::clone(&answer)));
    assert!(
        matches!(resolver.find("name", client()), Resolution::Cached(cached) if cached == answer)
    );
}

#[test]
fn a_name_is_looked_up_once_although_an_answer_comes_while_it_is_asked_for() {
    let pending = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let counts = Arc::clone(&pending);
    let resolver = resolver(move |host| {
        *lock(&counts).entry(host.to_owned()).or_default() += 1;
        Ok(one_address().to_vec())
    });
    let names: Vec<_> = (0..2000).map(|index| format!("name{index}")).collect();
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for name in &names {
                    barrier.wait();
                    let _found = resolver.find(name, client());
                    barrier.wait();
                }
            });
        }
    });
    assert!(lock(&pending).values().all(|&count| count == 1), "{pending:?}");
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_is_not_asked_and_leaves_nothing() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let pending = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&pending);
    let resolver = resolver(move |host| {
        lock(&seen).push(host.to_owned());
        if host.starts_with("silent") {
            let _ = lock(&held).recv();
        }
        Ok(one_address().to_vec())
    });
    // More than this client may have threads.
    let silent: Vec<_> = (0..8).map(|i| wait(&resolver, &format!("silent.d{i}"))).collect();
    drop(wait(&resolver, "unwanted"));
    let last = wait(&resolver, "last");
    drop(release);
    last.answer().await.unwrap();
    for silent in silent {
        silent.answer().await.unwrap();
    }
    assert!(!lock(&pending).contains(&"unwanted".to_owned()));
    // Its thread may be a moment behind.
    let deadline = Instant::now() + Duration::from_secs(10);
    while lock(&resolver.names).names.contains_key("unwanted") {
        assert!(Instant::now() < deadline, "an unwanted look-up is remembered");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn localhost_is_loopback_where_the_hosts_file_does_not_tell() {
    let resolver = resolver(|host| panic!("{host} was looked up"));
    for host in ["localhost", "localhost."] {
        let Resolution::Loopback(addresses) = resolver.find(host, client()) else { panic!() };
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        assert_eq!(addresses.len(), 2);
    }
    assert_eq!(loopback(Family::V4).len(), 1);
}

#[tokio::test]
async fn names_of_the_hosts_file_and_answered_ones_pass_unanswered_ones() {
    let directory = tempfile::tempdir().unwrap();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, "192.0.2.1 listed localhost\n").unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let look_up = move |host: &str, _: Family| {
        if host.starts_with("silent") {
            let _ = lock(&held).recv();
        }
        Ok(one_address().to_vec())
    };
    let resolver = Resolver::with(Family::Any, Hosts::from_path(hosts), Arc::new(look_up));
    wait(&resolver, "known").answer().await.unwrap();
    // All of the threads that one client may have, and its queue.
    let silent: Vec<_> = (0..200).map(|i| wait(&resolver, &format!("silent{i}"))).collect();
    for name in ["listed", "localhost"] {
        wait(&resolver, name).answer().await.unwrap();
    }
    // As when its answer has become too old.
    lock(&resolver.names).remove("known");
    wait(&resolver, "known").answer().await.unwrap();
    drop((release, silent));
}

#[tokio::test]
async fn what_waits_for_one_client_is_not_delayed_for_another() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let resolver = resolver(move |host| {
        if host.starts_with("silent") {
            let _ = lock(&held).recv();
        }
        Ok(one_address().to_vec())
    });
    let silent: Vec<_> = (0..20).map(|i| wait(&resolver, &format!("silent{i}"))).collect();
    let first = wait(&resolver, "wanted by two");
    let other = Client::from(Some(IpAddr::from([127, 0, 0, 2])));
    let Resolution::Pending(second) = resolver.find("wanted by two", other) else { panic!() };
    second.answer().await.unwrap();
    first.answer().await.unwrap();
    drop((release, silent));
}

#[test]
fn one_client_has_so_many_look_ups_wait_and_others_are_served() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let resolver = resolver(move |_| {
        let _ = lock(&held).recv();
        Ok(one_address().to_vec())
    });
    let found: Vec<_> = (0..600).map(|i| resolver.find(&format!("n{i}"), client())).collect();
    let refused = found.iter().filter(|found| matches!(found, Resolution::Overloaded)).count();
    assert_eq!(found.len() - refused, 8 + 256);
    // What was refused leaves nothing.
    assert_eq!(lock(&resolver.names).names.len(), 8 + 256);
    let other = Client::from(Some(IpAddr::from([127, 0, 0, 2])));
    assert!(matches!(resolver.find("n599", other), Resolution::Pending(_)));
    // Who no longer waits makes room.
    drop(found);
    assert!(matches!(resolver.find("again", client()), Resolution::Pending(_)));
    drop(release);
}
