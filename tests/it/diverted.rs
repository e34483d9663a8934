//! Connections that the kernel diverts to the proxy, by the very rules that `conniver rules` prints:
//! the client knows nothing, and the record has its target.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};

use conniver::record::{By, How, Mode, Outcome, Phase, Record};

use crate::arguments::unwrapped;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{Upstream, echo_server_on, exchange, read_all, read_until_reset};
use crate::harness::program::{BINARY, PATIENCE, Proxy};
use crate::harness::{has_tool, run};

/// In a namespace of the test's own, every port is free.
const PORT: u16 = 15001;

/// By what connections are diverted.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    mode: Mode,
}

const REDIRECT: Way = Way { name: "redirect", mode: Mode::Redirect };
const TPROXY: Way = Way { name: "tproxy", mode: Mode::Tproxy };

impl Way {
    /// The script of the rules.
    fn rules(self, args: &[&str]) -> String {
        run(BINARY, &[&["rules", self.name, "--port", &PORT.to_string()], args].concat())
    }

    fn proxy(self, namespace: &Namespace, hosts: &[&str], args: &[&str]) -> Proxy {
        let option = format!("--{}", self.name);
        let listeners: Vec<_> = hosts.iter().map(|host| format!("{host}:{PORT}")).collect();
        let mut all: Vec<&str> =
            listeners.iter().flat_map(|listener| [option.as_str(), listener]).collect();
        all.extend(args);
        Proxy::start(&mut namespace.command(BINARY), &[], &all)
    }
}

/// A line of the script's comment.
fn comment_after<'s>(script: &'s str, words: &str) -> &'s str {
    let line = script.lines().skip_while(|line| !line.contains(words)).nth(1).unwrap();
    line.strip_prefix("#   ").unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn is_reset(address: SocketAddr) {
    assert_eq!(read_until_reset(&mut connect(address)), b"", "{address}");
}

fn assert_denied_as_loop(record: &Record, mode: Mode, target: SocketAddr) {
    let ending = record.ending.as_ref().unwrap();
    assert_eq!(record.outcome, Some(Outcome::Denied), "{ending:?}");
    assert_eq!(ending.error_code.as_deref(), Some("LOOP"), "{ending:?}");
    assert_eq!(
        (ending.phase, ending.first_by, ending.first_how),
        (Phase::Accept, By::Proxy, How::Denied)
    );
    assert_eq!(record.mode, Some(mode));
    assert_eq!(record.target, Some(target.to_string()));
    assert!(record.upstream.is_none() && record.attempts.is_empty());
}

/// Addresses at the far end of a cable: one that echoes, and one on which nobody listens.
struct Far {
    echo: SocketAddr,
    deaf: SocketAddr,
}

fn far(namespace: &Namespace, net: u8) -> [Far; 2] {
    ["10.{net}.0.2", "[fd00:{net}::2]"].map(|host| {
        let host = host.replace("{net}", &net.to_string());
        // Whoever held it is gone, and in this namespace nobody else comes.
        let deaf = || TcpListener::bind(format!("{host}:0")).unwrap().local_addr().unwrap();
        namespace.enter(|| Far { deaf: deaf(), echo: echo_server_on(&format!("{host}:0")) })
    })
}

fn assert_diverted(record: &Record, mode: Mode, target: SocketAddr) {
    assert_eq!((record.outcome, record.mode), (Some(Outcome::Ok), Some(mode)));
    assert_eq!(record.target, Some(target.to_string()));
    assert_eq!(record.target_host, Some(target.ip().to_string()));
    assert_eq!(record.upstream.as_ref().unwrap().remote_addr, Some(target));
    assert_eq!((record.client.rx_bytes, record.client.own_rx_bytes), (5, 0));
    assert_eq!(record.phases.request, None);
}

