//! The local program that was the client.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use conniver::record::{Process, Record};
use nix::unistd::geteuid;

use crate::contract::{PROCESS, assert_keys};
use crate::harness::forwarding::Forwarding;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{BINARY, Proxy};
use crate::harness::{has_tool, skip};

const NOBODY: u32 = 65534;

/// What the program says when it has found a client.
const FOUND: &str = "the client ";

/// Runs curl through a proxy by this command, and lets it have its page when the proxy has found
/// whose program it is; its process's number, and the record.
fn curl_by(mut command: Command, mut proxy: Command) -> (u32, Record) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let forwarding = Forwarding::to(listener, &mut proxy, &["-vv"]);
    let proxy = &forwarding.proxy;
    let url = format!("http://{}/", proxy.address());
    let curl = command.args(["-sS", "--noproxy", "*", &url]).stdout(Stdio::null()).spawn();
    let mut curl: Child = curl.unwrap();
    let upstream = forwarding.accept();
    proxy.wait_to_hear(FOUND);
    crate::curl::serve(upstream, b"page");
    assert!(curl.wait().unwrap().success());
    (curl.id(), proxy.the_record())
}

fn process_of(record: &Record) -> &Process {
    record.process.as_ref().expect("the client's process is known")
}

#[test]
fn a_real_curl_is_seen_as_the_process_that_it_is() {
    let name = "a_real_curl_is_seen_as_the_process_that_it_is";
    if !has_tool("curl", name) {
        return;
    }
    let (pid, record) = curl_by(Command::new("curl"), Command::new(BINARY));
    let process = process_of(&record);
    assert_eq!((process.pid, process.uid), (Some(pid), Some(geteuid().as_raw())));
    assert_eq!(process.name.as_deref(), Some("curl"));
    assert!(process.exe.as_ref().unwrap().ends_with("/curl"), "{process:?}");
    // Its control group is the one that it was started in: ours.
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    assert_eq!(process.cgroup.as_deref(), own);
    assert_keys(&serde_json::to_value(process).unwrap(), PROCESS, "process");
}

/// curl, or the program itself, as the user nobody.
fn as_nobody(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    let nobody = NOBODY.to_string();
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups", program]);
    command
}

fn may_change_users(name: &str) -> bool {
    if !geteuid().is_root() {
        skip(name, "it runs programs as another user, which needs root");
        return false;
    }
    has_tool("curl", name) && has_tool("setpriv", name)
}

#[test]
fn root_sees_the_process_of_another_user() {
    if !may_change_users("root_sees_the_process_of_another_user") {
        return;
    }
    let (pid, record) = curl_by(as_nobody("curl"), Command::new(BINARY));
    let process = process_of(&record);
    assert_eq!((process.pid, process.uid), (Some(pid), Some(NOBODY)));
    assert_eq!(process.name.as_deref(), Some("curl"));
}

#[test]
fn of_another_users_process_who_is_not_root_sees_the_user_alone() {
    if !may_change_users("of_another_users_process_who_is_not_root_sees_the_user_alone") {
        return;
    }
    // Where that user may run it and write its records.
    let directory = tempfile::Builder::new().prefix("conniver").tempdir_in("/tmp").unwrap();
    let program = directory.path().join("conniver");
    std::fs::copy(BINARY, &program).unwrap();
    std::os::unix::fs::chown(directory.path(), Some(NOBODY), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("0:{}", listener.local_addr().unwrap());
    let mut command = as_nobody(program.to_str().unwrap());
    let proxy = Proxy::start_in(directory, &mut command, &[&forward], &["-vv"]);
    let client = proxy.connect();
    let (upstream, _) = listener.accept().unwrap();
    proxy.wait_to_hear(FOUND);
    drop((client, upstream));
    let record = proxy.the_record();
    let process = process_of(&record);
    assert_eq!((process.pid, process.uid), (None, Some(geteuid().as_raw())));
    assert_eq!((&process.name, &process.exe, &process.cgroup), (&None, &None, &None));
}

#[test]
fn a_client_in_another_namespace_is_nobodys() {
    if !available("a_client_in_another_namespace_is_nobodys") {
        return;
    }
    let (here, there) = (Namespace::new(), Namespace::new());
    here.cable(&there, "cable", 1);
    let echo = here.enter(|| crate::harness::peers::echo_server_on("10.1.0.1:0"));
    let forward = format!("10.1.0.1:0:{echo}");
    let args = ["--allow-from", "10.1.0.0/24", "-vv"];
    let proxy = Proxy::start(&mut here.command(BINARY), &[&forward], &args);
    let exchange_in = |namespace: &Namespace, held: &mut Vec<TcpStream>| {
        namespace.enter(|| {
            let mut client = TcpStream::connect(proxy.address()).unwrap();
            exchange(&mut client, b"x");
            held.push(client);
        });
    };
    let mut held = Vec::new();
    exchange_in(&there, &mut held);
    // Questions are answered in turn: when this one is found, the other one was not.
    exchange_in(&here, &mut held);
    proxy.wait_to_hear(FOUND);
    drop(held);
    let records = proxy.wait_for_records(2);
    let of = |host: &str| {
        let record = records.iter().find(|record| record.client_host.as_deref() == Some(host));
        record.unwrap().process.as_ref().and_then(|process| process.pid)
    };
    assert_eq!((of("10.1.0.2"), of("10.1.0.1")), (None, Some(std::process::id())));
}

#[test]
fn with_no_process_nobody_is_looked_for() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--no-process"]);
    let mut client = proxy.connect();
    exchange(&mut client, b"x");
    let threads = std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap();
    for thread in threads {
        let name = std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap();
        assert_ne!(name.trim_end(), "find processes");
    }
    drop(client);
    assert_eq!(proxy.the_record().process, None);
}

#[test]
fn a_thousand_quick_connections_have_their_records_and_one_after_them_its_process() {
    let proxy = Proxy::forwarding_to(echo_server(), &["-vv"]);
    for _ in 0..1000 {
        exchange(&mut proxy.connect(), b"x");
    }
    let client = proxy.connect();
    let found = format!("{FOUND}{}", client.local_addr().unwrap());
    proxy.wait_to_hear(&found);
    drop(client);
    let records = proxy.wait_for_records(1001);
    // Those that were over before they were looked for have none.
    for record in &records {
        let pid = record.process.as_ref().and_then(|process| process.pid);
        assert!([None, Some(std::process::id())].contains(&pid), "{pid:?}");
    }
    let left = proxy.stop();
    assert_eq!(left.records().len(), 1001);
}
