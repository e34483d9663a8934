//! The one owner of the output: whole lines, in order, and nothing is forgotten that was not written.
//!
//! Pairs hand their lines to a [`Recorder`], which never waits; a thread of its own writes them.
//! What cannot be written stays queued and is tried again.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;

use super::sink::{Output, Sink};
use crate::counted::counted;
use crate::episode::Episode;
use crate::fault::text_of;
use crate::record::{BriefLine, Line, write_json};

/// Bytes of lines that may wait to be written, where nothing else is said: 64 MiB, some 6,000 pairs.
pub const QUEUE: usize = 64 << 20;

/// Takes lines from any task or thread; cheap to clone. The default one has no output and forgets
/// them, for programs that take records as they come (`Proxy::on_close`).
#[derive(Debug, Clone, Default)]
pub struct Recorder(Option<Arc<Shared>>);

/// The writing thread. Dropping it is finishing it, and says what was not written.
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
        let text = text_of(&self.error);
        write!(f, "cannot open {} for records: {text}; choose another file with -o", self.output)
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// What became of the lines of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Lines written whole.
    pub written: u64,
    /// Lines that were queued and are not written (yet, while the writer is at work).
    pub unwritten: u64,
    /// Lines that were given up: they could not be put as JSON, or a defect prevented them.
    pub lost: u64,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Bytes at which the queue is full.
    most: usize,
    /// More is queued than may be, or since then not half of it is written yet. Changed with the
    /// queue locked.
    full: watch::Sender<bool>,
    /// That it is full is said once, however often it fills and empties.
    fullness: Mutex<Episode>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole lines that the thread has not taken yet.
    pending: Vec<u8>,
    /// Bytes that are not written: those, and what the thread has taken.
    bytes: usize,
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

/// A buffer of the thread that has grown beyond this is not kept.
const KEPT: usize = 1 << 20;

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
    /// Opens `output` and starts the thread that writes to it. When more than `queue` bytes wait to
    /// be written, the proxy accepts no connections until half of them are; lines of those that it
    /// has are queued all the same. `reader_gone` is called when the reader of a pipe has gone.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or no thread can be started.
    pub fn start(
        output: Output,
        queue: usize,
        reader_gone: impl FnOnce() + Send + 'static,
    ) -> Result<(Self, Writer), OpenError> {
        let failed = |error| OpenError { output: output.clone(), error };
        let sink = Sink::open(output.clone()).map_err(failed)?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            most: queue,
            full: watch::Sender::new(false),
            fullness: Mutex::default(),
        });
        let recorder = Self(Some(Arc::clone(&shared)));
        let thread = std::thread::Builder::new().name("records".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(sink, reader_gone)
        });
        let thread = thread.map_err(failed)?;
        Ok((recorder, Writer { shared, thread: Some(thread) }))
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

    /// Counts a line that should have come and will not.
    pub(crate) fn lose(&self) {
        if let Some(shared) = &self.0 {
            shared.lock().lost += 1;
        }
    }

    /// Asks for the file to be closed and opened anew under its name. Lines that are queued by now
    /// may go to either file; none is lost or torn.
    pub fn reopen(&self) {
        if let Some(shared) = &self.0 {
            shared.lock().reopen = true;
            shared.wake.notify_one();
        }
    }

    /// Whether lines that can wait should: the queue is full.
    pub fn is_full(&self) -> bool {
        self.0.as_deref().is_some_and(Shared::is_full)
    }

    /// Ready when the queue is not full.
    pub(crate) async fn room(&self) {
        if self.is_full()
            && let Some(shared) = &self.0
        {
            // An error would mean that the sender has gone; we hold it.
            let _ = shared.full.subscribe().wait_for(|full| !full).await;
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
    pub fn finish(mut self) -> Tally {
        self.end();
        self.shared.tally()
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.lock().finishing = Some(Instant::now());
        self.shared.wake.notify_one();
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
        let fills = queue.bytes > self.most && !self.is_full();
        if fills {
            self.full.send_replace(true);
        }
        let wakes = queue.idle;
        let waiting = queue.numbered - queue.written;
        drop(queue);
        if wakes {
            self.wake.notify_one();
        }
        if fills && self.fullness.lock().unwrap_or_else(PoisonError::into_inner).begins() {
            tracing::error!(
                "the output queue is full: {} waiting, {} at most (--queue); new connections \
                 wait, open ones continue",
                counted(waiting, "line"),
                counted(self.most as u64, "byte")
            );
        }
    }

    fn is_full(&self) -> bool {
        *self.full.borrow()
    }

    /// These bytes, whole lines or not, are in the output.
    fn count_written(&self, bytes: &[u8]) {
        let mut queue = self.lock();
        queue.written += lines_in(bytes);
        queue.bytes -= bytes.len();
        let has_room = queue.bytes <= self.most / 2 && self.is_full();
        if has_room {
            self.full.send_replace(false);
        }
        drop(queue);
        if has_room {
            tracing::info!("new connections are accepted again");
        }
    }

    /// These bytes were, and are there no more.
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
            if batch.capacity() > KEPT {
                batch = Vec::new();
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
                    let mut queue = self.lock();
                    queue.reader_gone = true;
                    queue.pending = Vec::new();
                    self.full.send_replace(false);
                    drop(queue);
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
        let mut written = 0;
        let mut failing = false;
        while written < batch.len() {
            let abandoned = sink.take_abandoned().min(written);
            self.count_unwritten(&batch[written - abandoned..written]);
            written -= abandoned;
            match sink.write(&batch[written..]) {
                Ok(0) => {
                    // A device that takes nothing and says nothing.
                    std::thread::sleep(RETRY);
                }
                Ok(bytes) => {
                    let done = &batch[written..written + bytes];
                    self.count_written(done);
                    written += bytes;
                    // A little room is no end of it.
                    if failing && lines_in(done) > 0 {
                        failing = false;
                        // Who is shown errors alone must learn of this one's end.
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
                    return Written::ReaderGone;
                }
                // A standard output that somebody made non-blocking is merely slow, and so is a file
                // that another process has locked.
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
                    // It may have been removed to make room, and keeps its room while it is open.
                    if sink.was_removed() {
                        self.count_unwritten(&batch[..written]);
                        written = 0;
                    }
                    if self.lock().finishing.is_some_and(|since| since.elapsed() > LAST_TRIES) {
                        sink.leave_whole();
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

fn lines_in(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
