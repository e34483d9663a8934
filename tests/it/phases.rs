//! Where the time before the answer went: each delay is imposed, and the record says where it was.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

use conniver::record::{By, How, Line, Outcome, Phase, Phases, ResolveSource};

use crate::harness::dns::{self, Answer};
use crate::harness::forwarding::{Ends, Forwarding};
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{Upstream, read_until_reset, reset};
use crate::harness::program::{BINARY, PATIENCE, Proxy, read_lines};

/// The kernel counts the wait in the accept queue in jiffies.
const GRAIN: Duration = Duration::from_millis(10);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn every_phase_has_the_delay_that_was_imposed_on_it_and_no_other() {
    if !available("every_phase_has_the_delay_that_was_imposed_on_it_and_no_other") {
        return;
    }
    let namespace = Namespace::new();
    dns::serve(&namespace, Answer::Address(Ipv4Addr::LOCALHOST), ms(300));
    let (began_to_ask, has_begun) = std::sync::mpsc::channel();
    let upstream = Upstream::on(
        namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap()),
        move |mut stream| {
            stream.read_exact(&mut [0]).unwrap();
            began_to_ask.send(()).unwrap();
            stream.read_exact(&mut [0; 2]).unwrap();
            sleep(ms(250));
            stream.write_all(b"answer").unwrap();
        },
    );
    let proxy = Proxy::start(&mut namespace.command(BINARY), &[], &["-D", "0"]);

    // It waits to be accepted, then for the rest of the request, the name, the client, the answer.
    proxy.pause();
    let began = Instant::now();
    let mut client = namespace.enter(|| proxy.connect());
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    sleep(ms(200));
    proxy.resume();
    write!(client, "CONNECT slow.test:{} HTTP/1.1\r\n", upstream.address.port()).unwrap();
    sleep(ms(150));
    client.write_all(b"\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    sleep(ms(100));
    // The proxy reads the clock after a write: before it passes on the rest, it has done so.
    client.write_all(b"a").unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    client.write_all(b"sk").unwrap();
    client.read_exact(&mut [0; 6]).unwrap();
    let elapsed = began.elapsed();
    drop(client);
    upstream.join();

    let record = proxy.the_record();
    assert_eq!(record.resolve_source, Some(ResolveSource::Lookup));
    let phases = &record.phases;
    let [accept_queue, request, resolve, connect, first_byte, response] = [
        phases.accept_queue,
        phases.request,
        phases.resolve,
        phases.connect,
        phases.first_byte,
        phases.response,
    ]
    .map(|phase| phase.unwrap());
    assert!(accept_queue + GRAIN >= ms(200), "{phases:?}");
    // The client may have begun to wait before it was accepted.
    assert!(accept_queue + request + GRAIN >= ms(200 + 150), "{phases:?}");
    assert!(resolve >= ms(300), "{phases:?}");
    assert!(first_byte >= ms(100 + 250), "{phases:?}");
    assert!(response >= ms(250), "{phases:?}");
    // They do not overlap, and leave no room for another one's delay.
    assert!(response + ms(100) <= first_byte, "{phases:?}");
    assert!(accept_queue + request + resolve + connect + first_byte <= elapsed + GRAIN);
    let [attempt] = &record.attempts[..] else { panic!("{:?}", record.attempts) };
    assert_eq!((attempt.started_after, attempt.duration), (Duration::ZERO, connect));
}

#[test]
fn an_upstream_that_never_answers_is_waited_for_to_the_end() {
    // The client leaves it by a reset, or both end their streams.
    for leaves_by_reset in [true, false] {
        let forwarding = Forwarding::new(&["--events", "open,close"]);
        let Ends { client, upstream } = forwarding.pair();
        sleep(ms(100));
        (&client).write_all(b"request").unwrap();
        (&upstream).read_exact(&mut [0; 7]).unwrap();
        sleep(ms(300));
        if leaves_by_reset {
            reset(client);
        } else {
            client.shutdown(Shutdown::Write).unwrap();
        }
        drop(upstream);
        let record = forwarding.proxy.the_record();
        let Phases { first_byte, response, connect, .. } = record.phases;
        let (first_byte, response) = (first_byte.unwrap(), response.unwrap());
        // The proxy reads its clock after it has connected and written.
        assert!(response + GRAIN >= ms(300), "{response:?}");
        assert!(first_byte + GRAIN >= ms(100) + response, "{first_byte:?} {response:?}");
        assert!(connect.unwrap() + first_byte <= record.duration, "{record:?}");
        let lines = read_lines(&forwarding.proxy.records_file());
        let open = lines.iter().find_map(|line| match line {
            Line::Open(record) => Some(&record.phases),
            _ => None,
        });
        let open = open.unwrap();
        assert_eq!((open.first_byte, open.response), (None, None), "it might still answer");
    }
}

#[test]
fn an_upstream_that_is_asked_nothing_has_no_response_to_wait_for() {
    let forwarding = Forwarding::new(&[]);
    drop(forwarding.pair());
    let phases = forwarding.proxy.the_record().phases;
    assert!(phases.first_byte.is_some() && phases.response.is_none(), "{phases:?}");
}

#[test]
fn a_target_that_a_parent_does_not_reach_has_no_first_byte() {
    let parent = Upstream::once(|mut stream| {
        stream.read_exact(&mut [0; 20]).unwrap();
        stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").unwrap();
    });
    let via = format!("http://{}", parent.address);
    let proxy = Proxy::start(
        &mut std::process::Command::new(BINARY),
        &["0:target.test:9"],
        &["--via", &via],
    );
    let mut client = proxy.connect();
    read_until_reset(&mut client);
    parent.join();
    let record = proxy.the_record();
    assert!(record.upstream.is_some() && record.phases.connect.is_some());
    assert_eq!((record.phases.first_byte, record.phases.response), (None, None));
}

#[test]
fn a_look_up_that_fails_has_its_time_and_its_reason() {
    if !available("a_look_up_that_fails_has_its_time_and_its_reason") {
        return;
    }
    for (answer, code) in [(Answer::NoSuchName, "EAI_NONAME"), (Answer::Failure, "EAI_AGAIN")] {
        let namespace = Namespace::new();
        dns::serve(&namespace, answer, ms(200));
        let proxy = Proxy::start(&mut namespace.command(BINARY), &["0:nobody.test:80"], &[]);
        let began = Instant::now();
        let mut client = namespace.enter(|| proxy.connect());
        assert_eq!(read_until_reset(&mut client), b"");
        let record = proxy.the_record();
        assert_eq!(record.outcome, Some(Outcome::Dns));
        let ending = record.ending.unwrap();
        let end = (ending.phase, ending.first_by, ending.first_how);
        assert_eq!(end, (Phase::Resolve, By::Resolver, How::Error));
        assert_eq!(ending.error_code.as_deref(), Some(code));
        assert_eq!(record.resolve_source, Some(ResolveSource::Failed));
        let resolve = record.phases.resolve.unwrap();
        assert!((ms(200)..began.elapsed()).contains(&resolve), "{resolve:?}");
        assert_eq!((record.phases.connect, record.attempts.len()), (None, 0));
    }
}
