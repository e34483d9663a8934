//! The program under test as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, Once};
use std::thread::JoinHandle;
use std::time::Duration;

use conniver::record::{self, Check, Line, Record};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tempfile::TempDir;

use super::errors;

/// Long past anything that a test waits for; reaching it means that the program hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_conniver");

/// `conniver proxy` with its records in a file, ended at the latest when the test ends.
pub(crate) struct Proxy {
    child: Child,
    listeners: Vec<SocketAddr>,
    stderr: JoinHandle<String>,
    said: Mutex<Receiver<String>>,
    directory: TempDir,
}

/// What a proxy left behind.
pub(crate) struct Left {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
    pub(crate) lines: Vec<Line>,
    /// The file ends with a whole line, or is empty.
    pub(crate) ends_whole: bool,
}

impl Proxy {
    /// Starts it with one forwarding to `target` on a free port, and more arguments.
    pub(crate) fn forwarding_to(target: impl ToString, args: &[&str]) -> Self {
        Self::start(&mut Command::new(BINARY), &[&format!("0:{}", target.to_string())], args)
    }

    /// Starts it with one listener for HTTP and SOCKS on a free port, and more arguments.
    pub(crate) fn serving(args: &[&str]) -> Self {
        Self::start(&mut Command::new(BINARY), &[], &[&["-D", "0"], args].concat())
    }

    /// Starts it by `command`, which may put it elsewhere, with these forwardings. Returns when it
    /// listens on all of them.
    pub(crate) fn start(command: &mut Command, forwards: &[&str], args: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), command, forwards, args)
    }

    /// Starts it with its records in `directory`.
    pub(crate) fn start_in(
        directory: TempDir,
        command: &mut Command,
        forwards: &[&str],
        args: &[&str],
    ) -> Self {
        command.args(["proxy", "-o"]).arg(directory.path().join("records.ndjson"));
        Self::spawn(directory, command, forwards, args)
    }

    /// Starts it with its records going to standard output, which is `stdout`.
    pub(crate) fn start_printing(
        stdout: impl Into<Stdio>,
        forwards: &[&str],
        args: &[&str],
    ) -> Self {
        let command = &mut Command::new(BINARY);
        command.arg("proxy").stdout(stdout);
        Self::spawn(TempDir::new().unwrap(), command, forwards, args)
    }

    fn spawn(directory: TempDir, command: &mut Command, forwards: &[&str], args: &[&str]) -> Self {
        reset_ignored_signals();
        for forward in forwards {
            command.args(["-L", forward]);
        }
        // A group of its own, so that a tool that runs the program does not leave it behind.
        command.process_group(0);
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
        let is_listener = |arg: &&&str| ["-D", "--redirect", "--tproxy"].contains(*arg);
        let dynamic = args.iter().filter(is_listener).count();
        let listeners = (0..forwards.len() + dynamic).map(|_| next_listener(&said)).collect();
        Self { child, listeners, stderr, said: Mutex::new(said), directory }
    }

    /// Where its first listener listens.
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

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Its own socket, the one that this end of a connection speaks to, in our hands: options set on
    /// it hold for the program, and it is closed when both have closed it. Needs root.
    pub(crate) fn socket_facing(&self, end: &TcpStream) -> TcpStream {
        let (local, peer) = (end.peer_addr().unwrap(), end.local_addr().unwrap());
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        let program = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        descriptors
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
            // One may have been closed meanwhile.
            .filter_map(|number| pidfd_getfd(&program, number, PidfdGetfdFlags::empty()).ok())
            .map(TcpStream::from)
            .find(|socket| {
                socket.peer_addr().is_ok_and(|address| address == peer)
                    && socket.local_addr().is_ok_and(|address| address == local)
            })
            .expect("the program has a socket of this connection")
    }

    /// Waits for a line on standard error that has `words` in it.
    pub(crate) fn wait_to_hear(&self, words: &str) -> String {
        loop {
            match self.said.lock().unwrap().recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(_) => {}
                Err(_) => panic!("waited in vain to hear '{words}'"),
            }
        }
    }

    /// Stops it where it is; returns when it stands still.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid());
        wait_until("the program stands still", || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            stat.rsplit(") ").next().unwrap().starts_with('T')
        });
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits until it has written `count` pairs' close lines.
    pub(crate) fn wait_for_records(&self, count: usize) -> Vec<Record> {
        let mut found = Vec::new();
        wait_until("the records come", || {
            found = closed(read_lines(&self.records_file()));
            found.len() >= count
        });
        found
    }

    /// Waits until it has written `count` pairs' close lines, and counts them. Under load, it writes more lines
    /// than can be parsed meanwhile.
    pub(crate) fn wait_for_closed(&self, count: usize) -> usize {
        let mut found = 0;
        wait_until("the close lines come", || {
            let bytes = std::fs::read(self.records_file()).unwrap_or_default();
            let lines = bytes.split_inclusive(|&byte| byte == b'\n');
            found = lines.filter(|line| line.starts_with(b"{\"event\":\"close\"")).count();
            found >= count
        });
        found
    }

    /// Waits until it has written that `count` pairs are connected on both sides; `--events` must
    /// ask for that.
    pub(crate) fn wait_for_open(&self, count: usize) {
        wait_until("the open lines come", || {
            let lines = read_lines(&self.records_file());
            lines.iter().filter(|line| matches!(line, Line::Open(_))).count() >= count
        });
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
        let bytes = std::fs::read(self.records_file()).unwrap_or_default();
        let ends_whole = bytes.last().is_none_or(|&byte| byte == b'\n');
        let lines = read_lines(&self.records_file());
        if status.success() {
            let mut check = Check::default();
            check.read("records", &bytes[..]).unwrap();
            let findings = check.finish().findings;
            assert!(findings.is_empty(), "wrong with the file of records: {findings:?}");
        }
        Left { status, stderr: stderr.join().unwrap(), lines, ends_whole }
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
        let _ = killpg(Pid::from_raw(self.pid().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Left {
    pub(crate) fn records(self) -> Vec<Record> {
        closed(self.lines)
    }
}

/// From here on, programs that are started have the default action of every signal, although whoever
/// started the tests ignores some (a shell's `&`, nohup): what is handled here is reset by exec(2).
pub(crate) fn reset_ignored_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            if mask & (1 << (signal as i32 - 1)) != 0 {
                // The handler stays when this is dropped.
                drop(tokio::signal::unix::signal((signal as i32).into()).unwrap());
            }
        }
    });
}