/// Diverts what the programs of one machine send, all of it, by mark.
fn divert_what_this_machine_sends(by: Way) {
    let (here, there) = (Namespace::new(), Namespace::new());
    here.cable(&there, "cable", 7);
    let script = by.rules(&["--mark", "0x77"]);
    let hosts = ["127.0.0.1", "[::1]"];
    let proxy = by.proxy(&here, &hosts, &["--mark", "0x77", "-vv"]);
    assert_eq!(
        comment_after(&script, "Diverts"),
        format!("conniver proxy --{0} 127.0.0.1:{PORT} --{0} '[::1]:{PORT}' --mark 119", by.name)
    );
    // Twice: it replaces what it made.
    here.sh(&script);
    here.sh(&script);

    let far = far(&there, 7);
    let mut count = 0;
    let mut next = |proxy: &Proxy| {
        count += 1;
        let mut records = proxy.wait_for_records(count);
        assert_eq!(records.len(), count, "{records:?}");
        records.pop().unwrap()
    };
    for Far { echo, deaf } in far {
        here.enter(|| {
            let mut client = connect(echo);
            assert_eq!(client.peer_addr().unwrap(), echo);
            assert_eq!(exchange(&mut client, b"hello"), b"hello");
            proxy.wait_to_hear(&format!("the client {}", client.local_addr().unwrap()));
        });
        let record = next(&proxy);
        assert_diverted(&record, by.mode, echo);
        let pid = record.process.as_ref().and_then(|process| process.pid);
        assert_eq!(pid, Some(std::process::id()));
        assert_eq!(record.client_host, record.client.remote_addr.map(|a| a.ip().to_string()));

        here.enter(|| is_reset(deaf));
        let record = next(&proxy);
        assert_eq!((record.outcome, record.mode), (Some(Outcome::Refused), Some(by.mode)));
        assert_eq!(record.target, Some(deaf.to_string()));
    }
    for &listener in proxy.addresses() {
        here.enter(|| is_reset(listener));
        assert_denied_as_loop(&next(&proxy), by.mode, listener);
    }

    here.sh(comment_after(&script, "To undo it"));
    there.enter(|| drop(TcpListener::bind("10.7.0.2:9").unwrap()));
    here.enter(|| {
        assert_eq!(
            TcpStream::connect("10.7.0.2:9").unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused,
        );
    });
    let rules = here.ip(&["rule"]) + &here.ip(&["-6", "rule"]);
    assert!(!rules.contains("fwmark"), "{rules}");
    assert_eq!(proxy.stop().records().len(), count);
}

#[test]
fn redirect_diverts_what_this_machine_sends_but_for_what_the_proxy_marks() {
    if available("redirect_diverts_what_this_machine_sends_but_for_what_the_proxy_marks") {
        divert_what_this_machine_sends(REDIRECT);
    }
}

#[test]
fn tproxy_diverts_what_this_machine_sends_but_for_what_the_proxy_marks() {
    if available("tproxy_diverts_what_this_machine_sends_but_for_what_the_proxy_marks") {
        divert_what_this_machine_sends(TPROXY);
    }
}

#[test]
fn the_upstream_of_a_diverted_connection_is_told_of_its_target() {
    if !available("the_upstream_of_a_diverted_connection_is_told_of_its_target") {
        return;
    }
    let (here, there) = (Namespace::new(), Namespace::new());
    here.cable(&there, "cable", 7);
    let proxy = REDIRECT.proxy(&here, &["127.0.0.1"], &["--mark", "9", "--send-proxy", "v1"]);
    here.sh(&REDIRECT.rules(&["--mark", "9"]));
    let upstream = there.enter(|| {
        let listener = TcpListener::bind("10.7.0.2:0").unwrap();
        Upstream::on(listener, |mut stream| read_all(&mut stream))
    });
    let client = here.enter(|| connect(upstream.address));
    let (from, to) = (client.local_addr().unwrap(), upstream.address);
    drop(client);
    let (from, to) = ((from.ip(), from.port()), (to.ip(), to.port()));
    let header = format!("PROXY TCP4 {} {} {} {}\r\n", from.0, to.0, from.1, to.1);
    assert_eq!(String::from_utf8(upstream.join()).unwrap(), header);
    assert_eq!(proxy.the_record().outcome, Some(Outcome::Ok));
}

/// Diverts what passes through one machine to a port of another one.
fn divert_what_passes_through(by: Way, hosts: &[&str]) {
    let [client, router, server] = [(); 3].map(|()| Namespace::new());
    router.cable(&client, "inside", 7);
    router.cable(&server, "outside", 8);
    for (end, net) in [(&client, 7), (&server, 8)] {
        end.ip(&["route", "add", "default", "via", &format!("10.{net}.0.1")]);
        end.ip(&["route", "add", "default", "via", &format!("fd00:{net}::1")]);
    }
    router.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    for Far { echo, deaf } in far(&server, 8) {
        let proxy = by.proxy(&router, hosts, &[]);
        let port = echo.port().to_string();
        router.sh(&by.rules(&["--on", "inside", "--ports", &port]));
        client.enter(|| {
            let mut diverted = connect(echo);
            assert_eq!(exchange(&mut diverted, b"hello"), b"hello");
            // Another port passes as before.
            let refused = TcpStream::connect(deaf).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        });
        let record = proxy.the_record();
        assert_diverted(&record, by.mode, echo);
        let host = if echo.is_ipv4() { "10.7.0.2" } else { "fd00:7::2" };
        assert_eq!(record.client_host.as_deref(), Some(host));

        // Another machine's connection to the listener itself: no --allow-from had to forbid it.
        let direct = SocketAddr::new(
            if echo.is_ipv4() { "10.7.0.1" } else { "fd00:7::1" }.parse().unwrap(),
            PORT,
        );
        if hosts == ["*"] {
            client.enter(|| is_reset(direct));
            assert_denied_as_loop(&proxy.wait_for_records(2)[1], by.mode, direct);
        }
    }
}

