//! Lines that are read in the same process, instead of being written.

use std::io::{self, Read};
use std::sync::Arc;

use super::queue_limit::QueueLimit;
use super::recorder::{Recorder, Shared};

/// Reads the lines of a recorder as NDJSON. Reading waits for lines, and ends when the [`LineEnd`] was dropped.
#[derive(Debug)]
pub struct LineReader {
    shared: Arc<Shared>,
    /// Lines that were taken from the queue, and how much of them was read.
    batch: Vec<u8>,
    read: usize,
}

/// Ends the lines of a [`LineReader`] when it is dropped: those that are queued are still read.
#[derive(Debug)]
#[must_use = "dropped at once, it ends the lines"]
pub struct LineEnd(Arc<Shared>);

impl LineReader {
    /// A recorder, the end of its lines, and their reader. `queue` is a number of bytes, or a [`QueueLimit`].
    pub fn start(queue: impl Into<QueueLimit>) -> (Recorder, LineEnd, Self) {
        let shared = Shared::new(queue.into());
        let recorder = Recorder(Some(Arc::clone(&shared)));
        let end = LineEnd(Arc::clone(&shared));
        (recorder, end, Self { shared, batch: Vec::new(), read: 0 })
    }
}

impl Read for LineReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read >= self.batch.len() {
            if self.shared.take(&mut self.batch).is_none() {
                return Ok(0);
            }
            self.shared.count_written(&self.batch);
            self.read = 0;
        }
        let read = self.batch.get(self.read..).unwrap_or_default().read(buffer)?;
        self.read += read;
        Ok(read)
    }
}

impl Drop for LineReader {
    fn drop(&mut self) {
        self.shared.note_reader_gone();
    }
}

impl Drop for LineEnd {
    fn drop(&mut self) {
        self.0.finish();
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::output::QUEUE;
    use crate::record::{Line, Overflow, SCHEMA, read};

    fn line(overflows: u64) -> Line {
        Line::Overflow(Overflow {
            schema: SCHEMA,
            time: Timestamp::UNIX_EPOCH,
            host: String::new(),
            labels: std::collections::BTreeMap::new(),
            run_id: uuid::Uuid::nil(),
            overflows,
            last_seen: 0,
            never_seen: None,
            line: 0,
        })
    }

    #[test]
    fn queued_lines_are_read_before_the_end() {
        let (recorder, end, reader) = LineReader::start(QUEUE);
        let reading = std::thread::spawn(move || read(reader).count());
        for number in 1..=1000 {
            recorder.push(&line(number));
        }
        drop(end);
        assert_eq!(reading.join().unwrap(), 1000);
        assert_eq!(recorder.tally().written, 1000);
    }

    #[test]
    fn lines_of_a_reader_that_has_gone_take_no_room() {
        let (recorder, _end, reader) = LineReader::start(1);
        recorder.push(&line(1));
        assert!(recorder.is_full());
        drop(reader);
        recorder.push(&line(2));
        assert!(!recorder.is_full());
    }
}
