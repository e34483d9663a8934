//! Output of lines: a non-blocking queue, and the thread that writes it.

mod file_lock;
mod recorder;
mod sink;

pub use recorder::{OpenError, QUEUE, Recorder, Tally, Writer};
pub use sink::Output;
