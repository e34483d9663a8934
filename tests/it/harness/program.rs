//! The program under test as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use conniver::record::{self, Line, Record};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Long past anything that a test waits for; reaching it means that the program hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_conniver");

/// `conniver proxy` with its records in a file, ended at the latest when the test ends.
pub(crate) struct Proxy {
    child: Child,
    listeners: Vec<SocketAddr>,
    stderr: JoinHandle<String>,
    directory: TempDir,
}

/// What a proxy left behind.
pub(crate) struct Left {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
    pub(crate) lines: Vec<Line>,
}

impl Proxy {
    /// Starts it with one forwarding to `target` on a free port, and more arguments.
    pub(crate) fn forwarding_to(target: impl ToString, args: &[&str]) -> Self {
        Self::start(&mut Command::new(BINARY), &[&format!("0:{}", target.to_string())], args)
    }

    /// Starts it by `command`, which may put it elsewhere, with these forwardings. Returns when it
    /// listens on all of them.
    pub(crate) fn start(command: &mut Command, forwards: &[&str], args: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        command.args(["proxy", "-o"]).arg(directory.path().join("records.ndjson"));
        for forward in forwards {
            command.args(["-L", forward]);
        }
        let mut child =
            command.args(args).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, said) = channel();
        let stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut all = String::new();
            for line in BufReader::new(stderr).lines() {
                let line = line.unwrap();
                all.push_str(&line);
                all.push('\n');
                // The test may have stopped listening.
                let _ = sender.send(line);
            }
            all
        });
        let listeners = forwards.iter().map(|_| next_listener(&said)).collect();
        Self { child, listeners, stderr, directory }
    }

    /// Where its first forwarding listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listeners[0]
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.listeners
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn records_file(&self) -> PathBuf {
        self.directory.path().join("records.ndjson")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits until it has written `count` pairs' close lines.
    pub(crate) fn wait_for_records(&self, count: usize) -> Vec<Record> {
        let began = std::time::Instant::now();
        loop {
            let found = closed(read_lines(&self.records_file()));
            if found.len() >= count {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{} of {count} records came", found.len());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The one record of the one pair, once it is there.
    pub(crate) fn the_record(&self) -> Record {
        self.wait_for_records(1).remove(0)
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Left {
        let status = wait_for(&mut self.child);
        // The process is over; the thread ends with its standard error.
        let stderr = std::mem::replace(&mut self.stderr, std::thread::spawn(String::new));
        Left { status, stderr: stderr.join().unwrap(), lines: read_lines(&self.records_file()) }
    }

    /// Asks it to stop and waits for its end.
    pub(crate) fn stop(self) -> Left {
        self.signal(Signal::SIGTERM);
        self.wait()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Left {
    pub(crate) fn records(self) -> Vec<Record> {
        closed(self.lines)
    }
}

/// The address in the next line that says `listening on`.
fn next_listener(said: &Receiver<String>) -> SocketAddr {
    let mut all = String::new();
    loop {
        let Ok(line) = said.recv_timeout(PATIENCE) else {
            panic!("the program does not listen; it said:\n{all}");
        };
        if let Some(rest) = line.strip_prefix("listening on ") {
            return rest.split(',').next().unwrap().parse().unwrap();
        }
        all.push_str(&line);
        all.push('\n');
    }
}

/// Waits for a process that should end by itself.
pub(crate) fn wait_for(child: &mut Child) -> ExitStatus {
    let began = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the program does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every line of a file; each must be whole and right.
pub(crate) fn read_lines(path: &Path) -> Vec<Line> {
    let Ok(mut file) = std::fs::File::open(path) else {
        return Vec::new();
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    // While the program writes, the last line may be there in part.
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    record::read(&bytes[..whole]).map(|line| line.unwrap()).collect()
}

pub(crate) fn closed(lines: Vec<Line>) -> Vec<Record> {
    lines
        .into_iter()
        .filter_map(|line| match line {
            Line::Close(record) => Some(*record),
            _ => None,
        })
        .collect()
}
