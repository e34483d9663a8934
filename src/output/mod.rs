//! Where lines go: a queue that never waits, and the one thread that writes.

mod file_lock;
mod recorder;
mod sink;

pub use recorder::{OpenError, QUEUE, Recorder, Tally, Writer};
pub use sink::Output;
