//! `watch` when the kernel has dropped events.

use std::collections::HashMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use conniver::output::{Output, QUEUE, Recorder};
use conniver::record::{Check, Line, SocketSource};
use conniver::watch::{Events, Settings, Watch};

use crate::harness::namespace::{Namespace, available};
use crate::harness::program::{read_lines, wait_until};
use crate::harness::watching::sockets;

/// Makes and ends a connection.
fn short_connection(listener: &TcpListener) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    drop(listener.accept().unwrap());
    drop(client);
}

/// The events that this namespace's sock_diag sockets had no room for (column `Drops`).
fn dropped_events() -> u64 {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let columns = sockets.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    columns
        .filter(|columns| columns[1] == "4")
        .map(|columns| columns[8].parse::<u64>().unwrap())
        .sum()
}

#[test]
fn sockets_whose_events_were_dropped_are_written_as_last_seen() {
    if !available("sockets_whose_events_were_dropped_are_written_as_last_seen") {
        return;
    }
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("sockets.ndjson");
    let (recorder, writer) = Recorder::start(Output::file(file.clone()), QUEUE, || {}).unwrap();
    let mut settings = Settings::default();
    settings.interval = Duration::from_millis(20);
    settings.receive_buffer = 2048;
    settings.events = Events::NONE;
    (settings.events.socket, settings.events.stop) = (true, true);
    let namespace = Namespace::new();
    let listener = namespace.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let connect =
        || namespace.enter(|| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let known: Vec<_> = (0..20).map(|_| (connect(), listener.accept().unwrap().0)).collect();
    let kept = (connect(), listener.accept().unwrap().0);
    let ports: Vec<u16> = known
        .iter()
        .flat_map(|(client, accepted)| [client, accepted])
        .map(|end| end.peer_addr().unwrap().port() ^ end.local_addr().unwrap().port())
        .collect();

    let watch = namespace.enter(|| Watch::open(settings, recorder).unwrap());
    assert_eq!(watch.open_sockets(), 42);
    // Nobody reads the events meanwhile: the buffer has room for one or two.
    drop(known);
    namespace.enter(|| (0..100).for_each(|_| short_connection(&listener)));
    // The kernel reports an end from a work queue, in the order of the ends: when it has dropped
    // this many of the 240, it has dropped those of the known ones.
    wait_until("the kernel has dropped events", || namespace.enter(dropped_events) >= 150);
    let stopper = watch.stopper();
    let watching = std::thread::spawn(move || watch.run().unwrap());
    let overflow = || {
        read_lines(&file).into_iter().find_map(|line| match line {
            Line::Overflow(overflow) => Some(overflow),
            _ => None,
        })
    };
    wait_until("the overflow is told", || overflow().is_some());
    stopper.stop();
    let summary = watching.join().unwrap();
    writer.finish();
    drop(kept);

    let overflow = overflow().unwrap();
    assert!(summary.overflows >= 1, "{summary:?}");
    assert_eq!((overflow.overflows, overflow.never_seen), (summary.overflows, None));
    assert_eq!(overflow.last_seen, summary.last_seen);
    let lines = read_lines(&file);
    let ended = sockets(lines.clone());
    let mut of_known = HashMap::new();
    for socket in &ended {
        let ends = socket.socket.local_addr.port() ^ socket.socket.remote_addr.port();
        if ports.contains(&ends) && socket.seen_after.is_none() {
            *of_known.entry((ends, socket.header.origin)).or_insert(0) += 1;
        }
    }
    // Each of the forty once, however its end was learned of.
    assert_eq!(of_known.len(), 40, "{of_known:?}");
    assert!(of_known.values().all(|&count| count == 1), "{of_known:?}");
    let as_last_seen = ended.iter().filter(|socket| socket.source == SocketSource::Dump).count();
    assert_eq!(u64::try_from(as_last_seen).unwrap(), summary.last_seen);
    assert!(as_last_seen >= 30, "{as_last_seen}");
    assert!(matches!(lines.last(), Some(Line::Stop(stop)) if stop.pairs == summary.ended));
    let mut check = Check::default();
    check.read("sockets", File::open(&file).unwrap()).unwrap();
    assert_eq!(check.finish().findings, []);
}
