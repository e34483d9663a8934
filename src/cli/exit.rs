//! How a command ends: what is said, and the exit status.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command failed at run time, in a sentence for people: what was being done, to what, what
/// went wrong, what to do. Exit status 1.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(sentence: impl fmt::Display) -> Self {
        Self(sentence.to_string())
    }

    pub(crate) fn report(self) -> ExitCode {
        say(&format!("conniver: {}", self.0));
        ExitCode::from(1)
    }
}

/// A plain line on standard error; that nobody may be there to read it is no failure.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Ends the program as clap does where what was typed for `command` makes no sense together. Exit
/// status 2.
pub(crate) fn wrong_usage<A: clap::Args>(command: &'static str, sentence: &str) -> ! {
    let mut command = A::augment_args(clap::Command::new(command));
    command.error(clap::error::ErrorKind::MissingRequiredArgument, sentence).exit()
}

/// The runtime of a command.
///
/// The proxy shares the machine with its clients, and often with the upstream; and what it does is
/// done in the kernel. So it takes half of the processors.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads((processors / 2).max(1))
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("starting the runtime: {error}")))
}

/// Prints to standard output; a reader that has gone (`| head -1`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("writing to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
