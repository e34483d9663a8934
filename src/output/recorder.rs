//! The queue of output lines and its writer thread: whole lines, in order, none dropped silently.
//!
//! Pairs pass their lines to a [`Recorder`], which never blocks; a separate thread writes them.
//! Lines that cannot be written stay queued and are retried.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;

use super::queue_limit::QueueLimit;
use super::sink::{Output, Sink, why_unopened};
use crate::fault::{missing_directory, text_of};
use crate::log_throttle::LogThrottle;
use crate::plural::counted;
use crate::record::{BriefLine, Line, write_json};

/// Accepts lines from any task or thread; cheap to clone. The default recorder has no output and
/// discards them, for programs that take records by callback (`Proxy::on_close`).
#[derive(Debug, Clone, Default)]
pub struct Recorder(pub(super) Option<Arc<Shared>>);

/// The writer thread. Dropping it finishes it, and logs how many lines were not written.
#[derive(Debug)]
#[must_use = "dropped at once, it writes nothing that comes later"]
pub struct Writer {
    shared: Arc<Shared>,
    /// `None` once it has ended.
    thread: Option<JoinHandle<()>>,
}

/// An output that could not be opened.
#[derive(Debug)]
pub struct OpenError {
    output: Output,
    error: io::Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = match &self.output {
            Output::File { path, .. } => missing_directory(path),
            Output::Stdout => None,
        };
        let why = missing.unwrap_or_else(|| format!("{};", why_unopened(&self.error)));
        write!(f, "cannot open {} for records: {why} choose another file with -o", self.output)
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Counts of the lines of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Lines written whole.
    pub written: u64,
    /// Lines that are queued and not written, or not yet.
    pub unwritten: u64,
    /// Lines that were lost: turns of open connections while the queue was full, what could not be serialised, and
    /// what an internal error prevented.
    pub lost: u64,
}

/// The queue, as both of its ends use it.
#[derive(Debug)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    limit: QueueLimit,
    /// The queue is full, or not yet half empty since it was. Changed with the queue locked.
    full: watch::Sender<bool>,
    /// Log throttle for a full queue.
    fullness: Mutex<LogThrottle>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole lines that the thread has not taken yet.
    pending: Vec<u8>,
    /// Bytes that are not written: pending, or taken by the thread.
    bytes: usize,
    /// Lines that were numbered: written, being written, or pending.
    numbered: u64,
    written: u64,
    lost: u64,
    reopen: bool,
    /// The thread waits for a first line.
    idle: bool,
    /// Set once, to write what is queued and end.
    finishing: Option<Instant>,
    /// The reader of the output has closed it; no more lines are needed.
    reader_gone: bool,
}

/// The end of every line before its number is assigned: `line` is the last key.
const UNNUMBERED: &[u8] = b"\"line\":0}";

