//! The one owner of the output: whole lines, in order, and nothing is forgotten that was not written.
//!
//! Pairs hand their lines to a [`Recorder`], which never waits; a thread of its own writes them.
//! What cannot be written stays queued and is tried again.

use std::cell::RefCell;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{BriefLine, Line};
use crate::fault::text_of;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, appended to, created with mode 0600.
    File(PathBuf),
}

/// Takes lines from any task or thread; cheap to clone. The default one has no output and forgets
/// them, for programs that take records as they come (`Proxy::on_close`).
#[derive(Debug, Clone, Default)]
pub struct Recorder(Option<Arc<Shared>>);

/// The writing thread, to be finished at the end.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// An output that could not be opened.
#[derive(Debug)]
pub struct OpenError {
    output: Output,
    error: io::Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = text_of(&self.error);
        write!(f, "opening {} for records: {text}; choose another file with -o", self.output)
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// What became of the lines of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Lines written whole.
    pub written: u64,
    /// Lines that were queued and are not written (yet, while the writer is at work).
    pub unwritten: u64,
    /// Lines that were given up: they could not be put as JSON.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole lines that the thread has not taken yet.
    pending: Vec<u8>,
    /// Lines that were numbered: written, being written, or pending.
    numbered: u64,
    written: u64,
    lost: u64,
    reopen: bool,
    /// The thread waits for a first line.
    idle: bool,
    /// Set once: write what is there, then end.
    finishing: Option<Instant>,
    /// The reader of the output is gone; nobody wants more lines.
    reader_gone: bool,
}

/// What every line ends with before its number is known: `line` is the last key.
const UNNUMBERED: &[u8] = b"\"line\":0}";

thread_local! {
    /// Where a line is put together; a full record of two legs has 10 kB.
    static JSON: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// After a write, lines may gather for so long: the first line of a burst is out at once, the
/// others go together. A write and a wake for each line took 22 µs of processor time, an eighth of
/// what a short connection costs in all; over 20 ms a burst becomes a megabyte, whose writing shows
/// in other connections' latency.
const GATHER: Duration = Duration::from_millis(2);

/// Pause before what could not be written is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Pause before a slow output is tried again.
const SLOW: Duration = Duration::from_millis(10);
/// How long a failing output is still tried at the end of the run.
const LAST_TRIES: Duration = Duration::from_secs(5);

impl Shared {
    /// The queue is consistent after every statement, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// Opens `output` and starts the thread that writes to it. `reader_gone` is called when the
    /// reader of a pipe has gone.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or no thread can be started.
    pub fn start(
        output: Output,
        reader_gone: impl FnOnce() + Send + 'static,
    ) -> Result<(Self, Writer), OpenError> {
        let failed = |error| OpenError { output: output.clone(), error };
        let sink = Sink { file: open(&output).map_err(failed)?, output: output.clone() };
        let shared = Arc::new(Shared::default());
        let recorder = Self(Some(Arc::clone(&shared)));
        let thread = std::thread::Builder::new().name("records".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(sink, reader_gone)
        });
        let thread = thread.map_err(failed)?;
        Ok((recorder, Writer { shared, thread }))
    }

    /// Queues a line; its `line` is set here, so that numbers and order agree.
    pub fn push(&self, line: &Line) {
        self.queue(line);
    }

    /// Queues a line in brief.
    pub fn push_brief(&self, line: &BriefLine<'_>) {
        self.queue(line);
    }

    fn queue(&self, line: &impl Serialize) {
        let Some(shared) = &self.0 else { return };
        JSON.with_borrow_mut(|json| {
            json.clear();
            match serde_json::to_writer(&mut *json, line) {
                Ok(()) => shared.push(json),
                Err(error) => {
                    shared.lock().lost += 1;
                    tracing::error!("writing a record as JSON: {error}; it is lost");
                }
            }
        });
    }

    /// Asks for the file to be closed and opened anew under its name. Lines that are queued by now
    /// may go to either file; none is lost or torn.
    pub fn reopen(&self) {
        if let Some(shared) = &self.0 {
            shared.lock().reopen = true;
            shared.wake.notify_one();
        }
    }

    /// What became of the lines so far.
    pub fn tally(&self) -> Tally {
        self.0.as_deref().map_or_else(Tally::default, Shared::tally)
    }
}

impl Writer {
    /// Writes what is queued and ends. It waits for a reader that is slow as long as it takes, and
    /// some seconds for an output that fails.
    pub fn finish(self) -> Tally {
        self.shared.lock().finishing = Some(Instant::now());
        self.shared.wake.notify_one();
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes records panicked");
        }
        self.shared.tally()
    }
}

impl Shared {
    fn push(&self, json: &[u8]) {
        debug_assert!(json.ends_with(UNNUMBERED), "`line` is the last key");
        let mut queue = self.lock();
        if queue.reader_gone {
            return;
        }
        queue.numbered += 1;
        let number = queue.numbered;
        queue.pending.extend_from_slice(&json[..json.len() - b"0}".len()]);
        queue.pending.extend_from_slice(number.to_string().as_bytes());
        queue.pending.extend_from_slice(b"}\n");
        let wakes = queue.idle;
        drop(queue);
        if wakes {
            self.wake.notify_one();
        }
    }

