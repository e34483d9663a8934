//! How much may wait to be written.

/// Default size of the output queue: 64 MiB, some 6,000 pairs.
pub const QUEUE: usize = 64 << 20;

/// The limit of an output queue. Made from a number of bytes, it is that of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueLimit {
    /// Bytes that may be queued before the queue is full.
    pub bytes: usize,
    /// What the log says of a full queue: what happens until half of it is written.
    pub when_full: &'static str,
}

impl QueueLimit {
    /// A limit with what happens when it is reached.
    pub fn new(bytes: usize, when_full: &'static str) -> Self {
        Self { bytes, when_full }
    }
}

impl From<usize> for QueueLimit {
    fn from(bytes: usize) -> Self {
        Self::new(bytes, "new connections wait, open ones continue")
    }
}
