//! COMMAND: started, sent the signals that are meant for it, and waited for.

use std::ffi::OsString;
use std::io;
use std::process::{ExitCode, ExitStatus};

use tokio::process::{Child, Command};

use super::refused;
use crate::cli::exit::Failure;

/// Exit statuses of the shell (POSIX, "Exit Status for Commands").
const CANNOT_BE_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// The program and its arguments as a command with our environment, directory and standard streams.
pub(super) fn command(words: &[OsString]) -> Command {
    let (program, arguments) = words.split_first().map_or((None, words), |(p, a)| (Some(p), a));
    let mut command = Command::new(program.map_or_else(Default::default, OsString::as_os_str));
    command.args(arguments);
    command
}

/// The running program.
pub(super) struct Program(Child);

impl Program {
    /// Starts it. When that fails, why has been said: the exit status.
    pub(super) fn start(mut command: Command, words: &[OsString]) -> Result<Self, ExitCode> {
        command.spawn().map(Self).map_err(|error| {
            let status = match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => CANNOT_BE_RUN,
            };
            Failure::new(refused::sentence(words, &error)).report(status)
        })
    }

    /// Its process, unless it was waited for.
    pub(super) fn id(&self) -> Option<u32> {
        self.0.id()
    }

    /// Waits for its end, passing signals on: its exit status, 128 + n when signal n ended it.
    pub(super) async fn wait(&mut self, signals: &mut Signals) -> io::Result<ExitCode> {
        loop {
            tokio::select! {
                status = self.0.wait() => return status.map(exit_code),
                signal = signals.next() => signal.pass_on(&self.0),
            }
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    #[cfg(not(unix))]
    let signal = None;
    let code = status.code().or(signal).and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(u8::MAX))
}

pub(super) use signals::Signals;

#[cfg(unix)]
mod signals {
    use std::fs::File;
    use std::io;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::{Pid, getpgrp, tcgetpgrp};
    use tokio::process::Child;
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    /// Those that people send to programs.
    const PASSED_ON: [Signal; 7] = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGALRM,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ];

    /// The signals that reach us.
    pub(in crate::cli) struct Signals(UnboundedReceiver<Signal>);

    /// A signal that has reached us.
    pub(in crate::cli) struct Arrived(Signal);

    impl Signals {
        /// From here on none of them ends us. What whoever started us wants ignored stays ignored,
        /// for the program too.
        pub(in crate::cli) fn listen() -> io::Result<Self> {
            let (sender, receiver) = unbounded_channel();
            for passed_on in PASSED_ON {
                if crate::cli::signals::is_ignored((passed_on as i32).unsigned_abs()) {
                    tracing::info!("{passed_on} is ignored, as it was at the start");
                    continue;
                }
                let mut arrivals = signal(SignalKind::from_raw(passed_on as i32))?;
                let sender = sender.clone();
                tokio::spawn(async move {
                    while arrivals.recv().await.is_some() && sender.send(passed_on).is_ok() {}
                });
            }
            Ok(Self(receiver))
        }

        pub(in crate::cli) async fn next(&mut self) -> Arrived {
            match self.0.recv().await {
                Some(signal) => Arrived(signal),
                // All are ignored.
                None => std::future::pending().await,
            }
        }
    }

    impl Arrived {
        /// Sends it to the program, unless it has it already.
        pub(in crate::cli) fn pass_on(self, program: &Child) {
            let from_terminal = matches!(self.0, Signal::SIGINT | Signal::SIGQUIT);
            if from_terminal && is_in_foreground() {
                return;
            }
            let pid = program.id().and_then(|pid| i32::try_from(pid).ok());
            if let Some(Err(error)) = pid.map(|pid| kill(Pid::from_raw(pid), self.0)) {
                tracing::error!("cannot forward {} to COMMAND: {error}", self.0);
            }
        }
    }

    /// Whether the terminal sends its signals to our process group, which is the program's too.
    fn is_in_foreground() -> bool {
        File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
    }
}

/// Ctrl-C reaches every program of a console, and is for COMMAND.
#[cfg(not(unix))]
mod signals {
    use std::io;

    use tokio::process::Child;

    pub(in crate::cli) struct Signals;

    pub(in crate::cli) struct Arrived;

    impl Signals {
        pub(in crate::cli) fn listen() -> io::Result<Self> {
            ctrlc::set_handler(|| {}).map_err(io::Error::other)?;
            Ok(Self)
        }

        pub(in crate::cli) async fn next(&mut self) -> Arrived {
            std::future::pending().await
        }
    }

    impl Arrived {
        pub(in crate::cli) fn pass_on(self, _program: &Child) {}
    }
}
