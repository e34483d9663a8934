//! The program on a terminal of its own.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program::{PATIENCE, address_in, reset_ignored_signals, wait_for};

/// A program whose standard streams are a terminal.
pub(crate) struct Terminal {
    child: Child,
    shown: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// What the terminal shows has not been read, while somebody holds this.
    held: Option<File>,
}

impl Terminal {
    /// Starts `command` on a terminal of so many columns, which shows Unicode and colours unless the command's
    /// environment has other words.
    pub(crate) fn start(columns: u16, command: &mut Command) -> Self {
        let mut terminal = Self::start_unread(columns, command);
        terminal.read();
        terminal
    }

    /// The same on a terminal that takes no more than fits into its buffer (Ctrl-S) until [`read`](Self::read).
    pub(crate) fn start_unread(columns: u16, command: &mut Command) -> Self {
        reset_ignored_signals();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).unwrap();
        let stream = || Stdio::from(terminal.slave.try_clone().unwrap());
        let typed: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        for (name, value) in [("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")] {
            if !typed.iter().any(|typed| typed == name) {
                command.env(name, value);
            }
        }
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "RUST_LOG"] {
            if !typed.iter().any(|typed| typed == name) {
                command.env_remove(name);
            }
        }
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        // Until nobody but the program has this end.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let held = Some(File::from(terminal.master));
        Self { child, shown: Arc::default(), reader: None, held }
    }

    /// Reads what is shown from here on.
    pub(crate) fn read(&mut self) {
        let mut terminal = self.held.take().unwrap();
        let shown = Arc::clone(&self.shown);
        self.reader = Some(std::thread::spawn(move || {
            let mut rest = Vec::new();
            let mut piece = [0; 65536];
            // It fails when the program has ended.
            while let Ok(length @ 1..) = terminal.read(&mut piece) {
                rest.extend_from_slice(&piece[..length]);
                let whole = rest.utf8_chunks().map(|chunk| chunk.valid().len()).next().unwrap_or(0);
                let text = String::from_utf8(rest.drain(..whole).collect()).unwrap();
                shown.lock().unwrap().push_str(&text.replace('\r', ""));
            }
        }));
    }

    /// All that was shown so far.
    pub(crate) fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits until `words` are shown; the line that has them.
    pub(crate) fn wait_to_see(&self, words: &str) -> String {
        let began = Instant::now();
        loop {
            let shown = self.shown();
            let mut whole = shown.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(line) = whole.find(|line| line.contains(words)) {
                return line.trim_end().to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain to see '{words}':\n{shown}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        address_in(&self.wait_to_see("listening on "), "listening on ").unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end: how it ended, and all that was shown.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = wait_for(&mut self.child);
        self.reader.take().unwrap().join().unwrap();
        (status, self.shown())
    }

    /// Asks it to stop and waits for its end.
    pub(crate) fn stop(self) -> (ExitStatus, String) {
        self.signal(Signal::SIGINT);
        self.wait()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