    fn tally(&self) -> Tally {
        let queue = self.lock();
        let unwritten = if queue.reader_gone { 0 } else { queue.numbered - queue.written };
        Tally { written: queue.written, unwritten, lost: queue.lost }
    }

    /// The thread: takes all that is pending at once, writes it, and waits for more.
    fn run(&self, mut sink: Sink, reader_gone: impl FnOnce()) {
        let mut batch = Vec::new();
        loop {
            let mut queue = self.lock();
            while queue.pending.is_empty() && !queue.reopen && queue.finishing.is_none() {
                queue.idle = true;
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.idle = false;
            if queue.pending.is_empty() && queue.finishing.is_some() {
                return;
            }
            batch.clear();
            std::mem::swap(&mut batch, &mut queue.pending);
            let reopen = std::mem::take(&mut queue.reopen);
            drop(queue);
            if reopen {
                sink.reopen();
            }
            match self.write_batch(&mut sink, &batch) {
                Written::All => self.gather(),
                Written::GivenUp => return,
                Written::ReaderGone => {
                    self.lock().reader_gone = true;
                    reader_gone();
                    return;
                }
            }
        }
    }

    /// Lets more lines gather before the next write, unless the run ends.
    fn gather(&self) {
        let queue = self.lock();
        if queue.finishing.is_none() {
            drop(self.wake.wait_timeout(queue, GATHER));
        }
    }

    fn write_batch(&self, sink: &mut Sink, batch: &[u8]) -> Written {
        let mut rest = batch;
        let mut failing = false;
        while !rest.is_empty() {
            match sink.file.write(rest) {
                Ok(bytes) => {
                    let (done, left) = rest.split_at(bytes);
                    if done.is_empty() {
                        // A device that takes nothing and says nothing.
                        std::thread::sleep(RETRY);
                    }
                    self.lock().written += memchr::memchr_iter(b'\n', done).count() as u64;
                    rest = left;
                    if bytes > 0 && failing {
                        failing = false;
                        tracing::warn!("writing records to {}: works again", sink.output);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Written::ReaderGone;
                }
                // A standard output that somebody made non-blocking is merely slow.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(SLOW),
                Err(error) => {
                    if !failing {
                        failing = true;
                        let (output, lines) = (&sink.output, self.tally().unwritten);
                        let text = text_of(&error);
                        tracing::warn!(
                            "writing records to {output}: {text}; waiting to be written: {lines}"
                        );
                    }
                    // A line is there whole or not at all, also if we get no further than this.
                    let torn = torn(batch, rest);
                    if torn > 0 && sink.cut(torn) {
                        rest = &batch[batch.len() - rest.len() - torn..];
                    }
                    if self.lock().finishing.is_some_and(|since| since.elapsed() > LAST_TRIES) {
                        return Written::GivenUp;
                    }
                    std::thread::sleep(RETRY);
                    if std::mem::take(&mut self.lock().reopen) {
                        sink.reopen();
                    }
                }
            }
        }
        Written::All
    }
}

enum Written {
    All,
    GivenUp,
    ReaderGone,
}

/// Of the line that `rest`, the end of `batch`, begins in: how many bytes lie before it.
fn torn(batch: &[u8], rest: &[u8]) -> usize {
    let written = &batch[..batch.len() - rest.len()];
    written.iter().rev().take_while(|&&byte| byte != b'\n').count()
}

struct Sink {
    output: Output,
    file: File,
}

impl Sink {
    /// Opens the file anew under its name.
    fn reopen(&mut self) {
        if self.output == Output::Stdout {
            return;
        }
        match open(&self.output) {
            Ok(file) => {
                self.file = file;
                tracing::info!("writing records to {}, opened anew", self.output);
            }
            Err(error) => {
                let text = text_of(&error);
                tracing::error!(
                    "opening {} anew: {text}; records still go to the file that was open",
                    self.output
                );
            }
        }
    }

    /// Takes back the last `bytes` that were written; `false` where the output is no plain file.
    fn cut(&mut self, bytes: usize) -> bool {
        let Ok(metadata) = self.file.metadata() else { return false };
        let whole = metadata.len().saturating_sub(bytes as u64);
        metadata.is_file() && self.file.set_len(whole).is_ok()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => write!(f, "'{}'", path.display()),
        }
    }
}

fn open(output: &Output) -> io::Result<File> {
    match output {
        // A descriptor of our own: std's handle buffers, and would not tell how much was written.
        #[cfg(unix)]
        Output::Stdout => {
            use std::os::fd::AsFd;
            io::stdout().as_fd().try_clone_to_owned().map(File::from)
        }
        #[cfg(windows)]
        Output::Stdout => {
            use std::os::windows::io::AsHandle;
            io::stdout().as_handle().try_clone_to_owned().map(File::from)
        }
        Output::File(path) => {
            let mut options = OpenOptions::new();
            options.append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path)?;
            if file.metadata()?.is_file() && is_torn(path) {
                // A run that was killed left half a line; ours begins on a line of its own.
                file.write_all(b"\n")?;
            }
            Ok(file)
        }
    }
}

/// Whether the file ends in the middle of a line.
fn is_torn(path: &PathBuf) -> bool {
    let last_byte = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    last_byte().is_ok_and(|byte| byte != b'\n')
}
