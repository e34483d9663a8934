//! `conniver watch`: which sockets have lines, and what the lines say.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use conniver::record::{How, Line, Origin, SampleReason, SocketSource};
use conniver::tcp_info::State;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::harness::peers::{deaf_port, reset};
use crate::harness::program::{BINARY, wait_until};
use crate::harness::watching::{Watching, sockets};
use crate::harness::{has_tool, skip};
use crate::run::as_nobody;

/// A connection: the end that connected, and the one that was accepted.
fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    (client, accepted)
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

fn port(stream: &TcpStream) -> u16 {
    stream.local_addr().unwrap().port()
}

/// Arguments that watch the connections of this listener alone, with many dumps.
fn only(listener: &TcpListener) -> [String; 4] {
    let to = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    ["--to", &to, "--interval", "20ms"].map(str::to_owned)
}

fn watch(listener: &TcpListener, more: &[&str]) -> Watching {
    let args = only(listener);
    let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Watching::start(&args)
}

#[test]
fn both_ends_of_a_connection_have_a_line_when_it_has_ended() {
    let listener = listener();
    let watch = watch(&listener, &["--events", "socket,sample,start,stop", "--label", "a=b"]);
    let (mut client, mut accepted) = pair(&listener);
    client.write_all(b"hello").unwrap();
    accepted.read_exact(&mut [0; 5]).unwrap();
    accepted.write_all(b"you").unwrap();
    client.read_exact(&mut [0; 3]).unwrap();
    let ports = [port(&client), port(&accepted)];
    // A dump has shown both, and their program was found, which has a sample of its own.
    for port in ports {
        wait_until("a sample names the program", || {
            watch.sampled(port).header.process.is_some_and(|process| process.pid.is_some())
        });
        let sample = watch.sampled(port);
        assert!([SampleReason::Interval, SampleReason::Quiet].contains(&sample.reason));
        assert_eq!(sample.socket.lost, Some(0));
    }
    client.shutdown(Shutdown::Write).unwrap();
    accepted.read_to_end(&mut Vec::new()).unwrap();
    drop(accepted);
    client.read_to_end(&mut Vec::new()).unwrap();
    drop(client);
    let [of_client, of_accepted] = ports.map(|port| watch.ended(port));

    assert_eq!(of_client.header.origin, Some(Origin::Connected));
    assert_eq!(of_client.header.listener, None);
    assert_eq!((of_client.socket.tx_bytes, of_client.delivery.acked), (5, Some(5)));
    assert_eq!(of_client.delivery.undelivered, Some(0));
    assert_eq!((of_client.ending.fin_sent, of_client.ending.how), (Some(true), Some(How::Fin)));
    assert!([3, 4].contains(&of_client.socket.rx_bytes), "{of_client:?}");

    let listening = listener.local_addr().unwrap().to_string();
    assert_eq!(of_accepted.header.origin, Some(Origin::Accepted));
    assert_eq!(of_accepted.header.listener, Some(listening));
    assert_eq!((of_accepted.socket.tx_bytes, of_accepted.ending.fin_sent), (3, Some(true)));
    assert!([5, 6].contains(&of_accepted.socket.rx_bytes), "{of_accepted:?}");

    for socket in [&of_client, &of_accepted] {
        assert_eq!(socket.source, SocketSource::Event);
        assert_eq!(socket.header.labels["a"], "b");
        assert_eq!(socket.socket.lost, Some(0));
        assert!(socket.seen_after.is_some(), "it came after the first dump");
        let info = socket.socket.closed_info.as_ref().unwrap();
        assert_eq!(info.state, Some(State::Close));
        let linux = info.sys_info.linux().unwrap();
        assert!(linux.cc_algorithm.is_some(), "the event has none, the dumps have");
        assert!(socket.socket.opened_info.is_some() && socket.socket.eof_info.is_some());
        assert!(socket.socket.eof_info.as_ref().unwrap().rtt.is_some());
    }
    let watched = watch.stop();
    assert!(watched.status.success(), "{}", watched.stderr);
    assert!(
        matches!(watched.lines.first(), Some(Line::Start(start)) if start.listeners.is_empty())
    );
    assert!(matches!(watched.lines.last(), Some(Line::Stop(stop)) if stop.pairs == 2));
}

