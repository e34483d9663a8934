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
        eprintln!("conniver: {}", self.0);
        ExitCode::from(1)
    }
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
