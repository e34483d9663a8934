//! Output of lines: a non-blocking queue, and the thread that writes it.

mod file_lock;
mod line_reader;
mod queue_limit;
mod recorder;
mod sink;

pub use line_reader::{LineEnd, LineReader};
pub use queue_limit::{QUEUE, QueueLimit};
pub use recorder::{OpenError, Recorder, Tally, Writer};
pub use sink::Output;

pub use crate::fault::{missing_directory, unexpanded_home};
