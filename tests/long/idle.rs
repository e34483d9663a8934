//! As many idle pairs as the machine's descriptors allow, up to 9,000.

use std::collections::BTreeSet;
use std::time::Duration;

use conniver::record::{By, How, Outcome};
use rustix::process::{Resource, getrlimit};

use crate::harness::program::{Proxy, wait_until};
use crate::role::{Role, cpu_time};

const WANTED: usize = 9000;

/// Descriptors of the proxy's that are no connections.
const OTHERS: usize = 64;

/// How long they idle while the proxy's processor time is watched.
const IDLE: Duration = Duration::from_secs(20);

pub(crate) fn nine_thousand_pairs() -> String {
    let limit = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |n| n.try_into().unwrap());
    // Two descriptors a pair; half of the pairs end in one way, half in the other.
    let half = WANTED.min((limit - OTHERS) / 2) / 2;
    let pairs = 2 * half;
    if pairs < WANTED {
        eprintln!(
            "{pairs} pairs, not {WANTED}: the hard limit is {limit} descriptors (ulimit -Hn)"
        );
    }
    let origin = Role::start(&["origin"]);
    let proxy = Proxy::forwarding_to(&origin.said, &["--drain", "100ms"]);
    let before = proxy.descriptors();
    let clients =
        |count: usize| Role::start(&["clients", &proxy.address().to_string(), &count.to_string()]);
    let (leaving, staying) = (clients(half), clients(half));

    let used_while_idle = || {
        let used = cpu_time(proxy.pid());
        std::thread::sleep(IDLE);
        cpu_time(proxy.pid()) - used
    };
    // The programs of the last clients are still looked for, within what that may take: half a
    // percent of the time, and 25 ms that were saved up before.
    let looking = used_while_idle();
    let most = Duration::from_millis(25) + IDLE / 200;
    assert!(looking <= most, "looking for the clients' programs took {looking:?} of CPU");
    assert_eq!(proxy.descriptors(), before + 2 * pairs, "two for each pair, and no pipe");
    let used = used_while_idle();
    assert!(used < Duration::from_millis(1), "{pairs} idle pairs took {used:?} of CPU");

    leaving.end();
    for record in proxy.wait_for_records(half) {
        assert_eq!(record.outcome, Some(Outcome::Ok));
        assert_eq!((record.client.rx_bytes, record.client.tx_bytes), (1, 1));
        assert_eq!(record.ending.unwrap().first_by, By::Client);
    }
    wait_until("their descriptors are closed", || proxy.descriptors() == before + pairs);

    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert!(left.ends_whole);
    let records = left.records();
    assert_eq!(records.len(), pairs);
    let stopped = records.iter().filter(|record| record.outcome == Some(Outcome::Shutdown));
    for record in stopped.clone() {
        let ending = record.ending.as_ref().unwrap();
        assert_eq!((ending.first_by, ending.first_how), (By::Proxy, How::Shutdown));
    }
    assert_eq!(stopped.count(), half);
    let seqs: BTreeSet<usize> =
        records.iter().map(|record| record.seq.try_into().unwrap()).collect();
    assert_eq!(seqs, (1..=pairs).collect());
    staying.end();
    origin.end();
    format!(
        "{pairs} pairs, {used:?} of the proxy's CPU in {} s, after {looking:?} of looking for their \
         programs, {pairs} records",
        IDLE.as_secs()
    )
}