thread_local! {
    /// Buffer for serialising a line; a full record of two legs has 10 kB.
    static JSON: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Time to collect lines after a write: the first line of a burst is written at once, the others
/// together. A write and a wake-up for each line took 22 µs of CPU time, an eighth of the total
/// cost of a short connection; with 20 ms a burst becomes a megabyte, whose writing affects the
/// latency of other connections.
const GATHER: Duration = Duration::from_millis(2);

/// A buffer of the thread larger than this is freed.
const KEPT: usize = 1 << 20;

/// Pause before a failed write is retried.
const RETRY: Duration = Duration::from_millis(500);
/// Pause before a write that would block is retried.
const SLOW: Duration = Duration::from_millis(10);
/// How long a failing output is retried at the end of the run.
const LAST_TRIES: Duration = Duration::from_secs(5);

impl Shared {
    pub(super) fn new(limit: QueueLimit) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            wake: Condvar::new(),
            limit,
            full: watch::Sender::new(false),
            fullness: Mutex::default(),
        })
    }

    /// The queue is consistent after every statement, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// Opens `output` and starts its writer thread. `queue` is a number of bytes, or a [`QueueLimit`]. When
    /// more is queued, a proxy accepts no connections until half of it is written, and lines of open
    /// connections are still queued; a watch loses lines. `reader_gone` is called when the reader of a pipe has closed it.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or no thread can be started.
    pub fn start(
        output: Output,
        queue: impl Into<QueueLimit>,
        reader_gone: impl FnOnce() + Send + 'static,
    ) -> Result<(Self, Writer), OpenError> {
        let failed = |error| OpenError { output: output.clone(), error };
        let sink = Sink::open(output.clone()).map_err(failed)?;
        let shared = Shared::new(queue.into());
        let recorder = Self(Some(Arc::clone(&shared)));
        let thread = std::thread::Builder::new().name("records".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(sink, reader_gone)
        });
        let thread = thread.map_err(failed)?;
        Ok((recorder, Writer { shared, thread: Some(thread) }))
    }

    /// Queues a line. Sets its `line`, so that numbers and order agree.
    pub fn push(&self, line: &Line) {
        self.queue(line);
    }

    /// Queues a line in brief.
    pub fn push_brief(&self, line: &BriefLine<'_>) {
        self.queue(line);
    }

    fn queue(&self, line: &impl Serialize) {
        let Some(shared) = &self.0 else { return };
        JSON.with_borrow_mut(|buffer| {
            buffer.clear();
            match write_json(buffer, line) {
                Ok(()) => shared.push(buffer),
                Err(error) => {
                    shared.lock().lost += 1;
                    tracing::error!("cannot encode a record as JSON: {error}; it is lost");
                }
            }
        });
    }

    /// Counts a line as lost.
    pub(crate) fn count_lost(&self) {
        if let Some(shared) = &self.0 {
            shared.lock().lost += 1;
        }
    }

    /// Requests that the file be closed and reopened under its name. Lines queued before may go to
    /// either file; none is lost or torn.
    pub fn reopen(&self) {
        if let Some(shared) = &self.0 {
            shared.lock().reopen = true;
            shared.wake.notify_one();
        }
    }

    /// Whether the queue is full, so that optional lines should be skipped.
    pub fn is_full(&self) -> bool {
        self.0.as_deref().is_some_and(Shared::is_full)
    }

    /// Waits until the queue is not full.
    pub(crate) async fn wait_for_room(&self) {
        if self.is_full()
            && let Some(shared) = &self.0
        {
            // An error would mean that the sender has gone; we hold it.
            let _ = shared.full.subscribe().wait_for(|full| !full).await;
        }
    }

    /// Counts of the lines so far.
    pub fn tally(&self) -> Tally {
        self.0.as_deref().map_or_else(Tally::default, Shared::tally)
    }
}

