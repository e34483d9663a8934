//! Other processes that a check needs: this program again, in a role.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::harness::peers::exchange;
use crate::harness::program::wait_for;
use crate::{neighbours, slow_loris};

/// A process in a role, until it is told to end or dropped.
pub(crate) struct Role {
    child: Child,
    /// What it said when it was ready.
    pub(crate) said: String,
    output: BufReader<ChildStdout>,
}

impl Role {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("role")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut role = Self { child, said: String::new(), output };
        role.said = role.hear();
        role
    }

    /// What it says next.
    pub(crate) fn hear(&mut self) -> String {
        let mut said = String::new();
        self.output.read_line(&mut said).unwrap();
        assert!(said.ends_with('\n'), "a role has ended after '{}'", self.said);
        said.trim_end().to_owned()
    }

    /// Tells it to end, which closes all that it has open.
    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(wait_for(&mut self.child).success());
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn play(name: &str, args: &[&str]) {
    match (name, args) {
        ("origin", []) => echo(),
        ("slow", [proxy]) => slow_loris::drip(proxy.parse().unwrap(), |what| say(what)),
        ("clients", [proxy, count]) => hold(proxy.parse().unwrap(), count.parse().unwrap()),
        ("burst", [proxy]) => {
            neighbours::burst(proxy.parse().unwrap(), |what| say(what));
            ready("");
        }
        ("measuring", [target]) => neighbours::measure_as_told(target, |what| say(what)),
        _ => panic!("no such role: {name} {args:?}"),
    }
}

fn say(what: impl std::fmt::Display) {
    println!("{what}");
    io::stdout().flush().unwrap();
}

/// Says that it is ready, and waits to be told to end.
fn ready(what: impl std::fmt::Display) {
    say(what);
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Echoes to any number of connections; says its address.
fn echo() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                // A proxy that is stopped resets.
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    ready(address);
}

/// Holds so many connections, each of which has carried one byte there and back.
fn hold(proxy: SocketAddr, count: usize) {
    let held: Vec<TcpStream> = (0..count)
        .map(|_| {
            let mut client = TcpStream::connect(proxy).unwrap();
            assert_eq!(exchange(&mut client, b"!"), b"!");
            client
        })
        .collect();
    ready("all are connected");
    drop(held);
}

/// Processor time of a process, all its threads, so far.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanos = tasks.map(|task| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        stat.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanos.sum())
}