/// The address in a line that begins with these words.
pub(crate) fn address_in(line: &str, words: &str) -> Option<SocketAddr> {
    let rest = line.strip_prefix(words)?;
    Some(rest.split(',').next().unwrap().parse().unwrap())
}

/// The address in the next line that says `listening on`.
fn next_listener(said: &Receiver<String>) -> SocketAddr {
    let mut all = String::new();
    loop {
        let Ok(line) = said.recv_timeout(PATIENCE) else {
            panic!("the program does not listen; it said:\n{all}");
        };
        if let Some(address) = address_in(&line, "listening on ") {
            return address;
        }
        all.push_str(&line);
        all.push('\n');
    }
}

/// Waits until a proxy that was started by hand listens: its address, and the rest of what it says.
pub(crate) fn listening(proxy: &mut Child) -> (SocketAddr, BufReader<ChildStderr>) {
    let mut said = BufReader::new(proxy.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    (line.split([' ', ',']).nth(2).unwrap().parse().unwrap(), said)
}

/// Waits for what will be so in the end, and fails when it is not in time.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for a process that should end by itself.
pub(crate) fn wait_for(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("the program ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
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
    let lines: Vec<Line> = record::read(&bytes[..whole]).map(|line| line.unwrap()).collect();
    for line in &lines {
        if let Line::Open(record) | Line::Close(record) = line {
            errors::assert_symbols_and_words(record);
        }
    }
    lines
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
