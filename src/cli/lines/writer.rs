//! The thread that writes lines, so that a terminal that is stopped (Ctrl-S) or slow holds up nothing else.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use conniver::plural::counted;
use tokio::sync::oneshot;

use super::Stream;
use crate::cli::exit::LAST_WRITES;
use crate::cli::signals::StopRequests;

/// Lines that wait to be written. Further ones are counted and left out: nobody reads so many, and totals and
/// records have all connections.
const QUEUE: usize = 4096;

/// Lines that wait are written together, up to about this many bytes.
const BATCH: usize = 16 << 10;

/// The queue that leads to the thread.
pub(super) struct Writer {
    /// `None` once it is finished.
    queue: Mutex<Option<SyncSender<String>>>,
    left_out: Arc<AtomicU64>,
    /// Told when the thread has ended.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Writer {
    pub(super) fn start(
        stream: Stream,
        reader_gone: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let (ending, ended) = oneshot::channel();
        let left_out = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&left_out);
        std::thread::Builder::new().name("lines".to_owned()).spawn(move || {
            write_all(&lines, stream, &counted, reader_gone);
            // Nobody may wait for it.
            let _ = ending.send(());
        })?;
        Ok(Self { queue: Mutex::new(Some(queue)), left_out, ended: Mutex::new(Some(ended)) })
    }

    /// Queues a line, or several. Never blocks.
    pub(super) fn write(&self, line: String) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = &*queue
            && let Err(TrySendError::Full(_)) = queue.try_send(line)
        {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything is written; after a second request to stop, one more second.
    pub(super) async fn finish(&self, requests: &StopRequests) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let hurried = async {
            requests.reach(2).await;
            tokio::time::sleep(LAST_WRITES).await;
        };
        if let Some(ended) = ended {
            tokio::select! {
                _ = ended => {}
                () = hurried => {}
            }
        }
    }
}

/// Writes lines until there will be no more, or until nobody reads them.
fn write_all(
    lines: &Receiver<String>,
    stream: Stream,
    left_out: &AtomicU64,
    reader_gone: impl FnOnce(),
) {
    let mut is_failing = false;
    let mut batch = String::new();
    while let Ok(line) = lines.recv() {
        batch.clear();
        let mut next = Some(line);
        while let Some(line) = next {
            batch.push_str(&line);
            batch.push('\n');
            next = if batch.len() < BATCH { lines.try_recv().ok() } else { None };
        }
        match left_out.swap(0, Ordering::Relaxed) {
            0 => {}
            count => {
                let lines = counted(count, "line");
                batch.push_str(&format!("({lines} left out, more than could be shown)\n"));
            }
        }
        match write(stream, &batch) {
            Ok(()) => is_failing = false,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return reader_gone(),
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::error!("cannot write lines: {error}");
                }
            }
        }
    }
}

/// Writes text whole, in one call, so that no other line comes between; in colours where they are wanted (a
/// terminal, NO_COLOR).
fn write(stream: Stream, text: &str) -> io::Result<()> {
    let choice = match stream {
        Stream::Stdout => AutoStream::choice(&io::stdout()),
        Stream::Stderr => AutoStream::choice(&io::stderr()),
    };
    let plain;
    let text = match choice {
        ColorChoice::Never => {
            plain = strip_str(text).to_string();
            &*plain
        }
        _ => text,
    };
    match stream {
        Stream::Stdout => {
            let mut stdout = anstream::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()
        }
        Stream::Stderr => anstream::stderr().lock().write_all(text.as_bytes()),
    }
}
