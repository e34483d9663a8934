//! How a command ends: what is said, and the exit status.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use conniver::output::{Recorder, Tally, Writer};
use conniver::plural::counted;
use conniver::record::Printable;

use super::signals::StopRequests;
use super::terminal;
use super::wrap::wrap_message;

/// After a second request to stop, the writer has this long.
pub(super) const LAST_WRITES: Duration = Duration::from_secs(1);

/// Why a command failed at run time, in a sentence for people: what was being done, to what, what
/// went wrong, what to do.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// The system's numbers of errors are left out: their texts say the same.
    pub(crate) fn new(sentence: impl fmt::Display) -> Self {
        let sentence = sentence.to_string();
        let mut parts = sentence.split(" (os error ");
        let mut words = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            words.push_str(part.split_once(')').map_or("", |(_number, rest)| rest));
        }
        if words.ends_with("Too many open files") {
            words.push_str("; raise the limit on file descriptors (ulimit -n)");
        }
        Self(words)
    }

    /// Says it, in lines that fit.
    pub(crate) fn say(&self) {
        let text = format!("conniver: {}", Printable(&self.0));
        say(&wrap_message(&text, message_width()));
    }

    /// Says it, and is the exit status.
    pub(crate) fn report(self, status: u8) -> ExitCode {
        self.say();
        ExitCode::from(status)
    }
}

/// The columns that a message on standard error may take. There is no limit in the journal, which
/// takes every line for a message of its own.
pub(crate) fn message_width() -> usize {
    match terminal::width(io::stderr()) {
        Some(width) => width,
        None if std::env::var_os("JOURNAL_STREAM").is_some() => usize::MAX,
        None => terminal::USUAL_WIDTH,
    }
}

/// Plain lines on standard error, without what a terminal would take for a command; that nobody may
/// be there to read them is no failure.
pub(crate) fn say(lines: &str) {
    let lines: String = lines.split('\n').map(|line| format!("{}\n", Printable(line))).collect();
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// Like [`say`], with styles, which are printed on terminals alone. Its parts must be printable.
pub(crate) fn say_styled(lines: &str) {
    let _ = anstream::stderr().write_all(format!("{lines}\n").as_bytes());
}

/// The runtime of a command.
///
/// The proxy shares the machine with its clients, and often with the upstream; and what it does is
/// done in the kernel. So it takes half of the processors.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    has_descriptors()
        .and_then(|()| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads((processors / 2).max(1))
                .enable_all()
                .build()
        })
        .map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))
}

/// Whether the process may open what a runtime consists of: without descriptors for its signals, tokio panics.
#[cfg(unix)]
fn has_descriptors() -> io::Result<()> {
    // Six, and one for what a library opens meanwhile.
    let pairs = [(); 4].map(|()| std::os::unix::net::UnixStream::pair());
    pairs.into_iter().try_for_each(|pair| pair.map(drop))
}

#[cfg(not(unix))]
fn has_descriptors() -> io::Result<()> {
    Ok(())
}

/// Prints to standard output; a reader that has gone (`| head -1`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The same with styles, in colours where they are wanted: on a terminal without NO_COLOR.
pub(crate) fn print_styled(text: &str) -> Result<(), Failure> {
    match writeln!(anstream::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes what is left. A second request to stop leaves the writer one more second.
pub(crate) async fn finish(
    writer: Writer,
    recorder: &Recorder,
    requests: &StopRequests,
) -> Result<(), Failure> {
    let hurried = async {
        requests.reach(2).await;
        tokio::time::sleep(LAST_WRITES).await;
    };
    // A thread of its own: the runtime's may all be held up by look-ups that hang.
    let (finished, finishing) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("finish".to_owned());
    // Nobody waits any more when the end was hurried.
    let finish = move || _ = finished.send(writer.finish());
    thread
        .spawn(finish)
        .map_err(|error| Failure::new(format!("cannot start a thread: {error}")))?;
    let Tally { written, unwritten, lost, .. } = tokio::select! {
        tally = finishing => tally.unwrap_or_else(|_| recorder.tally()),
        () = hurried => recorder.tally(),
    };
    match unwritten + lost {
        0 => {
            let were = if written == 1 { "was" } else { "were" };
            tracing::info!("{} {were} written, 0 lost", counted(written, "line"));
            Ok(())
        }
        1 => Err(Failure::new("1 record was not written")),
        n => Err(Failure::new(format!("{n} records were not written"))),
    }
}