#[test]
fn a_socket_that_no_dump_has_shown_has_a_line_from_its_event() {
    let listener = listener();
    let to = format!(":{}", listener.local_addr().unwrap().port());
    let watch = Watching::start(&["--to", &to, "--interval", "1h"]);
    let (mut client, accepted) = pair(&listener);
    client.write_all(b"hello").unwrap();
    let ports = [port(&client), port(&accepted)];
    client.shutdown(Shutdown::Write).unwrap();
    (&accepted).read_to_end(&mut Vec::new()).unwrap();
    drop((accepted, client));
    let [client, accepted] = ports.map(|port| watch.ended(port));
    assert_eq!(client.header.origin, Some(Origin::Connected));
    assert_eq!((client.socket.tx_bytes, client.ending.how), (5, Some(How::Fin)));
    assert_eq!(client.header.process, None);
    assert_eq!((&client.socket.opened_info, &client.socket.eof_info), (&None, &None));
    assert_eq!(client.ending.state, None);
    // The first dump has shown the listener.
    assert_eq!(accepted.header.origin, Some(Origin::Accepted));
    assert!(accepted.duration.as_secs() < 60, "{accepted:?}");
}

#[test]
fn a_socket_that_was_there_before_is_of_unknown_age() {
    let listener = listener();
    let (client, accepted) = pair(&listener);
    let watch = watch(&listener, &[]);
    let ports = [port(&client), port(&accepted)];
    drop((client, accepted));
    for socket in ports.map(|port| watch.ended(port)) {
        assert_eq!((socket.seen_after, &socket.socket.opened_info), (None, &None));
        assert_eq!(socket.ending.state, Some(State::Established));
        assert!(socket.socket.eof_info.is_some());
    }
}

#[test]
fn a_reset_is_told_on_both_sides_and_what_it_left_undelivered() {
    let listener = listener();
    let watch = watch(&listener, &["--events", "socket,sample"]);
    let (mut client, mut accepted) = pair(&listener);
    client.write_all(b"hello").unwrap();
    accepted.read_exact(&mut [0; 5]).unwrap();
    let ports = [port(&client), port(&accepted)];
    for port in ports {
        watch.sampled(port);
    }
    reset(accepted);
    client.read_to_end(&mut Vec::new()).unwrap_err();
    drop(client);
    let [client, accepted] = ports.map(|port| watch.ended(port));
    assert_eq!((client.ending.fin_sent, client.ending.how), (Some(false), Some(How::Reset)));
    assert_eq!(client.source, SocketSource::Event);
    // SO_LINGER 0 clears the kernel's counters: these are the last dump's.
    assert_eq!((accepted.source, accepted.ending.how), (SocketSource::Dump, Some(How::Reset)));
    assert_eq!(accepted.socket.rx_bytes, 5);
}

#[test]
fn a_connection_that_nobody_accepts_is_told_while_it_is_tried() {
    let (_held, nobody) = deaf_port();
    let watch = Watching::start(&["--to", &nobody.to_string(), "--interval", "10ms"]);
    // Refused at once, so that hardly a dump sees it: it has no line, or one that says so.
    TcpStream::connect(nobody).unwrap_err();
    for socket in sockets(watch.stop().lines) {
        assert_eq!(socket.ending.fin_sent, Some(false), "{socket:?}");
    }
}

#[test]
fn both_families_are_watched_and_ipv4_on_ipv6_sockets_is_ipv4() {
    let watch = Watching::start(&["--interval", "1h"]);
    let six = TcpListener::bind("[::1]:0").unwrap();
    let (client, accepted) = pair(&six);
    let of_six = port(&client);
    drop((client, accepted));
    assert!(watch.ended(of_six).socket.remote_addr.is_ipv6());

    let dual = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    dual.set_only_v6(false).unwrap();
    dual.bind(&SockAddr::from("[::]:0".parse::<SocketAddr>().unwrap())).unwrap();
    dual.listen(1).unwrap();
    let dual = TcpListener::from(dual);
    let listening = dual.local_addr().unwrap().port();
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, listening)).unwrap();
    let (accepted, peer) = dual.accept().unwrap();
    assert!(peer.is_ipv6(), "mapped: {peer}");
    let client_port = port(&client);
    drop((client, accepted));
    let socket = watch.ended(listening);
    let expected = SocketAddr::from((Ipv4Addr::LOCALHOST, client_port));
    assert_eq!(socket.socket.remote_addr, expected);
}

#[test]
fn one_side_of_connections_can_be_selected() {
    let listener = listener();
    for (option, origin) in [("--listening", Origin::Accepted), ("--outgoing", Origin::Connected)] {
        let watch = watch(&listener, &[option]);
        let (mut client, mut accepted) = pair(&listener);
        exchange_between(&mut client, &mut accepted);
        let wanted = match origin {
            Origin::Accepted => port(&accepted),
            _ => port(&client),
        };
        drop((client, accepted));
        watch.ended(wanted);
        let ended = sockets(watch.stop().lines);
        let origins: Vec<_> = ended.iter().map(|socket| socket.header.origin).collect();
        assert_eq!(origins, [Some(origin)]);
    }
}

fn exchange_between(client: &mut TcpStream, accepted: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    accepted.read_exact(&mut [0]).unwrap();
}

