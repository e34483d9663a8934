//! Stopping: every pair gets its record, whatever it is doing.

use std::collections::BTreeSet;
use std::process::Stdio;

use conniver::record::{By, How, Line, Outcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::peers::{echo_server, exchange, read_all, read_until_reset};
use crate::harness::program::{BINARY, Proxy, wait_for, wait_until};

#[test]
fn sigterm_gives_every_open_pair_its_record_and_resets_its_client() {
    let proxy =
        Proxy::forwarding_to(echo_server(), &["--drain", "100ms", "--events", "open,close,stop"]);
    let mut clients: Vec<_> = (0..25).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        exchange(client, b"up");
    }
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    for client in &mut clients {
        assert_eq!(read_until_reset(client), b"", "an end of stream would say that all was said");
    }

    let Some(Line::Stop(stop)) = left.lines.last() else { panic!("{:?}", left.lines.last()) };
    assert_eq!((stop.pairs, stop.lines_lost, stop.line), (25, 0, 51));
    let opened = left.lines.iter().filter(|line| matches!(line, Line::Open(_))).count();
    assert_eq!(opened, 25);
    let records = left.records();
    assert_eq!(records.len(), 25);
    let seqs: BTreeSet<u64> = records.iter().map(|record| record.seq).collect();
    assert_eq!(seqs, (1..=25).collect());
    for record in records {
        assert_eq!(record.outcome, Some(Outcome::Shutdown));
        let ending = record.ending.unwrap();
        assert_eq!((ending.first_by, ending.first_how), (By::Proxy, How::Shutdown));
        assert_eq!(record.delivery.to_client.unwrap().undelivered, Some(0));
    }
}

#[test]
fn an_interrupt_that_a_shell_ignores_is_said_at_the_start() {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$0\" \"$@\"", BINARY]);
    let proxy = Proxy::start(&mut command, &[&format!("0:{}", echo_server())], &["-v"]);
    proxy.signal(Signal::SIGINT);
    exchange(&mut proxy.connect(), b"it goes on");
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    let said = "SIGINT is ignored, as it was at the start (a shell's '&' does that); use SIGTERM \
                to stop";
    assert_eq!(left.stderr.matches(said).count(), 1, "{}", left.stderr);
}

#[test]
fn a_pair_that_ends_while_the_proxy_drains_ends_well() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--drain", "20s"]);
    let mut client = proxy.connect();
    exchange(&mut client, b"up");
    let address = proxy.address();
    proxy.signal(Signal::SIGINT);
    // New connections are refused from here on; the open one goes on.
    wait_until("it listens no more", || std::net::TcpStream::connect(address).is_err());
    assert_eq!(exchange(&mut client, b"still here"), b"still here");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"");
    let left = proxy.wait();
    assert_eq!(left.status.code(), Some(0));
    let record = left.records().into_iter().find(|record| record.client.rx_bytes > 0).unwrap();
    assert_eq!(record.outcome, Some(Outcome::Ok));
}

#[test]
fn a_second_signal_ends_open_pairs_at_once() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--drain", "1h"]);
    let mut client = proxy.connect();
    exchange(&mut client, b"up");
    proxy.signal(Signal::SIGTERM);
    proxy.signal(Signal::SIGINT);
    let left = proxy.wait();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert_eq!(left.records()[0].outcome, Some(Outcome::Shutdown));
}

#[test]
fn a_pair_that_is_being_dialled_when_the_proxy_stops_gets_its_record() {
    use crate::harness::namespace::{Namespace, available};
    if !available("a_pair_that_is_being_dialled_when_the_proxy_stops_gets_its_record") {
        return;
    }
    let namespace = Namespace::new();
    namespace.nft("add table inet hole; add chain inet hole out { type filter hook output priority 0; }; add rule inet hole out tcp dport 9 drop");
    let mut command = namespace.command(BINARY);
    let proxy = Proxy::start(
        &mut command,
        &["0:127.0.0.1:9"],
        &["--drain", "100ms", "--connect-timeout", "1h"],
    );
    let address = proxy.address();
    let _client = namespace.enter(|| std::net::TcpStream::connect(address).unwrap());
    wait_until("the upstream is dialled", || {
        let dialling =
            namespace.command("ss").args(["-tnH", "state", "syn-sent"]).output().unwrap();
        !dialling.stdout.is_empty()
    });
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0));
    let record = &left.records()[0];
    assert_eq!(record.outcome, Some(Outcome::Shutdown));
    assert_eq!(record.attempts[0].syn_retransmits, Some(0));
}

#[test]
fn signals_that_would_kill_drain_the_proxy() {
    for signal in [Signal::SIGQUIT, Signal::SIGALRM, Signal::SIGXCPU] {
        let proxy = Proxy::forwarding_to(echo_server(), &["--drain", "100ms"]);
        let mut client = proxy.connect();
        exchange(&mut client, b"up");
        proxy.signal(signal);
        let left = proxy.wait();
        assert_eq!(left.status.code(), Some(0), "{signal}: {}", left.stderr);
        assert_eq!(left.records()[0].outcome, Some(Outcome::Shutdown), "{signal}");
    }
}

#[test]
fn sigusr1_and_sigusr2_leave_a_proxy_running_that_writes_to_a_pipe() {
    let mut proxy = std::process::Command::new(BINARY)
        .args(["proxy", "-L", &format!("0:{}", echo_server()), "-v"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = proxy.stderr.take().unwrap();
    let mut said = std::io::BufRead::lines(std::io::BufReader::new(said));
    let mut wait_to_read = |words: &str| {
        assert!(said.any(|line| line.unwrap().contains(words)), "{words} was not said");
    };
    wait_to_read("listening on");
    let pid = Pid::from_raw(proxy.id().cast_signed());
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        kill(pid, signal).unwrap();
        wait_to_read(signal.as_str());
    }
    assert!(proxy.try_wait().unwrap().is_none());
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(wait_for(&mut proxy).code(), Some(0));
}
