//! As a service: sockets that are handed over, and what the manager is told.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use conniver::record::Outcome;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::SockRef;
use tempfile::TempDir;

use crate::harness::load::under_load;
use crate::harness::namespace::available;
use crate::harness::peers::{Upstream, echo_server, exchange};
use crate::harness::program::{BINARY, PATIENCE, Proxy, listening, wait_for, wait_until};
use crate::harness::{has_tool, output};

const UNIT: &str = include_str!("../../scripts/systemd/conniver.service");

/// The program as a manager starts it, which hands this socket over as descriptor 3.
fn with_socket(socket: impl Into<OwnedFd>) -> Command {
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3>&1 1>/dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", script, BINARY]).stdout(Stdio::from(socket.into()));
    command
}

/// A proxy that serves this listener, and forwards to `upstream`.
fn serve(listener: &TcpListener, upstream: SocketAddr, args: &[&str]) -> Proxy {
    let forward = format!("{}:{upstream}", listener.local_addr().unwrap());
    Proxy::start(&mut with_socket(listener.try_clone().unwrap()), &[&forward], args)
}

#[test]
fn a_socket_that_is_handed_over_is_served_with_what_waits_there_already() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut early = TcpStream::connect(address).unwrap();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    let proxy = serve(&listener, echo_server(), &[]);
    assert_eq!(proxy.address(), address);
    exchange(&mut early, b"x");
    exchange(&mut proxy.connect(), b"x");
    drop(early);
    let left = proxy.stop();
    assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
    assert_eq!(left.records().len(), 2);
    TcpStream::connect(address).expect("the socket is still open here, and takes connections");
}

#[test]
fn what_waited_before_the_program_began_has_its_socket_options() {
    if !available("what_waited_before_the_program_began_has_its_socket_options") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let early = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let upstream = Upstream::once(|stream| stream);
    let proxy = serve(&listener, upstream.address, &["--events", "open,close"]);
    proxy.wait_for_open(1);
    let socket = proxy.socket_facing(&early);
    let socket = SockRef::from(&socket);
    assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
    assert!(socket.out_of_band_inline().unwrap());
}

#[test]
fn a_restart_under_load_refuses_no_connection_and_loses_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = echo_server();
    let serve = || serve(&listener, upstream, &["--drain", "20s", "--events", "close,stop"]);
    let first = serve();
    let mut second = None;
    let mut made = under_load(address, || {
        first.wait_for_records(20);
        // The old one drains while the new one accepts.
        second = Some(serve());
        first.signal(Signal::SIGTERM);
    });
    let second = second.unwrap();
    let mut third = None;
    made += under_load(address, || {
        second.signal(Signal::SIGTERM);
        let file = second.records_file();
        // Nobody serves: connections wait.
        wait_until("it has ended", || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"event\":\"stop\""))
        });
        third = Some(serve());
    });

    let mut records = Vec::new();
    for left in [first.wait(), second.wait(), third.unwrap().stop()] {
        assert_eq!(left.status.code(), Some(0), "{}", left.stderr);
        records.extend(left.records());
    }
    assert!(records.iter().all(|record| record.outcome == Some(Outcome::Ok)));
    assert_eq!(records.len(), made);
}

#[test]
fn a_socket_that_no_option_serves_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = with_socket(listener);
    let output = command.args(["proxy", "-L", "0:127.0.0.1:9"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let sentence = format!("conniver: cannot use the inherited socket on {address}");
    assert!(output.status.code() == Some(1) && said.starts_with(&sentence), "{said}");

    let mut command = with_socket(UnixDatagram::unbound().unwrap());
    let output = command.args(["proxy", "-L", "0:127.0.0.1:9"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let sentence = "conniver: cannot use inherited socket 1";
    assert!(output.status.code() == Some(1) && said.starts_with(sentence), "{said}");
}

#[test]
fn the_manager_is_told_when_it_is_ready_alive_and_stopping() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap().trim_end().to_owned()
    };
    let mut command = Command::new(BINARY);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let proxy = Proxy::start(&mut command, &["0:127.0.0.1:9"], &[]);
    assert_eq!(hear(), "READY=1");
    for _ in 0..3 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    assert_eq!(proxy.stop().status.code(), Some(0));
    while hear() != "STOPPING=1" {}
}

#[test]
fn the_sample_units_are_right_and_harden_the_service() {
    let what = "the_sample_units_are_right_and_harden_the_service";
    if !has_tool("systemd-analyze", what) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let (service, socket) =
        (directory.path().join("conniver.service"), directory.path().join("conniver.socket"));
    std::fs::write(&service, UNIT.replace("ExecStart=conniver", &format!("ExecStart={BINARY}")))
        .unwrap();
    std::fs::write(&socket, include_str!("../../scripts/systemd/conniver.socket")).unwrap();
    let verified = output(Command::new("systemd-analyze").arg("verify").args([&service, &socket]));
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
    // From 0 to 100, the less the better; what it may do to the network is its business.
    let security = ["security", "--offline=true", "--threshold=20"];
    output(Command::new("systemd-analyze").args(security).arg(&service));
}

/// The value of a key in the sample unit.
fn value(key: &str) -> &'static str {
    let mut values = UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.next().unwrap_or_else(|| panic!("the unit has no {key}"))
}

#[test]
fn the_sample_unit_limits_memory_and_hides_other_processes() {
    let gigabytes = value("MemoryMax").strip_suffix('G').unwrap();
    assert!(gigabytes.parse::<u32>().unwrap() >= 1, "--queue alone may take a part of it");
    assert_eq!(value("ProtectProc"), "invisible");
}

#[test]
fn the_sample_unit_writes_records_that_its_group_can_read() {
    // systemd makes the directories of dynamic users below one that is root's alone.
    assert!(!UNIT.contains("\nDynamicUser=yes"));
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("records.ndjson");
    let (_, arguments) = value("ExecStart").split_once(' ').unwrap();
    let arguments = arguments
        .replace("/var/log/conniver/records.ndjson", file.to_str().unwrap())
        .replace("127.0.0.1:1080", "127.0.0.1:0");
    let script = format!("umask {}; exec {BINARY} {arguments}", value("UMask"));
    let mut proxy =
        Command::new("sh").args(["-c", &script]).stderr(Stdio::piped()).spawn().unwrap();
    let _said = listening(&mut proxy);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), value("LogsDirectoryMode")), (0o640, "0750"));
    kill(Pid::from_raw(proxy.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(wait_for(&mut proxy).code(), Some(0));
}

#[test]
fn the_sample_units_user_and_group_are_made_by_its_sysusers_file() {
    let what = "the_sample_units_user_and_group_are_made_by_its_sysusers_file";
    if !has_tool("systemd-sysusers", what) {
        return;
    }
    let root = TempDir::new().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/systemd/sysusers.d/conniver.conf");
    output(Command::new("systemd-sysusers").arg("--root").args([root.path(), Path::new(file)]));
    for (database, key) in [("passwd", "User"), ("group", "Group")] {
        let entries = std::fs::read_to_string(root.path().join("etc").join(database)).unwrap();
        assert!(entries.starts_with(&format!("{}:", value(key))), "{entries}");
    }
}
