//! `conniver watch` as a process of its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use conniver::record::{Check, Line, Socket, SocketSample};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::program::{BINARY, read_lines, reset_ignored_signals, wait_for, wait_until};

/// A watch that has made its first dump, with its lines in a file.
pub(crate) struct Watching {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    said: String,
    directory: TempDir,
}

/// What a watch left behind.
pub(crate) struct Watched {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
    pub(crate) lines: Vec<Line>,
}

impl Watching {
    /// Starts it here.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_by(&mut Command::new(BINARY), args)
    }

    /// Starts it by a command, which may put it elsewhere or make it somebody else.
    pub(crate) fn start_by(command: &mut Command, args: &[&str]) -> Self {
        reset_ignored_signals();
        let directory = TempDir::new().unwrap();
        // Opened here: another user could not.
        let file = File::create(directory.path().join("sockets.ndjson")).unwrap();
        command.arg("watch").args(args).stdin(Stdio::null()).stdout(file).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("watching TCP connections") {
            let read = stderr.read_line(&mut said).unwrap();
            assert!(read > 0, "it does not watch: {said}");
        }
        Self { child, stderr, said, directory }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("sockets.ndjson")
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        read_lines(&self.file())
    }

    /// Waits until a socket with this own port has ended: its line.
    pub(crate) fn ended(&self, port: u16) -> Socket {
        let mut found = None;
        wait_until("the socket has its line", || {
            let mut ended = sockets(self.lines()).into_iter();
            found = ended.find(|socket| socket.socket.local_addr.port() == port);
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until a dump has shown a socket with this own port: its latest sample. `--events` must
    /// ask for samples.
    pub(crate) fn sampled(&self, port: u16) -> SocketSample {
        let mut found = None;
        wait_until("the socket has a sample", || {
            let samples = self.lines().into_iter().filter_map(|line| match line {
                Line::SocketSample(sample) => Some(*sample),
                _ => None,
            });
            found = samples.filter(|sample| sample.socket.local_addr.port() == port).last();
            found.is_some()
        });
        found.unwrap()
    }

    /// Asks it to stop.
    pub(crate) fn ask_to_stop(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    }

    /// Asks it to stop and waits for its end.
    pub(crate) fn stop(self) -> Watched {
        self.ask_to_stop();
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Watched {
        let status = wait_for(&mut self.child);
        let mut stderr = std::mem::take(&mut self.said);
        self.stderr.read_to_string(&mut stderr).unwrap();
        let mut check = Check::default();
        check.read("sockets", File::open(self.file()).unwrap()).unwrap();
        let findings = check.finish().findings;
        assert!(findings.is_empty(), "{findings:?}");
        Watched { status, stderr, lines: self.lines() }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ended sockets among the lines.
pub(crate) fn sockets(lines: Vec<Line>) -> Vec<Socket> {
    let sockets = lines.into_iter().filter_map(|line| match line {
        Line::Socket(socket) => Some(*socket),
        _ => None,
    });
    sockets.collect()
}