#[test]
fn redirect_diverts_what_passes_through_and_nobody_connects_to_its_listener() {
    if available("redirect_diverts_what_passes_through_and_nobody_connects_to_its_listener") {
        divert_what_passes_through(REDIRECT, &["*"]);
    }
}

#[test]
fn tproxy_diverts_what_passes_through_to_listeners_on_loopback() {
    if available("tproxy_diverts_what_passes_through_to_listeners_on_loopback") {
        divert_what_passes_through(TPROXY, &["127.0.0.1", "[::1]"]);
    }
}

#[test]
fn tproxy_on_every_address_refuses_who_connects_to_it() {
    if !available("tproxy_on_every_address_refuses_who_connects_to_it") {
        return;
    }
    divert_what_passes_through(TPROXY, &["*"]);
}

#[test]
fn this_machines_programs_reach_link_local_targets_and_others_do_not() {
    if !available("this_machines_programs_reach_link_local_targets_and_others_do_not") {
        return;
    }
    let [client, router, server] = [(); 3].map(|()| Namespace::new());
    router.cable(&client, "inside", 7);
    router.cable(&server, "outside", 8);
    client.ip(&["route", "add", "default", "via", "10.7.0.1"]);
    router.ip(&["addr", "add", "169.254.8.1/24", "dev", "outside"]);
    server.ip(&["addr", "add", "169.254.8.2/24", "dev", "outside"]);
    let echo = server.enter(|| echo_server_on("169.254.8.2:0"));
    let proxy = REDIRECT.proxy(&router, &["*"], &["--mark", "7"]);

    router.sh(&REDIRECT.rules(&["--mark", "7"]));
    router.enter(|| assert_eq!(exchange(&mut connect(echo), b"hello"), b"hello"));
    assert_diverted(&proxy.the_record(), Mode::Redirect, echo);

    router.sh(&REDIRECT.rules(&["--on", "inside"]));
    client.enter(|| is_reset(echo));
    let record = proxy.wait_for_records(2).pop().unwrap();
    assert_eq!((record.outcome, record.mode), (Some(Outcome::Denied), Some(Mode::Redirect)));
    assert_eq!(record.ending.unwrap().error_code.as_deref(), Some("TARGET_DENIED"));
}

#[test]
fn a_connection_that_no_rule_ever_touched_is_refused_as_a_loop() {
    for listener in ["127.0.0.1:0", "[::1]:0"] {
        let proxy = Proxy::start(&mut Command::new(BINARY), &[], &["--redirect", listener]);
        is_reset(proxy.address());
        assert_denied_as_loop(&proxy.the_record(), Mode::Redirect, proxy.address());
        assert_eq!(proxy.stop().records().len(), 1);
    }
}

/// Runs it to its end without the right to configure the network.
fn unprivileged(args: &[&str]) -> Output {
    let mut command = match nix::unistd::geteuid().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set=-net_admin,-net_raw", BINARY]);
            command
        }
        false => Command::new(BINARY),
    };
    command.arg("proxy").args(args).output().unwrap()
}

#[test]
fn a_mark_or_a_tproxy_listener_that_may_not_be_is_an_error_at_the_start() {
    if !has_tool("setpriv", "a_mark_or_a_tproxy_listener_that_may_not_be_is_an_error_at_the_start")
    {
        return;
    }
    for (args, words) in [
        (
            ["-D", "0", "--mark", "7"],
            "cannot set firewall mark 7: Operation not permitted; this needs root or CAP_NET_ADMIN",
        ),
        (
            ["--tproxy", "0", "--tproxy", "[::1]:0"],
            "Operation not permitted; TPROXY needs root or CAP_NET_ADMIN",
        ),
        (
            ["--tproxy", "[::1]:0", "--tproxy", "0"],
            "cannot listen on [::1]:0: Operation not permitted; ",
        ),
    ] {
        let output = unprivileged(&args);
        let said = unwrapped(&String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn rules_that_make_no_sense_are_wrong_usage() {
    for (args, words) in [
        (&["--port", "1"][..], "the proxy's own connections back to it"),
        (&["--port", "0", "--mark", "1"], "'0'"),
        (&["--port", "1", "--mark", "0"], "expected a number from 1"),
        (&["--port", "1", "--mark", "0x636e"], "reserved for the rules themselves"),
        (&["--port", "1", "--mark", "1", "--ports", "9-8"], "9-8"),
        (&["--port", "1", "--on", "eth0; reboot"], "expected a name"),
        (&["--port", "1", "--not-user", "\"x\""], "expected a name"),
        (&["--port", "1", "--not-user", "me", "--on", "eth0"], "cannot be used with"),
    ] {
        for by in ["redirect", "tproxy"] {
            let output = Command::new(BINARY).args(["rules", by]).args(args).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(words) && output.stdout.is_empty(), "{said}");
        }
    }
}
