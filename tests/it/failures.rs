//! Upstreams that cannot be reached: a record each, and a client that is told by a reset.

use std::process::Command;

use conniver::record::{AttemptOutcome, By, How, Outcome, Phase, Record, ResolveSource};

use crate::harness::peers::{deaf_port, read_until_reset};
use crate::harness::program::{BINARY, Proxy};

/// One connection through a proxy to `target`, which fails; the client must see a reset.
fn failed_pair(target: &str, args: &[&str]) -> Record {
    let proxy = Proxy::forwarding_to(target, args);
    let mut client = proxy.connect();
    assert_eq!(read_until_reset(&mut client), b"");
    let record = proxy.the_record();
    assert_eq!(record.upstream, None);
    assert_eq!(record.delivery.to_upstream, None);
    record
}

#[test]
fn a_refusing_upstream_is_recorded_with_its_attempt() {
    let (_held, address) = deaf_port();
    let record = failed_pair(&address.to_string(), &[]);
    assert_eq!(record.outcome, Some(Outcome::Refused));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Connect, By::Upstream, How::Refused)
    );
    assert_eq!(ending.error.as_deref(), Some("Connection refused"));
    assert_eq!(ending.error_code.as_deref(), Some("ECONNREFUSED"));
    let [attempt] = &record.attempts[..] else { panic!("{:?}", record.attempts) };
    assert_eq!((attempt.addr, attempt.outcome), (address, AttemptOutcome::Error));
    assert_eq!(attempt.syn_retransmits, Some(0));
    assert_eq!(attempt.error_code.as_deref(), Some("ECONNREFUSED"));
    assert_eq!(
        (record.phases.resolve, record.resolve_source),
        (None, Some(ResolveSource::Literal))
    );
    assert!(record.phases.connect.is_some(), "the phase began, so it has its duration");
    assert!(record.phases.first_byte.is_none());
}

#[test]
fn every_address_of_a_name_is_an_attempt() {
    let (_held, address) = deaf_port();
    let record = failed_pair(&format!("LocalHost.:{}", address.port()), &[]);
    assert_eq!(record.target.as_deref(), Some(&*format!("LocalHost.:{}", address.port())));
    assert_eq!(record.target_host.as_deref(), Some("localhost"));
    assert_eq!(record.resolve_source, Some(ResolveSource::Lookup));
    assert!(record.phases.resolve.is_some());
    assert!(record.attempts.iter().any(|attempt| attempt.addr == address));
    assert!(record.attempts.iter().all(|a| a.error_code.as_deref() == Some("ECONNREFUSED")));
    assert_eq!(record.outcome, Some(Outcome::Refused));
}

#[test]
fn a_name_that_does_not_resolve_is_recorded_as_the_resolvers() {
    // RFC 6761: no such name ever exists.
    let record = failed_pair("no-such-host.invalid:80", &[]);
    assert_eq!(record.outcome, Some(Outcome::Dns));
    let ending = record.ending.unwrap();
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Resolve, By::Resolver, How::Error)
    );
    assert!(ending.error_code.unwrap().starts_with("EAI_"));
    assert_eq!(record.resolve_source, Some(ResolveSource::Failed));
    assert!(record.phases.resolve.is_some() && record.phases.connect.is_none());
    assert!(record.attempts.is_empty());
}

#[test]
fn a_client_that_resets_while_the_upstream_is_dialled_is_recorded_as_the_clients() {
    use crate::harness::namespace::{Namespace, available};
    use crate::harness::peers::reset;
    use std::net::{Shutdown, TcpStream};
    if !available("a_client_that_resets_while_the_upstream_is_dialled_is_recorded_as_the_clients") {
        return;
    }
    let namespace = Namespace::new();
    namespace.nft("add table inet hole; add chain inet hole out { type filter hook output priority 0; }; add rule inet hole out tcp dport 9 drop");
    for (ends_first, how, code) in [(false, How::Reset, "ECONNRESET"), (true, How::Fin, "EPIPE")] {
        let mut command = namespace.command(BINARY);
        let proxy = Proxy::start(&mut command, &["0:127.0.0.1:9"], &[]);
        let client = namespace.enter(|| TcpStream::connect(proxy.address()).unwrap());
        if ends_first {
            client.shutdown(Shutdown::Write).unwrap();
        }
        reset(client);
        let record = proxy.the_record();
        assert_eq!(record.outcome, Some(Outcome::Reset));
        let ending = record.ending.unwrap();
        let end = (ending.phase, ending.first_by, ending.first_how);
        assert_eq!(end, (Phase::Connect, By::Client, how));
        assert_eq!(ending.error_code.as_deref(), Some(code));
        assert_eq!(record.attempts[0].outcome, AttemptOutcome::Cancelled);
    }
}

#[test]
fn a_forwarding_to_itself_is_denied_before_it_eats_all_descriptors() {
    // A port that is free now, to name it on both sides.
    let (held, address) = deaf_port();
    drop(held);
    let forward = format!("{}:localhost:{}", address.port(), address.port());
    let proxy = Proxy::start(&mut Command::new(BINARY), &[&forward], &[]);
    assert_eq!(read_until_reset(&mut proxy.connect()), b"");
    let record = proxy.wait_for_records(1).remove(0);
    assert_eq!(record.outcome, Some(Outcome::Denied));
    let ending = record.ending.unwrap();
    assert_eq!((ending.first_by, ending.first_how), (By::Proxy, How::Denied));
    assert_eq!(ending.error_code.as_deref(), Some("LOOP"));
    assert_eq!(proxy.stop().records().len(), 1);
}
