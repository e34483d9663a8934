//! A program of conniver's that runs while the first proxy is measured, for what it costs it.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cpu;
use crate::work::{Figure, less};

/// What it uses itself.
pub(crate) const SHARE: Figure = less("% of a processor");

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Beside {
    /// `conniver watch`
    Watch,
    /// `conniver top` on the proxy's records, in a terminal
    Top,
}

impl Beside {
    /// Starts it from `binary`, and waits until it has read what is there already.
    pub(crate) fn start(self, binary: &Path, records: &Path) -> Companion {
        let mut command = match self {
            Beside::Watch => {
                let mut command = Command::new(binary);
                command.args(["watch", "--quiet", "-o", "/dev/null"]);
                command
            }
            Beside::Top => {
                let top = format!(
                    "stty rows 50 cols 160; exec '{}' top '{}'",
                    binary.display(),
                    records.display()
                );
                let mut command = Command::new("script");
                command.args(["--quiet", "--return", "--command", &top, "/dev/null"]);
                command.env("TERM", "xterm-256color").stdout(Stdio::null());
                command
            }
        };
        // `script` ends when its input does.
        let child = command.stdin(Stdio::piped()).spawn().expect("the companion starts");
        cpu::wait_until_quiet(|| cpu::seconds(child.id()));
        let used_before = cpu::seconds(child.id());
        Companion { program: self, child, began: Instant::now(), used_before }
    }
}

/// A companion that runs.
pub(crate) struct Companion {
    program: Beside,
    child: Child,
    began: Instant,
    used_before: f64,
}

impl Companion {
    /// Ends it; its [`SHARE`].
    pub(crate) fn end(mut self) -> f64 {
        let used = cpu::seconds(self.child.id()) - self.used_before;
        let share = used * 100.0 / self.began.elapsed().as_secs_f64();
        assert_eq!(self.child.try_wait().unwrap(), None, "it ran all the time");
        match self.program {
            Beside::Watch => {
                kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap()
            }
            // Its key: a signal would be for `script`, which then waits for two seconds.
            Beside::Top => self.child.stdin.as_mut().unwrap().write_all(b"q").unwrap(),
        }
        self.child.wait().unwrap();
        share
    }
}