#[test]
fn sockets_of_a_process_are_told_from_others_and_the_watch_ends_with_it() {
    let name = "sockets_of_a_process_are_told_from_others_and_the_watch_ends_with_it";
    if !has_tool("socat", name) {
        return;
    }
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let mut command = Command::new("socat");
    command.args(["-", &format!("TCP:{address}")]);
    let mut socat = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let (mut of_socat, peer) = listener.accept().unwrap();
    let pid = socat.id().to_string();
    let args = ["--pid", &pid, "--interval", "20ms", "--events", "socket,sample"];
    let watch = Watching::start(&args);
    // Of the other connections of the machine none is the program's.
    let (client, accepted) = pair(&listener);
    drop((client, accepted));
    // It is looked up while it is open, and sampled when it moves data.
    wait_until("a sample names the program", || {
        of_socat.write_all(b"x").unwrap();
        watch.sampled(peer.port()).header.process.is_some()
    });
    drop(socat.stdin.take());
    of_socat.read_to_end(&mut Vec::new()).unwrap();
    drop(of_socat);
    socat.wait().unwrap();
    let watched = watch.wait();
    assert!(watched.status.success(), "{}", watched.stderr);
    let ended = sockets(watched.lines);
    let [socket] = &ended[..] else { panic!("{ended:?}") };
    assert_eq!(socket.socket.local_addr, peer);
    let process = socket.header.process.as_ref().unwrap();
    assert_eq!((process.pid, process.name.as_deref()), (Some(socat.id()), Some("socat")));
}

#[test]
fn sockets_of_a_cgroup_are_told_from_others() {
    let name = "sockets_of_a_cgroup_are_told_from_others";
    if !nix::unistd::geteuid().is_root() || !has_tool("socat", name) {
        return skip(name, "it makes a cgroup, which needs root");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
    let Some(root) = mounts.filter_map(|line| line.split(' ').nth(4)).next() else {
        return skip(name, "cgroup version 2 is not mounted");
    };
    let cgroup = format!("{root}/conniver-watch-{}", std::process::id());
    std::fs::create_dir_all(format!("{cgroup}/below")).unwrap();
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let args = ["--cgroup", &cgroup, "--interval", "20ms", "--events", "socket,sample"];
    let watch = Watching::start(&args);
    let script = format!("echo $$ > {cgroup}/below/cgroup.procs && exec socat - TCP:{address}");
    let mut shell = Command::new("sh");
    let mut socat = shell.args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let (of_socat, peer) = listener.accept().unwrap();
    watch.sampled(peer.port());
    drop(pair(&listener));
    drop(of_socat);
    drop(socat.stdin.take());
    socat.wait().unwrap();
    watch.ended(peer.port());
    let ended = sockets(watch.stop().lines);
    assert_eq!(ended.len(), 1, "{ended:?}");
    std::fs::remove_dir(format!("{cgroup}/below")).unwrap();
    std::fs::remove_dir(cgroup).unwrap();
}

#[test]
fn an_ordinary_user_sees_every_socket_and_its_own_programs() {
    let what = "an_ordinary_user_sees_every_socket_and_its_own_programs";
    let Some(nobody) = as_nobody(what) else { return };
    let listener = listener();
    let mut command = Command::new(nobody[0]);
    command.args(&nobody[1..]).arg(BINARY);
    let args = only(&listener);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let watch =
        Watching::start_by(&mut command, &[&args[..], &["--events", "socket,sample"]].concat());
    let (mut client, mut accepted) = pair(&listener);
    exchange_between(&mut client, &mut accepted);
    let client_port = port(&client);
    watch.sampled(client_port);
    drop((client, accepted));
    let socket = watch.ended(client_port);
    assert_eq!(socket.source, SocketSource::Event);
    assert_eq!(socket.socket.tx_bytes, 1);
    if nix::unistd::geteuid().is_root() {
        // Only the user is known of what another user's program has open.
        let process = socket.header.process.unwrap_or_default();
        assert_eq!((process.pid, process.uid.unwrap_or(0)), (None, 0));
    }
}

#[test]
fn what_cannot_be_watched_is_said() {
    let mut gone = Command::new("true").spawn().unwrap();
    let pid = gone.id().to_string();
    gone.wait().unwrap();
    for (args, expected) in [
        (["--pid", &pid], format!("cannot read the sockets of process {pid}: No such file")),
        (["--cgroup", "/no/such"], "cannot read the cgroup '/no/such'".to_owned()),
        (["--to", "no-such-host.invalid:80"], "cannot look up 'no-such-host.invalid'".to_owned()),
    ] {
        let output = Command::new(BINARY).arg("watch").args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let said = said.replace('\n', " ");
        assert!(said.contains(&expected), "{said}");
    }
    for args in [["--to", "a:b:c"], ["--interval", "1ms"], ["--pid", "0"], ["--events", "close"]] {
        let output = Command::new(BINARY).arg("watch").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