impl Writer {
    /// Writes what is queued and ends. Waits for a slow reader without a limit, and a few seconds
    /// for a failing output.
    pub fn finish(mut self) -> Tally {
        self.end();
        self.shared.tally()
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.finish();
        if thread.join().is_err() {
            tracing::error!("internal error: the thread that writes records panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.thread.is_none() {
            return;
        }
        self.end();
        let Tally { unwritten, lost, .. } = self.shared.tally();
        if unwritten + lost > 0 {
            tracing::error!("lines not written: {}", unwritten + lost);
        }
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
        let before = queue.pending.len();
        queue.pending.extend_from_slice(&json[..json.len() - b"0}".len()]);
        queue.pending.extend_from_slice(number.to_string().as_bytes());
        queue.pending.extend_from_slice(b"}\n");
        queue.bytes += queue.pending.len() - before;
        let fills = queue.bytes > self.limit.bytes && !self.is_full();
        if fills {
            self.full.send_replace(true);
        }
        let wakes = queue.idle;
        let waiting = queue.numbered - queue.written;
        drop(queue);
        if wakes {
            self.wake.notify_one();
        }
        if fills && self.fullness.lock().unwrap_or_else(PoisonError::into_inner).should_log() {
            tracing::error!(
                "the output queue is full: {} waiting, {} at most; {}",
                counted(waiting, "line"),
                counted(self.limit.bytes as u64, "byte"),
                self.limit.when_full
            );
        }
    }

    fn is_full(&self) -> bool {
        *self.full.borrow()
    }

    /// Counts these bytes as written.
    pub(super) fn count_written(&self, bytes: &[u8]) {
        let mut queue = self.lock();
        queue.written += lines_in(bytes);
        queue.bytes -= bytes.len();
        let has_room = queue.bytes <= self.limit.bytes / 2 && self.is_full();
        if has_room {
            self.full.send_replace(false);
        }
        drop(queue);
        if has_room {
            tracing::info!("the output queue has room again");
        }
    }

    /// Counts these bytes as not written after all.
    fn count_unwritten(&self, bytes: &[u8]) {
        let mut queue = self.lock();
        queue.written -= lines_in(bytes);
        queue.bytes += bytes.len();
    }

    fn tally(&self) -> Tally {
        let queue = self.lock();
        let unwritten = if queue.reader_gone { 0 } else { queue.numbered - queue.written };
        Tally { written: queue.written, unwritten, lost: queue.lost }
    }

    /// Waits for lines and takes all that are pending into `batch`. Returns whether the output is to be
    /// reopened; `None` at the end, when there will be no more.
    pub(super) fn take(&self, batch: &mut Vec<u8>) -> Option<bool> {
        let mut queue = self.lock();
        while queue.pending.is_empty() && !queue.reopen && queue.finishing.is_none() {
            queue.idle = true;
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.idle = false;
        if queue.pending.is_empty() && queue.finishing.is_some() {
            return None;
        }
        if batch.capacity() > KEPT {
            *batch = Vec::new();
        }
        batch.clear();
        std::mem::swap(batch, &mut queue.pending);
        Some(std::mem::take(&mut queue.reopen))
    }

    /// There will be no more lines than those that are queued.
    pub(super) fn finish(&self) {
        self.lock().finishing = Some(Instant::now());
        self.wake.notify_one();
    }

    /// Nobody reads the lines any more.
    pub(super) fn note_reader_gone(&self) {
        let mut queue = self.lock();
        queue.reader_gone = true;
        queue.pending = Vec::new();
        self.full.send_replace(false);
    }

    /// The loop of the thread: takes all pending lines at once, writes them, and waits for more.
    fn run(&self, mut sink: Sink, reader_gone: impl FnOnce()) {
        let mut batch = Vec::new();
        while let Some(reopen) = self.take(&mut batch) {
            if reopen {
                sink.reopen();
            }
            match self.write_batch(&mut sink, &batch) {
                BatchEnd::All => self.wait_for_more_lines(),
                BatchEnd::GivenUp => return,
                BatchEnd::ReaderGone => {
                    self.note_reader_gone();
                    reader_gone();
                    return;
                }
            }
        }
    }

    /// Lets more lines gather before the next write, unless the run ends.
    fn wait_for_more_lines(&self) {
        let queue = self.lock();
        if queue.finishing.is_none() {
            drop(self.wake.wait_timeout(queue, GATHER));
        }
    }

    fn write_batch(&self, sink: &mut Sink, batch: &[u8]) -> BatchEnd {
        let mut written = 0;
        let mut failing = false;
        while written < batch.len() {
            let incomplete = sink.take_incomplete().min(written);
            self.count_unwritten(&batch[written - incomplete..written]);
            written -= incomplete;
            match sink.write(&batch[written..]) {
                Ok(0) => {
                    // A device that accepts nothing and reports no error.
                    std::thread::sleep(RETRY);
                }
                Ok(bytes) => {
                    let done = &batch[written..written + bytes];
                    self.count_written(done);
                    written += bytes;
                    // Less than a line does not end the failure.
                    if failing && lines_in(done) > 0 {
                        failing = false;
                        // Logged as an error, so that a log of errors only shows the end as well.
                        tracing::error!("writing records to {} works again", sink.output());
                    }
                    if written == batch.len() && sink.was_removed() {
                        tracing::warn!(
                            "{} was removed; records go to a new file of that name",
                            sink.output()
                        );
                        self.count_unwritten(batch);
                        written = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return BatchEnd::ReaderGone;
                }
                // A non-blocking standard output is merely slow, and so is a file that another
                // process has locked.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(SLOW),
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let (output, lines) = (sink.output(), self.tally().unwritten);
                        let text = text_of(&error);
                        tracing::error!(
                            "cannot write records to {output}: {text}; retrying (lines waiting: \
                             {lines})"
                        );
                    }
                    // The file may have been removed to free space, which is held while it is open.
                    if sink.was_removed() {
                        self.count_unwritten(&batch[..written]);
                        written = 0;
                    }
                    if self.lock().finishing.is_some_and(|since| since.elapsed() > LAST_TRIES) {
                        sink.blank_incomplete_line();
                        return BatchEnd::GivenUp;
                    }
                    std::thread::sleep(RETRY);
                    if std::mem::take(&mut self.lock().reopen) {
                        sink.reopen();
                    }
                }
            }
        }
        BatchEnd::All
    }
}

enum BatchEnd {
    All,
    GivenUp,
    ReaderGone,
}

fn lines_in(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
