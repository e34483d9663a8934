//! `conniver run` and the users of its machine: whose clients are served, and what they cost.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use conniver::record::{Outcome, Record};

use crate::harness::has_tool;
use crate::harness::peers::echo_server;
use crate::harness::program::{BINARY, PATIENCE, wait_for, wait_until};
use crate::run::{Run, as_nobody};

/// Sends a request for $3 to the proxy on port $1, $2 times, and closes each connection at once. The
/// next comes when there is a record of it in the file $4, if there is one: one at a time.
const HURRIED: &str = "
import socket, sys, time
port, times, target = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
request = f'CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n'.encode()
for number in range(1, times + 1):
    client = socket.socket()
    client.connect(('127.0.0.1', port))
    try:
        client.send(request)
    except OSError: # reset already
        pass
    client.close()
    while len(sys.argv) > 4 and open(sys.argv[4]).read().count('\\n') < number:
        time.sleep(0.001)
";

const TIMES: usize = 50;

/// Python that runs this script as nobody. A shell between looks for one that nobody may run.
fn python(nobody: &[&str], script: &str) -> Command {
    let mut command = Command::new(nobody[0]);
    command.args(&nobody[1..]).args(["sh", "-c", "exec python3 -c \"$@\"", "sh", script]);
    command
}

/// Whether the kernel remembers whose a socket is that was closed: newer ones do.
fn kernel_remembers() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(18))
}

fn code(record: &Record) -> Option<&str> {
    record.ending.as_ref()?.error_code.as_deref()
}

fn count(records: &[Record], code_is: impl Fn(Option<&str>) -> bool) -> usize {
    records.iter().filter(|record| code_is(code(record))).count()
}

#[test]
fn a_client_that_closes_at_once_is_served_or_its_user_is_unknown() {
    let what = "a_client_that_closes_at_once_is_served_or_its_user_is_unknown";
    if !has_tool("python3", what) {
        return;
    }
    let echo = echo_server();
    let script = format!(
        "port=${{http_proxy##*:}}; python3 -c \"$1\" \"${{port%/}}\" {TIMES} {echo} \"$RECORDS\""
    );
    let words = ["sh", "-c", &script, "sh", HURRIED];
    let mut runs = vec![Run::new(&["-q"], &words)];
    if let Some(nobody) = as_nobody(what) {
        let mut command = Command::new(nobody[0]);
        command.args(&nobody[1..]).arg(BINARY);
        let run = Run::by(command, &["-q"], &words);
        let directory = run.records_file().parent().unwrap().to_owned();
        std::fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).unwrap();
        runs.push(run);
    }
    for mut run in runs {
        let records = run.records_file();
        run.command.env("RECORDS", records);
        let output = run.output();
        assert!(output.status.success(), "{output:?}");
        let records = run.records();
        assert_eq!(records.len(), TIMES);
        let unknown = count(&records, |code| code == Some("CLIENT_UNKNOWN"));
        let refused = count(&records, |code| code == Some("CLIENT_DENIED"));
        let served = records.iter().filter(|record| !record.attempts.is_empty()).count();
        assert_eq!((refused, served + unknown), (0, TIMES), "{unknown} unknown");
        // The kernel knows for some milliseconds.
        assert!(!kernel_remembers() || served > TIMES / 2, "{unknown} unknown");
    }
}

/// `conniver run` around a program that only waits, and the port of its proxy.
fn waiting(run: &mut Run) -> (Child, String) {
    let mut child = run.start();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let proxy = said.next().unwrap().unwrap();
    let port = proxy.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    (child, port)
}

#[test]
fn another_users_client_that_closes_at_once_is_never_served() {
    let what = "another_users_client_that_closes_at_once_is_never_served";
    let Some(nobody) = as_nobody(what) else { return };
    if !has_tool("python3", what) {
        return;
    }
    let mut run = Run::new(&[], &["sh", "-c", "echo $http_proxy; read go"]);
    run.command.stderr(Stdio::piped());
    let (mut child, port) = waiting(&mut run);
    let target = echo_server().to_string();
    let python = python(&nobody, HURRIED).args([&port, &TIMES.to_string(), &target]).status();
    let status = python.unwrap();
    assert!(status.success());
    wait_until("all have a record", || run.records().len() == TIMES);
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();

    let records = run.records();
    assert_eq!(records.len(), TIMES);
    for record in &records {
        assert_eq!(record.outcome, Some(Outcome::Denied));
        assert!(matches!(code(record), Some("CLIENT_UNKNOWN" | "CLIENT_DENIED")), "{record:?}");
        assert!(record.attempts.is_empty());
    }
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches(" refused: ").count(), 1, "{said}");
}

/// Makes connections to port $1, $2 at a time, until its standard input ends.
const BURST: &str = "
import socket, sys, threading
port, at_a_time = int(sys.argv[1]), int(sys.argv[2])
over = threading.Event()
def one():
    while not over.is_set():
        client = socket.socket()
        client.connect(('127.0.0.1', port))
        try:
            client.recv(1)
        except OSError:
            pass
        client.close()
threads = [threading.Thread(target=one) for _ in range(at_a_time)]
for thread in threads: thread.start()
print('going', flush=True)
sys.stdin.read()
over.set()
";

#[test]
fn another_users_burst_does_not_hold_up_the_own_users_clients() {
    let what = "another_users_burst_does_not_hold_up_the_own_users_clients";
    let Some(nobody) = as_nobody(what) else { return };
    if !has_tool("python3", what) {
        return;
    }
    // A machine with some processes, each of which has descriptors to look into.
    let mut run = Run::new(&["-q"], &["sh", "-c", "echo $http_proxy; read go"]);
    let (mut child, port) = waiting(&mut run);
    let echo = echo_server().to_string();
    let exchange_once = || {
        let began = Instant::now();
        let mut client = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("CONNECT {echo} HTTP/1.1\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        client.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        drop(client);
        began.elapsed()
    };
    let worst_of_most = || {
        let mut times: Vec<Duration> = (0..100).map(|_| exchange_once()).collect();
        times.sort();
        times[90]
    };
    let quiet = worst_of_most();
    let mut burst = python(&nobody, BURST)
        .args([&*port, "32"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(burst.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "going");
    let under_burst = worst_of_most();
    drop(burst.stdin.take());
    assert!(wait_for(&mut burst).success());
    drop(child.stdin.take());
    wait_for(&mut child);
    let records = run.records();
    let refused = count(&records, |code| matches!(code, Some("CLIENT_DENIED" | "CLIENT_UNKNOWN")));
    eprintln!("quiet {quiet:?}, under a burst of {refused} clients {under_burst:?}");
    assert_eq!(records.len(), 200 + refused);
    assert!(under_burst < quiet * 2 + Duration::from_millis(50), "{quiet:?} {under_burst:?}");
}
